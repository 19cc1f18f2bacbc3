/** Runs as tables for people: per scenario and protocol the medians, what they are to the peers, and the verdict. */
import type { Failure, Figure, ProxyName, Run, ScenarioName } from './measures';
import { SCENARIOS } from './measures';
import { FIGURES_OF } from './scenarios';
import { bestPeer, medianOf, pairedRatio, type RowKey, rowsOf, sameRow } from './statistics';
import { rowOf, type Verdict } from './verdicts';

const TITLES: Record<ScenarioName, string> = {
  download: 'download, 4 connections: CPU per GB',
  upload: 'upload, 4 connections: CPU per GB',
  duplex: 'duplex, both directions at once and counted, 4 connections: CPU per GB',
  connect: 'connect, 1 byte there and back, close, 16 at once: CPU per connection',
  echo: '1-byte echo, 4 connections: p99',
  idle: 'idle flows: RSS per flow',
  'slow-readers': 'readers that stop reading: RSS that they cost in all',
};

const COLUMNS: Record<Figure, { title: string; show(value: number): string }> = {
  cpuSecondsPerGB: { title: 's/GB', show: value => value.toFixed(3) },
  megabytesPerSecond: { title: 'MB/s', show: value => value.toFixed(0) },
  cpuMicrosPerConnection: { title: 'µs/conn', show: value => value.toFixed(0) },
  connectionsPerSecond: { title: 'conn/s', show: value => value.toFixed(0) },
  p50Micros: { title: 'p50 µs', show: value => value.toFixed(0) },
  p99Micros: { title: 'p99 µs', show: value => value.toFixed(0) },
  rssBytesPerIdleFlow: { title: 'bytes/flow', show: value => value.toFixed(0) },
  rssMegabytes: { title: 'MB', show: value => value.toFixed(1) },
};

const REFERENCES: ProxyName[] = ['danted', 'microsocks', 'ss-libev'];
const NONE = '·';

/** Runs that failed count: a row says how many of its runs have a figure. */
export function tableLines(
  of: { runs: readonly Run[]; failures: readonly Failure[] },
  verdicts: readonly Verdict[],
): string[] {
  const { runs } = of;
  const lines: string[] = [];
  for (const scenario of SCENARIOS) {
    const rows = rowsOf(runs).filter(row => row.scenario === scenario);
    if (rows.length === 0) continue;
    const { main, beside } = FIGURES_OF[scenario];
    const figures = [main, ...beside];
    const cells = [
      [
        'protocol',
        'proxy',
        ...figures.map(figure => COLUMNS[figure].title),
        'flows',
        'runs',
        ...REFERENCES.map(name => `/${name}`),
        '/best peer',
        'verdict',
      ],
      ...rows.toSorted(byProtocolThenFigure(runs, main)).map(row => cellsOf(of, row, figures, verdicts)),
    ];
    lines.push('', TITLES[scenario], ...aligned(cells));
  }
  return lines;
}

function cellsOf(
  of: { runs: readonly Run[]; failures: readonly Failure[] },
  row: RowKey,
  figures: Figure[],
  verdicts: readonly Verdict[],
): string[] {
  const { runs } = of;
  const main = figures[0] ?? 'cpuSecondsPerGB';
  const own = runs.filter(run => sameRow(run, row));
  const failed = of.failures.filter(one => one.repeat !== null && isOfRow(one, row)).length;
  const ratioTo = (other: RowKey | null) => {
    if (!other || sameRow(other, row)) return NONE;
    // What many flows cost together may only stand beside as many.
    const alike = runs.some(run => sameRow(run, other) && run.flows === own[0]?.flows);
    if (main === 'rssMegabytes' && !alike) return NONE;
    const paired = pairedRatio(runs, { row, other }, main);
    return paired ? paired.ratio.toFixed(2) : NONE;
  };
  const best = bestPeer(runs, row, main);
  const bestRatio = ratioTo(best);
  const judged = verdicts.filter(
    one =>
      row.proxy === 'mastline' &&
      one.scenario === row.scenario &&
      one.protocol === row.protocol &&
      one.threads === row.threads,
  );
  return [
    row.proxy === 'haproxy' ? 'none' : row.protocol,
    row.threads !== null && row.threads > 1 ? `${row.proxy} ×${row.threads}` : row.proxy,
    ...figures.map(figure => {
      const value = medianOf(runs, row, figure);
      return value === null ? NONE : COLUMNS[figure].show(value);
    }),
    String(own.reduce((most, run) => Math.max(most, run.flows), 0)),
    failed > 0 ? `${own.length} of ${own.length + failed}` : String(own.length),
    ...REFERENCES.map(name => ratioTo(rowOf(runs, row, name))),
    best && bestRatio !== NONE ? `${bestRatio} ${best.proxy}` : NONE,
    judged.map(verdictText).join('; '),
  ];
}

const isOfRow = (failure: Failure, row: RowKey) =>
  failure.proxy === row.proxy &&
  failure.protocol === row.protocol &&
  failure.scenario === row.scenario &&
  failure.threads === row.threads;

/** One verdict in words: what was reached, and the numbers. */
export function verdictText(verdict: Verdict): string {
  const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const goals = `must ${number(verdict.must)}${verdict.aim === null ? '' : `, aim ${number(verdict.aim)}`}`;
  if (verdict.value === null) return `nothing to compare with: ${verdict.against} (${goals})`;
  const of = verdict.against === 'itself' ? '' : ` of ${verdict.against}`;
  const word = { aim: 'AIM', must: 'MUST', neither: 'NO', unknown: '?' }[verdict.reached];
  return `${word} ${number(verdict.value)}${of} (${goals})`;
}

/** Every verdict on a line of its own, those that are not reached first. */
export function verdictLines(verdicts: readonly Verdict[]): string[] {
  const order = ['neither', 'unknown', 'must', 'aim'];
  return verdicts
    .toSorted((a, b) => order.indexOf(a.reached) - order.indexOf(b.reached))
    .map(
      one =>
        `  ${one.scenario} ${one.protocol}${one.threads !== null && one.threads > 1 ? ` ×${one.threads}` : ''}, ${one.figure}: ${verdictText(one)}`,
    );
}

/** Failures that are the same told once, with how often. */
export function failureLines(failures: readonly Failure[]): string[] {
  const counted = new Map<string, number>();
  for (const { proxy, protocol, scenario, threads, reason } of failures) {
    const many = threads !== null && threads > 1 ? ` ×${threads}` : '';
    const what = [`${proxy}${many}`, protocol, scenario].filter(part => part !== null).join(' ');
    const line = `  ${what}: ${reason}`;
    counted.set(line, (counted.get(line) ?? 0) + 1);
  }
  return [...counted].map(([line, times]) => (times > 1 ? `${line} (${times} times)` : line));
}

function byProtocolThenFigure(runs: readonly Run[], figure: Figure) {
  const order = (row: RowKey) => (row.proxy === 'haproxy' ? 'none' : row.protocol);
  return (a: RowKey, b: RowKey) => {
    if (order(a) !== order(b)) return order(b).localeCompare(order(a));
    return (medianOf(runs, a, figure) ?? Infinity) - (medianOf(runs, b, figure) ?? Infinity);
  };
}

/** The first two and the last column to the left, numbers to the right. */
function aligned(cells: string[][]): string[] {
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map(row => row[column]?.length ?? 0)));
  return cells.map(row =>
    row
      .map((cell, column) =>
        column < 2 || column === row.length - 1
          ? cell.padEnd(widths[column] ?? 0)
          : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}
