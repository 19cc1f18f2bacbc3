/**
 * Whether a slot may be rotated now: cool-down and caps, counted through restarts. One desk a slot. The rotation itself
 * is rotation.ts, what came of it lies in rotation-book.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { RotationEnd } from './rotation';

export interface RotationLimits {
  /** From the end of one rotation to the beginning of the next. */
  coolDownMs: number;
  /** Rotations within an hour and within a day; carriers throttle subscribers that register again and again. */
  perHour: number;
  perDay: number;
}

export const ROTATION_LIMITS: RotationLimits = { coolDownMs: 15_000, perHour: 60, perDay: 720 };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Only a changed address is `rotated`; `unavailable`: nothing was tried. */
export type RotationReport = { slot: number; askedFor: string; carrier: string | null } & (
  | RotationEnd
  | { kind: 'unavailable'; reason: string; retryAfterMs: number | null }
);

export class RotationDesk {
  readonly #clock: Clock;
  readonly #limits: RotationLimits;
  /** Ends, on the monotonic clock, the newest last; no more than a day's. */
  #ended: number[];

  /** `past`: ends of earlier rotations, epoch milliseconds, in order; they count, too. */
  constructor(clock: Clock, limits: RotationLimits, past: readonly number[] = []) {
    this.#clock = clock;
    this.#limits = limits;
    const [mono, wall] = [clock.monotonicMs(), clock.now()];
    // A clock that was set back meanwhile makes no end lie in the future.
    this.#ended = past.map(at => mono - Math.max(0, wall - at)).slice(-limits.perDay);
  }

  /** Null: it may begin now. */
  obstacle(): { reason: string; retryAfterMs: number } | null {
    const { coolDownMs, perHour, perDay } = this.#limits;
    const now = this.#clock.monotonicMs();
    this.#ended = this.#ended.filter(at => now - at < DAY_MS);
    const rest = (this.#ended.at(-1) ?? Number.NEGATIVE_INFINITY) + coolDownMs - now;
    if (rest > 0)
      return {
        reason: `the last rotation was less than ${seconds(coolDownMs)} s ago; try again in ${seconds(rest)} s`,
        retryAfterMs: Math.ceil(rest),
      };
    return this.#full(HOUR_MS, perHour, 'hour') ?? this.#full(DAY_MS, perDay, 'day');
  }

  end(): void {
    this.#ended.push(this.#clock.monotonicMs());
  }

  #full(windowMs: number, most: number, name: string): { reason: string; retryAfterMs: number } | null {
    const since = this.#clock.monotonicMs() - windowMs;
    // The one whose leaving makes room.
    const oldest = this.#ended.filter(at => at > since).at(-most);
    if (oldest === undefined) return null;
    const wait = oldest - since;
    return {
      reason: `${most} rotations within the ${name} are the limit; try again in ${seconds(wait)} s`,
      retryAfterMs: Math.ceil(wait),
    };
  }
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
