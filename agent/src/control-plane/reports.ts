/**
 * Tells the cloud how the slots are: all of them at once when something changed and every half minute, and figures
 * of the moment as often as the cloud asked. On a metered link much more seldom, and no figures. Never the base of a
 * bill; dropped, not queued, when the link is busy.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { problemsOf } from '@mastline/shared/base/problems';
import type { SlotFigures, SlotReport } from '@mastline/shared/domain/modem';
import { uplink } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { LinkSession } from './link-session';

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

  constructor(options: ReportsOptions) {
    this.#options = options;
    this.#pace = options.metered ? METERED_PACE : PACE;
    options.modems.onChange(() => this.#changed());
  }

  /** A session is up: tells all once, then goes on. `liveReportMs` 0 means no live figures. */
  begin(session: LinkSession, liveReportMs: number): void {
    this.end();
    this.#session = session;
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
      this.#tellSlots();
    });
  }

  #tellSlots(): void {
    this.#toldAtMs = this.#options.clock.monotonicMs();
    const report = uplink['modem-report'].safeParse({
      at: Math.floor(this.#options.now()),
      slots: this.#options.modems.slots(),
    });
    // A report that breaks the protocol would make the cloud close the link, again and again.
    if (!report.success) this.#unfit('modem-report', problemsOf(report.error));
    else this.#session?.send('modem-report', report.data);
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
