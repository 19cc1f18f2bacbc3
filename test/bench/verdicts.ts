/** The figures that the data plane must reach and those it aims at, and whether it does. */
import type { Figure, Protocol, ProxyName, Run, ScenarioName } from './measures';
import { bestPeer, median, medianOf, pairedRatio, type RowKey, rowsOf } from './statistics';

/** With what a figure is compared: a proxy, whoever is best, or with nothing but the number itself. */
type Against = ProxyName | 'best peer' | 'itself';

interface Goal {
  scenarios: ScenarioName[];
  protocols: Protocol[];
  figure: Figure;
  against: Against;
  must: number;
  aim: number;
}

const ALL: Protocol[] = ['socks5', 'http', 'shadowsocks'];
const PLAIN: Protocol[] = ['socks5', 'http'];

export const GOALS: readonly Goal[] = [
  {
    scenarios: ['download'],
    protocols: PLAIN,
    figure: 'cpuSecondsPerGB',
    against: 'danted',
    must: 0.65,
    aim: 0.5,
  },
  {
    scenarios: ['upload', 'duplex'],
    protocols: PLAIN,
    figure: 'cpuSecondsPerGB',
    against: 'danted',
    must: 0.95,
    aim: 0.7,
  },
  {
    scenarios: ['connect'],
    protocols: PLAIN,
    figure: 'cpuMicrosPerConnection',
    against: 'microsocks',
    must: 1.25,
    aim: 1,
  },
  { scenarios: ['echo'], protocols: ALL, figure: 'p99Micros', against: 'best peer', must: 1.15, aim: 0.8 },
  {
    scenarios: ['download'],
    protocols: ['shadowsocks'],
    figure: 'cpuSecondsPerGB',
    against: 'ss-libev',
    must: 1,
    aim: 0.75,
  },
  {
    scenarios: ['idle'],
    protocols: ALL,
    figure: 'rssBytesPerIdleFlow',
    against: 'itself',
    must: 10_000,
    aim: 6_000,
  },
  {
    scenarios: ['slow-readers'],
    protocols: ALL,
    figure: 'rssMegabytes',
    against: 'itself',
    must: 64,
    aim: 32,
  },
];

/** Idle flows, and how long they must be held. */
export const HELD = { flows: 10_000, seconds: 60 };
/** Slow readers that the memory figure is meant for. */
export const STALLED_FLOWS = 1_000;
/** More threads against one: CPU per connection; and each one's part of an even share. */
export const THREADS = { must: 1.15, aim: 1.05, least: 0.8, most: 1.2 };

export interface Verdict {
  scenario: ScenarioName;
  protocol: Protocol;
  threads: number | null;
  figure: string;
  against: string;
  /** null when there was nothing to compare with. */
  value: number | null;
  must: number;
  aim: number | null;
  reached: 'aim' | 'must' | 'neither' | 'unknown';
}

const judge = (value: number | null, must: number, aim: number | null): Verdict['reached'] => {
  if (value === null || Number.isNaN(value)) return 'unknown';
  if (aim !== null && value <= aim) return 'aim';
  if (value > must) return 'neither';
  return aim === null ? 'aim' : 'must';
};

/** The peer's row that a row of ours is held against; a proxy that speaks another protocol keeps its own. */
export function rowOf(runs: readonly Run[], row: RowKey, proxy: ProxyName): RowKey | null {
  const rows = rowsOf(runs).filter(one => one.proxy === proxy && one.scenario === row.scenario);
  return rows.find(one => one.protocol === row.protocol) ?? rows[0] ?? null;
}

function measuredValue(
  runs: readonly Run[],
  row: RowKey,
  goal: Goal,
): { value: number | null; against: string } {
  if (goal.against === 'itself') return { value: medianOf(runs, row, goal.figure), against: 'itself' };
  const other =
    goal.against === 'best peer' ? bestPeer(runs, row, goal.figure) : rowOf(runs, row, goal.against);
  const ratio = other && pairedRatio(runs, { row, other }, goal.figure);
  const against = goal.against === 'best peer' && other ? `best peer (${other.proxy})` : goal.against;
  return { value: ratio ? ratio.ratio : null, against };
}

export function verdictsOf(runs: readonly Run[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const row of rowsOf(runs)) {
    if (row.proxy !== 'mastline') continue;
    const { scenario, protocol, threads } = row;
    const base = { scenario, protocol, threads };
    for (const goal of GOALS) {
      if (!goal.scenarios.includes(scenario) || !goal.protocols.includes(protocol)) continue;
      const { value, against } = measuredValue(runs, row, goal);
      const { figure, must, aim } = goal;
      verdicts.push({ ...base, figure, against, value, must, aim, reached: judge(value, must, aim) });
    }
    if (scenario === 'idle') verdicts.push(...heldVerdict(runs, row).map(one => ({ ...base, ...one })));
    if (scenario === 'connect' && threads !== null && threads > 1)
      verdicts.push(...threadVerdicts(runs, row, threads).map(one => ({ ...base, ...one })));
  }
  return verdicts;
}

type Part = Omit<Verdict, 'scenario' | 'protocol' | 'threads'>;

/** How many flows were held for a minute in the one run that lasted so long; a short bench has no such run. */
function heldVerdict(runs: readonly Run[], row: RowKey): Part[] {
  const long = runs.filter(
    run =>
      run.proxy === 'mastline' &&
      run.scenario === 'idle' &&
      run.protocol === row.protocol &&
      (run.heldSeconds ?? 0) >= HELD.seconds,
  );
  if (long.length === 0) return [];
  const flows = Math.max(...long.map(run => run.flows));
  return [
    {
      figure: `flows held ${HELD.seconds} s`,
      against: 'itself',
      value: flows,
      must: HELD.flows,
      aim: null,
      reached: flows >= HELD.flows ? 'aim' : 'neither',
    },
  ];
}

function threadVerdicts(runs: readonly Run[], row: RowKey, threads: number): Part[] {
  const one = { ...row, threads: 1 };
  const ratio = pairedRatio(runs, { row, other: one }, 'cpuMicrosPerConnection')?.ratio ?? null;
  const shares = runs
    .filter(run => run.proxy === 'mastline' && run.protocol === row.protocol && run.threads === threads)
    .flatMap(run => (run.threadShares ? [run.threadShares] : []));
  const least = shares.length > 0 ? median(shares.map(each => Math.min(...each))) * threads : null;
  const most = shares.length > 0 ? median(shares.map(each => Math.max(...each))) * threads : null;
  const even = least !== null && most !== null && least >= THREADS.least && most <= THREADS.most;
  return [
    {
      figure: 'cpuMicrosPerConnection',
      against: 'one thread',
      value: ratio,
      must: THREADS.must,
      aim: THREADS.aim,
      reached: judge(ratio, THREADS.must, THREADS.aim),
    },
    {
      figure: 'largest share of CPU, of an even one',
      against: 'itself',
      value: most,
      must: THREADS.most,
      aim: null,
      reached: most === null ? 'unknown' : even ? 'aim' : 'neither',
    },
  ];
}
