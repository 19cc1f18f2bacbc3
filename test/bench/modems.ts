/**
 * What a box full of modems costs, and what one bad modem costs the others: a whole Mastline (virtual modems of all kinds,
 * a cloud, an agent, each a process of its own) with 20 modems.
 *
 *   npm run bench:modems -- [--modems 20] [--rounds 15] [--stall-ms 0] [--json FILE]
 *
 * At rest, nobody using it: CPU of the agent with all the processes that it runs, its memory, and what it writes to disk.
 * A write to disk is a call that writes to a file or flushes one (fsync, fdatasync), counted by strace in a window of its
 * own, since being traced costs time; the kernel's count of bytes sent to the disk stands beside it.
 *
 * One flapping: flapping.ts. Ends with 0 when the goals are met.
 *
 * The agent with all that it runs has a core of its own, the smallest host that there is; clients, modems, carrier and
 * cloud, which are no part of a host, have the others. So a flow waits for what its agent does, and not for its turn
 * among those. Without `taskset`, or with one core, all share, and the bench says so.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, constants, setPriority } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { buildAll } from '../../installer/local/build';
import { whyNoNamespaces } from '../simulators/run-tool';
import { MAX_MODEMS } from '../simulators/virtual-slot';
import type { StormModem } from '../storm/misfortunes';
import { type Programs, startPrograms } from '../storm/programs';
import { readFlags, wholeFlag } from '../support/flags';
import { tempDir } from '../support/temp';
import { FLAPPING, type FlapFigures, measureFlapping, type WindowKind } from './flapping';
import { describeMachine, machineLines } from './machine';
import { cpuSecondsOf, processTree } from './process-tree';

const GOALS = { cpuPercent: 3, rssMegabytes: 150, writesPerModemMinute: 1, p99Ratio: 1.1 };
const KINDS = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at' },
  { profile: 'quectel/em12', driver: 'mbim' },
  { profile: 'huawei/e3372h-153', driver: 'at' },
] as const;
const COME_UP_MS = 90_000;
/**
 * A modem is looked at eagerly for half a minute after it came up (modem-watch.ts), and V8 compiles for another: an agent
 * that rests has been up for longer.
 */
const SETTLE_MS = 90_000;
const REST_MS = 45_000;
const PLACE_MS = 5_000;

export interface RestFigures {
  seconds: number;
  /** Of one core. */
  cpuPercent: number;
  rssMegabytes: number;
  /** Bytes that the kernel sent to the disk for the agent (/proc/PID/io, write_bytes). */
  writtenBytes: number;
  /** Calls that wrote to a file or flushed one, by name of call and file; null without strace. */
  writes: Record<string, number> | null;
  writesPerModemMinute: number | null;
}

export interface ModemFigures {
  modems: number;
  kind: string;
  rest: RestFigures;
  flap: FlapFigures;
}

export async function measureModems(options: {
  modems: number;
  rounds: number;
  /** The agent is stopped so long at each misfortune of its modem: what the judge must notice. */
  stallMs?: number;
  settleMs?: number;
  restMs?: number;
  say: (line: string) => void;
}): Promise<ModemFigures> {
  const kind = (await whyNoNamespaces()) === undefined ? 'namespaces' : 'rootless';
  const dir = await tempDir('bench-modems');
  const modems = Array.from({ length: options.modems }, (_, i): StormModem => {
    return { slot: i + 1, wish: KINDS[i % KINDS.length] ?? KINDS[0], pin: 'none' };
  });
  try {
    const programs = await startPrograms({ dir: dir.path, kind, modems });
    try {
      await untilUp(programs, modems.length);
      // It stands elsewhere, and what a report costs it is no host's business: here it gets what the others leave.
      giveWay(programs.cloudPid);
      const placed = placeAgent(programs.agentPid);
      options.say(
        `${modems.length} modems are up, ${kind}; the agent ${placed ? 'has a core of its own' : 'shares its cores with clients and modems'}`,
      );
      await wait(options.settleMs ?? SETTLE_MS);
      const rest = await measureRest(programs, { modems: modems.length, restMs: options.restMs ?? REST_MS });
      options.say('measured at rest');
      const flap = await measureFlapping(programs, modems, options);
      return { modems: modems.length, kind, rest, flap };
    } finally {
      await programs.abandon();
    }
  } finally {
    await dir.remove();
  }
}

/** All threads of a process, which on Linux have a priority each. */
function giveWay(pid: number): void {
  for (const thread of readdirSync(`/proc/${pid}/task`))
    setPriority(Number(thread), constants.priority.PRIORITY_LOW);
}

/** Puts the agent's processes on the first core and all others of this bench on the rest; false when it cannot be done. */
function placeAgent(agentPid: number): boolean {
  const cores = availableParallelism();
  if (cores < 2) return false;
  const own = new Set(processTree(agentPid).map(one => one.pid));
  for (const { pid } of processTree(process.pid))
    try {
      execFileSync('taskset', ['-acp', own.has(pid) ? '0' : `1-${cores - 1}`, String(pid)], {
        stdio: 'ignore',
        timeout: PLACE_MS,
      });
    } catch {
      // One that has ended meanwhile needs no place.
      if (existsSync(`/proc/${pid}`)) return false;
    }
  return true;
}

async function untilUp(programs: Programs, modems: number): Promise<void> {
  const end = performance.now() + COME_UP_MS;
  for (;;) {
    const up = (await programs.slots()).filter(one => one.state === 'connected' && one.exitAddress !== null);
    if (up.length === modems && (await programs.listening()) === 2 * modems) return;
    if (performance.now() > end) throw new Error(`${up.length} of ${modems} modems came up`);
    await wait(200);
  }
}

async function measureRest(
  programs: Programs,
  { modems, restMs }: { modems: number; restMs: number },
): Promise<RestFigures> {
  const pid = programs.agentPid;
  const before = { cpu: cpuSecondsOf(pid), written: writtenBytes(pid), at: performance.now() };
  await wait(restMs);
  const seconds = (performance.now() - before.at) / 1000;
  const cpu = cpuSecondsOf(pid) - before.cpu;
  const writes = await traceWrites(pid, restMs);
  const count = writes && Object.values(writes).reduce((sum, one) => sum + one, 0);
  return {
    seconds,
    cpuPercent: (100 * cpu) / seconds,
    rssMegabytes: residentMegabytes(pid),
    writtenBytes: writtenBytes(pid) - before.written,
    writes,
    writesPerModemMinute: count === null ? null : count / modems / (restMs / 60_000),
  };
}

/** Calls by which the process, with all its threads, wrote to files; null when strace is not to be had. */
async function traceWrites(pid: number, forMs: number): Promise<Record<string, number> | null> {
  const calls = 'write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate';
  let tracer: ChildProcess;
  try {
    tracer = spawn('strace', ['-f', '-y', '-qq', '-s', '0', '-e', `trace=${calls}`, '-p', String(pid)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await once(tracer, 'spawn');
  } catch {
    return null;
  }
  let said = '';
  tracer.stderr?.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const gone = once(tracer, 'exit');
  await wait(forMs);
  tracer.kill('SIGINT');
  await gone;
  // Timers and links wake it all the time: a tracer that saw no call at all has not traced.
  if (!/\b\w+\(\d+</.test(said)) return null;
  const writes: Record<string, number> = {};
  // `[pid 12] pwrite64(5</path/file>, …`; sockets, pipes and the like are no paths.
  for (const [, call = '', path = ''] of said.matchAll(/\b(\w+)\(\d+<(\/(?!dev\/)[^>]*)>/g)) {
    const name = `${call} ${path.split('/').at(-1)}`;
    writes[name] = (writes[name] ?? 0) + 1;
  }
  return writes;
}

function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kilobytes) * 1024) / 1e6;
}

function writtenBytes(pid: number): number {
  return Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

/** The figures against the goals, for people. */
export function modemLines({ modems, rest, flap }: ModemFigures): { lines: string[]; met: boolean } {
  const writes = rest.writesPerModemMinute;
  const goals: [string, boolean][] = [
    [
      `at rest, ${modems} modems: CPU ${rest.cpuPercent.toFixed(2)} % of a core (goal ${GOALS.cpuPercent})`,
      rest.cpuPercent <= GOALS.cpuPercent,
    ],
    [
      `at rest: memory ${rest.rssMegabytes.toFixed(0)} MB (goal ${GOALS.rssMegabytes})`,
      rest.rssMegabytes <= GOALS.rssMegabytes,
    ],
    [
      writes === null
        ? 'at rest: writes to disk not counted, for want of strace'
        : `at rest: ${writes.toFixed(2)} writes to disk a modem and minute (goal ${GOALS.writesPerModemMinute}); ${rest.writtenBytes} bytes in ${rest.seconds.toFixed(0)} s`,
      writes !== null && writes <= GOALS.writesPerModemMinute,
    ],
    [
      `one flapping: p99 of the others times ${flap.ratio.toFixed(2)} of what it is while a modem of nobody's flaps (goal ${GOALS.p99Ratio})`,
      flap.ratio <= GOALS.p99Ratio,
    ],
    [
      `one flapping: ${flap.broken} requests of the others failed, of ${flap.requests} (goal 0)`,
      flap.broken === 0 && flap.requests > 0,
    ],
  ];
  const lines = goals.map(([text, met]) => `${met ? 'met   ' : 'MISSED'} ${text}`);
  for (const [name, count] of Object.entries(rest.writes ?? {})) lines.push(`       ${count} × ${name}`);
  const { p99Micros, cpuPerSecond } = flap;
  const each = (values: Record<WindowKind, number>, told: (value: number) => string) =>
    `${told(values.calm)} calm, ${told(values.apart)} while a modem of nobody's flaps, ${told(values.flapping)} flapping`;
  lines.push(
    `       p99 in µs: ${each(p99Micros, value => value.toFixed(0))}`,
    `       left out any one round: times ${flap.range.least.toFixed(2)} to ${flap.range.most.toFixed(2)}; each round alone: ${flap.ratios.map(one => one.toFixed(2)).join(' ')}`,
    `       the machine's own share: p99 times ${flap.machineRatio.toFixed(2)} by a modem of nobody's`,
    `       CPU of the agent in %: ${each(cpuPerSecond, value => (100 * value).toFixed(1))}`,
  );
  return { lines, met: goals.every(([, met]) => met) };
}

if (process.argv[1] === import.meta.filename) {
  const values = readFlags({
    modems: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '15' },
    'stall-ms': { type: 'string', default: '0' },
    json: { type: 'string' },
  });
  const wanted = {
    modems: wholeFlag('modems', values.modems, { least: FLAPPING + 1, most: MAX_MODEMS - FLAPPING }),
    rounds: wholeFlag('rounds', values.rounds, { least: 1, most: 100 }),
    stallMs: wholeFlag('stall-ms', values['stall-ms'], { least: 0, most: 1000 }),
  };
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  const machine = describeMachine(0);
  for (const line of machineLines(machine)) console.log(line);
  const figures = await measureModems({ ...wanted, say: line => console.log(line) });
  const { lines, met } = modemLines(figures);
  for (const line of lines) console.log(line);
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify({ machine, figures }, null, 2)}\n`);
  process.exitCode = met ? 0 : 1;
}
