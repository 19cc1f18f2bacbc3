/**
 * One rotation, start to end: drain → change → reconnect → verify, by the methods in the order given, each once more
 * with a longer dwell after a collision. Only an address that echo services see changed counts. Whatever fails, the
 * modem is connected again before the report is given. Whether it may begin is rotation-desk.ts.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { RotationMethod } from '@mastline/shared/profile/schema';
import type { Bearer, ModemDriver, Outcome } from './driver';
import { exitOf } from './exit-address';
import type { RotationPhase } from './machine';
import type { AttemptOutcome, RotationStep } from './rotation-statistics';

export interface RotationTimes {
  /** Running flows have this long. */
  graceMs: number;
  /** From the beginning until the last attempt has to be over. */
  deadlineMs: number;
  /** Then the modem has this long to be connected again. */
  rollBackMs: number;
  /** And if a driver's verb never ends, the rotation is ended over its head this much later. */
  stuckMs: number;
}

/** A driver's slowest verb has a deadline of two minutes. */
export const ROTATION_TIMES: RotationTimes = {
  graceMs: 10_000,
  deadlineMs: 240_000,
  rollBackMs: 90_000,
  stuckMs: 150_000,
};

const DRAIN_LOOK_MS = 100;
/** Whoever counts running flows has the rest of their grace period, and so much at least. */
const COUNT_MS = 1000;
/** Echo services have this long once the modem says that it is connected. */
const VERIFY_MS = 25_000;
const VERIFY_PAUSE_MS = 500;
const RETRY_PAUSE_MS = 1000;
/** A SIM is not there for a moment after every restart: what only a person can mend counts when it lasts. */
const HOPELESS_AFTER_MS = 15_000;
/** A modem that was told to restart answers on for a while. */
const GONE_WITHIN_MS = 15_000;
const LONGER_DWELL = 3;

export interface RotationParts {
  steps: readonly RotationStep[];
  /** Null while the modem is away (it restarts); another one when it is back. */
  driver: () => Pick<
    ModemDriver,
    'connect' | 'disconnect' | 'radio' | 'reattach' | 'reset' | 'bearer'
  > | null;
  /** Why only a person can make it connect now (SIM locked or pulled out); null when it may connect. */
  hopeless: () => string | null;
  clock: Clock;
  /** Every address that the outside sees now, the preferred one first; rejects when nobody tells. */
  askExit: (signal: AbortSignal) => Promise<readonly string[]>;
  /** Flows that still run through the slot; while nobody can tell, the grace period is waited out, and said so. */
  openFlows: () => Promise<number>;
  onPhase: (phase: RotationPhase, detail: string) => void;
  /** A verb did not end: the driver has to be let go, or whatever comes next waits behind it. */
  onStuck: () => void;
  /** Aborted when the plane closes. */
  signal: AbortSignal;
  times: RotationTimes;
}

export interface RotationAttempt {
  method: RotationMethod;
  dwellMs: number;
  outcome: AttemptOutcome;
  /** What the outside saw afterwards; null when it did not come so far. */
  address: string | null;
  tookMs: number;
  message: string;
}

export interface RotationDrain {
  waitedMs: number;
  /** Flows that still ran when their time was over; null when nobody could count them. */
  flowsLeft: number | null;
  /** Why they could not be counted; empty when they were. */
  problem: string;
}

export interface RotationEnd {
  kind: 'rotated' | 'collision' | 'failed';
  reason: string;
  method: RotationMethod | null;
  oldAddress: string | null;
  newAddress: string | null;
  tookMs: number;
  attempts: RotationAttempt[];
  /** Null: it did not come so far. */
  drain: RotationDrain | null;
  /** False: it could not even be brought back. */
  connected: boolean;
}

/**
 * Takes at most the deadline, the way back, and one driver verb's own deadline; a verb that breaks its word is left
 * behind after `stuckMs` more, and nothing of this rotation is done to the modem any more.
 */
export async function rotate(parts: RotationParts): Promise<RotationEnd> {
  const { clock, times } = parts;
  const begun = clock.monotonicMs();
  const late = new AbortController();
  const stuck = new AbortController();
  const signal = AbortSignal.any([parts.signal, stuck.signal]);
  const run = new Run({ ...parts, signal }, AbortSignal.any([signal, late.signal]));
  const timer = clock.after(times.deadlineMs, () =>
    late.abort(new Error(`the rotation took over ${times.deadlineMs / 1000} s`)),
  );
  const limitMs = times.deadlineMs + times.rollBackMs + times.stuckMs;
  let janitor: { cancel(): void } | undefined;
  const givenUp = new Promise<End>(resolve => {
    janitor = clock.after(limitMs, () => {
      stuck.abort(new Error(`the modem's driver did not end within ${limitMs / 1000} s`));
      resolve(run.abandoned(messageOf(stuck.signal.reason)));
      parts.onStuck();
    });
  });
  try {
    const end = await Promise.race([run.all(), givenUp]);
    return { ...end, tookMs: Math.round(clock.monotonicMs() - begun) };
  } finally {
    timer.cancel();
    janitor?.cancel();
  }
}

type End = Omit<RotationEnd, 'tookMs'>;

class Run {
  readonly #parts: RotationParts;
  readonly #signal: AbortSignal;
  readonly #attempts: RotationAttempt[] = [];
  #before: readonly string[] = [];
  #drained: RotationDrain | null = null;
  #abandoned = false;

  constructor(parts: RotationParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
  }

  async all(): Promise<End> {
    try {
      // Asked now, since an address that was seen a minute ago proves nothing.
      this.#before = await this.#parts.askExit(this.#signal);
    } catch (error) {
      return this.#end('failed', `the present address is not known: ${messageOf(error)}`, true);
    }
    await this.#drain();
    let connected = true;
    for (const step of this.#parts.steps) {
      // Nothing is taken down any more that there is no time to bring back.
      if (this.#signal.aborted) break;
      for (const factor of [1, LONGER_DWELL]) {
        const attempt = await this.#attempt(step, step.dwellSeconds * 1000 * factor);
        this.#attempts.push(attempt);
        connected = attempt.address !== null;
        if (attempt.outcome === 'rotated') return this.#end('rotated', '', true);
        // Only where waiting longer can change anything.
        if (attempt.outcome === 'failed' || step.dwellSeconds === 0 || !this.#dwells(step)) break;
      }
    }
    if (!connected) connected = await this.#rollBack();
    const collided = this.#attempts.some(one => one.outcome === 'collision');
    const last = this.#attempts.at(-1);
    if (collided && connected)
      return this.#end('collision', `the carrier gave ${this.#before[0]} again`, connected);
    return this.#end('failed', last?.message ?? this.#whyNothing(), connected);
  }

  #whyNothing(): string {
    return this.#signal.aborted
      ? messageOf(this.#signal.reason)
      : 'the profile of this modem names no method';
  }

  /** Ended by the janitor while it hung. */
  abandoned(reason: string): End {
    this.#abandoned = true;
    return this.#end('failed', reason, false);
  }

  /** Drivers keep the dwell of a re-attach themselves. */
  #dwells(step: RotationStep): boolean {
    return step.method === 'data-switch' || step.method === 'radio';
  }

  async #drain(): Promise<void> {
    const { clock, times, openFlows, onPhase } = this.#parts;
    onPhase('drain', '');
    const begun = clock.monotonicMs();
    const drain: RotationDrain = { waitedMs: 0, flowsLeft: null, problem: '' };
    this.#drained = drain;
    for (;;) {
      try {
        const restMs = Math.max(COUNT_MS, times.graceMs - (clock.monotonicMs() - begun));
        drain.flowsLeft = await withDeadline(openFlows(), restMs, 'counting them', clock);
        drain.problem = '';
      } catch (error) {
        drain.flowsLeft = null;
        const problem = `running flows cannot be counted: ${messageOf(error)}`;
        if (problem !== drain.problem) onPhase('drain', problem);
        drain.problem = problem;
      }
      drain.waitedMs = Math.round(clock.monotonicMs() - begun);
      if (drain.flowsLeft === 0 || drain.waitedMs >= times.graceMs || this.#signal.aborted) return;
      await this.#pause(Math.min(DRAIN_LOOK_MS, times.graceMs - drain.waitedMs));
    }
  }

  async #attempt(step: RotationStep, dwellMs: number): Promise<RotationAttempt> {
    const { clock, onPhase } = this.#parts;
    const begun = clock.monotonicMs();
    const made = (outcome: AttemptOutcome, address: string | null, message: string): RotationAttempt => ({
      ...{ method: step.method, dwellMs, outcome, address, message },
      tookMs: Math.round(clock.monotonicMs() - begun),
    });
    onPhase('change', step.method);
    const changed = await this.#change(step.method, dwellMs);
    if (!changed.ok) return made('failed', null, changed.fault.message);
    onPhase('verify', step.method);
    const seen = await this.#verify();
    const [address] = seen;
    if (address === undefined) return made('failed', null, `no address was seen after ${step.method}`);
    // Changed only when nobody sees an address of before: one service may show another one by chance.
    const before = this.#before.map(exitOf);
    const same = seen.find(one => before.includes(exitOf(one)));
    return same === undefined ? made('rotated', address, '') : made('collision', same, `${same} came back`);
  }

  async #change(method: RotationMethod, dwellMs: number): Promise<Outcome<unknown>> {
    const driver = this.#parts.driver();
    if (driver === null) return aborted('the modem is gone');
    let down: Outcome<void>;
    if (method === 'data-switch') down = await driver.disconnect();
    else if (method === 'radio') down = await driver.radio(false);
    else if (method === 'reset') down = await driver.reset();
    else down = await driver.reattach(method);
    if (!down.ok) return down;
    if (method === 'reset') await this.#untilGone();
    else if (method === 'data-switch' || method === 'radio') await this.#pause(dwellMs);
    if (method === 'radio') {
      const up = await driver.radio(true);
      if (!up.ok) return up;
    }
    return this.#connect(this.#signal);
  }

  async #untilGone(): Promise<void> {
    const { clock } = this.#parts;
    const begun = clock.monotonicMs();
    while (clock.monotonicMs() - begun < GONE_WITHIN_MS && !this.#signal.aborted) {
      const bearer = await this.#parts.driver()?.bearer();
      if (!bearer?.ok) return;
      await this.#pause(RETRY_PAUSE_MS);
    }
  }

  /** Again and again while the modem is away or busy. */
  async #connect(signal: AbortSignal): Promise<Outcome<Bearer>> {
    const { clock, hopeless } = this.#parts;
    let last: Outcome<Bearer> = aborted('the modem is gone');
    let hopelessSince: number | null = null;
    while (!signal.aborted) {
      // Nobody waits minutes for a SIM that asks for its PIN; one that restarts is away for a moment.
      const why = hopeless();
      if (why === null) hopelessSince = null;
      else hopelessSince ??= clock.monotonicMs();
      if (why !== null && clock.monotonicMs() - (hopelessSince ?? 0) >= HOPELESS_AFTER_MS)
        return aborted(why);
      const driver = this.#parts.driver();
      if (driver) last = await driver.connect(null);
      if (last.ok || last.fault.kind === 'locked' || last.fault.kind === 'unsupported') return last;
      await this.#pause(RETRY_PAUSE_MS, signal);
    }
    return last.ok ? last : aborted(`${messageOf(signal.reason)}; at last: ${last.fault.message}`);
  }

  /** Nothing when nobody told in time. */
  async #verify(): Promise<readonly string[]> {
    const { clock, askExit } = this.#parts;
    const begun = clock.monotonicMs();
    while (!this.#signal.aborted && clock.monotonicMs() - begun < VERIFY_MS) {
      try {
        return await askExit(this.#signal);
      } catch {
        // What each service did is of no use here: what counts is that none told within the time.
        await this.#pause(VERIFY_PAUSE_MS);
      }
    }
    return [];
  }

  async #rollBack(): Promise<boolean> {
    const { clock, times, onPhase, signal } = this.#parts;
    // The verb that hung came to an end at last: the modem may be in other hands by now.
    if (this.#abandoned) return false;
    onPhase('roll-back', '');
    const late = new AbortController();
    const timer = clock.after(times.rollBackMs, () =>
      late.abort(new Error(`not connected again within ${times.rollBackMs / 1000} s`)),
    );
    try {
      // A radio that was switched off must not stay off; most modems have it on already.
      await this.#parts.driver()?.radio(true);
      return (await this.#connect(AbortSignal.any([signal, late.signal]))).ok;
    } finally {
      timer.cancel();
    }
  }

  #end(kind: RotationEnd['kind'], reason: string, connected: boolean): End {
    const last = this.#attempts.at(-1);
    return {
      kind,
      reason,
      method: last?.method ?? null,
      oldAddress: this.#before[0] ?? null,
      newAddress: this.#attempts.findLast(one => one.address !== null)?.address ?? null,
      attempts: [...this.#attempts],
      drain: this.#drained,
      connected,
    };
  }

  /** Ends early when it is too late anyway; the loops see that by themselves. */
  async #pause(ms: number, signal: AbortSignal = this.#signal): Promise<void> {
    try {
      await sleep(this.#parts.clock, ms, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

function aborted(message: string): Outcome<never> {
  return { ok: false, fault: { kind: 'unreachable', code: 'rotation/aborted', message } };
}
