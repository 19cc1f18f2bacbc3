/**
 * Memory for what a receiver has not taken yet (outlet.ts), used again and again: a slot that waits for the disk a
 * hundred times a second would otherwise make a copy of a read each time, and the garbage collector's threads cost
 * a third of what the relay itself does. One pool for each thread, as long as the thread lives.
 */

/** The smallest piece; pieces are powers of two from here. */
const SMALLEST = 4 * 1024;
/** Memory that lies idle in the pool of a thread; more is left to the garbage collector. */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;

export class HoldMemory {
  readonly #idle = new Map<number, Buffer[]>();
  #idleBytes = 0;
  #heldBytes = 0;

  /** At least `length` bytes with anything in them. */
  take(length: number): Buffer {
    const size = sizeFor(length);
    this.#heldBytes += size;
    const memory = this.#idle.get(size)?.pop();
    if (!memory) return Buffer.allocUnsafeSlow(size);
    this.#idleBytes -= size;
    return memory;
  }

  /** `memory` is what `take` gave; nobody may look at it any more. */
  giveBack(memory: Buffer): void {
    this.#heldBytes -= memory.length;
    if (this.#idleBytes + memory.length > MAX_IDLE_BYTES) return;
    this.#idleBytes += memory.length;
    const idle = this.#idle.get(memory.length);
    if (idle) idle.push(memory);
    else this.#idle.set(memory.length, [memory]);
  }

  /** Memory that was taken and not given back. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  get idleBytes(): number {
    return this.#idleBytes;
  }
}

/** This thread's. */
export const holdMemory = new HoldMemory();

function sizeFor(length: number): number {
  let size = SMALLEST;
  while (size < length) size *= 2;
  return size;
}
