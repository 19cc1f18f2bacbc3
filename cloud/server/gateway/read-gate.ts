/**
 * How much of what agents have sent may wait in this process. Each socket has a bound of its own (session.ts); this is
 * the bound of all together. Past it a socket that delivers is not read until half of it is worked off: the rest waits
 * in the kernel, and then at the agents.
 */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;

export class ReadGate {
  readonly #limit: number;
  readonly #held = new Set<() => void>();
  #waiting = 0;
  #timesShut = 0;

  constructor(limit = MAX_WAITING_BYTES) {
    this.#limit = limit;
  }

  get waitingBytes(): number {
    return this.#waiting;
  }

  /** Sockets that are not read now because of all the others. */
  get held(): number {
    return this.#held.size;
  }

  get timesShut(): number {
    return this.#timesShut;
  }

  /** False: too much waits, do not read on until `resume` is called. */
  take(bytes: number, resume: () => void): boolean {
    this.#waiting += bytes;
    if (this.#waiting <= this.#limit) return true;
    if (this.#held.size === 0) this.#timesShut += 1;
    this.#held.add(resume);
    return false;
  }

  give(bytes: number): void {
    this.#waiting -= bytes;
    if (this.#held.size === 0 || this.#waiting > this.#limit / 2) return;
    const held = [...this.#held];
    this.#held.clear();
    for (const resume of held) resume();
  }

  /** The socket of this callback is gone. */
  forget(resume: () => void): void {
    this.#held.delete(resume);
  }
}
