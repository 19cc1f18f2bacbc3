/**
 * What something may cost a metered link: a bucket that fills over the month and never holds more than a burst, so that
 * no 30 days in a row cost more than both together. Whose bytes they are is event-budget.ts and reports.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';

const MONTH_MS = 30 * 86_400_000;

export interface MonthBudgetOptions {
  clock: Clock;
  /** In 30 days, the burst included. */
  monthBytes: number;
  /** What is saved up at most while nothing happens. */
  burstBytes: number;
  /** There at the start; an agent that starts again and again spends this each time. */
  startBytes: number;
}

export class MonthBudget {
  readonly #options: MonthBudgetOptions;
  #bytes: number;
  #atMs: number;

  constructor(options: MonthBudgetOptions) {
    this.#options = options;
    this.#bytes = options.startBytes;
    this.#atMs = options.clock.monotonicMs();
  }

  /** Whether so many bytes may go now and leave `floor`. */
  allows(bytes: number, floor = 0): boolean {
    const { clock, burstBytes } = this.#options;
    const now = clock.monotonicMs();
    this.#bytes = Math.min(burstBytes, this.#bytes + (now - this.#atMs) * this.#perMs());
    this.#atMs = now;
    return this.#bytes - bytes >= floor;
  }

  /** They went. */
  spend(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Until so many bytes may go, milliseconds, when nothing else goes meanwhile. */
  waitMs(bytes: number): number {
    return this.allows(bytes) ? 0 : Math.ceil((bytes - this.#bytes) / this.#perMs());
  }

  #perMs(): number {
    const { monthBytes, burstBytes } = this.#options;
    return (monthBytes - burstBytes) / MONTH_MS;
  }
}
