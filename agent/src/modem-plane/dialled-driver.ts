/**
 * Around the driver of a modem on a port (AT, MBIM): opens it when somebody asks something, opens it anew after the
 * modem was away, and keeps the data connection up, which these modems do not do by themselves. It dials only while
 * nobody is busy with the modem and nobody has hung up; after refusals it waits longer each time, since carriers
 * punish those who hammer. Which driver it is, slot-driver.ts says.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type {
  Apn,
  Bearer,
  Cell,
  DataCounters,
  DataState,
  DriverEvent,
  DriverFault,
  ModemDriver,
  ModemIdentity,
  ModemStatus,
  Outcome,
  Registration,
  ShortMessage,
  Signal,
  SimState,
} from './driver';
import type { SlotDriver } from './slot-driver';

const FIRST_REDIAL_MS = 5000;
const MAX_REDIAL_MS = 5 * 60_000;
/** Codes that no waiting mends. */
const FOR_A_PERSON = new Set([
  'port/not-permitted',
  'port/in-use',
  'mbim/not-permitted',
  'mbim/device-busy',
  'mbim/not-a-device',
  'modem/no-profile',
]);
const NO_REGISTRATION: Registration = { state: 'unknown', carrier: null, plmn: null, technology: null };
export const NO_BEARER: Bearer = {
  connected: false,
  address: null,
  address6: null,
  prefixLength: null,
  gateway: null,
  dnsServers: [],
  mtu: null,
};

export interface DialledDriverOptions {
  kind: 'at' | 'mbim';
  /** Throws a CodedError when the port cannot be opened. */
  open: () => Promise<ModemDriver>;
  /** Null: what the modem or the carrier has by default. */
  apn: Apn | null;
  /** False: only asks what the modem is, whatever its data connection does. */
  dials: boolean;
  clock: Clock;
  log: Log;
  onBearer: (bearer: Bearer) => void;
  random?: () => number;
}

export class DialledDriver implements SlotDriver {
  readonly kind: 'at' | 'mbim';
  readonly #options: DialledDriverOptions;
  readonly #listeners: ((event: DriverEvent) => void)[] = [];
  readonly #backoff: Backoff;
  #inner: ModemDriver | null = null;
  #opening: Promise<Outcome<ModemDriver>> | null = null;
  /** False after somebody hung up on purpose. */
  #wanted = true;
  #radioOn = true;
  /** Verbs under way that change the connection. */
  #changing = 0;
  #dialling: Promise<void> | null = null;
  #dialFrom = Number.NEGATIVE_INFINITY;
  /** Why the last dialling failed; null when it did not. */
  #refusal: DriverFault | null = null;
  #bearer = NO_BEARER;
  #closed = false;

  constructor(options: DialledDriverOptions) {
    this.kind = options.kind;
    this.#options = options;
    this.#backoff = new Backoff({
      firstMs: FIRST_REDIAL_MS,
      maxMs: MAX_REDIAL_MS,
      ...(options.random ? { random: options.random } : {}),
    });
  }

  async status(): Promise<Outcome<ModemStatus>> {
    const sim = await this.sim();
    if (!sim.ok) return sim;
    if (sim.value.state !== 'ready') {
      this.#note(NO_BEARER);
      const data: DataState = { state: 'down', reason: 'the SIM is not ready' };
      return { ok: true, value: { data, bearer: NO_BEARER, registration: NO_REGISTRATION, sim: sim.value } };
    }
    const registration = await this.registration();
    if (!registration.ok) return registration;
    if (!this.#options.dials) {
      const data: DataState = { state: 'down', reason: 'the modem is being identified' };
      return {
        ok: true,
        value: { data, bearer: NO_BEARER, registration: registration.value, sim: sim.value },
      };
    }
    const bearer = await this.bearer();
    if (!bearer.ok && bearer.fault.kind !== 'unsupported') return bearer;
    const now = bearer.ok ? bearer.value : NO_BEARER;
    const served = registration.value.state === 'registered' || registration.value.state === 'roaming';
    if (now.connected) this.#connected();
    else if (served) this.#dialSoon();
    return {
      ok: true,
      value: { data: this.#data(now, served), bearer: now, registration: registration.value, sim: sim.value },
    };
  }

  connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    this.#wanted = true;
    return this.#change(async driver => {
      const bearer = await driver.connect(apn ?? this.#options.apn);
      if (bearer.ok) {
        this.#connected();
        this.#note(bearer.value);
      }
      return bearer;
    });
  }

  disconnect(): Promise<Outcome<void>> {
    this.#wanted = false;
    return this.#change(async driver => {
      const done = await driver.disconnect();
      if (done.ok) this.#note(NO_BEARER);
      return done;
    });
  }

  radio(on: boolean): Promise<Outcome<void>> {
    return this.#change(async driver => {
      const done = await driver.radio(on);
      if (done.ok) {
        this.#radioOn = on;
        if (!on) this.#note(NO_BEARER);
      }
      return done;
    });
  }

  reattach(method: 'mode-toggle' | 'deregister'): Promise<Outcome<void>> {
    return this.#change(async driver => {
      const done = await driver.reattach(method);
      this.#note(NO_BEARER);
      return done;
    });
  }

  reset(): Promise<Outcome<void>> {
    return this.#change(async driver => {
      const done = await driver.reset();
      if (done.ok) {
        this.#wanted = true;
        this.#radioOn = true;
        this.#note(NO_BEARER);
      }
      return done;
    });
  }

  async bearer(): Promise<Outcome<Bearer>> {
    const bearer = await this.#use(driver => driver.bearer());
    if (bearer.ok) this.#note(bearer.value);
    return bearer;
  }

  identity(): Promise<Outcome<ModemIdentity>> {
    return this.#use(driver => driver.identity());
  }

  sim(): Promise<Outcome<SimState>> {
    return this.#use(driver => driver.sim());
  }

  enterPin(pin: string): Promise<Outcome<SimState>> {
    return this.#use(driver => driver.enterPin(pin));
  }

  registration(): Promise<Outcome<Registration>> {
    return this.#use(driver => driver.registration());
  }

  signal(): Promise<Outcome<Signal>> {
    return this.#use(driver => driver.signal());
  }

  cell(): Promise<Outcome<Cell>> {
    return this.#use(driver => driver.cell());
  }

  counters(): Promise<Outcome<DataCounters>> {
    return this.#use(driver => driver.counters());
  }

  messages(): Promise<Outcome<ShortMessage[]>> {
    return this.#use(driver => driver.messages());
  }

  deleteMessage(index: string): Promise<Outcome<void>> {
    return this.#use(driver => driver.deleteMessage(index));
  }

  ussd(code: string): Promise<Outcome<string>> {
    return this.#use(driver => driver.ussd(code));
  }

  temperature(): Promise<Outcome<number | null>> {
    return this.#use(driver => driver.temperature());
  }

  /** Outlives the modem's restarts. */
  onEvent(listener: (event: DriverEvent) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listeners.length = 0;
    const opened = this.#inner ?? (await this.#opened());
    this.#inner = null;
    await opened?.close();
    await this.#dialling;
  }

  async #opened(): Promise<ModemDriver | null> {
    const opening = await this.#opening;
    return opening?.ok ? opening.value : null;
  }

  async #use<T>(work: (driver: ModemDriver) => Promise<Outcome<T>>): Promise<Outcome<T>> {
    if (this.#inner) return work(this.#inner);
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null;
    });
    const opened = await this.#opening;
    return opened.ok ? work(opened.value) : opened;
  }

  async #change<T>(work: (driver: ModemDriver) => Promise<Outcome<T>>): Promise<Outcome<T>> {
    this.#changing += 1;
    try {
      // A dialling that has begun comes to its end first: the driver would only queue behind it.
      await this.#dialling;
      return await this.#use(work);
    } finally {
      this.#changing -= 1;
    }
  }

  async #open(): Promise<Outcome<ModemDriver>> {
    const { kind, log, open } = this.#options;
    if (this.#closed)
      return failed({ kind: 'unreachable', code: `${kind}/closed`, message: 'the driver was closed' });
    try {
      const driver = await open();
      if (this.#closed) {
        await driver.close();
        return failed({
          kind: 'unreachable',
          code: `${kind}/closed`,
          message: 'the driver was closed meanwhile',
        });
      }
      this.#inner = driver;
      driver.onEvent(event => this.#hear(driver, event));
      return { ok: true, value: driver };
    } catch (error) {
      if (!(error instanceof CodedError)) log.error('a modem could not be opened', { error });
      const code = error instanceof CodedError ? error.code : `${kind}/open`;
      const message = error instanceof CodedError ? error.userMessage : messageOf(error);
      return failed({ kind: FOR_A_PERSON.has(code) ? 'locked' : 'unreachable', code, message });
    }
  }

  #hear(driver: ModemDriver, event: DriverEvent): void {
    if (this.#inner !== driver) return;
    if (event.kind === 'gone') {
      this.#inner = null;
      // After a restart it is on the air, whatever it was told before.
      this.#radioOn = true;
      this.#note(NO_BEARER);
      driver.close().catch(error => this.#options.log.warn('a modem that was gone did not close', { error }));
    }
    for (const listener of [...this.#listeners]) listener(event);
  }

  #connected(): void {
    this.#refusal = null;
    this.#backoff.reset();
  }

  #data(bearer: Bearer, served: boolean): DataState {
    if (bearer.connected) return { state: 'up', reason: '' };
    if (this.#dialling) return { state: 'changing', reason: 'connecting' };
    if (served && this.#refusal !== null) return { state: 'refused', reason: this.#refusal.message };
    return { state: 'down', reason: this.#wanted ? 'no data connection' : 'hung up' };
  }

  #dialSoon(): void {
    const { clock, dials } = this.#options;
    const free = this.#changing === 0 && this.#dialling === null && !this.#closed;
    if (!dials || !this.#wanted || !this.#radioOn || !free || clock.monotonicMs() < this.#dialFrom) return;
    this.#dialling = this.#dial().finally(() => {
      this.#dialling = null;
    });
  }

  async #dial(): Promise<void> {
    const { apn, clock, log } = this.#options;
    const bearer = await this.#use(driver => driver.connect(apn));
    if (bearer.ok) {
      this.#connected();
      this.#note(bearer.value);
      this.#tell({ kind: 'bearer', connected: true });
      return;
    }
    this.#refusal = bearer.fault;
    const waitMs = this.#backoff.nextMs();
    this.#dialFrom = clock.monotonicMs() + waitMs;
    log.info('no data connection', {
      fault: bearer.fault.code,
      reason: bearer.fault.message,
      nextTryInMs: waitMs,
    });
  }

  #tell(event: DriverEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  #note(bearer: Bearer): void {
    const now = bearer.connected ? bearer : NO_BEARER;
    if (this.#closed || JSON.stringify(now) === JSON.stringify(this.#bearer)) return;
    this.#bearer = now;
    this.#options.onBearer(now);
  }
}

function failed(fault: DriverFault): { ok: false; fault: DriverFault } {
  return { ok: false, fault };
}
