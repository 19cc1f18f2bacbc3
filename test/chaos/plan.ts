/**
 * What befalls the product in each round, drawn from a seed and the round's number alone, so that any round can be had
 * again by itself. Pure: doing it is faults.ts.
 */
import { seeded } from '../support/random';

export const FAULTS = [
  'kill-agent',
  'kill-cloud',
  'kill-one-cloud',
  'restart-nats',
  'restart-balancer',
  'crash-database',
  'cut-link',
  'half-open-link',
  'stall-link',
  'double-batches',
  'reorder-batches',
  'truncate-batches',
  'break-frames',
  'fill-disk',
  'jump-clock',
  'jump-cloud-clock',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Misfortune {
  fault: Fault;
  /** After the load began, milliseconds. */
  atMs: number;
  /** Until it is over, milliseconds: the program started again, the link whole, the disk free. */
  lastsMs: number;
  /** In [0, 1): which side, how far, whatever the fault has to choose. */
  choice: number;
}

export interface RoundPlan {
  round: number;
  misfortunes: Misfortune[];
  /** Chance of the clients' sizes. */
  loadSeed: number;
  loadMs: number;
}

/** Odd and large, so that neighbouring seeds and rounds have nothing in common. */
const ROUND_STRIDE = 0x9e3779b1;
const SURE = 2;

/**
 * Round `round` (from 1) of seed `seed`, with faults of `possible` only. Two faults go through `possible` in turn, in an
 * order of the seed's, so that half as many rounds as there are faults have had each; chance may add up to two more.
 */
export function planRound(seed: number, round: number, possible: readonly Fault[]): RoundPlan {
  const order = shuffled(possible, seeded(seed));
  const random = seeded((seed ^ Math.imul(round, ROUND_STRIDE)) >>> 0);
  const sure = Array.from({ length: SURE }, (_, nth) => order[(SURE * (round - 1) + nth) % order.length]);
  const others = Array.from(
    { length: Math.floor(random() * 3) },
    () => order[Math.floor(random() * order.length)],
  );
  const chosen = [...new Set([...sure, ...others])].filter(fault => fault !== undefined);
  const misfortunes = chosen.map(fault => ({
    fault,
    atMs: Math.round(100 + random() * 700),
    lastsMs: Math.round(200 + random() * 1_000),
    choice: random(),
  }));
  misfortunes.sort((a, b) => a.atMs - b.atMs);
  const loadMs = Math.max(...misfortunes.map(each => each.atMs + each.lastsMs));
  return { round, misfortunes, loadSeed: Math.floor(random() * 2 ** 32), loadMs };
}

function shuffled<T>(of: readonly T[], random: () => number): T[] {
  return of
    .map(value => ({ value, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);
}

export const describePlan = (plan: RoundPlan): string =>
  plan.misfortunes.map(({ fault, atMs, lastsMs }) => `${fault} at ${atMs} for ${lastsMs} ms`).join(', ');
