/**
 * What limits are counted in: one row of shared memory for each credential and each slot, the same for all threads,
 * changed by Atomics only, so that a limit of 10 is 10 and not 10 a thread. Knows rows and numbers; whose row it is,
 * and what happens at the limit, is limiter.ts.
 *
 *     32 bit | open flows | waiting up | waiting down | more is on its way |
 *     64 bit | time of flows | time of up | time of down | quota left |
 *     32 bit | oldest flow of lane 0 | of lane 1 | ...              |
 *
 * Rates are kept as one time for each bucket (the "theoretical arrival time" of GCRA): the moment at which all that
 * was taken will have been earned. So a bucket needs no refilling, and a rate may change while it is in use.
 */

/** Rows: credentials of a plan at most, and slots. Memory of rows that nobody uses is never resident. */
export const MAX_ROWS = 65_536 + 4_096;
/** Times are whole numbers of 100 ns: fine enough for 10 Gbit/s, exact in a double for 28 years. */
const UNITS_PER_MS = 10_000;
/** Where our time begins: so late that a cell of zero, which was never used, is a full bucket. */
const START_MS = 3_600_000;

const OPEN = 0;
const WAITING = { up: 1, down: 2 } as const;
const HOLDS = 3;
/** In 64-bit cells from the row's start. */
const TIME = { flows: 2, up: 3, down: 4 } as const;
const QUOTA = 5;
/** In 32-bit cells from the row's start. */
const OLDEST = 12;

export type Bucket = keyof typeof TIME;
export type Direction = 'up' | 'down';

/** How a bucket fills: what one unit (a flow, a byte) costs in time, and how long it may save up. */
export interface Shape {
  readonly cost: number;
  readonly saved: number;
}

/** A bucket of `perSecond` that holds `burst` when it was not used for long. */
export function shapeOf(perSecond: number, burst: number): Shape {
  const cost = (1_000 * UNITS_PER_MS) / perSecond;
  return { cost, saved: Math.round(burst * cost) };
}

function strideOf(lanes: number): number {
  return OLDEST + lanes + (lanes % 2);
}

/** Bytes of memory for `lanes` threads. */
export function limitBytes(lanes: number): number {
  return (MAX_ROWS + 1) * strideOf(lanes) * 4;
}

export class LimitCells {
  readonly #narrow: Int32Array;
  readonly #wide: BigInt64Array;
  readonly #stride: number;
  readonly #lanes: number;
  readonly #monotonicMs: () => number;

  /** `monotonicMs` must tell the same time in all threads. */
  constructor(options: { memory: SharedArrayBuffer; lanes: number; monotonicMs: () => number }) {
    this.#narrow = new Int32Array(options.memory);
    this.#wide = new BigInt64Array(options.memory);
    this.#lanes = options.lanes;
    this.#stride = strideOf(options.lanes);
    this.#monotonicMs = options.monotonicMs;
  }

  /** The age of a new flow: higher is younger, compared by `isOlder`; never 0. The row before the first holds it. */
  nextAge(): number {
    return (Atomics.add(this.#narrow, 0, 1) + 1) | 0 || this.nextAge();
  }

  /** One more open flow, unless there are `limit`. */
  open(row: number, limit: number): boolean {
    const at = this.#at(row) + OPEN;
    for (;;) {
      const now = Atomics.load(this.#narrow, at);
      if (now >= limit) return false;
      if (Atomics.compareExchange(this.#narrow, at, now, now + 1) === now) return true;
    }
  }

  closed(row: number): void {
    Atomics.sub(this.#narrow, this.#at(row) + OPEN, 1);
  }

  openFlows(row: number): number {
    return Atomics.load(this.#narrow, this.#at(row) + OPEN);
  }

  /** Tells the other lanes the age of this lane's oldest flow; 0 when it has none. */
  setOldest(row: number, lane: number, age: number): void {
    Atomics.store(this.#narrow, this.#at(row) + OLDEST + lane, age);
  }

  /** Whether the oldest flow of all is one of `lane`. */
  hasOldest(row: number, lane: number): boolean {
    const at = this.#at(row) + OLDEST;
    const own = Atomics.load(this.#narrow, at + lane);
    if (own === 0) return false;
    for (let other = 0; other < this.#lanes; other += 1) {
      const age = Atomics.load(this.#narrow, at + other);
      if (age !== 0 && isOlder(age, own)) return false;
    }
    return true;
  }

  /** Takes up to `want` units; 0 when fewer than `least` are to be had. */
  take(row: number, bucket: Bucket, ask: { shape: Shape; want: number; least: number }): number {
    const at = this.#wideAt(row) + TIME[bucket];
    const { shape, want } = ask;
    const least = Math.max(1, Math.min(want, ask.least));
    for (;;) {
      const was = Atomics.load(this.#wide, at);
      const from = this.#from(was, shape);
      const got = Math.min(want, this.#earned(from, shape));
      if (got < least) return 0;
      const then = BigInt(Math.ceil(from + got * shape.cost));
      if (Atomics.compareExchange(this.#wide, at, was, then) === was) return got;
    }
  }

  giveBack(row: number, bucket: Bucket, units: { shape: Shape; units: number }): void {
    const at = this.#wideAt(row) + TIME[bucket];
    Atomics.sub(this.#wide, at, BigInt(Math.floor(units.units * units.shape.cost)));
  }

  available(row: number, bucket: Bucket, shape: Shape): number {
    return this.#earned(this.#from(Atomics.load(this.#wide, this.#wideAt(row) + TIME[bucket]), shape), shape);
  }

  /** Counts those that wait for a bucket, over all lanes. */
  waiting(row: number, direction: Direction, change: 1 | -1 | 0): number {
    return Atomics.add(this.#narrow, this.#at(row) + WAITING[direction], change) + change;
  }

  /** Takes up to `want` bytes of the quota. */
  takeQuota(row: number, want: number): number {
    const at = this.#wideAt(row) + QUOTA;
    for (;;) {
      const left = Atomics.load(this.#wide, at);
      const got = left < want ? left : BigInt(want);
      if (got <= 0n) return 0;
      if (Atomics.compareExchange(this.#wide, at, left, left - got) === left) return Number(got);
    }
  }

  /** Grows what is left of the quota, or shrinks it; a shrunk one may be below zero. */
  addQuota(row: number, bytes: number): void {
    Atomics.add(this.#wide, this.#wideAt(row) + QUOTA, BigInt(bytes));
  }

  setQuota(row: number, bytes: number): void {
    Atomics.store(this.#wide, this.#wideAt(row) + QUOTA, BigInt(bytes));
  }

  quotaLeft(row: number): number {
    return Number(Atomics.load(this.#wide, this.#wideAt(row) + QUOTA));
  }

  /** Whether at zero flows wait for more of the quota instead of being cut. */
  setHolds(row: number, holds: boolean): void {
    Atomics.store(this.#narrow, this.#at(row) + HOLDS, holds ? 1 : 0);
  }

  holds(row: number): boolean {
    return Atomics.load(this.#narrow, this.#at(row) + HOLDS) === 1;
  }

  /** Full buckets and no quota, for a row that gets another owner. Counts of flows are left to those who hold them. */
  renew(row: number): void {
    for (const at of [...Object.values(TIME), QUOTA]) Atomics.store(this.#wide, this.#wideAt(row) + at, 0n);
    this.setHolds(row, false);
  }

  #at(row: number): number {
    return (row + 1) * this.#stride;
  }

  #wideAt(row: number): number {
    return ((row + 1) * this.#stride) / 2;
  }

  /** From when on this bucket has something to give. */
  #from(cell: bigint, shape: Shape): number {
    return Math.max(Number(cell), this.now() - shape.saved);
  }

  #earned(from: number, shape: Shape): number {
    // Rounded at the ninth digit, or a full bucket of 60 would hold 59.999 now and then.
    return Math.floor((this.now() - from) / shape.cost + 1e-9);
  }

  /** In the units of a shape's cost. */
  now(): number {
    return Math.floor((START_MS + this.#monotonicMs()) * UNITS_PER_MS);
  }
}

/** Ages count upward and wrap; flows that live at one time are never half the circle apart. */
export function isOlder(age: number, than: number): boolean {
  return ((age - than) | 0) < 0;
}
