/**
 * What probes may cost on a metered SIM: at most 1 MB in any 30 days, wherever they begin. A bucket that fills slowly:
 * what may be spent at once and what flows in over a month make up the whole. Nothing else that the agent does is paid
 * from it.
 */
import type { Clock } from '@mastline/shared/base/clock';

export const MONTH_MS = 30 * 86_400_000;
export const METERED_PROBE_BYTES_A_MONTH = 1_000_000;
/** May be spent at once: some hundred probes, for a bad day. */
const BURST_BYTES = 100_000;
/** At the start of the agent: a box that restarts again and again must not begin the month anew each time. */
const FIRST_BYTES = 20_000;

export class ProbeBudget {
  readonly #clock: Clock;
  readonly #limited: boolean;
  #left = FIRST_BYTES;
  #at: number;

  constructor(options: { clock: Clock; metered: boolean }) {
    this.#clock = options.clock;
    this.#limited = options.metered;
    this.#at = options.clock.monotonicMs();
  }

  /** True when a probe that costs up to `bytes` may be sent now. */
  allows(bytes: number): boolean {
    this.#fill();
    return !this.#limited || this.#left >= bytes;
  }

  spend(bytes: number): void {
    this.#fill();
    this.#left -= bytes;
  }

  #fill(): void {
    const now = this.#clock.monotonicMs();
    const perMs = (METERED_PROBE_BYTES_A_MONTH - BURST_BYTES) / MONTH_MS;
    this.#left = Math.min(BURST_BYTES, this.#left + (now - this.#at) * perMs);
    this.#at = now;
  }
}
