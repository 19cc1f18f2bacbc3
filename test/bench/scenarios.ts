/**
 * What is done with a proxy in each scenario, and the figures that come of it. CPU is read right before and after the
 * load; memory in a fresh process, before the first flow and while all are held.
 */
import type { Contender } from './contender';
import type { Generator, LoadMode, Sink } from './load-generator';
import { holdLoad, runLoad } from './load-generator';
import type { Figure, Protocol, Run, ScenarioName } from './measures';
import { portsFor, type Workplace } from './places';
import { cpuSecondsByThread, cpuSecondsOf, residentBytesOf } from './process-tree';
import type { Programs, Running } from './programs';

/** Connections at once. */
const CONNECTIONS = { download: 4, upload: 4, duplex: 4, connect: 16, echo: 4 } as const;
export type RateScenario = keyof typeof CONNECTIONS;

/** How large the scenarios are. */
export interface Sizes {
  seconds: number;
  /** Of connections before any are counted; see `warmUp`. */
  warmSeconds: number;
  idleFlows: number;
  stalledFlows: number;
  /** How long flows are held before memory is read. */
  holdSeconds: number;
}

export interface Bench {
  programs: Programs;
  generator: Generator;
  sink: Sink;
  workplace: Workplace;
}

/** A contender that runs, and where. */
export interface Served {
  contender: Contender;
  running: Running;
  ports: Map<Protocol, number>;
}

type Measured = Omit<Run, 'proxy' | 'protocol' | 'scenario' | 'repeat' | 'threads'>;

const SETTLE_MS = 50;
const SETTLE_TRIES = 10;
const WARM_BULK_SECONDS = 0.2;
const OPEN_MS = 120_000;

const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));

export async function serve(bench: Bench, contender: Contender): Promise<Served> {
  const ports = await portsFor(contender);
  const dir = bench.workplace.folder(contender.name);
  const program = contender.program({ dir, ports, targetPort: bench.sink.port });
  return { contender, ports, running: await bench.programs.start(program) };
}

const accessOf = ({ contender, ports }: Served, protocol: Protocol) =>
  contender.access(protocol, ports.get(protocol) ?? 0);

/**
 * Lets compilers and caches of a fresh program do their work; throws when it does not serve. A proxy runs for weeks, and
 * V8 compiles in its first few thousand connections: `seconds` of them, for every proxy alike, are not counted.
 */
export async function warmUp(
  bench: Bench,
  at: { served: Served; protocol: Protocol },
  seconds: number,
): Promise<void> {
  const { served, protocol } = at;
  for (const mode of ['connect', 'download', 'upload'] as const)
    await runLoad(bench.programs, bench.generator, {
      mode,
      access: accessOf(served, protocol),
      targetPort: bench.sink.port,
      connections: mode === 'connect' ? CONNECTIONS.connect : CONNECTIONS.download,
      seconds: mode === 'connect' ? seconds : WARM_BULK_SECONDS,
    });
}

/** CPU seconds of the program once what the load left to do is done. */
async function settledCpu(pid: number): Promise<number> {
  let last = cpuSecondsOf(pid);
  for (let tries = 0; tries < SETTLE_TRIES; tries += 1) {
    await pause(SETTLE_MS);
    const next = cpuSecondsOf(pid);
    if (next === last) break;
    last = next;
  }
  return last;
}

/** A run on a program that serves already. Throws when it fails. */
export async function measureRate(
  bench: Bench,
  at: { served: Served; protocol: Protocol; scenario: RateScenario },
  seconds: number,
): Promise<Measured> {
  const { served, protocol, scenario } = at;
  const { pid } = served.running;
  const connections = CONNECTIONS[scenario];
  const cpuBefore = cpuSecondsOf(pid);
  const threadsBefore = cpuSecondsByThread(pid);
  const report = await runLoad(bench.programs, bench.generator, {
    mode: scenario satisfies LoadMode,
    access: accessOf(served, protocol),
    targetPort: bench.sink.port,
    connections,
    seconds,
  });
  served.running.mustLive();
  bench.sink.mustLive();
  const cpuSeconds = (await settledCpu(pid)) - cpuBefore;
  const common = { seconds: report.seconds, cpuSeconds, flows: connections };
  switch (scenario) {
    case 'download':
    case 'upload':
    case 'duplex':
      return {
        ...common,
        cpuSecondsPerGB: cpuSeconds / (report.bytes / 1e9),
        megabytesPerSecond: report.bytes / 1e6 / report.seconds,
      };
    case 'connect': {
      const { threads } = served.contender;
      return {
        ...common,
        flows: report.finished,
        cpuMicrosPerConnection: (cpuSeconds / report.finished) * 1e6,
        connectionsPerSecond: report.finished / report.seconds,
        p50Micros: report.p50Micros,
        p99Micros: report.p99Micros,
        ...(threads !== null && threads > 1
          ? { threadShares: sharesOf(threadsBefore, cpuSecondsByThread(pid), threads) }
          : {}),
      };
    }
    case 'echo':
      return {
        ...common,
        p50Micros: report.p50Micros,
        p99Micros: report.p99Micros,
        pings: report.measured,
      };
  }
}

/** The parts that the `count` busiest threads had in what they did together. */
export function sharesOf(before: Map<number, number>, after: Map<number, number>, count: number): number[] {
  const used = [...after].map(([thread, seconds]) => seconds - (before.get(thread) ?? 0));
  const busiest = used.sort((a, b) => b - a).slice(0, count);
  const total = busiest.reduce((sum, one) => sum + one, 0);
  return busiest.map(one => (total > 0 ? one / total : 0));
}

/** A run on a program of its own, since memory that was once used is rarely given back. Throws when it fails. */
export async function measureMemory(
  bench: Bench,
  at: { contender: Contender; protocol: Protocol; scenario: 'idle' | 'slow-readers' },
  size: { flows: number; holdSeconds: number },
): Promise<Measured> {
  const begun = performance.now();
  const served = await serve(bench, at.contender);
  try {
    // One flow shows that it serves. More would leave garbage behind, in whose place flows would seem to cost nothing;
    // so what a program needs once, as compiled code, is counted to the flows.
    await runLoad(bench.programs, bench.generator, {
      mode: 'connect',
      access: accessOf(served, at.protocol),
      targetPort: bench.sink.port,
      connections: 1,
      seconds: 0,
    });
    await pause(SETTLE_MS);
    const { pid, startMilliseconds } = served.running;
    const before = residentBytesOf(pid);
    const held = await holdLoad(bench.programs, bench.generator, {
      mode: at.scenario === 'idle' ? 'hold' : 'stall',
      access: accessOf(served, at.protocol),
      targetPort: bench.sink.port,
      connections: size.flows,
      openMs: OPEN_MS,
    });
    try {
      const heldFrom = performance.now();
      await pause(size.holdSeconds * 1000);
      served.running.mustLive();
      const growth = residentBytesOf(pid) - before;
      const heldSeconds = (performance.now() - heldFrom) / 1000;
      await held.finish();
      const common = {
        seconds: (performance.now() - begun) / 1000,
        flows: held.flows,
        rssMegabytes: growth / 1e6,
        rssBeforeMegabytes: before / 1e6,
        heldSeconds,
      };
      if (at.scenario === 'slow-readers') return common;
      return { ...common, rssBytesPerIdleFlow: growth / held.flows, startMilliseconds };
    } finally {
      await held.abandon();
    }
  } finally {
    await served.running.stop();
  }
}

/** The figure that a scenario is judged and sorted by, and those shown beside it. */
export const FIGURES_OF: Record<ScenarioName, { main: Figure; beside: Figure[] }> = {
  download: { main: 'cpuSecondsPerGB', beside: ['megabytesPerSecond'] },
  upload: { main: 'cpuSecondsPerGB', beside: ['megabytesPerSecond'] },
  duplex: { main: 'cpuSecondsPerGB', beside: ['megabytesPerSecond'] },
  connect: { main: 'cpuMicrosPerConnection', beside: ['connectionsPerSecond', 'p50Micros', 'p99Micros'] },
  echo: { main: 'p99Micros', beside: ['p50Micros'] },
  idle: { main: 'rssBytesPerIdleFlow', beside: ['rssMegabytes'] },
  'slow-readers': { main: 'rssMegabytes', beside: [] },
};
