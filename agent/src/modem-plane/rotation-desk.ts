/**
 * Whether a slot may be rotated now, and what came of it: cool-down, cap, history. One desk a slot. The rotation
 * itself is rotation.ts; which method works is rotation-statistics.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { RotationEnd } from './rotation';

export interface RotationLimits {
  /** From the end of one rotation to the beginning of the next. */
  coolDownMs: number;
  /** Rotations within an hour; carriers throttle subscribers that register again and again. */
  perHour: number;
}

export const ROTATION_LIMITS: RotationLimits = { coolDownMs: 15_000, perHour: 60 };
export const HISTORY_KEPT = 100;
const HOUR_MS = 3_600_000;

/** Only a changed address is `rotated`; `unavailable`: nothing was tried. */
export type RotationReport = { slot: number; askedFor: string } & (
  | RotationEnd
  | { kind: 'unavailable'; reason: string; retryAfterMs: number | null }
);

export interface HistoryEntry {
  /** UTC, epoch milliseconds, of the end. */
  at: number;
  report: RotationReport;
}

export class RotationDesk {
  readonly #clock: Clock;
  readonly #limits: RotationLimits;
  #begun: number[] = [];
  #endedAt = Number.NEGATIVE_INFINITY;
  #history: HistoryEntry[] = [];

  constructor(clock: Clock, limits: RotationLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Null: it may begin now. */
  obstacle(): { reason: string; retryAfterMs: number } | null {
    const now = this.#clock.monotonicMs();
    const rest = this.#endedAt + this.#limits.coolDownMs - now;
    if (rest > 0)
      return {
        reason: `the last rotation was less than ${seconds(this.#limits.coolDownMs)} s ago; try again in ${seconds(rest)} s`,
        retryAfterMs: Math.ceil(rest),
      };
    this.#begun = this.#begun.filter(at => now - at < HOUR_MS);
    const first = this.#begun[0];
    if (first === undefined || this.#begun.length < this.#limits.perHour) return null;
    const wait = first + HOUR_MS - now;
    return {
      reason: `${this.#limits.perHour} rotations within the hour are the limit; try again in ${seconds(wait)} s`,
      retryAfterMs: Math.ceil(wait),
    };
  }

  begin(): void {
    this.#begun.push(this.#clock.monotonicMs());
  }

  end(report: RotationReport): void {
    this.#endedAt = this.#clock.monotonicMs();
    this.#history.push({ at: this.#clock.now(), report });
    if (this.#history.length > HISTORY_KEPT) this.#history.shift();
  }

  /** Oldest first. */
  history(): readonly HistoryEntry[] {
    return this.#history;
  }
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
