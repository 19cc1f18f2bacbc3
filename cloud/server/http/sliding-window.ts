/**
 * How often something may be done: so many times in a window, by key. In memory, for one process; bounded, the key that
 * was used longest ago is forgotten first.
 */
import type { Clock } from '@mastline/shared/base/clock';

const MAX_KEYS = 50_000;

export class SlidingWindow {
  readonly #clock: Clock;
  readonly #most: number;
  readonly #windowMs: number;
  readonly #times = new Map<string, number[]>();

  constructor(clock: Clock, limit: { most: number; windowMs: number }) {
    this.#clock = clock;
    this.#most = limit.most;
    this.#windowMs = limit.windowMs;
  }

  /** Null when it may, and it is counted then; else the milliseconds to wait. */
  take(key: string): number | null {
    const waitMs = this.waitMs(key);
    if (waitMs > 0) return waitMs;
    const recent = this.#recent(key);
    // Set anew, so that the map's order is the order of last use.
    this.#times.delete(key);
    this.#times.set(key, [...recent, this.#clock.monotonicMs()]);
    for (const oldest of this.#times.keys()) {
      if (this.#times.size <= MAX_KEYS) break;
      this.#times.delete(oldest);
    }
    return null;
  }

  /** How long until it may; 0 for now. Counts nothing. */
  waitMs(key: string): number {
    const oldest = this.#recent(key).at(-this.#most);
    return oldest === undefined ? 0 : oldest + this.#windowMs - this.#clock.monotonicMs();
  }

  #recent(key: string): number[] {
    const now = this.#clock.monotonicMs();
    return (this.#times.get(key) ?? []).filter(at => now - at < this.#windowMs);
  }
}
