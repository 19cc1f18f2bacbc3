/**
 * How often one may guess: so many log-ins per account and per address in a sliding window. An attempt is counted
 * before the password is looked at, so that guesses in parallel count too. In memory, for one process.
 */
import type { Clock } from '@mastline/shared/base/clock';

export const THROTTLE_WINDOW_MS = 15 * 60_000;
export const ATTEMPTS_PER_ACCOUNT = 10;
export const ATTEMPTS_PER_ADDRESS = 50;
/** Accounts and addresses remembered at once; past it the oldest are forgotten first. */
const MAX_KEYS = 50_000;

export type Admission = { is: 'admitted' } | { is: 'throttled'; retryAfterSeconds: number };

export class LoginThrottle {
  readonly #attempts = new Map<string, number[]>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts an attempt, or says how long to wait. A refused attempt does not count. */
  admit(account: string, address: string): Admission {
    const now = this.#clock.monotonicMs();
    const limits = [
      { key: `account ${account}`, limit: ATTEMPTS_PER_ACCOUNT },
      { key: `address ${address}`, limit: ATTEMPTS_PER_ADDRESS },
    ];
    let waitMs = 0;
    for (const { key, limit } of limits) {
      const recent = this.#recent(key, now);
      const oldest = recent[recent.length - limit];
      if (oldest !== undefined) waitMs = Math.max(waitMs, oldest + THROTTLE_WINDOW_MS - now);
    }
    if (waitMs > 0) return { is: 'throttled', retryAfterSeconds: Math.ceil(waitMs / 1000) };
    for (const { key } of limits) {
      const recent = this.#recent(key, now);
      // Set anew, so that the map's order is the order of last use.
      this.#attempts.delete(key);
      this.#attempts.set(key, [...recent, now]);
    }
    for (const key of this.#attempts.keys()) {
      if (this.#attempts.size <= MAX_KEYS) break;
      this.#attempts.delete(key);
    }
    return { is: 'admitted' };
  }

  /** The right password forgives the account's earlier guesses; the address's stay. */
  succeeded(account: string): void {
    this.#attempts.delete(`account ${account}`);
  }

  #recent(key: string, now: number): number[] {
    return (this.#attempts.get(key) ?? []).filter(at => now - at < THROTTLE_WINDOW_MS);
  }
}
