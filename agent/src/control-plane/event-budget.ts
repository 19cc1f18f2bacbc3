/**
 * What events may cost a metered link: a bucket that fills over the month, so that no 30 days in a row cost more than
 * METERED_EVENT_BYTES, and events about the node are not starved by those about flows. Pure but for the clock.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { EventStream } from '@mastline/shared/domain/node-event';
import { METERED_EVENT_BYTES } from '@mastline/shared/wire/limits';

const MONTH_MS = 30 * 86_400_000;
/** What the bucket holds: saved up while nothing happens, and together with what flows in a month, the month's bytes. */
export const BUDGET_BURST_BYTES = METERED_EVENT_BYTES / 10;
const BYTES_PER_MS = (METERED_EVENT_BYTES - BUDGET_BURST_BYTES) / MONTH_MS;
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
  readonly #clock: Clock;
  #bytes = BUDGET_START_BYTES;
  #atMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
  }

  /** Whether a batch of `frameBytes` may go now. */
  allows(stream: EventStream, frameBytes: number): boolean {
    const now = this.#clock.monotonicMs();
    this.#bytes = Math.min(BUDGET_BURST_BYTES, this.#bytes + (now - this.#atMs) * BYTES_PER_MS);
    this.#atMs = now;
    const floor = stream === 'flows' ? KEPT_FOR_EVENTS : 0;
    return this.#bytes - frameBytes - BATCH_OVERHEAD_BYTES >= floor;
  }

  /** It went. */
  spend(frameBytes: number): void {
    this.#bytes -= frameBytes + BATCH_OVERHEAD_BYTES;
  }
}
