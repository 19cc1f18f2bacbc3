/**
 * One direction of one party's bandwidth in this lane: a bucket shared with the other lanes, and the queue of those
 * who wait for it here. Who waits gets turns of equal size, and nobody who comes later goes before them; so flows get
 * equal shares whatever they have at hand. No timer for a flow or a chunk: the limiter's one pacer calls `serve`.
 */
import type { Direction, LimitCells, Shape } from './limit-cells';
import type { WindowWaiter } from './meter';

/** A grant is at least this much of a second's bytes, within the two bounds: fewer, larger writes. */
const LEAST_SECONDS = 1 / 40;
const MIN_LEAST_BYTES = 512;
const MAX_LEAST_BYTES = 8 * 1024;
/**
 * One read of a limited flow, which is what it may hold while it waits: this much of a second, within the bounds.
 * Several grants, so that little of a turn is lost on the last bytes of a read.
 */
const READ_SECONDS = 1 / 10;
const MIN_READ_BYTES = 4 * 1024;
const MAX_READ_BYTES = 32 * 1024;
const UNITS_PER_SECOND = 10_000_000;

export class Pace {
  readonly #cells: LimitCells;
  readonly #row: number;
  readonly #direction: Direction;
  readonly #waiting = new Set<WindowWaiter>();
  /** What a flow should read at once: not more than it may pass on soon. */
  readBytes = Number.POSITIVE_INFINITY;
  #shape: Shape | null = null;
  #least = 0;
  /** What the waiter whose turn it is may still take; null between turns. */
  #turn: number | null = null;
  /** Bytes that are this lane's by the number of its waiters; what other lanes leave unused is not lost, but saved up. */
  #credit = 0;
  #creditedAt = 0;

  constructor(cells: LimitCells, row: number, direction: Direction) {
    this.#cells = cells;
    this.#row = row;
    this.#direction = direction;
  }

  set shape(shape: Shape | null) {
    this.#shape = shape;
    const perSecond = shape ? UNITS_PER_SECOND / shape.cost : 0;
    this.#least = between(MIN_LEAST_BYTES, perSecond * LEAST_SECONDS, MAX_LEAST_BYTES);
    this.readBytes = shape
      ? between(MIN_READ_BYTES, perSecond * READ_SECONDS, MAX_READ_BYTES)
      : Number.POSITIVE_INFINITY;
  }

  get limited(): boolean {
    return this.#shape !== null;
  }

  get waiting(): boolean {
    return this.#waiting.size > 0;
  }

  get inTurn(): boolean {
    return this.#turn !== null;
  }

  /** Leave for up to `want` bytes. `first`: the taker has its turn at another bottleneck and need not queue here. */
  take(want: number, first: boolean): number {
    if (!this.#shape) return want;
    const turn = this.#turn;
    if (turn === null && !first && this.#waiting.size > 0) return 0;
    const ask = { shape: this.#shape, want: turn === null ? want : Math.min(want, turn), least: this.#least };
    if (ask.want === 0) return 0;
    const got = this.#cells.take(this.#row, this.#direction, ask);
    if (turn !== null) this.#turn = turn - got;
    return got;
  }

  giveBack(bytes: number): void {
    if (!this.#shape || bytes === 0) return;
    this.#cells.giveBack(this.#row, this.#direction, { shape: this.#shape, units: bytes });
    if (this.#turn !== null) this.#turn += bytes;
  }

  wait(waiter: WindowWaiter): void {
    if (this.#waiting.has(waiter)) return;
    this.#waiting.add(waiter);
    const all = this.#cells.waiting(this.#row, this.#direction, 1);
    if (this.#waiting.size > 1 || this.#turn !== null) return;
    this.#credit = this.#shape ? this.#available(this.#shape) / all : 0;
    this.#creditedAt = this.#cells.now();
  }

  stopWaiting(waiter: WindowWaiter): void {
    if (this.#waiting.delete(waiter)) this.#cells.waiting(this.#row, this.#direction, -1);
  }

  /** Gives turns to those who waited when it was called, as far as the bytes of this lane's share go. */
  serve(): void {
    const own = this.#waiting.size;
    if (own === 0) return;
    let share = this.#share(own);
    const each = Math.max(this.#least, Math.floor(share / own));
    for (const waiter of [...this.#waiting]) {
      if (share < this.#least) return;
      this.stopWaiting(waiter);
      const turn = Math.min(each, share);
      this.#turn = turn;
      try {
        waiter.pump();
      } finally {
        const used = turn - (this.#turn ?? turn);
        share -= used;
        this.#credit -= used;
        this.#turn = null;
      }
    }
  }

  /**
   * What this lane may give now. Lanes earn by the number of those who wait in each, and keep what they earned: if
   * each took its part of what is there, the one with few waiters would never find enough for a single grant.
   */
  #share(own: number): number {
    const shape = this.#shape;
    if (!shape) return Number.MAX_SAFE_INTEGER;
    const now = this.#cells.now();
    const all = Math.max(own, this.#cells.waiting(this.#row, this.#direction, 0));
    const earned = ((now - this.#creditedAt) * own) / (shape.cost * all);
    this.#creditedAt = now;
    this.#credit = Math.min(this.#credit + earned, shape.saved / shape.cost);
    return Math.min(this.#available(shape), Math.floor(this.#credit));
  }

  #available(shape: Shape): number {
    return this.#cells.available(this.#row, this.#direction, shape);
  }
}

function between(least: number, value: number, most: number): number {
  return Math.min(most, Math.max(least, Math.floor(value)));
}
