/**
 * So many at once, the rest in the order they came. For work that takes a connection of the pool: what thousands of
 * nodes want at the same moment must not make a person's request wait until the pool gives up. How many may wait is
 * bounded by who asks (each session handles one message at a time). Questions that can be gathered are gather.ts.
 */
import type { Database } from './database';

/** Of the pool's connections; the embedded database has one. */
const PLACES = { server: 3, embedded: 1 } as const;

export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(kind: Database['kind']) {
    this.#free = PLACES[kind];
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Settles as `work` does. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>(resolve => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The place goes to the next without being free in between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
