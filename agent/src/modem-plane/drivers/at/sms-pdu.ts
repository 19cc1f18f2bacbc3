/**
 * A received message as the modem stores it (TS 23.040 9.2.2.1, SMS-DELIVER with its service centre in front) → text,
 * sender and time. Pure; hostile lengths give null. Nothing here writes a message: the agent never sends one.
 *
 *     length SMSC… │ first octet │ sender │ PID │ DCS │ time (7) │ UDL │ [header] text
 */
import { decodeUcs2, gsm7Text, unpackSeptets } from './gsm-text';

export interface DeliveredMessage {
  sender: string;
  /** UTC epoch milliseconds. */
  receivedAt: number | null;
  text: string;
  /** Which part of a longer message it is. */
  part: { reference: number; total: number; number: number } | null;
}

const MESSAGE_TYPE = 0x03;
const DELIVER = 0x00;
const HAS_HEADER = 0x40;

/** Null for anything that is not a whole SMS-DELIVER. */
export function readDeliver(hex: string): DeliveredMessage | null {
  if (!/^([0-9A-F]{2})+$/i.test(hex)) return null;
  const octets = Buffer.from(hex, 'hex');
  let at = 1 + (octets[0] ?? 0);
  const first = octets[at];
  const digits = octets[at + 1];
  const type = octets[at + 2];
  if (first === undefined || digits === undefined || type === undefined) return null;
  if ((first & MESSAGE_TYPE) !== DELIVER || digits > 20) return null;
  at += 3;
  const sender = readSender(octets.subarray(at, at + Math.ceil(digits / 2)), { digits, type });
  at += Math.ceil(digits / 2);
  const dcs = octets[at + 1];
  const time = octets.subarray(at + 2, at + 9);
  const length = octets[at + 9];
  if (dcs === undefined || length === undefined) return null;
  const data = octets.subarray(at + 10);
  const body = readBody(data, { dcs, length, hasHeader: (first & HAS_HEADER) !== 0 });
  return body ? { sender, receivedAt: readTime(time), ...body } : null;
}

function readBody(
  data: Buffer,
  { dcs, length, hasHeader }: { dcs: number; length: number; hasHeader: boolean },
): Pick<DeliveredMessage, 'text' | 'part'> | null {
  const alphabet = alphabetOf(dcs);
  const headerOctets = hasHeader ? 1 + (data[0] ?? 0) : 0;
  const wantedOctets = alphabet === 'gsm7' ? Math.ceil((length * 7) / 8) : length;
  if (data.length < wantedOctets || headerOctets > wantedOctets) return null;
  const part = hasHeader ? readPart(data.subarray(1, headerOctets)) : null;
  if (alphabet === 'gsm7') {
    // The text begins at the next septet after the header.
    const headerSeptets = Math.ceil((headerOctets * 8) / 7);
    const septets = unpackSeptets(data, length - headerSeptets, headerSeptets * 7);
    return { text: gsm7Text(septets), part };
  }
  const octets = data.subarray(headerOctets, length);
  return { text: alphabet === 'ucs2' ? decodeUcs2(octets) : octets.toString('latin1'), part };
}

/** TS 23.038 4: general data coding, message class, and the groups of message waiting. */
function alphabetOf(dcs: number): 'gsm7' | 'octets' | 'ucs2' {
  const group = dcs >> 4;
  const byBits = ((dcs >> 2) & 3) === 2 ? 'ucs2' : ((dcs >> 2) & 3) === 1 ? 'octets' : 'gsm7';
  if (group < 8) return byBits;
  if (group === 0xe) return 'ucs2';
  if (group === 0xf) return (dcs & 4) === 0 ? 'gsm7' : 'octets';
  return 'gsm7';
}

/** Concatenation (TS 23.040 9.2.3.24.1 and .8) among the elements of a header. */
function readPart(header: Buffer): DeliveredMessage['part'] {
  for (let at = 0; at + 1 < header.length; ) {
    const id = header[at];
    const size = header[at + 1] ?? 0;
    const element = header.subarray(at + 2, at + 2 + size);
    const wide = id === 0x08 && element.length === 4;
    if (wide || (id === 0x00 && element.length === 3)) {
      const reference = wide ? element.readUInt16BE(0) : (element[0] ?? 0);
      const [total = 0, number = 0] = element.subarray(wide ? 2 : 1);
      return number >= 1 && number <= total ? { reference, total, number } : null;
    }
    at += 2 + size;
  }
  return null;
}

const BCD = '0123456789*#abc';

function readSender(octets: Buffer, { digits, type }: { digits: number; type: number }): string {
  const kind = (type >> 4) & 7;
  if (kind === 5) return gsm7Text(unpackSeptets(octets, Math.floor((digits * 4) / 7)));
  let number = '';
  for (const octet of octets) number += (BCD[octet & 0x0f] ?? '') + (BCD[octet >> 4] ?? '');
  return `${kind === 1 ? '+' : ''}${number.slice(0, digits)}`;
}

/** Seven octets of swapped digits, the last in quarters of an hour with a sign (9.2.3.11). */
function readTime(octets: Buffer): number | null {
  if (octets.length < 7) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = [...octets].map(swappedDigits);
  const zone = octets[6] ?? 0;
  const quarters = swappedDigits(zone & 0xf7) * ((zone & 0x08) === 0 ? 1 : -1);
  return instantOf({ year, month, day, hour, minute, second, quarters });
}

function swappedDigits(octet: number): number {
  const [tens, ones] = [octet & 0x0f, octet >> 4];
  return tens > 9 || ones > 9 ? Number.NaN : tens * 10 + ones;
}

export interface NetworkTime {
  /** Two digits; messages are of this century. */
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  /** East of UTC, in quarters of an hour. */
  quarters: number;
}

/** Null for a date that there is not. */
export function instantOf(time: NetworkTime): number | null {
  const { year, month, day, hour, minute, second, quarters } = time;
  if (!(Math.abs(quarters) <= 56 && hour < 24 && minute < 60 && second < 60)) return null;
  const local = Date.UTC(2000 + year, month - 1, day, hour, minute, second);
  const back = new Date(local);
  if (back.getUTCMonth() !== month - 1 || back.getUTCDate() !== day) return null;
  return local - quarters * 15 * 60_000;
}
