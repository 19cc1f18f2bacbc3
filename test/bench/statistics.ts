/**
 * Medians and paired ratios. Runs of the same repeat stand next to each other in time, so that whatever else the
 * machine does hits both: a ratio is taken within a repeat, and the median of those is what is judged.
 */
import type { Figure, Protocol, ProxyName, Run, ScenarioName } from './measures';

/** NaN when there are none. The values stay in their order. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The smallest value that `share` of all values do not exceed; 0 when there are none. Sorts them in place. */
export function percentileOf(values: number[], share: number): number {
  values.sort((a, b) => a - b);
  return values[Math.max(0, Math.ceil(share * values.length) - 1)] ?? 0;
}

/** Which runs belong together: one row of the table. */
export interface RowKey {
  proxy: ProxyName;
  protocol: Protocol;
  scenario: ScenarioName;
  threads: number | null;
}

export const sameRow = (a: RowKey, b: RowKey) =>
  a.proxy === b.proxy && a.protocol === b.protocol && a.scenario === b.scenario && a.threads === b.threads;

/** The rows that occur in `runs`, in the order of their first run. */
export function rowsOf(runs: readonly Run[]): RowKey[] {
  const rows: RowKey[] = [];
  for (const { proxy, protocol, scenario, threads } of runs) {
    const row = { proxy, protocol, scenario, threads };
    if (!rows.some(one => sameRow(one, row))) rows.push(row);
  }
  return rows;
}

/** The median of a figure over a row's repeats; null when it was not measured. */
export function medianOf(runs: readonly Run[], row: RowKey, figure: Figure): number | null {
  const values = runs
    .filter(run => sameRow(run, row))
    .map(run => run[figure])
    .filter(value => value !== undefined);
  return values.length === 0 ? null : median(values);
}

export interface PairedRatio {
  ratio: number;
  /** Repeats in which both were measured. */
  pairs: number;
}

/** The median over repeats of `row`'s figure divided by `other`'s; null when no repeat has both. */
export function pairedRatio(
  runs: readonly Run[],
  rows: { row: RowKey; other: RowKey },
  figure: Figure,
): PairedRatio | null {
  const ratios: number[] = [];
  for (const run of runs) {
    if (!sameRow(run, rows.row)) continue;
    const other = runs.find(one => one.repeat === run.repeat && sameRow(one, rows.other));
    const [above, below] = [run[figure], other?.[figure]];
    if (above !== undefined && below !== undefined && below > 0) ratios.push(above / below);
  }
  return ratios.length === 0 ? null : { ratio: median(ratios), pairs: ratios.length };
}

/** Protocols whose open flows carry bytes as they are: behind the handshake nothing tells them apart. */
const AS_THEY_ARE: readonly Protocol[] = ['socks5', 'http'];

/**
 * The peer with the lowest median of a figure among those that may stand beside `row`: same scenario and protocol,
 * or, beside what carries bytes as they are, a bare relay, which speaks none; it is no measure for who seals each
 * byte. Where nobody of these was measured, those that carry bytes as they are do for each other.
 */
export function bestPeer(runs: readonly Run[], row: RowKey, figure: Figure): RowKey | null {
  const peers = rowsOf(runs).filter(
    one => one.proxy !== 'mastline' && one.scenario === row.scenario && !sameRow(one, row),
  );
  const asTheyAre = AS_THEY_ARE.includes(row.protocol);
  const alike = peers.filter(one => one.protocol === row.protocol || (asTheyAre && one.proxy === 'haproxy'));
  const near = asTheyAre ? peers.filter(one => AS_THEY_ARE.includes(one.protocol)) : [];
  return lowest(runs, alike, figure) ?? lowest(runs, near, figure);
}

/** Of `rows`, the one with the lowest median of a figure; null when none has any. */
function lowest(runs: readonly Run[], rows: readonly RowKey[], figure: Figure): RowKey | null {
  let best: { row: RowKey; value: number } | null = null;
  for (const row of rows) {
    const value = medianOf(runs, row, figure);
    if (value !== null && value > 0 && (best === null || value < best.value)) best = { row, value };
  }
  return best?.row ?? null;
}
