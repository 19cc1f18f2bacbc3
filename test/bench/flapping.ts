/**
 * What one bad modem costs the others: requests over flows that are kept open through all modems but the first three, in
 * rounds of three windows. In one nothing happens. In one a modem of the agent's hangs, dies and is pulled out, again and
 * again, each round another of those three. In one the same befalls a modem that the agent has never heard of: the
 * simulators do the same work, on the same cores, and what is left between the two is the agent's. What is judged is the
 * 99th percentile of all requests made in windows of the one kind over that of the other: a window of its own has some
 * thirty requests beyond it, and a single pause of the machine's moves that by half. The bench is modems.ts.
 */
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { socks5 } from '../agent/data-plane/clients';
import type { StormModem } from '../storm/misfortunes';
import type { Programs } from '../storm/programs';
import { cpuSecondsOf } from './process-tree';
import { percentileOf } from './statistics';

/** One of each kind of way to drive a modem; they flap in turn and carry no measured flow. */
export const FLAPPING = 3;
const WINDOW_MS = 7000;
/** Between two windows: what the last one began is over. */
const GAP_MS = 3000;
const ACT_EVERY_MS = 1200;
/** Between the beginnings of two requests on one flow; each keeps its place in it, or they would drift into bunches. */
const PACE_MS = 40;
const ANSWER_MS = 20_000;
const WINDOWS = ['calm', 'apart', 'flapping'] as const;
export type WindowKind = (typeof WINDOWS)[number];

export interface FlapFigures {
  rounds: number;
  requests: number;
  /** Of all requests in such windows, microseconds. */
  p99Micros: Record<WindowKind, number>;
  /** Flapping to apart, of all requests. */
  ratio: number;
  /** The same within each round, in order. */
  ratios: number[];
  /** The same of all rounds but one, whichever that is: how much one pause of the machine's may have made of it. */
  range: { least: number; most: number };
  /** Apart to calm: what such a modem costs on this machine without the agent's having it. */
  machineRatio: number;
  /** Of the agent with all its processes, per second. */
  cpuPerSecond: Record<WindowKind, number>;
  /** Flows through the others that were cut or refused. */
  broken: number;
}

/** Modems of nobody's are plugged in for it; `stallMs`: the agent is stopped so long at each act of its own modem. */
export async function measureFlapping(
  programs: Programs,
  modems: readonly StormModem[],
  { rounds, stallMs = 0 }: { rounds: number; stallMs?: number },
): Promise<FlapFigures> {
  const own = modems.slice(0, FLAPPING);
  const apart: StormModem[] = [];
  for (const { wish, pin } of own) {
    const made = await programs.net.control('POST', '/modems', { ...wish, apart: true });
    apart.push({ slot: Number(made.slot), wish: { ...wish, apart: true }, pin });
  }
  const load = new Load(programs, modems.slice(FLAPPING));
  /** The samples of each window, in order. */
  const windows: Record<WindowKind, number[][]> = { calm: [], apart: [], flapping: [] };
  const cpu: Record<WindowKind, number> = { calm: 0, apart: 0, flapping: 0 };
  const pid = programs.agentPid;
  const measure = async (which: WindowKind) => {
    load.samples = [];
    const before = { cpu: cpuSecondsOf(pid), at: performance.now() };
    await wait(WINDOW_MS);
    const seconds = (performance.now() - before.at) / 1000;
    cpu[which] += (cpuSecondsOf(pid) - before.cpu) / seconds / rounds;
    windows[which].push(load.samples);
    // Requests in the gap behind it are nobody's.
    load.samples = [];
  };
  try {
    // The first requests open the flows.
    await wait(GAP_MS);
    for (let round = 0; round < rounds; round += 1)
      // Which comes first changes, so that what drifts falls on all.
      for (let nth = 0; nth < WINDOWS.length; nth += 1) {
        const which = WINDOWS[(round + nth) % WINDOWS.length] ?? 'calm';
        const modem = (which === 'apart' ? apart : own)[round % FLAPPING];
        if (modem === undefined) throw new Error('too few modems');
        const end = new AbortController();
        const flaps =
          which === 'calm'
            ? Promise.resolve()
            : flap(programs, modem, which === 'flapping' ? stallMs : 0, end.signal);
        try {
          await measure(which);
        } finally {
          end.abort();
          await flaps;
        }
        await wait(GAP_MS);
      }
  } finally {
    await load.end();
  }
  const p99 = (which: WindowKind, counts: (round: number) => boolean = () => true) =>
    percentileOf(windows[which].filter((_, round) => counts(round)).flat(), 0.99);
  const over = (counts?: (round: number) => boolean) => p99('flapping', counts) / p99('apart', counts);
  const everyRound = Array.from({ length: rounds }, (_, round) => round);
  const without = everyRound.map(left => (rounds === 1 ? over() : over(round => round !== left)));
  return {
    rounds,
    requests: load.requests,
    p99Micros: { calm: p99('calm'), apart: p99('apart'), flapping: p99('flapping') },
    ratio: over(),
    ratios: everyRound.map(only => over(round => round === only)),
    range: { least: Math.min(...without), most: Math.max(...without) },
    machineRatio: p99('apart') / p99('calm'),
    cpuPerSecond: cpu,
    broken: load.broken,
  };
}

/** One flow through each modem, a request at a time. */
class Load {
  /** Microseconds; begun anew by whoever measures. */
  samples: number[] = [];
  requests = 0;
  broken = 0;
  #over = false;
  readonly #clients: Promise<void>[];

  constructor(programs: Programs, modems: readonly StormModem[]) {
    this.#clients = modems.map(({ slot }, i) =>
      // Spread, or they would all ask in the same millisecond.
      this.#ask(programs, slot, (PACE_MS * i) / modems.length),
    );
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#clients);
  }

  async #ask(programs: Programs, slot: number, afterMs: number): Promise<void> {
    await wait(afterMs);
    let flow: Socket | null = null;
    let due = performance.now();
    while (!this.#over) {
      const begun = performance.now();
      try {
        flow ??= await openFlow(programs, slot);
        await roundTrip(flow);
        this.samples.push(1000 * (performance.now() - begun));
        this.requests += 1;
      } catch {
        this.broken += 1;
        flow?.destroy();
        flow = null;
      }
      // Turns that a slow answer has taken are left out.
      do due += PACE_MS;
      while (due < performance.now());
      await wait(due - performance.now());
    }
    flow?.destroy();
  }
}

/** Hangs, is well for a moment, is dead, is well, is pulled out and put back in; again and again. Ends well. */
async function flap(
  { net, agentPid }: Programs,
  { slot, wish }: StormModem,
  stallMs: number,
  signal: AbortSignal,
): Promise<void> {
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
    if (stallMs > 0) await stall(agentPid, stallMs);
    if (!signal.aborted) await wait(ACT_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function stall(pid: number, forMs: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  try {
    await wait(forMs);
  } finally {
    process.kill(pid, 'SIGCONT');
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
