/**
 * How much a slot may relay ahead of the spool: an exact, hard bound shared by all threads. Bytes are taken before
 * they are written to a socket and given back when they are on disk, so that the sum never passes the bound whatever
 * dies when. One 32-bit cell for each slot number; Atomics make it exact. Waiting for room is the lane's business.
 */

/** Slot numbers are 16 bits; memory of cells that nobody touches is never resident. */
const CELLS = 65_536;
/** Size of the memory that threads share. */
export const WINDOW_BYTES = CELLS * 4;

export class UsageWindow {
  readonly #cells: Int32Array;
  readonly #bytes: number;

  constructor(options: { bytes: number; memory?: SharedArrayBuffer }) {
    this.#cells = new Int32Array(options.memory ?? new SharedArrayBuffer(WINDOW_BYTES));
    this.#bytes = options.bytes;
  }

  /** Takes up to `want` bytes; answers how many it got, 0 when the slot is full. */
  take(slot: number, want: number): number {
    for (;;) {
      const taken = Atomics.load(this.#cells, slot);
      const got = Math.min(want, this.#bytes - taken);
      if (got <= 0) return 0;
      if (Atomics.compareExchange(this.#cells, slot, taken, taken + got) === taken) return got;
    }
  }

  /** Gives back what was taken and not written, or what is committed now. */
  giveBack(slot: number, bytes: number): void {
    if (bytes > 0) Atomics.sub(this.#cells, slot, bytes);
  }

  /** Bytes taken and not yet committed. */
  taken(slot: number): number {
    return Atomics.load(this.#cells, slot);
  }
}
