/**
 * A count with a bound that holds across threads: taken before the thing is made, given back when it is gone. Exact,
 * since the cell is changed by compare-and-exchange only. A thread that dies ends the process (lane-thread.ts), so
 * nothing has to be taken away from the dead.
 */

/** The cells of `SharedMemory.counts`. */
export const LANE_COUNTS = { connections: 0, handshakes: 1 } as const;

export class SharedCount {
  readonly #cells: Int32Array;
  readonly #at: number;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.#cells = new Int32Array(memory);
    this.#at = at;
  }

  /** One more, unless there are `limit` already; false then. */
  take(limit: number): boolean {
    for (;;) {
      const now = Atomics.load(this.#cells, this.#at);
      if (now >= limit) return false;
      if (Atomics.compareExchange(this.#cells, this.#at, now, now + 1) === now) return true;
    }
  }

  giveBack(): void {
    Atomics.sub(this.#cells, this.#at, 1);
  }

  get value(): number {
    return Atomics.load(this.#cells, this.#at);
  }
}
