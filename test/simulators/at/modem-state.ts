/**
 * What a simulated AT modem is at this moment: SIM, radio, registration, data call, messages; and how these change with
 * time. What it says of it is the rows (rows-*.ts), how it says it the line discipline (at-modem.ts).
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { FAIR_NETWORK, type NetworkKnobs, READY_SIM, type SimKnobs } from './knobs';
import type { AtModel } from './models';

export interface StoredMessage {
  store: string;
  index: number;
  unread: boolean;
  /** With the service centre in front, as stored. */
  pdu: string;
  /** What it says, for text form and for tests. */
  sender: string;
  text: string;
  /** `24/01/31,10:20:30+12`. */
  time: string;
}

export interface Context {
  type: string;
  apn: string;
}

type Say = (line: string) => void;

export class ModemState {
  readonly model: AtModel;
  readonly clock: Clock;
  readonly random: () => number;
  network: NetworkKnobs;
  sim: SimKnobs;
  /** Emits an unasked line. */
  say: Say = () => {};
  /** Leaves the bus and comes back. */
  restart: () => void = () => {};

  cfun: 0 | 1 | 4 = 1;
  cmee: 0 | 1 | 2 = 1;
  registrationReports: Record<'+CREG' | '+CGREG' | '+CEREG' | '+C5GREG', number> = {
    '+CREG': 0,
    '+CGREG': 0,
    '+CEREG': 0,
    '+C5GREG': 0,
  };
  copsFormat = 0;
  copsOff = false;
  attached = true;
  /** As the family spells it: nwscanmode, mode_pref, or the first part of SYSCFGEX. */
  mode: string;
  registered = false;
  contexts = new Map<number, Context>();
  authentication = new Map<number, string>();
  /** Address of the default bearer; the host's call uses it. */
  address: string | null = null;
  /** The host's own data call. */
  call: 'down' | 'dialling' | 'up' = 'down';
  autoCall = false;
  chatter = true;
  netDevReports = false;
  textForm = false;
  letters = 'GSM';
  store = 'ME';
  /** Of all stores; each counts for itself. */
  messages: StoredMessage[] = [];
  bytes = { sent: 0, received: 0 };
  pukTries = 10;
  readonly poweredAtMs: number;
  readonly imei: string;
  readonly imsi: string;
  readonly iccid: string;
  #addressesGiven = 0;
  #freshIdentity = false;
  #timers = new Set<Timer>();
  #registering: Timer | null = null;
  readonly #onBearer: ((address: string | null) => Promise<void>) | undefined;
  readonly #onFailure: (error: unknown) => void;

  constructor(options: {
    model: AtModel;
    clock: Clock;
    random: () => number;
    imei?: string;
    iccid?: string;
    /** The network side of the host's data call: its address, or null when it ends. Awaited before the call is up. */
    onBearer?: (address: string | null) => Promise<void>;
    /** Hears of an `onBearer` that failed; without it that is an unhandled rejection. */
    onFailure?: (error: unknown) => void;
    network?: Partial<NetworkKnobs>;
    sim?: Partial<SimKnobs>;
  }) {
    this.model = options.model;
    this.clock = options.clock;
    this.random = options.random;
    this.imei = options.imei ?? '867962040012345';
    this.iccid = options.iccid ?? '8900101234567890123';
    this.#onBearer = options.onBearer;
    this.#onFailure =
      options.onFailure ??
      (error => {
        throw error;
      });
    this.network = { ...FAIR_NETWORK, ...options.network };
    this.sim = { ...READY_SIM, ...options.sim };
    this.imsi = `${this.network.plmn}0123456789`;
    this.contexts.set(1, { type: 'IPV4V6', apn: this.network.apn });
    this.mode = { ec25: '0', rm5xx: 'AUTO', huawei: '00', '3gpp': '' }[options.model.family];
    this.autoCall = options.model.family === 'rm5xx';
    this.poweredAtMs = this.clock.monotonicMs();
  }

  get simIsReady(): boolean {
    return this.sim.state === 'ready' && this.cfun !== 0;
  }

  get simIsBusy(): boolean {
    return this.clock.monotonicMs() - this.poweredAtMs < this.sim.busyMs;
  }

  /** Runs `work` once after `ms`, unless the modem is switched off before. */
  later(ms: number, work: () => void): Timer {
    const timer = this.clock.after(ms, () => {
      this.#timers.delete(timer);
      work();
    });
    this.#timers.add(timer);
    return timer;
  }

  powerOff(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#registering = null;
  }

  /** 3GPP access technology number of what it is registered in. */
  get accessTechnology(): number {
    const only3g = ['2', 'WCDMA', '02'].includes(this.mode);
    if (only3g) return 2;
    return this.network.nr === 'sa' && this.model.family === 'rm5xx' ? 11 : 7;
  }

  get mayRegister(): boolean {
    const { coverage, has3g } = this.network;
    const modeServed = this.accessTechnology !== 2 || has3g;
    return (
      this.cfun === 1 &&
      this.simIsReady &&
      !this.copsOff &&
      this.attached &&
      coverage === 'good' &&
      modeServed
    );
  }

  /** `<stat>` of the registration commands. */
  get registrationStat(): number {
    if (this.registered) return this.network.roaming ? 5 : 1;
    if (this.cfun !== 1 || this.copsOff) return 0;
    if (this.network.coverage === 'denied' && this.simIsReady) return 3;
    return this.simIsReady ? 2 : 0;
  }

  /** To be called after anything that registration depends on has changed. */
  review(): void {
    if (!this.mayRegister) {
      this.#registering?.cancel();
      this.#registering = null;
      if (this.registered) this.#loseRegistration();
      return;
    }
    if (this.registered || this.#registering) return;
    this.#registering = this.later(this.network.registrationDelayMs, () => {
      this.#registering = null;
      if (!this.mayRegister) return;
      this.registered = true;
      this.address = this.#pickAddress();
      this.#reportRegistration();
      if (this.autoCall) this.dial();
    });
  }

  /** Drops registration and takes it up again, as a mode change or a lost cell does. */
  reregister(): void {
    this.#registering?.cancel();
    this.#registering = null;
    if (this.registered) this.#loseRegistration();
    this.review();
  }

  forgetTemporaryIdentity(): void {
    this.#freshIdentity = true;
  }

  get storedHere(): StoredMessage[] {
    return this.messages.filter(one => one.store === this.store);
  }

  dial(): void {
    if (this.call !== 'down' || this.network.credit === 'refused') return;
    this.call = 'dialling';
    this.later(this.network.dialDelayMs, () => {
      if (this.call === 'dialling') this.#dialled();
    });
  }

  hangUp(): void {
    if (this.call === 'down') return;
    this.endCall();
    this.#reportCall();
  }

  /** Without a word, as when the modem restarts. */
  endCall(): void {
    const hadCall = this.call !== 'down';
    this.call = 'down';
    if (hadCall) this.#onBearer?.(null).catch(this.#onFailure);
  }

  /** A message arrives from the network. */
  receive(message: Omit<StoredMessage, 'index' | 'unread' | 'store'>): void {
    const store = this.model.family === 'huawei' ? 'SM' : 'ME';
    const index = Math.max(-1, ...this.messages.filter(one => one.store === store).map(one => one.index)) + 1;
    this.messages.push({ ...message, store, index, unread: true });
    this.say(`+CMTI: "${store}",${index}`);
  }

  #dialled(): void {
    if (!this.registered) {
      this.call = 'down';
      return;
    }
    if (!this.#onBearer) {
      this.#comeUp();
      return;
    }
    this.#onBearer(this.address).then(() => {
      if (this.call === 'dialling') this.#comeUp();
    }, this.#onFailure);
  }

  #comeUp(): void {
    this.call = 'up';
    this.#reportCall();
  }

  #loseRegistration(): void {
    this.registered = false;
    const hadCall = this.call === 'up';
    this.endCall();
    this.address = null;
    this.#reportRegistration();
    if (hadCall) this.#reportCall();
  }

  #reportRegistration(): void {
    for (const [name, mode] of Object.entries(this.registrationReports)) {
      if (mode === 0 || (name === '+C5GREG' && this.accessTechnology !== 11)) continue;
      const place = mode >= 2 && this.registered ? `,"DE10","5F1EA15",${this.accessTechnology}` : '';
      this.say(`${name}: ${this.registrationStat}${place}`);
    }
    if (!this.registered && this.model.family !== 'huawei') this.say('+CGEV: NW DETACH');
  }

  #reportCall(): void {
    const up = this.call === 'up';
    if (this.model.family === 'huawei' && this.chatter) this.say(`^NDISSTAT:${up ? 1 : 0},,,"IPV4"`);
    if (this.netDevReports && this.model.family !== 'huawei') this.say(`+QNETDEVSTATUS: 1,${up ? 2 : 0},4,1`);
  }

  #pickAddress(): string {
    const { addresses, stickiness } = this.network;
    const sticks = this.#addressesGiven > 0 && !this.#freshIdentity && this.random() < stickiness;
    this.#freshIdentity = false;
    if (!sticks) this.#addressesGiven += 1;
    return addresses[(this.#addressesGiven - 1) % addresses.length] ?? '10.0.0.1';
  }
}
