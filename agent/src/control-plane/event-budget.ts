/**
 * What events may cost a metered link: METERED_EVENT_BYTES in 30 days (month-budget.ts), of which those about the node
 * are not starved by those about flows. Pure but for the clock.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { EventStream } from '@mastline/shared/domain/node-event';
import { METERED_EVENT_BYTES } from '@mastline/shared/wire/limits';
import { MonthBudget } from './month-budget';

/** What the bucket holds: saved up while nothing happens, and together with what flows in a month, the month's bytes. */
export const BUDGET_BURST_BYTES = METERED_EVENT_BYTES / 10;
/** Flow summaries leave so much for what happens to the node. */
export const KEPT_FOR_EVENTS = BUDGET_BURST_BYTES / 2;
/** In the bucket at the start: enough to say why it started. An agent that starts again and again spends this each time. */
export const BUDGET_START_BYTES = 2_000;
/**
 * A batch beside its own bytes: WebSocket, TLS and TCP headers of it and of its answer with the acknowledgements,
 * by IPv6 (about 280 up, 300 down with the answer's own 120).
 */
export const BATCH_OVERHEAD_BYTES = 600;

export class EventBudget {
  readonly #month: MonthBudget;

  constructor(clock: Clock) {
    this.#month = new MonthBudget({
      clock,
      monthBytes: METERED_EVENT_BYTES,
      burstBytes: BUDGET_BURST_BYTES,
      startBytes: BUDGET_START_BYTES,
    });
  }

  /** Whether a batch of `frameBytes` may go now. */
  allows(stream: EventStream, frameBytes: number): boolean {
    return this.#month.allows(frameBytes + BATCH_OVERHEAD_BYTES, stream === 'flows' ? KEPT_FOR_EVENTS : 0);
  }

  /** It went. */
  spend(frameBytes: number): void {
    this.#month.spend(frameBytes + BATCH_OVERHEAD_BYTES);
  }
}
