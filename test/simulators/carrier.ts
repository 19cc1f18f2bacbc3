/**
 * The network operator behind one virtual modem: registration, the data connection and the public address that comes
 * with it. What an address means on the wire (NAT rules, routes) is the `apply` of the kind in use; the HiLink API
 * that tells of it is `hilink-modem.ts`.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';

/** ConnectionStatus of the HiLink API. */
export const CONNECTING = 900;
export const CONNECTED = 901;
export const DISCONNECTED = 902;

/** What the network has to do for the modem now. */
export interface CarrierLink {
  /** Public address of the modem's traffic; null while there is no data connection. */
  address: string | null;
  /** IPv6 address that the modem itself has, without any NAT; null where it has none. */
  address6: string | null;
  /** False: connected by its own word, but nothing is carried. */
  carries: boolean;
  /** The same of IPv6 alone. */
  carries6: boolean;
  /** False: whatever the SIM asks, a page of the carrier's that wants money answers. */
  credit: boolean;
}

export interface CarrierOptions {
  pool: readonly string[];
  /** IPv6 addresses, each in a /64 of its own, which change with the others; left out: none. */
  pool6?: readonly string[];
  clock: Clock;
  apply: (link: CarrierLink) => Promise<void>;
  /** Called when `apply` fails outside a request; the virtual network is broken then. */
  onFailure: (error: unknown) => void;
  registrationDelayMs: number;
  connectDelayMs: number;
}

export interface CarrierStatus {
  registered: boolean;
  connection: typeof CONNECTING | typeof CONNECTED | typeof DISCONNECTED;
  dataSwitch: boolean;
  address: string | null;
  address6: string | null;
  /** Data connections and address changes so far. */
  sessions: number;
  carries: boolean;
  credit: boolean;
  sticky: boolean;
  /** Whoever is back sooner than this after hanging up gets the same address again. */
  holdsAddressMs: number;
  pool: readonly string[];
  registrationDelayMs: number;
  connectDelayMs: number;
}

/** Whoever dials more often than `times` within `withinMs` waits so much longer for a connection. */
export interface Throttle {
  times: number;
  withinMs: number;
  penaltyMs: number;
}

export class VirtualCarrier {
  readonly #options: CarrierOptions;
  #registered = false;
  #connection: CarrierStatus['connection'] = DISCONNECTED;
  #dataSwitch = true;
  #carries = true;
  #throttle: Throttle | null = null;
  #dialled: number[] = [];
  #credit = true;
  #sticky = false;
  #holdsAddressMs = 0;
  #hungUpAt = Number.NEGATIVE_INFINITY;
  #next = 0;
  #sessions = 0;
  #address: string | null = null;
  #address6: string | null = null;
  #carries6 = true;
  #registrationDelayMs: number;
  #connectDelayMs: number;
  #timer: Timer | undefined;
  /** Changes of the network, one after the other. */
  #applied: Promise<void> = Promise.resolve();

  constructor(options: CarrierOptions) {
    this.#options = options;
    this.#registrationDelayMs = options.registrationDelayMs;
    this.#connectDelayMs = options.connectDelayMs;
  }

  /** Power on: registers, then connects by itself, as a stick in automatic mode does. */
  async powerOn(): Promise<void> {
    await this.#apply();
    this.register();
  }

  register(): void {
    this.#timer?.cancel();
    this.#registered = false;
    this.#timer = this.#options.clock.after(this.#registrationDelayMs, () => {
      this.#registered = true;
      if (this.#dataSwitch) this.dial();
    });
  }

  status(): CarrierStatus {
    return {
      registered: this.#registered,
      connection: this.#connection,
      dataSwitch: this.#dataSwitch,
      address: this.#address,
      address6: this.#address6,
      sessions: this.#sessions,
      carries: this.#carries,
      credit: this.#credit,
      sticky: this.#sticky,
      holdsAddressMs: this.#holdsAddressMs,
      pool: this.#options.pool,
      registrationDelayMs: this.#registrationDelayMs,
      connectDelayMs: this.#connectDelayMs,
    };
  }

  /** 902 → 900, and 901 with an address after the delay. Harmless when it is connecting or connected. */
  dial(): void {
    if (!this.#registered || this.#connection !== DISCONNECTED) return;
    this.#connection = CONNECTING;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(this.#connectDelayMs + this.#penalty(), () => {
      this.#address = this.#pick();
      this.#sessions += 1;
      this.#apply().then(() => {
        if (this.#connection === CONNECTING) this.#connection = CONNECTED;
      }, this.#options.onFailure);
    });
  }

  /** For modems that dial by themselves: a data connection at once, with the next address. */
  async attach(): Promise<void> {
    this.#timer?.cancel();
    this.#registered = true;
    this.#connection = CONNECTED;
    this.#address = this.#pick();
    this.#address6 = this.#sixth();
    this.#sessions += 1;
    await this.#apply();
  }

  /** 902: the address is gone and nothing is carried. */
  async hangUp(): Promise<void> {
    this.#timer?.cancel();
    this.#connection = DISCONNECTED;
    if (this.#address !== null) this.#hungUpAt = this.#options.clock.monotonicMs();
    this.#address = null;
    this.#address6 = null;
    await this.#apply();
  }

  /** The "mobile data" switch, which outlives a hang-up. */
  async switchData(on: boolean): Promise<void> {
    this.#dataSwitch = on;
    if (on) this.dial();
    else await this.hangUp();
  }

  /** Gives another address at once: `next`, or one of the pool. Needs a connection. */
  async moveTo(address: string): Promise<void> {
    if (this.#connection !== CONNECTED)
      throw new CodedError(
        'simulator/not-connected',
        'address: the modem has no data connection to change it on',
      );
    if (address !== 'next' && !this.#options.pool.includes(address))
      throw new CodedError(
        'simulator/not-in-pool',
        `address: must be "next" or one of ${this.#options.pool.join(', ')}`,
      );
    if (address !== 'next') this.#next = this.#options.pool.indexOf(address);
    this.#address = this.#take();
    await this.#apply();
  }

  /** Keeps the session but carries nothing (or carries again): the failure that modems do not admit. */
  async setCarries(carries: boolean): Promise<void> {
    this.#carries = carries;
    await this.#apply();
  }

  /** The same of IPv6, while IPv4 goes on. */
  async setCarries6(carries: boolean): Promise<void> {
    this.#carries6 = carries;
    await this.#apply();
  }

  /** The SIM's money is used up, or it was topped up. */
  async setCredit(credit: boolean): Promise<void> {
    this.#credit = credit;
    await this.#apply();
  }

  set(knobs: {
    throttle?: Throttle | null;
    sticky?: boolean;
    holdsAddressMs?: number;
    registrationDelayMs?: number;
    connectDelayMs?: number;
  }): void {
    if (knobs.throttle !== undefined) this.#throttle = knobs.throttle;
    if (knobs.holdsAddressMs !== undefined) this.#holdsAddressMs = knobs.holdsAddressMs;
    if (knobs.sticky !== undefined) this.#sticky = knobs.sticky;
    if (knobs.registrationDelayMs !== undefined) this.#registrationDelayMs = knobs.registrationDelayMs;
    if (knobs.connectDelayMs !== undefined) this.#connectDelayMs = knobs.connectDelayMs;
  }

  /** Stops its timer and waits for changes under way. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#applied;
  }

  #penalty(): number {
    if (this.#throttle === null) return 0;
    const { times, withinMs, penaltyMs } = this.#throttle;
    const now = this.#options.clock.monotonicMs();
    this.#dialled = [...this.#dialled.filter(at => now - at < withinMs), now];
    return this.#dialled.length > times ? penaltyMs : 0;
  }

  /** Sticky CGNAT gives the last address again; others give the next of the pool. */
  #pick(): string | null {
    const pool = this.#options.pool;
    const soon = this.#options.clock.monotonicMs() - this.#hungUpAt < this.#holdsAddressMs;
    if ((this.#sticky || soon) && this.#next > 0) return pool[(this.#next - 1) % pool.length] ?? null;
    return this.#take();
  }

  #take(): string | null {
    const address = this.#options.pool[this.#next % this.#options.pool.length] ?? null;
    this.#next += 1;
    return address;
  }

  /** Of the same place in its pool as the address that was taken last. */
  #sixth(): string | null {
    const { pool, pool6 = [] } = this.#options;
    return pool6[(this.#next - 1) % pool.length] ?? null;
  }

  #apply(): Promise<void> {
    const link = {
      ...{ address: this.#address, carries: this.#carries, credit: this.#credit },
      ...{ address6: this.#address6, carries6: this.#carries6 },
    };
    const done = this.#applied.then(() => this.#options.apply(link));
    this.#applied = done.catch(() => undefined);
    return done;
  }
}
