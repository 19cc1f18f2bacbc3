/**
 * How much of what nodes remember this process takes: so much of one node, so much of all, and so many transactions at
 * once, since usage needs the same database. What is beyond is refused at once and sent later by the node, which
 * has room for it; nothing waits here. Pure but for the clock and chance.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { MAX_EVENT_PAUSE_MS } from '@mastline/shared/wire/limits';

/** Of one node, items a second in the long run, and at once after it was away. */
export const NODE_EVENTS_PER_SECOND = 100;
export const NODE_EVENTS_BURST = 20_000;
/** Of all nodes of this process. */
export const EVENTS_PER_SECOND = 10_000;
export const EVENTS_BURST = 100_000;
/** Transactions of events at once; the pool has more connections than that. */
export const MAX_EVENT_WRITES = 2;
/** Batches sent before the time that the last refusal named; an honest agent sends none. */
export const MAX_INSISTENCE = 50;
const BUSY_MS = 1_000;

export type Admission =
  | { is: 'admitted'; done: () => void }
  | { is: 'refused'; code: 'events/too-many' | 'events/busy'; message: string; retryAfterMs: number }
  /** It does not listen: its session is to end. */
  | { is: 'insisting'; code: 'events/flood'; message: string };

interface Bucket {
  tokens: number;
  atMs: number;
}

interface NodeState extends Bucket {
  /** Refused until then. */
  notBeforeMs: number;
  insisted: number;
}

export class EventRate {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #all: Bucket;
  /** By session: gone with it. */
  readonly #nodes = new WeakMap<object, NodeState>();
  #writing = 0;

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
    this.#all = { tokens: EVENTS_BURST, atMs: clock.monotonicMs() };
  }

  /** Asks for `items` of a session. `done` must be called once when they are written. */
  admit(session: object, items: number): Admission {
    const now = this.#clock.monotonicMs();
    let node = this.#nodes.get(session);
    if (!node) {
      node = { tokens: NODE_EVENTS_BURST, atMs: now, notBeforeMs: 0, insisted: 0 };
      this.#nodes.set(session, node);
    }
    if (now < node.notBeforeMs) {
      node.insisted += 1;
      if (node.insisted >= MAX_INSISTENCE)
        return {
          is: 'insisting',
          code: 'events/flood',
          message: `${node.insisted} event batches although they were refused`,
        };
      return this.#refuse(node, node.notBeforeMs - now, 'events/too-many');
    }
    refill(node, now, NODE_EVENTS_PER_SECOND, NODE_EVENTS_BURST);
    refill(this.#all, now, EVENTS_PER_SECOND, EVENTS_BURST);
    if (node.tokens < items)
      return this.#refuse(node, ((items - node.tokens) / NODE_EVENTS_PER_SECOND) * 1_000, 'events/too-many');
    if (this.#all.tokens < items || this.#writing >= MAX_EVENT_WRITES)
      // Spread, so that all who were refused do not come back together.
      return this.#refuse(node, BUSY_MS * (1 + 4 * this.#random()), 'events/busy');
    node.insisted = 0;
    node.tokens -= items;
    this.#all.tokens -= items;
    this.#writing += 1;
    return {
      is: 'admitted',
      done: () => {
        this.#writing -= 1;
      },
    };
  }

  #refuse(node: NodeState, forMs: number, code: 'events/too-many' | 'events/busy'): Admission {
    const retryAfterMs = Math.min(MAX_EVENT_PAUSE_MS, Math.ceil(forMs));
    node.notBeforeMs = this.#clock.monotonicMs() + retryAfterMs;
    const message =
      code === 'events/busy'
        ? 'this cloud has enough to do with usage: send later'
        : `more than ${NODE_EVENTS_PER_SECOND} a second: send later`;
    return { is: 'refused', code, message, retryAfterMs };
  }
}

function refill(bucket: Bucket, now: number, perSecond: number, burst: number): void {
  bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.atMs) / 1_000) * perSecond);
  bucket.atMs = now;
}
