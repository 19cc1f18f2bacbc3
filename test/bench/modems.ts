/**
 * What a box full of modems costs, and what one bad modem costs the others: a whole Mastline (virtual modems of all kinds,
 * a cloud, an agent, each a process of its own) with 20 modems.
 *
 *   npm run bench:modems -- [--modems 20] [--pairs 7] [--json FILE]
 *
 * At rest, nobody using it: CPU of the agent with all the processes that it runs, its memory, and what it writes to disk.
 * A write to disk is a call that writes to a file or flushes one (fsync, fdatasync), counted by strace in a window of its
 * own, since being traced costs time; the kernel's count of bytes sent to the disk stands beside it.
 *
 * One flapping: requests over flows that are kept open through all modems but the first three, in windows with and without
 * one of those three hanging, dying and being pulled out in turn. The ratio of the 99th percentiles is taken within each
 * pair of neighbouring windows, and the median of those ratios is judged. Ends with 0 when the goals are met.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { buildAll } from '../../installer/local/build';
import { socks5 } from '../agent/data-plane/clients';
import { whyNoNamespaces } from '../simulators/run-tool';
import type { StormModem } from '../storm/misfortunes';
import { type Programs, startPrograms } from '../storm/programs';
import { readFlags, wholeFlag } from '../support/flags';
import { tempDir } from '../support/temp';
import { describeMachine, machineLines } from './machine';
import { cpuSecondsOf } from './process-tree';
import { median, percentileOf } from './statistics';

const GOALS = { cpuPercent: 3, rssMegabytes: 150, writesPerModemMinute: 1, p99Ratio: 1.1 };
const KINDS = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at' },
  { profile: 'quectel/em12', driver: 'mbim' },
  { profile: 'huawei/e3372h-153', driver: 'at' },
] as const;
/** One of each kind of way to drive a modem; they flap in turn and carry no measured flow. */
const FLAPPING = 3;
const COME_UP_MS = 90_000;
/** A modem is looked at eagerly for half a minute after it came up (modem-watch.ts). */
const SETTLE_MS = 35_000;
const REST_MS = 45_000;
const WINDOW_MS = 7000;
/** Between two windows: what the last one began is over. */
const GAP_MS = 3000;
/** Between two requests on one flow. */
const PACE_MS = 40;
const ANSWER_MS = 20_000;

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

export interface FlapFigures {
  pairs: number;
  requests: number;
  /** Medians over the windows, microseconds. */
  p99Micros: { calm: number; flapping: number };
  /** Of each pair of neighbouring windows, in order. */
  ratios: number[];
  ratio: number;
  /** Of the agent with all its processes, per second. */
  cpuPerSecond: { calm: number; flapping: number };
  /** Flows through the others that were cut or refused. */
  broken: number;
}

export interface ModemFigures {
  modems: number;
  kind: string;
  rest: RestFigures;
  flap: FlapFigures;
}

export async function measureModems(options: {
  modems: number;
  pairs: number;
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
      options.say(`${modems.length} modems are up, ${kind}`);
      await wait(options.settleMs ?? SETTLE_MS);
      const rest = await measureRest(programs, { modems: modems.length, restMs: options.restMs ?? REST_MS });
      options.say('measured at rest');
      const flap = await measureFlapping(programs, modems, options.pairs);
      return { modems: modems.length, kind, rest, flap };
    } finally {
      await programs.abandon();
    }
  } finally {
    await dir.remove();
  }
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

async function measureFlapping(
  programs: Programs,
  modems: readonly StormModem[],
  pairs: number,
): Promise<FlapFigures> {
  const others = modems.slice(FLAPPING);
  let samples: number[] = [];
  let requests = 0;
  let broken = 0;
  let over = false;
  const clients = others.map(async ({ slot }, i) => {
    // Spread, or they would all ask in the same millisecond.
    await wait((PACE_MS * i) / others.length);
    let flow: Socket | null = null;
    while (!over) {
      const begun = performance.now();
      try {
        flow ??= await openFlow(programs, slot);
        await roundTrip(flow);
        samples.push(1000 * (performance.now() - begun));
        requests += 1;
      } catch {
        broken += 1;
        flow?.destroy();
        flow = null;
      }
      await wait(Math.max(0, PACE_MS - (performance.now() - begun)));
    }
    flow?.destroy();
  });
  const windows: { calm: number[]; flapping: number[] } = { calm: [], flapping: [] };
  const cpu = { calm: 0, flapping: 0 };
  const measure = async (which: 'calm' | 'flapping') => {
    samples = [];
    const before = { cpu: cpuSecondsOf(programs.agentPid), at: performance.now() };
    await wait(WINDOW_MS);
    const seconds = (performance.now() - before.at) / 1000;
    cpu[which] += (cpuSecondsOf(programs.agentPid) - before.cpu) / seconds / pairs;
    windows[which].push(percentileOf(samples, 0.99));
  };
  try {
    // The first requests open the flows.
    await wait(GAP_MS);
    for (let pair = 0; pair < pairs; pair += 1) {
      const modem = modems[pair % FLAPPING];
      if (modem === undefined) throw new Error('too few modems');
      // Which comes first changes, so that what drifts falls on both.
      const order = pair % 2 === 0 ? (['calm', 'flapping'] as const) : (['flapping', 'calm'] as const);
      for (const which of order) {
        const flapping = new AbortController();
        const flaps = which === 'flapping' ? flap(programs, modem, flapping.signal) : Promise.resolve();
        try {
          await measure(which);
        } finally {
          flapping.abort();
          await flaps;
        }
        await wait(GAP_MS);
      }
    }
  } finally {
    over = true;
    await Promise.all(clients);
  }
  const ratios = windows.flapping.map((value, i) => value / (windows.calm[i] ?? Number.NaN));
  return {
    pairs,
    requests,
    p99Micros: { calm: median(windows.calm), flapping: median(windows.flapping) },
    ratios,
    ratio: median(ratios),
    cpuPerSecond: cpu,
    broken,
  };
}

/** Hangs, is well for a moment, is dead, is well, is pulled out and put back in; again and again. Ends well. */
async function flap({ net }: Programs, { slot, wish }: StormModem, signal: AbortSignal): Promise<void> {
  const acts: (() => Promise<unknown>)[] = [
    () => net.knob(slot, 'api', { mode: 'hang' }),
    () => net.knob(slot, 'api', { mode: 'up' }),
    () => net.knob(slot, 'api', { mode: 'dead' }),
    () => net.knob(slot, 'api', { mode: 'up' }),
    () => net.control('DELETE', `/modems/${slot}`),
    () => net.control('POST', '/modems', wish),
  ];
  for (let i = 0; !signal.aborted || i % 2 === 1; i += 1) {
    await acts[i % acts.length]?.();
    if (!signal.aborted) await wait(1200, undefined, { signal }).catch(() => undefined);
  }
}

async function openFlow(programs: Programs, slot: number): Promise<Socket> {
  const { proxy, username, secret, origin } = programs.target(slot, 'bench');
  const { socket, reply } = await socks5(proxy.port, origin, { username, secret });
  if (!socket) throw new Error(`refused with ${reply}`);
  socket.on('error', () => undefined);
  return socket;
}

/** One small request and its answer over a flow that stays open. */
function roundTrip(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const late = setTimeout(() => finish(new Error('no answer')), ANSWER_MS);
    const take = (bytes: Buffer) => {
      text += bytes.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      if (head >= 0 && text.length >= head + 5) finish();
    };
    const closed = () => finish(new Error('closed'));
    const finish = (error?: Error) => {
      clearTimeout(late);
      socket.off('data', take).off('close', closed);
      if (error) reject(error);
      else resolve();
    };
    socket.on('data', take).on('close', closed);
    socket.resume();
    socket.write('GET /bytes/1 HTTP/1.1\r\nHost: origin\r\n\r\n');
  });
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
      `one flapping: p99 of the others times ${flap.ratio.toFixed(2)} (goal ${GOALS.p99Ratio})`,
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
  lines.push(
    `       p99 ${p99Micros.calm.toFixed(0)} µs calm, ${p99Micros.flapping.toFixed(0)} µs flapping; ratios ${flap.ratios.map(one => one.toFixed(2)).join(' ')}`,
    `       CPU of the agent ${(100 * cpuPerSecond.calm).toFixed(1)} % calm, ${(100 * cpuPerSecond.flapping).toFixed(1)} % flapping`,
  );
  return { lines, met: goals.every(([, met]) => met) };
}

if (process.argv[1] === import.meta.filename) {
  const values = readFlags({
    modems: { type: 'string', default: '20' },
    pairs: { type: 'string', default: '7' },
    json: { type: 'string' },
  });
  const wanted = {
    modems: wholeFlag('modems', values.modems, { least: FLAPPING + 1, most: 24 }),
    pairs: wholeFlag('pairs', values.pairs, { least: 1, most: 100 }),
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
