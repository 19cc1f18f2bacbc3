/**
 * Keeps looking at one modem through its driver, and holds what it last said: status, identity, carrier. Nothing that
 * a modem does or fails to do throws here. What the facts mean is slot-state.ts.
 */
import { type Clock, sleep, type Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type { DriverEvent, ModemDriver, ModemIdentity, ModemStatus, Outcome, Registration } from './driver';
import type { SlotDriver } from './slot-driver';
import { API_PATIENCE, type ApiFacts } from './slot-state';

/** Between two looks at a modem that is well and carries flows; sticks are slow when asked more often. */
export const POLL_MS = 5000;
/** The same while it carries none: nobody is kept waiting by what is known a little later. */
export const REST_POLL_MS = 10_000;
/** While it is on its way up, or may be dead. */
export const EAGER_POLL_MS = 1000;
/** How long a modem is looked at eagerly after its beginning, and after it was told to do something. */
const EAGER_FOR_MS = 30_000;
const IDENTITY_EVERY_MS = 10 * 60_000;
/** After a word that the modem said unasked; words come in swarms. */
const EVENT_POLL_MS = 200;
/** A look that takes longer is given up: its driver has deadlines of its own, which all together are shorter. */
const LOOK_DEADLINE_MS = 60_000;
/** Why a deadline is called off; without a reason Node makes an error, with a stack, each time. */
const IN_TIME = 'in time';

export const NO_IDENTITY: ModemIdentity = {
  imei: null,
  model: null,
  firmware: null,
  imsi: null,
  iccid: null,
};

export interface ModemWatchOptions {
  /** Closed with the watch. */
  driver: SlotDriver;
  clock: Clock;
  log: Log;
  /** After each look, with what was known before it. */
  onLook: (before: ModemStatus | null) => void;
}

export class ModemWatch {
  readonly #options: ModemWatchOptions;
  readonly #abort = new AbortController();
  #api: ApiFacts = { kind: 'unasked' };
  #identity = NO_IDENTITY;
  #identityAt = Number.NEGATIVE_INFINITY;
  #registration: Registration | null = null;
  #eagerUntil: number;
  /** Until somebody says otherwise. */
  #inUse = true;
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** When the next look is due. */
  #dueAt = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: ModemWatchOptions) {
    this.#options = options;
    this.#eagerUntil = options.clock.monotonicMs() + EAGER_FOR_MS;
    this.#lookAfter(0);
    // A stick's web API is polled; its events are what a poll has found.
    if (options.driver.kind !== 'hilink') options.driver.onEvent(event => this.#hear(event));
  }

  get driver(): ModemDriver {
    return this.#options.driver;
  }

  api(): ApiFacts {
    return this.#api;
  }

  identity(): ModemIdentity {
    return this.#identity;
  }

  /** With the carrier's name where the modem tells it; null while it is not registered. */
  registration(): Registration | null {
    return this.#registration;
  }

  /** What it said last, however long ago. */
  status(): ModemStatus | null {
    if (this.#api.kind === 'answered') return this.#api.status;
    return this.#api.kind === 'failing' ? this.#api.last : null;
  }

  /** Looks now, or joins the look that is under way; never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#abort.signal.aborted) return;
      this.#lookedAt = this.#options.clock.monotonicMs();
      this.#lookAfter(this.#pauseMs());
    });
    return this.#looking;
  }

  /** Whether flows go through it; asked for every few seconds. */
  noteUse(inUse: boolean): void {
    if (inUse === this.#inUse) return;
    this.#inUse = inUse;
    if (!inUse || this.#looking !== undefined || this.#abort.signal.aborted) return;
    const now = this.#options.clock.monotonicMs();
    const dueAt = Math.max(now, this.#lookedAt + this.#pauseMs());
    // One that is due sooner, for what was done to the modem or what it said, is not put off.
    if (dueAt < this.#dueAt) this.#lookAfter(dueAt - now);
  }

  /** Something was done to the modem: it is asked more often for a while, and for its identity again. */
  beEager(): void {
    this.#eagerUntil = this.#options.clock.monotonicMs() + EAGER_FOR_MS;
    this.#identityAt = Number.NEGATIVE_INFINITY;
    if (this.#looking !== undefined || this.#abort.signal.aborted) return;
    this.#lookAfter(EAGER_POLL_MS);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#timer?.cancel();
    await this.#options.driver.close();
  }

  /** What the modem says unasked is looked at soon, and believed only then. */
  #hear(event: DriverEvent): void {
    if (event.kind === 'message-received' || this.#looking !== undefined || this.#abort.signal.aborted)
      return;
    this.#lookAfter(EVENT_POLL_MS);
  }

  #lookAfter(ms: number): void {
    this.#timer?.cancel();
    this.#dueAt = this.#options.clock.monotonicMs() + ms;
    this.#timer = this.#options.clock.after(ms, () => void this.look());
  }

  #pauseMs(): number {
    const api = this.#api;
    const eager = this.#options.clock.monotonicMs() < this.#eagerUntil;
    if (api.kind === 'answered' && api.status.data.state === 'up')
      return this.#inUse || eager ? POLL_MS : REST_POLL_MS;
    // Whether it is dead has to be known soon; one that is known to be dead can wait.
    const doubtful =
      api.kind === 'failing' && api.fault.kind === 'unreachable' && api.failures < API_PATIENCE;
    return doubtful || eager ? EAGER_POLL_MS : POLL_MS;
  }

  async #look(): Promise<void> {
    const before = this.status();
    const answer = await this.#ask();
    if (this.#abort.signal.aborted) return;
    if (answer.ok) {
      this.#api = { kind: 'answered', status: answer.value };
      const connected = answer.value.data.state === 'up';
      if (connected && before?.data.state !== 'up') {
        // A new connection may have a new identity behind it, too: another stick in the same slot.
        this.#identityAt = Number.NEGATIVE_INFINITY;
        this.#registration = null;
      }
      await this.#inTime(this.#refresh(answer.value), () => undefined);
    } else {
      const failures = this.#api.kind === 'failing' ? this.#api.failures + 1 : 1;
      this.#api = { kind: 'failing', fault: answer.fault, failures, last: before };
    }
    if (!this.#abort.signal.aborted) this.#options.onLook(before);
  }

  async #ask(): Promise<Outcome<ModemStatus>> {
    try {
      return await this.#inTime(this.#status(), () =>
        failing('watch/too-slow', `no answer within ${LOOK_DEADLINE_MS / 1000} s`),
      );
    } catch (error) {
      this.#options.log.error('looking at the modem broke', { error });
      return failing('watch/broken', messageOf(error));
    }
  }

  /** What `work` gives, or `late` when that takes too long. */
  async #inTime<T>(work: Promise<T>, late: () => T): Promise<T> {
    const over = new AbortController();
    const deadline = sleep(this.#options.clock, LOOK_DEADLINE_MS, over.signal).then(late, late);
    try {
      return await Promise.race([work, deadline]);
    } finally {
      over.abort(IN_TIME);
    }
  }

  async #status(): Promise<Outcome<ModemStatus>> {
    const { driver } = this.#options;
    const status = await driver.status();
    // A stick calls a SIM that is locked merely invalid: asked for the SIM itself, it knows better.
    if (!status.ok || status.value.data.state === 'up' || status.value.sim.state !== 'failed') return status;
    const sim = await driver.sim();
    return sim.ok ? { ok: true, value: { ...status.value, sim: sim.value } } : status;
  }

  async #refresh(status: ModemStatus): Promise<void> {
    const { driver } = this.#options;
    const now = this.#options.clock.monotonicMs();
    const isKnown = now - this.#identityAt < IDENTITY_EVERY_MS;
    if (!isKnown) {
      const identity = await driver.identity();
      if (identity.ok) {
        this.#identity = identity.value;
        this.#identityAt = now;
      }
    }
    const registered = status.registration.state === 'registered' || status.registration.state === 'roaming';
    if (!registered) this.#registration = null;
    else if (this.#registration === null || !isKnown) {
      const registration = await driver.registration();
      if (registration.ok) this.#registration = registration.value;
    }
  }
}

function failing(
  code: string,
  message: string,
): { ok: false; fault: { kind: 'unreachable'; code: string; message: string } } {
  return { ok: false, fault: { kind: 'unreachable', code, message } };
}
