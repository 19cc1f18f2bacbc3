/**
 * A simulated MBIM modem with its SIM and carrier: registration, packet service, data connection, messages, USSD. It
 * is the state behind the answers (`answers.ts`) and knows no bytes; `connection.ts` speaks for it. What it does unasked it
 * tells by `onIndication`. Reproducible by its seed.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { seeded } from '../../support/random';
import { DEFAULT_KNOBS, type MbimKnobs } from './knobs';

export interface MbimIdentity {
  imei: string;
  model: string;
  firmware: string;
  imsi: string;
  iccid: string;
  number: string;
}

export interface MbimCarrier {
  plmn: string;
  name: string;
  /** Addresses that data connections get, one after the other. */
  pool: readonly string[];
  address6: string | null;
  dnsServers: readonly string[];
  dnsServers6: readonly string[];
  mtu: number;
}

export interface UssdEntry {
  text: string;
  /** Data coding of the answer: 0x0f is GSM 7-bit, 0x48 is UCS2. */
  coding: 0x0f | 0x48;
  /** MBIM's response number: 0 done, 1 wants a choice, 2 ended by the network, 5 no answer, … */
  response: number;
}

export interface StoredSms {
  index: number;
  /** 0 new, 1 old, 2 draft, 3 sent. */
  status: number;
  pdu: Buffer;
}

export interface MbimModemOptions {
  clock: Clock;
  seed: number;
  identity?: Partial<MbimIdentity>;
  carrier?: Partial<MbimCarrier>;
  knobs?: Partial<MbimKnobs>;
  ussd?: Record<string, UssdEntry>;
  /** The network side of a data connection: its address, or null when it ends. Awaited before the modem answers. */
  onBearer?: (address: string | null) => Promise<void>;
}

export type Change =
  | 'subscriber'
  | 'radio'
  | 'register'
  | 'packet-service'
  | 'connect'
  | { sms: 'new' | 'full'; index: number }
  | { ussd: UssdEntry };

export type Refused = { refused: number; cause?: number };

const STORE_SIZE = 40;
const RESET_AFTER_MS = 50;
const HIGHEST_FIRST = [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01];

export const REGISTER = { deregistered: 1, searching: 2, home: 3, roaming: 4, denied: 6 } as const;
export const PACKET = { attached: 2, detached: 4 } as const;
export const ACTIVATION = { activated: 1, activating: 2, deactivated: 3 } as const;

export class MbimModem {
  readonly knobs: MbimKnobs;
  readonly identity: MbimIdentity;
  readonly carrier: MbimCarrier;
  readonly clock: Clock;
  readonly random: () => number;
  /** What a host asked that this modem does not know, or asked wrongly: a test that caused one has failed. */
  readonly faults: string[] = [];
  /** Names of the facts that replies rested on, for whoever wants to know what was exercised. */
  readonly exercised = new Set<string>();
  readonly sms: StoredSms[] = [];
  radioOn = true;
  register: number = REGISTER.deregistered;
  registerCause = 0;
  packet: number = PACKET.detached;
  activation: number = ACTIVATION.deactivated;
  activationCause = 0;
  address: string | null = null;
  rxBytes = 0;
  txBytes = 0;
  /** Access strings, user names and IP types that hosts connected with. */
  readonly connects: { accessString: string; username: string; authentication: number; ipType: number }[] =
    [];
  pinsTried = 0;
  #allowedDataClasses = 0;
  #nextAddress = 0;
  #search: Timer | undefined;
  readonly #timers = new Set<Timer>();
  readonly #ussd: Record<string, UssdEntry>;
  #ussdOpen = false;
  readonly #onBearer: (address: string | null) => Promise<void>;
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #vanishers = new Set<() => void>();

  constructor(options: MbimModemOptions) {
    this.clock = options.clock;
    this.random = seeded(options.seed);
    this.knobs = { ...DEFAULT_KNOBS, ...options.knobs };
    this.identity = {
      imei: '867394040000123',
      model: 'RM520N-GL',
      firmware: 'RM520NGLAAR03A03M4G',
      imsi: '250010123456789',
      iccid: '8970101234567890123',
      number: '+79161234567',
      ...options.identity,
    };
    this.carrier = {
      plmn: '25001',
      name: 'MTS RUS',
      pool: ['10.64.1.2', '10.64.1.6', '10.64.1.10', '10.64.1.14'],
      address6: null,
      dnsServers: ['8.8.8.8', '1.1.1.1'],
      dnsServers6: ['2001:4860:4860:0:0:0:0:8888'],
      mtu: 1500,
      ...options.carrier,
    };
    this.#ussd = options.ussd ?? {
      '*100#': { text: 'Balance: 12.50 EUR. Tariff [M] until 30.11.', coding: 0x0f, response: 0 },
    };
    this.#onBearer = options.onBearer ?? (async () => undefined);
    this.look();
  }

  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called when the modem leaves the bus: reset, or `vanish()`. */
  onVanish(listener: () => void): () => void {
    this.#vanishers.add(listener);
    return () => this.#vanishers.delete(listener);
  }

  /** Throws what hosts asked wrongly. */
  assertNoFaults(): void {
    if (this.faults.length > 0)
      throw new Error(`the modem was asked wrongly:\n  ${this.faults.join('\n  ')}`);
  }

  get simReady(): boolean {
    return this.knobs.sim === 'ready';
  }

  get registered(): boolean {
    return this.register === REGISTER.home || this.register === REGISTER.roaming;
  }

  /** Data class bits in use. */
  get dataClass(): number {
    const classes = this.#classes();
    return this.registered ? (HIGHEST_FIRST.find(bit => (classes & bit) !== 0) ?? 0) : 0;
  }

  /** Looks for a network if SIM and radio allow it; drops the one it has. */
  look(): void {
    this.#search?.cancel();
    const couldHave = this.simReady && this.radioOn && !this.knobs.hardwareRadioOff;
    this.#setRegister(couldHave ? REGISTER.searching : REGISTER.deregistered, 0);
    if (!couldHave || this.knobs.registration === 'never') return;
    const found = () => {
      const { registration, denialCause } = this.knobs;
      if (this.#classes() === 0) return;
      if (registration === 'denied') return this.#setRegister(REGISTER.denied, denialCause);
      this.#setRegister(registration === 'roaming' ? REGISTER.roaming : REGISTER.home, 0);
      this.#setPacket(PACKET.attached);
    };
    // With no delay it has a network before anybody can ask, as a modem that was on all the time.
    if (this.knobs.registrationDelayMs === 0) found();
    else this.#search = this.clock.after(this.knobs.registrationDelayMs, found);
  }

  setRadio(on: boolean): void {
    if (this.radioOn === on) return;
    this.radioOn = on;
    this.#tell('radio');
    this.look();
  }

  /** Automatic choice among these data classes; 0 allows all. */
  allow(dataClasses: number): void {
    this.#allowedDataClasses = dataClasses;
    this.look();
  }

  attach(): Refused | undefined {
    if (!this.registered) return { refused: 7 };
    this.#setPacket(PACKET.attached);
    return undefined;
  }

  detach(): void {
    this.#setPacket(PACKET.detached);
  }

  async activate(): Promise<Refused | undefined> {
    if (this.activation === ACTIVATION.activated) return { refused: 13 };
    if (!this.radioOn || this.knobs.hardwareRadioOff) return { refused: 20 };
    if (!this.registered) return { refused: 7 };
    if (this.packet !== PACKET.attached) return { refused: 12 };
    if (this.knobs.connectStyle === 'activating') {
      this.activation = ACTIVATION.activating;
      this.#after(this.knobs.connectDelayMs, () => {
        this.#bringUp().catch(error => this.faults.push(`the carrier failed: ${error}`));
      });
      return undefined;
    }
    if (this.knobs.connectDelayMs > 0)
      await new Promise<void>(resolve => this.#after(this.knobs.connectDelayMs, resolve));
    await this.#bringUp();
    return this.activationCause === 0 ? undefined : { refused: 2, cause: this.activationCause };
  }

  /** False when there was none. */
  async deactivate(): Promise<boolean> {
    if (this.activation === ACTIVATION.deactivated) return false;
    this.#drop();
    await this.#onBearer(null);
    return true;
  }

  /** As if the host's traffic had flowed. */
  carry(bytes: { rx: number; tx: number }): void {
    this.rxBytes += bytes.rx;
    this.txBytes += bytes.tx;
  }

  enterPin(pin: string): boolean {
    this.pinsTried += 1;
    if (pin === this.knobs.pin) {
      this.changeSim('ready');
      return true;
    }
    this.knobs.pinTriesLeft -= 1;
    if (this.knobs.pinTriesLeft <= 0) this.changeSim('puk');
    return false;
  }

  /** The SIM becomes something else: pulled, put in, unlocked. */
  changeSim(sim: MbimKnobs['sim']): void {
    this.knobs.sim = sim;
    this.#tell('subscriber');
    this.look();
  }

  /** A message arrives from the network; null when the store is full. */
  receive(pdu: Buffer): number | null {
    if (this.sms.length >= STORE_SIZE) {
      this.#tell({ sms: 'full', index: 0 });
      return null;
    }
    let index = 0;
    while (this.sms.some(one => one.index === index)) index += 1;
    this.sms.push({ index, status: 0, pdu });
    this.#tell({ sms: 'new', index });
    return index;
  }

  /** Sends a code to the network; its answer is an indication. */
  startUssd(code: string): Refused | undefined {
    if (!this.registered) return { refused: 7 };
    if (this.#ussdOpen) return { refused: 1 };
    const entry = this.#ussd[code] ?? { text: '', coding: 0x0f as const, response: 4 };
    this.#ussdOpen = entry.response === 1;
    this.#after(this.knobs.ussdDelayMs, () => this.#tell({ ussd: entry }));
    return undefined;
  }

  cancelUssd(): void {
    this.#ussdOpen = false;
  }

  get ussdOpen(): boolean {
    return this.#ussdOpen;
  }

  /** Answers first, then leaves the bus. */
  reset(): void {
    this.#after(RESET_AFTER_MS, () => this.vanish());
  }

  /** Off the bus without a word; what is in the air is dropped, messages and SIM stay. */
  vanish(): void {
    this.#search?.cancel();
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#ussdOpen = false;
    this.#allowedDataClasses = 0;
    this.radioOn = true;
    this.packet = PACKET.detached;
    if (this.activation !== ACTIVATION.deactivated)
      this.#onBearer(null).catch(error => this.faults.push(`the carrier failed: ${error}`));
    this.activation = ACTIVATION.deactivated;
    this.register = REGISTER.deregistered;
    this.address = null;
    for (const vanisher of [...this.#vanishers]) vanisher();
  }

  /** Frees its timers. */
  close(): void {
    this.#search?.cancel();
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  async #bringUp(): Promise<void> {
    this.activationCause = this.knobs.connectCause;
    if (this.activationCause !== 0) {
      this.activation = ACTIVATION.deactivated;
      this.#tell('connect');
      return;
    }
    if (!this.knobs.sticky || this.#nextAddress === 0) this.#nextAddress += 1;
    const address = this.carrier.pool[(this.#nextAddress - 1) % this.carrier.pool.length] ?? null;
    await this.#onBearer(address);
    this.address = address;
    this.rxBytes = 0;
    this.txBytes = 0;
    this.activation = ACTIVATION.activated;
    this.#tell('connect');
  }

  #drop(): void {
    this.activation = ACTIVATION.deactivated;
    this.activationCause = 0;
    this.address = null;
    this.#tell('connect');
  }

  #classes(): number {
    const allowed = this.#allowedDataClasses === 0 ? 0xff : this.#allowedDataClasses;
    return this.knobs.availableDataClasses & allowed & 0xff;
  }

  #setRegister(state: number, cause: number): void {
    const changed = this.register !== state || this.registerCause !== cause;
    this.register = state;
    this.registerCause = cause;
    if (changed) this.#tell('register');
    if (!this.registered) this.#setPacket(PACKET.detached);
  }

  #setPacket(state: number): void {
    if (this.packet === state) return;
    this.packet = state;
    this.#tell('packet-service');
    if (state === PACKET.detached && this.activation !== ACTIVATION.deactivated) {
      this.#drop();
      this.#onBearer(null).catch(error => this.faults.push(`the carrier failed: ${error}`));
    }
  }

  #after(ms: number, run: () => void): void {
    const timer = this.clock.after(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }

  #tell(change: Change): void {
    for (const listener of [...this.#listeners]) listener(change);
  }
}
