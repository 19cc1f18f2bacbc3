/**
 * Tells the cloud each slot's days, to be held against its ledger: soon after the link came up, every hour and at the
 * end of the day, until the cloud has noted their final word. On a metered link only days that are over, twice a day at most.
 * Counting them is reconcile/reconciler.ts.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import { MAX_SLOT_DAYS } from '@mastline/shared/wire/limits';
import type { UplinkKind } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { Reconciliation } from '../ports';
import type { LinkSession } from './link-session';

/** What an agent says in its hello that it takes. */
export const RECONCILE_KINDS: DownlinkKind[] = ['reconcile-noted'];
const REPORT: UplinkKind = 'reconcile-report';
interface Pace {
  /** After the link came up. */
  firstMs: number;
  everyMs: number;
  /** Nodes do not all speak at midnight: the day's end is told within so long, by chance. */
  spreadMs: number;
  finished: boolean;
}
const PACE: Pace = { firstMs: 30_000, everyMs: 3_600_000, spreadMs: 600_000, finished: false };
const METERED_PACE: Pace = { firstMs: 60_000, everyMs: 12 * 3_600_000, spreadMs: 3_600_000, finished: true };
/** When a day has just ended, its last usage has so long to be acknowledged before the day is told. */
const AFTER_MIDNIGHT_MS = 120_000;

export interface ReconcileLinkOptions {
  reconciliation: Reconciliation;
  metered: boolean;
  clock: Clock;
  /** Corrected epoch milliseconds. */
  now: () => number;
  random: () => number;
  log: Log;
}

interface Told {
  oldestPending: number | null;
  at: number;
  days: SlotDay[];
}

export class ReconcileLink {
  readonly #options: ReconcileLinkOptions;
  readonly #pace: Pace;
  #session: LinkSession | undefined;
  #timer: Timer | undefined;
  #ask = 0;
  /** Sent in this session and not noted. */
  readonly #told = new Map<number, Told>();
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReconcileLinkOptions) {
    this.#options = options;
    this.#pace = options.metered ? METERED_PACE : PACE;
  }

  /** A session is up; `takes` is what its welcome says. */
  begin(session: LinkSession, takes: readonly string[]): void {
    this.end();
    if (!takes.includes(REPORT)) return;
    this.#session = session;
    const { clock, metered } = this.#options;
    // A link that flaps must not tell the same again and again for the SIM's data.
    const gapMs = metered ? this.#toldAtMs + this.#pace.everyMs - clock.monotonicMs() : 0;
    this.#schedule(Math.max(this.#pace.firstMs, gapMs));
  }

  end(): void {
    this.#session = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#told.clear();
  }

  /** The cloud has written a report of this session down. */
  noted({ ask }: DownlinkBody<'reconcile-noted'>): void {
    const told = this.#told.get(ask);
    if (!told) return;
    this.#told.delete(ask);
    this.#options.reconciliation.noted(told);
  }

  #schedule(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => void this.#tell());
  }

  async #tell(): Promise<void> {
    const { reconciliation, now, clock, random, log } = this.#options;
    const session = this.#session;
    if (!session) return;
    try {
      const at = Math.floor(now());
      const { oldestPending, days } = await reconciliation.report({ finished: this.#pace.finished });
      // An answer that never came leaves nothing behind: it is told again, as a whole.
      this.#told.clear();
      for (let from = 0; from < days.length && this.#session === session; from += MAX_SLOT_DAYS) {
        const told = { at, oldestPending, days: days.slice(from, from + MAX_SLOT_DAYS) };
        this.#ask += 1;
        if (session.send(REPORT, { ask: this.#ask, ...told }) !== 'sent') break;
        this.#told.set(this.#ask, told);
        this.#toldAtMs = clock.monotonicMs();
      }
    } catch (error) {
      log.warn('the days of the slots cannot be told now', { error });
    }
    if (this.#session !== session) return;
    const tomorrow = dayOf(now()) + DAY_MS - now() + AFTER_MIDNIGHT_MS + random() * this.#pace.spreadMs;
    this.#schedule(Math.min(this.#pace.everyMs, tomorrow));
  }
}
