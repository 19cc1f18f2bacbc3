/**
 * When a slot's modem is to be brought back: follows the verdicts of one slot, waits as long as its cause deserves,
 * plans a climb, has it climbed, and leaves the modem alone for a while when nothing helped. One for each slot, for as
 * long as the agent runs. START HERE for recovery; plan.ts chooses the rungs, climb.ts climbs them.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { ModemCause, RecoveryReport } from '@mastline/shared/domain/modem';
import type { Log } from '../../observe/log';
import type { Conflict } from '../discovery/conflicts';
import type { SlotVerdict } from '../slot-state';
import { type ClimbEnd, type ClimbParts, climb } from './climb';
import { pauseAfter, planClimb, type RungBudget, TREATMENTS, WELL_FOR_MS } from './plan';
import type { RecoveryRecord } from './record';

/** Flows that still run through a modem whose API is dead are worth more than its API: so long they are spared. */
const QUIET_WITHIN_MS = 5 * 60_000;
/** Something else is being done to the modem, or flows run: looked at again so much later. */
const LOOK_AGAIN_MS = 5000;
const NOT_THIS_ONE = 'no modem of this node carries: a carrier or a service is down, not this modem';
/** Power cuts that did not bring back what is not there: it was unplugged. */
const MAX_ABSENT_CLIMBS = 3;

type AttemptEnd = 'over' | 'not-now';

export interface RecoveryOptions {
  slot: number;
  clock: Clock;
  /** UTC by the cloud's clock. */
  now: () => number;
  log: Log;
  record: RecoveryRecord;
  /** Of the modem's profile; throws when there are no profiles. */
  ladder: () => readonly RungBudget[];
  /** Kind of modem for the experience: its model, where known. */
  model: () => string;
  /** Flows that run through the slot; rejects when nobody can tell. */
  openFlows: () => Promise<number>;
  /** Modems of the node other than this one that carry, and that should and do not. */
  neighbours: () => { carrying: number; silent: number };
  /** Has the others probed, now that this one is silent. */
  suspectOthers: () => void;
  /** Other programs that are in this modem's way. */
  conflicts: () => Promise<readonly Conflict[]>;
  mayReboot: boolean;
  /** Asks the machine; false when something else is being done to the modem. */
  begin: (cause: ModemCause) => boolean;
  /** The machine is told that it is over, whatever came of it. */
  end: () => void;
  climb: Omit<ClimbParts, 'cause' | 'steps' | 'obstacle' | 'beforeRung' | 'clock' | 'signal'>;
  /** A note has changed. */
  onChange: () => void;
}

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #abort = new AbortController();
  #cause: ModemCause | null = null;
  #since = 0;
  #wellSince: number | null = null;
  /** In a row, none of which lasted. */
  #climbs = 0;
  #endedAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #climbing: Promise<void> | null = null;
  #note = '';

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** What a person should know beside the reason: the remedy, what stands in the way, that nothing helped. */
  note(): string {
    return this.#note;
  }

  last(): RecoveryReport | null {
    return this.#options.record.climbsOf(this.#options.slot).at(-1) ?? null;
  }

  /** The slot's verdict, whenever it may have changed. */
  consider(verdict: SlotVerdict): void {
    if (this.#climbing !== null || this.#abort.signal.aborted) return;
    const now = this.#options.clock.monotonicMs();
    const { cause } = verdict;
    if (cause === null) {
      if (verdict.ready) this.#wellSince ??= now;
      if (verdict.ready && this.#climbs > 0 && now - (this.#wellSince ?? now) >= WELL_FOR_MS)
        this.#climbs = 0;
      if (this.#cause !== null) this.#forget();
      return;
    }
    this.#wellSince = null;
    if (cause === this.#cause) return;
    this.#forget();
    this.#cause = cause;
    this.#since = now;
    if (cause === 'data-dead') this.#options.suspectOthers();
    const { rungs, remedy, patienceMs } = TREATMENTS[cause];
    if (rungs.length === 0) this.#note = remedy;
    else this.#wait(Math.max(patienceMs, this.#endedAt + pauseAfter(this.#climbs) - now));
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#abort.abort(new Error('the agent is stopping'));
    this.#timer?.cancel();
    await this.#climbing;
  }

  #forget(): void {
    this.#timer?.cancel();
    this.#cause = null;
    this.#note = '';
  }

  #wait(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => {
      if (this.#climbing !== null) return;
      this.#climbing = this.#attempt()
        .catch((error): AttemptEnd => {
          this.#options.log.error('recovering broke', { error });
          return 'over';
        })
        .then(end => {
          this.#climbing = null;
          if (this.#abort.signal.aborted) return;
          if (end === 'not-now') this.#wait(LOOK_AGAIN_MS);
          else this.#resume();
        });
    });
  }

  /** After an attempt the verdict is looked at afresh: the same cause is a new one. */
  #resume(): void {
    const { clock, climb: parts, onChange } = this.#options;
    const note = this.#note;
    this.#climbs += 1;
    this.#endedAt = clock.monotonicMs();
    this.#cause = null;
    this.consider(parts.verdict());
    if (this.#cause !== null && this.#note === '') this.#note = note;
    onChange();
  }

  async #attempt(): Promise<AttemptEnd> {
    const { slot, clock, record, model, climb: parts, log } = this.#options;
    const verdict = parts.verdict();
    const { cause } = verdict;
    if (cause === null || cause !== this.#cause) return 'over';
    if (verdict.ready && !(await this.#isQuiet())) return 'not-now';
    const absent = cause === 'usb-gone' || cause === 'hub-power';
    if (absent && this.#climbs >= MAX_ABSENT_CLIMBS) {
      this.#note = `${MAX_ABSENT_CLIMBS} attempts did not bring it back: plug it in`;
      return 'over';
    }
    const inTheWay = await this.#conflict();
    if (inTheWay !== null) {
      this.#note = inTheWay;
      return 'over';
    }
    const { carrying } = this.#options.neighbours();
    const { steps, why, hopeless } = planClimb({
      cause,
      ladder: this.#options.ladder(),
      experience: rung => record.experience(model(), cause, rung),
      doneToday: rung => record.doneToday(slot, rung),
      allSilent: this.#areAllSilent(),
      mayReboot: this.#options.mayReboot && carrying === 0 && this.#climbs > 0,
    });
    if (steps.length > 0 && !this.#options.begin(cause)) return 'not-now';
    record.passOver(model(), cause, hopeless);
    if (steps.length === 0) {
      this.#note = why;
      return 'over';
    }
    log.warn('recovery begins', { cause, reason: verdict.reason, rungs: steps.map(step => step.rung) });
    let end: ClimbEnd;
    try {
      end = await climb({
        ...parts,
        cause,
        steps,
        // The others have been probed meanwhile.
        obstacle: rung =>
          cause === 'data-dead' && rung !== 'reconnect' && this.#areAllSilent() ? NOT_THIS_ONE : null,
        beforeRung: rung => record.begin(slot, rung),
        clock,
        signal: this.#abort.signal,
      });
    } finally {
      this.#options.end();
    }
    const { outcome, tookMs, rungs, reason } = end;
    const report: RecoveryReport = { at: Math.floor(this.#options.now()), cause, outcome, tookMs, rungs };
    record.add(slot, model(), report);
    this.#note = outcome === 'mended' ? '' : `${reason}, tried again later`;
    if (outcome === 'mended') log.info('recovered', { ...report });
    else log.warn('not recovered', { ...report, reason });
    return 'over';
  }

  #areAllSilent(): boolean {
    const { carrying, silent } = this.#options.neighbours();
    return carrying === 0 && silent > 0;
  }

  async #isQuiet(): Promise<boolean> {
    const { clock, log, openFlows } = this.#options;
    if (clock.monotonicMs() - this.#since >= QUIET_WITHIN_MS) return true;
    try {
      return (await openFlows()) === 0;
    } catch (error) {
      log.debug('flows cannot be counted', { problem: messageOf(error) });
      return false;
    }
  }

  /** Only somebody who holds a port is in the way for certain; the others are told of. */
  async #conflict(): Promise<string | null> {
    try {
      const found = await this.#options.conflicts();
      const holder = found.find(one => one.kind === 'port-in-use');
      for (const one of found) this.#options.log.warn(one.message, { remedy: one.remedy });
      return holder ? `${holder.message}. ${holder.remedy}` : null;
    } catch (error) {
      this.#options.log.warn('other programs could not be looked at', { error });
      return null;
    }
  }
}
