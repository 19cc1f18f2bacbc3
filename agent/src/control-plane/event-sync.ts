/**
 * Brings events to the cloud when there is nothing better to do: one batch at a time, never while usage is under way
 * or waits, never into a queue, and on a metered link out of a budget of its own (event-budget.ts). What is to be sent
 * is event-journal.ts; usage is uplink-sync.ts, which knows nothing of this.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { problemsOf } from '@mastline/shared/base/problems';
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import { MAX_EVENT_BATCH_BYTES } from '@mastline/shared/wire/limits';
import { type UplinkKind, uplink } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { EventBudget } from './event-budget';
import type { EventJournal } from './event-journal';
import type { LinkSession } from './link-session';

/** What an agent that remembers says in its hello that it takes. */
export const EVENT_KINDS: DownlinkKind[] = ['event-ack', 'event-refused'];
const BATCH: UplinkKind = 'event-batch';
/** How often it is looked whether usage has left room. */
const LOOK_MS = 1_000;
const METERED_LOOK_MS = 60_000;
/** No answer for so long: send again. */
const ACK_DEADLINE_MS = 30_000;
/** Then the events of this session are left alone: a link that usage is happy with is not given up for them. */
const MAX_UNANSWERED = 3;

export interface EventSyncOptions {
  journal: EventJournal;
  /** True while nothing of usage is under way or waits to be sent. */
  isUsageQuiet: () => boolean;
  /** Left out where the link costs nothing. */
  budget?: EventBudget | undefined;
  clock: Clock;
  log: Log;
}

export class EventSync {
  readonly #options: EventSyncOptions;
  #session: LinkSession | undefined;
  #looks: Timer | undefined;
  #looking = false;
  #sentAtMs: number | undefined;
  #unanswered = 0;
  /** The cloud asked to wait until then, monotonic. */
  #notBeforeMs = 0;

  constructor(options: EventSyncOptions) {
    this.#options = options;
    options.journal.onReady(() => void this.#look());
  }

  /** A session is up; `takes` is what its welcome says. */
  begin(session: LinkSession, takes: readonly string[]): void {
    this.end();
    if (!takes.includes(BATCH)) return;
    this.#session = session;
    const { clock, budget } = this.#options;
    this.#looks = clock.every(budget ? METERED_LOOK_MS : LOOK_MS, () => void this.#look());
  }

  end(): void {
    this.#session = undefined;
    this.#looks?.cancel();
    this.#looks = undefined;
    this.#sentAtMs = undefined;
    this.#unanswered = 0;
  }

  acknowledged({ epoch, stream, mark }: DownlinkBody<'event-ack'>): void {
    if (!this.#options.journal.acknowledge(epoch, stream, mark)) return;
    this.#sentAtMs = undefined;
    this.#unanswered = 0;
    void this.#look();
  }

  refused({ code, message, retryAfterMs }: DownlinkBody<'event-refused'>): void {
    const { clock, log } = this.#options;
    log.info('the cloud does not take events now', { code, message, retryAfterMs });
    this.#sentAtMs = undefined;
    this.#unanswered = 0;
    this.#notBeforeMs = clock.monotonicMs() + retryAfterMs;
  }

  async #look(): Promise<void> {
    if (this.#looking || !this.#mayNow()) return;
    this.#looking = true;
    try {
      await this.#send();
    } finally {
      this.#looking = false;
    }
  }

  #mayNow(): boolean {
    const { clock, isUsageQuiet, log } = this.#options;
    const session = this.#session;
    if (!session || session.queuedBytes() > 0 || !isUsageQuiet()) return false;
    const now = clock.monotonicMs();
    if (now < this.#notBeforeMs) return false;
    if (this.#sentAtMs === undefined) return true;
    if (now - this.#sentAtMs < ACK_DEADLINE_MS) return false;
    this.#unanswered += 1;
    this.#sentAtMs = undefined;
    if (this.#unanswered < MAX_UNANSWERED) return true;
    log.warn('event batches are not answered; they wait for the next session', {
      code: 'events/unanswered',
    });
    this.end();
    return false;
  }

  async #send(): Promise<void> {
    const { journal, budget, clock, log } = this.#options;
    const session = this.#session;
    const batch = await journal.next((stream, bytes) => budget?.allows(stream, bytes) ?? true);
    // The disk may have been asked meanwhile.
    if (!batch || !session || session !== this.#session || !this.#mayNow()) return;
    const { epoch, stream, first, droppedEvents, text } = batch;
    const body = uplink[BATCH].safeParse({
      epoch,
      stream,
      first,
      droppedEvents,
      [stream]: parsed(text),
    });
    // What breaks the protocol would make the cloud close the link, again and again.
    if (!body.success || Buffer.byteLength(text) > 2 * MAX_EVENT_BATCH_BYTES) {
      const problems = body.success ? ['too large'] : problemsOf(body.error).slice(0, 5);
      log.error('a batch of events does not fit the protocol and is dropped', {
        code: 'events/unfit',
        stream,
        problems,
      });
      journal.discard();
      return;
    }
    if (session.send(BATCH, body.data) !== 'sent') return;
    this.#sentAtMs = clock.monotonicMs();
    budget?.spend(Buffer.byteLength(text));
  }
}

/** Undefined when a broken disk has made something else of it. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
