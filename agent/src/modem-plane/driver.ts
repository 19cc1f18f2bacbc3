/**
 * The one contract that every modem driver obeys, whatever it speaks (HiLink, AT, MBIM). Only types. A driver
 * serializes its own requests, gives each a deadline, and turns what a modem says into these values; what to do about
 * them is the machine's business (machine.ts), when to do it the supervisor's.
 *
 * No verb changes an identity (IMEI), and no verb tries a PIN twice.
 */

/** A fault a driver reports. `kind` is what the machine decides by; `code` keeps the modem's own number. */
export type DriverFault =
  /** The other side did not answer in time, or the port is gone. */
  | { kind: 'unreachable'; code: string; message: string }
  /** Alive, but busy (registering, scanning, booting): ask again later. */
  | { kind: 'busy'; code: string; message: string }
  /** This model or firmware cannot do that: never ask again. */
  | { kind: 'unsupported'; code: string; message: string }
  /** Log-in, PIN, PUK or rights: a person has to act. */
  | { kind: 'locked'; code: string; message: string }
  /** It answered with an error, or with something that made no sense. */
  | { kind: 'failed'; code: string; message: string };

export type Outcome<T> = { ok: true; value: T } | { ok: false; fault: DriverFault };

export interface ModemIdentity {
  imei: string | null;
  model: string | null;
  firmware: string | null;
  imsi: string | null;
  iccid: string | null;
}

export type SimState =
  | { state: 'ready' }
  | { state: 'absent' }
  | { state: 'pin-needed'; triesLeft: number | null }
  | { state: 'puk-needed'; triesLeft: number | null }
  | { state: 'failed'; reason: string };

export interface Registration {
  state: 'registered' | 'roaming' | 'searching' | 'denied' | 'not-searching' | 'unknown';
  /** Carrier's name and PLMN ("26201"); null while unknown. */
  carrier: string | null;
  plmn: string | null;
  technology: '2g' | '3g' | '4g' | '5g-nsa' | '5g-sa' | null;
}

/** Each in its own unit; null where the technology or the model has none. */
export interface Signal {
  rssiDbm: number | null;
  rsrpDbm: number | null;
  rsrqDb: number | null;
  sinrDb: number | null;
}

export interface Cell {
  cellId: string | null;
  pci: number | null;
  /** EARFCN or NR-ARFCN. */
  channel: number | null;
  band: string | null;
}

export interface Bearer {
  connected: boolean;
  /** Address inside the carrier's network; says nothing about the exit address. */
  address: string | null;
  address6: string | null;
  prefixLength: number | null;
  gateway: string | null;
  dnsServers: string[];
  mtu: number | null;
}

export interface Apn {
  name: string;
  username: string;
  password: string;
  authentication: 'none' | 'pap' | 'chap';
  ipType: 'ipv4' | 'ipv6' | 'ipv4v6';
}

/** Since the bearer came up; may restart at zero with it. */
export interface DataCounters {
  rxBytes: number;
  txBytes: number;
}

export interface ShortMessage {
  index: string;
  sender: string;
  /** UTC epoch milliseconds; null when the modem's text cannot be placed. */
  receivedAt: number | null;
  text: string;
  unread: boolean;
}

/** Everything that one poll tells, whatever the modem speaks. */
export interface ModemStatus {
  data: DataState;
  bearer: Bearer;
  registration: Registration;
  sim: SimState;
}

/** `changing`: on its way up or down; `refused`: it was tried and the network or the modem said no. */
export interface DataState {
  state: 'up' | 'changing' | 'down' | 'refused';
  /** Why it is not up, for people; empty when it is. */
  reason: string;
}

export interface ModemDriver {
  readonly kind: 'hilink' | 'at' | 'mbim';
  identity(): Promise<Outcome<ModemIdentity>>;
  sim(): Promise<Outcome<SimState>>;
  /** Tries a PIN once; a wrong one is never tried again until a person gives another. */
  enterPin(pin: string): Promise<Outcome<SimState>>;
  registration(): Promise<Outcome<Registration>>;
  signal(): Promise<Outcome<Signal>>;
  cell(): Promise<Outcome<Cell>>;
  bearer(): Promise<Outcome<Bearer>>;
  connect(apn: Apn | null): Promise<Outcome<Bearer>>;
  disconnect(): Promise<Outcome<void>>;
  counters(): Promise<Outcome<DataCounters>>;
  radio(on: boolean): Promise<Outcome<void>>;
  /** Drops the registration and takes it up again (network-mode toggle, re-attach), as the profile's method says. */
  reattach(method: 'mode-toggle' | 'deregister'): Promise<Outcome<void>>;
  /** Restarts the modem; the transport goes away and comes back. */
  reset(): Promise<Outcome<void>>;
  messages(): Promise<Outcome<ShortMessage[]>>;
  deleteMessage(index: string): Promise<Outcome<void>>;
  /** A USSD code of the SIM's own carrier (balance, notices). */
  ussd(code: string): Promise<Outcome<string>>;
  /** Degrees Celsius. */
  temperature(): Promise<Outcome<number | null>>;
  /** What the modem says unasked: registration, signal, SIM, new message, gone. */
  onEvent(listener: (event: DriverEvent) => void): void;
  close(): Promise<void>;
}

export type DriverEvent =
  | { kind: 'registration'; registration: Registration }
  | { kind: 'bearer'; connected: boolean }
  | { kind: 'sim'; sim: SimState }
  | { kind: 'message-received' }
  | { kind: 'gone'; reason: string };
