/**
 * How a simulated AT modem is to misbehave, all in one place, each off by default. The same seed gives the same
 * noise, the same splits and the same stickiness.
 */
export interface AtKnobs {
  seed: number;
  /** Echo at power-on; modems ship with it on. */
  echo: boolean;
  /** Results as digits (V0) at power-on. */
  numericResults: boolean;
  /** Value of CMEE at power-on: 0 bare ERROR, 1 numbers, 2 text. */
  cmee: 0 | 1 | 2;
  /** Answers every error as text, whatever CMEE says (firmware that ignores it). */
  errorsAsText: boolean;
  /** Added to the time of every command. */
  replyDelayMs: number;
  /** Takes bytes and never answers. */
  hang: boolean;
  /** Unanswered after power-on, as while booting. */
  bootSilenceMs: number;
  /** Somebody left it waiting for the text of a message. */
  atPrompt: boolean;
  /** Share of replies with a line of noise before them. */
  noiseLines: number;
  /** Share of reply lines in which one byte is damaged. */
  damagedLines: number;
  /** Share of gaps, between echo, lines and result of a reply, into which an unasked message falls. */
  urcStorm: number;
  /** A line of so many bytes before every reply; 0 for none. */
  longLineBytes: number;
  /** Output in pieces of up to this many bytes; 0 for whole. */
  splitBytes: number;
  /** Answers a command with the lines of its reply but without a final result. */
  forgetsResultOf: string[];
  /** PDU form of messages is refused, as on some old firmware. */
  noPduForm: boolean;
}

export const CALM: AtKnobs = {
  seed: 1,
  echo: true,
  numericResults: false,
  cmee: 1,
  errorsAsText: false,
  replyDelayMs: 0,
  hang: false,
  bootSilenceMs: 0,
  atPrompt: false,
  noiseLines: 0,
  damagedLines: 0,
  urcStorm: 0,
  longLineBytes: 0,
  splitBytes: 0,
  forgetsResultOf: [],
  noPduForm: false,
};

/** What the network around the modem does. */
export interface NetworkKnobs {
  registrationDelayMs: number;
  dialDelayMs: number;
  /** Longest part of a scan for carriers; real ones take up to 180 s. */
  scanMs: number;
  ussdDelayMs: number;
  /** `denied`: the carrier refuses the SIM; `none`: no coverage. */
  coverage: 'good' | 'denied' | 'none';
  roaming: boolean;
  /** `refused`: no data connection. A connection that leads to a page asking for money is the network's to play. */
  credit: 'good' | 'refused';
  /** Chance that attaching anew gives the same address. */
  stickiness: number;
  /** With 5G: the NR leg of EN-DC, standalone, or none. */
  nr: 'none' | 'nsa' | 'sa';
  has3g: boolean;
  addresses: readonly string[];
  carrier: string;
  plmn: string;
  apn: string;
  dnsServers: readonly string[];
  ussd: Record<string, string | undefined>;
}

export const FAIR_NETWORK: NetworkKnobs = {
  registrationDelayMs: 3000,
  dialDelayMs: 500,
  scanMs: 45_000,
  ussdDelayMs: 2000,
  coverage: 'good',
  roaming: false,
  credit: 'good',
  stickiness: 0,
  nr: 'none',
  has3g: true,
  addresses: ['10.76.51.180', '10.76.51.181', '10.76.51.182', '10.76.51.183', '100.64.8.9'],
  carrier: 'Mastline Test',
  plmn: '00101',
  apn: 'internet',
  dnsServers: ['10.10.0.53', '10.10.1.53'],
  ussd: { '*100#': 'Balance: 12.50 EUR, valid until 31.12.' },
};

export interface SimKnobs {
  state: 'ready' | 'pin' | 'puk' | 'absent' | 'failed';
  pin: string;
  pinTries: number;
  /** Says "SIM busy" for so long after power-on. */
  busyMs: number;
}

export const READY_SIM: SimKnobs = { state: 'ready', pin: '1234', pinTries: 3, busyMs: 0 };

/** Mulberry32: small, seeded, the same on every machine. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
