/**
 * What a program with all its processes has cost, from /proc. CPU is utime + stime of every living process and of the
 * children it has waited for, so that servers which fork for each client (danted) hide nothing.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { codeOf } from '@mastline/shared/base/coded-error';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8', timeout: 5_000 }));

export interface ProcessStat {
  pid: number;
  parent: number;
  /** Own and of waited-for children. */
  cpuSeconds: number;
}

/** One line of /proc/PID/stat (proc_pid_stat(5)). The name in it may hold spaces and parentheses. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const number = (field: number) => Number(fields[field - 3]);
  const ticks = number(14) + number(15) + number(16) + number(17);
  const stat = {
    pid: Number.parseInt(line, 10),
    parent: number(4),
    cpuSeconds: ticks / TICKS_PER_SECOND,
  };
  if (!Number.isInteger(stat.pid) || !Number.isInteger(stat.parent) || Number.isNaN(ticks))
    throw new Error(`not a line of /proc/PID/stat: ${line.slice(0, 80)}`);
  return stat;
}

/** A file of a process that may end at any moment: null when it has. */
function readProc(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return null;
    throw error;
  }
}

/** `root` and all its descendants that live now. Throws when `root` itself is gone. */
export function processTree(root: number): ProcessStat[] {
  const children = new Map<number, ProcessStat[]>();
  let first: ProcessStat | null = null;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const line = readProc(`/proc/${name}/stat`);
    if (line === null) continue;
    const stat = parseStat(line);
    if (stat.pid === root) first = stat;
    const siblings = children.get(stat.parent);
    if (siblings) siblings.push(stat);
    else children.set(stat.parent, [stat]);
  }
  if (first === null) throw new Error(`process ${root} has ended`);
  const tree = [first];
  for (let at = 0; at < tree.length; at += 1) tree.push(...(children.get(tree[at]?.pid ?? -1) ?? []));
  return tree;
}

/** CPU seconds of the whole tree so far, in steps of one tick (10 ms as a rule). */
export function cpuSecondsOf(root: number): number {
  return processTree(root).reduce((sum, one) => sum + one.cpuSeconds, 0);
}

/** CPU seconds of each thread of one process, by thread id. */
export function cpuSecondsByThread(pid: number): Map<number, number> {
  const threads = new Map<number, number>();
  for (const name of readdirSync(`/proc/${pid}/task`)) {
    const line = readProc(`/proc/${pid}/task/${name}/stat`);
    if (line === null) continue;
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
    threads.set(Number(name), (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND);
  }
  return threads;
}

export interface Residence {
  privateBytes: number;
  sharedBytes: number;
}

/** The sum of a process, from /proc/PID/smaps_rollup. */
export function parseSmapsRollup(text: string): Residence {
  const bytes = (name: string) => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!match) throw new Error(`smaps_rollup has no ${name}`);
    return Number(match[1]) * 1024;
  };
  return {
    privateBytes: bytes('Private_Clean') + bytes('Private_Dirty'),
    sharedBytes: bytes('Shared_Clean') + bytes('Shared_Dirty'),
  };
}

/**
 * Resident memory of the whole tree, bytes: what each process has for itself, and once what they share. For a single
 * process that is its RSS; adding up the RSS of forked ones would count their common pages many times.
 */
export function residentBytesOf(root: number): number {
  let own = 0;
  let shared = 0;
  for (const { pid } of processTree(root)) {
    const one = residenceOf(pid);
    own += one.privateBytes;
    shared = Math.max(shared, one.sharedBytes);
  }
  return own + shared;
}

function residenceOf(pid: number): Residence {
  let rollup: string | null;
  try {
    rollup = readProc(`/proc/${pid}/smaps_rollup`);
  } catch (error) {
    // Another user's process, or a kernel without the file.
    if (codeOf(error) !== 'EACCES' && codeOf(error) !== 'EPERM') throw error;
    rollup = null;
  }
  if (rollup) return parseSmapsRollup(rollup);
  const status = readProc(`/proc/${pid}/status`) ?? '';
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
  return {
    privateBytes: kilobytes('RssAnon') * 1024,
    sharedBytes: (kilobytes('RssFile') + kilobytes('RssShmem')) * 1024,
  };
}
