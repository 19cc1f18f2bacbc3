/**
 * Reads a received short message (SMS-DELIVER) as a modem stores it: service centre part and TPDU, 3GPP TS 23.040
 * part 9.2. Pure; bytes in, values out. Nothing is sent by this agent, so there is no writer. Joining the parts of a
 * long message is `join-parts.ts`.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { septetsToText, unpackSeptets } from './gsm7';
import { instantOf } from './network-time';
import { readUcs2 } from './ucs2';

/** One part of a long message (23.040 part 9.2.3.24.1). */
export interface Part {
  reference: number;
  total: number;
  /** From 1. */
  number: number;
}

export type StoredPdu =
  | { kind: 'deliver'; sender: string; sentAtMs: number | null; text: string; part: Part | null }
  /** A delivery report, or a message that was written on this modem. */
  | { kind: 'other'; type: 'submit' | 'status-report' };

/** A TPDU is at most 164 octets, a service centre part at most 12; firmware pads a little. */
export const MAX_PDU_BYTES = 255;

/** 23.040 part 9.1.2.5: an address has at most 12 octets, two of which are its length and type. */
const MAX_SENDER_DIGITS = 20;
const UDHI = 0x40;
const INTERNATIONAL = 0x10;
const ALPHANUMERIC = 0x50;
const NUMBER_TYPE = 0x70;
const BCD_DIGITS = '0123456789*#abc';

/** Throws `sms/malformed` for anything that is not a whole PDU. */
export function readStoredPdu(pdu: Uint8Array): StoredPdu {
  if (pdu.length > MAX_PDU_BYTES)
    throw malformed(`${pdu.length} octets are more than a message has (${MAX_PDU_BYTES})`);
  const octets = new Octets(pdu);
  octets.take(octets.one('service centre length'), 'service centre');
  const first = octets.one('first octet');
  const type = first & 0x03;
  if (type === 1) return { kind: 'other', type: 'submit' };
  if (type === 2) return { kind: 'other', type: 'status-report' };
  if (type === 3) throw malformed('message type 3 is reserved');
  const sender = readAddress(octets);
  octets.one('protocol identifier');
  const coding = octets.one('data coding');
  const sentAtMs = readTimestamp(octets.take(7, 'timestamp'));
  const length = octets.one('user data length');
  const { text, part } = readUserData(octets.rest(), { length, coding, hasHeader: (first & UDHI) !== 0 });
  return { kind: 'deliver', sender, sentAtMs, text, part };
}

export type Alphabet = 'gsm7' | 'ucs2' | 'binary';

/** Alphabet of an SMS data coding octet (3GPP TS 23.038 part 4). */
export function smsAlphabet(coding: number): Alphabet {
  const group = coding >> 4;
  if (group <= 0x7) {
    // Compressed text is nothing that a network sends; shown as bytes.
    if ((coding & 0x20) !== 0) return 'binary';
    return alphabetOf(coding);
  }
  if (group === 0xc || group === 0xd) return 'gsm7';
  if (group === 0xe) return 'ucs2';
  if (group === 0xf) return (coding & 0x04) === 0 ? 'gsm7' : 'binary';
  // Reserved groups are to be read as the default alphabet.
  return 'gsm7';
}

/** Bits 3 and 2 of a general data coding octet. */
export function alphabetOf(coding: number): Alphabet {
  const bits = (coding >> 2) & 0x03;
  return bits === 1 ? 'binary' : bits === 2 ? 'ucs2' : 'gsm7';
}

interface UserDataShape {
  length: number;
  coding: number;
  hasHeader: boolean;
}

function readUserData(data: Uint8Array, shape: UserDataShape): { text: string; part: Part | null } {
  const alphabet = smsAlphabet(shape.coding);
  const wanted = alphabet === 'gsm7' ? Math.ceil((shape.length * 7) / 8) : shape.length;
  if (wanted > data.length) throw malformed(`user data of ${wanted} octets, ${data.length} are there`);
  const octets = data.subarray(0, wanted);
  let headerBytes = 0;
  let part: Part | null = null;
  if (shape.hasHeader) {
    headerBytes = 1 + (octets[0] ?? 0);
    if (octets.length === 0 || headerBytes > octets.length)
      throw malformed(`user data header of ${headerBytes} octets in ${octets.length}`);
    part = readHeader(octets.subarray(1, headerBytes));
  }
  const body = octets.subarray(headerBytes);
  if (alphabet === 'ucs2') return { text: readUcs2(body), part };
  if (alphabet === 'binary') return { text: `[binary ${Buffer.from(body).toString('hex')}]`, part };
  // With a header the text begins at the next septet boundary.
  const headerSeptets = Math.ceil((headerBytes * 8) / 7);
  const septets = unpackSeptets(octets, shape.length - headerSeptets, headerSeptets * 7);
  return { text: septetsToText(septets), part };
}

/** The concatenation element, 8 or 16 bit reference; other elements are stepped over. */
function readHeader(header: Uint8Array): Part | null {
  const octets = new Octets(header);
  let part: Part | null = null;
  while (octets.left > 0) {
    const id = octets.one('header element');
    const value = octets.take(octets.one('header element length'), 'header element');
    const [a = 0, b = 0, c = 0, d = 0] = value;
    if (id === 0x00 && value.length === 3) part = { reference: a, total: b, number: c };
    if (id === 0x08 && value.length === 4) part = { reference: (a << 8) | b, total: c, number: d };
  }
  // By the standard an impossible numbering means that the element is to be ignored.
  return part !== null && part.number >= 1 && part.number <= part.total ? part : null;
}

function readAddress(octets: Octets): string {
  const digits = octets.one('sender length');
  if (digits > MAX_SENDER_DIGITS) throw malformed(`a sender of ${digits} digits`);
  const type = octets.one('sender type');
  const value = octets.take(Math.ceil(digits / 2), 'sender');
  if ((type & NUMBER_TYPE) === ALPHANUMERIC)
    return septetsToText(unpackSeptets(value, Math.floor((digits * 4) / 7)));
  const text = Array.from(value, octet => nibble(octet & 0x0f) + nibble(octet >> 4))
    .join('')
    .slice(0, digits);
  return (type & NUMBER_TYPE) === INTERNATIONAL ? `+${text}` : text;
}

function nibble(value: number): string {
  return BCD_DIGITS.charAt(value);
}

/** Swapped decimal digits, the zone with a sign; null when they are no instant. */
function readTimestamp(octets: Uint8Array): number | null {
  const digits = Array.from(octets.subarray(0, 6), swapped);
  const [year = Number.NaN, month = 0, day = 0, hour = 0, minute = 0, second = 0] = digits;
  const zoneOctet = octets[6] ?? 0;
  const zone = swapped(zoneOctet & 0xf7);
  const quarters = (zoneOctet & 0x08) === 0 ? zone : -zone;
  return instantOf({ year, month, day, hour, minute, second, quarters });
}

function swapped(octet: number): number {
  const tens = octet & 0x0f;
  const ones = octet >> 4;
  return tens > 9 || ones > 9 ? Number.NaN : tens * 10 + ones;
}

/** A cursor that refuses to leave its octets. */
class Octets {
  readonly #octets: Uint8Array;
  #at = 0;

  constructor(octets: Uint8Array) {
    this.#octets = octets;
  }

  get left(): number {
    return this.#octets.length - this.#at;
  }

  one(what: string): number {
    return this.take(1, what)[0] ?? 0;
  }

  take(count: number, what: string): Uint8Array {
    if (count > this.left) throw malformed(`${what}: ${count} octets wanted, ${this.left} are left`);
    const taken = this.#octets.subarray(this.#at, this.#at + count);
    this.#at += count;
    return taken;
  }

  rest(): Uint8Array {
    return this.take(this.left, 'user data');
  }
}

function malformed(why: string): CodedError {
  return new CodedError('sms/malformed', `stored message: ${why}`);
}
