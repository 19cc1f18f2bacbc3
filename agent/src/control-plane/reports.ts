/**
 * Tells the cloud how the slots are: all of them at once when something changed and every half minute, and figures
 * of the moment as often as the cloud asked. On a metered link much more seldom, only what is new, within the bytes of a
 * month, and no figures. Never the base of a bill; dropped, not queued, when the link is busy.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { problemsOf } from '@mastline/shared/base/problems';
import type { SlotFigures, SlotReport } from '@mastline/shared/domain/modem';
import { uplink } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { LinkSession } from './link-session';
import { MonthBudget } from './month-budget';

interface Pace {
  /** All slots are told so often though nothing changed, milliseconds. */
  everyMs: number;
  /** Changes within this time of each other are told together, milliseconds. */
  changeDelayMs: number;
  /** Changes are not told more often than this, milliseconds. */
  changeGapMs: number;
  live: boolean;
}

const PACE: Pace = { everyMs: 30_000, changeDelayMs: 250, changeGapMs: 0, live: true };
/** A report of four slots is some 1.6 KB of SIM data: a modem that flaps must not eat the month. */
const METERED_PACE: Pace = {
  everyMs: 12 * 3_600_000,
  changeDelayMs: 5_000,
  changeGapMs: 15 * 60_000,
  live: false,
};
/**
 * What changes of modems may cost a metered link in 30 days, bytes on the wire; the first few are told at once. A value
 * that creeps, or a modem that flaps for weeks, is then told a few times a day, beside the two reports of each day.
 */
const METERED_CHANGE_BYTES = { monthBytes: 150_000, burstBytes: 16_000, startBytes: 16_000 };
/** A report beside its own bytes: WebSocket, TLS and TCP headers by IPv6, and the acknowledgement. */
const REPORT_OVERHEAD_BYTES = 200;
/** The cloud may not ask for live figures more often than this. */
const MIN_LIVE_MS = 500;

export interface ReportsOptions {
  modems: { slots(): SlotReport[]; onChange(listener: () => void): void };
  figures(): Promise<SlotFigures[]>;
  /** The link costs SIM data. */
  metered: boolean;
  clock: Clock;
  /** Corrected epoch milliseconds. */
  now: () => number;
  log: Log;
}

export class Reports {
  readonly #options: ReportsOptions;
  readonly #pace: Pace;
  #session: LinkSession | undefined;
  #timers: Timer[] = [];
  #soon: Timer | undefined;
  #counting = false;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  /** The slots as they were told last, as text. */
  #told = '';
  /** Of changes; null where they cost nothing. */
  readonly #budget: MonthBudget | null;

  constructor(options: ReportsOptions) {
    this.#options = options;
    this.#pace = options.metered ? METERED_PACE : PACE;
    this.#budget = options.metered
      ? new MonthBudget({ clock: options.clock, ...METERED_CHANGE_BYTES })
      : null;
    options.modems.onChange(() => this.#changed());
  }

  /** A session is up: tells all once, then goes on. `liveReportMs` 0 means no live figures. */
  begin(session: LinkSession, liveReportMs: number): void {
    this.end();
    this.#session = session;
    this.#told = '';
    const { clock } = this.#options;
    this.#tellSlots();
    this.#timers.push(clock.every(this.#pace.everyMs, () => this.#tellSlots()));
    if (liveReportMs > 0 && this.#pace.live)
      this.#timers.push(clock.every(Math.max(MIN_LIVE_MS, liveReportMs), () => void this.#tellFigures()));
  }

  end(): void {
    this.#session = undefined;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#soon?.cancel();
    this.#soon = undefined;
  }

  #changed(): void {
    if (!this.#session) return;
    const { clock } = this.#options;
    const { changeDelayMs, changeGapMs } = this.#pace;
    const gapMs = this.#toldAtMs + changeGapMs - clock.monotonicMs();
    this.#soon ??= clock.after(Math.max(changeDelayMs, gapMs), () => {
      this.#soon = undefined;
      this.#tellChange();
    });
  }

  /** What changed and changed back meanwhile is no news on a metered link. */
  #tellChange(): void {
    const budget = this.#budget;
    if (budget === null) {
      this.#tellSlots();
      return;
    }
    const text = JSON.stringify(this.#options.modems.slots());
    if (text === this.#told) return;
    // A box with more modems than a burst has room for waits for a whole burst.
    const bytes = Math.min(METERED_CHANGE_BYTES.burstBytes, Buffer.byteLength(text) + REPORT_OVERHEAD_BYTES);
    const waitMs = budget.waitMs(bytes);
    if (waitMs > 0) {
      this.#soon = this.#options.clock.after(waitMs, () => {
        this.#soon = undefined;
        this.#tellChange();
      });
      return;
    }
    budget.spend(bytes);
    this.#tellSlots();
  }

  #tellSlots(): void {
    this.#toldAtMs = this.#options.clock.monotonicMs();
    const slots = this.#options.modems.slots();
    const report = uplink['modem-report'].safeParse({ at: Math.floor(this.#options.now()), slots });
    // A report that breaks the protocol would make the cloud close the link, again and again.
    if (!report.success) this.#unfit('modem-report', problemsOf(report.error));
    else if (this.#session?.send('modem-report', report.data) === 'sent') this.#told = JSON.stringify(slots);
  }

  async #tellFigures(): Promise<void> {
    if (this.#counting) return;
    this.#counting = true;
    try {
      const slots = await this.#options.figures();
      const report = uplink['live-report'].safeParse({ at: Math.floor(this.#options.now()), slots });
      if (!report.success) this.#unfit('live-report', problemsOf(report.error));
      else this.#session?.send('live-report', report.data);
    } catch (error) {
      this.#options.log.warn('no figures from the data plane', { error });
    } finally {
      this.#counting = false;
    }
  }

  #unfit(kind: string, problems: string[]): void {
    this.#options.log.error('a report of ours does not fit the protocol and is not sent', {
      kind,
      problems: problems.slice(0, 5),
    });
  }
}
