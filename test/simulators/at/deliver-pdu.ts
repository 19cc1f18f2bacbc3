/**
 * Writes received messages as a modem stores them (TS 23.040, SMS-DELIVER), apart from the agent's own reading, so that
 * each checks the other; gammu checks both.
 */
import type { StoredMessage } from './modem-state';

export interface Delivered {
  /** Digits, `+` for international; letters make an alphanumeric sender (ASCII, up to 11). */
  sender: string;
  text: string;
  alphabet: 'gsm7' | 'ucs2';
  /** As the network stamps it, with its zone in quarters of an hour. */
  at: {
    year: number;
    month: number;
    day: number;
    hour: number;
    minute: number;
    second: number;
    quarters: number;
  };
  part?: { reference: number; total: number; number: number };
}

/** What a simulated modem stores of it. */
export function delivered(message: Delivered): Omit<StoredMessage, 'index' | 'unread' | 'store'> {
  const { at, sender, text } = message;
  const two = (value: number) => String(value).padStart(2, '0');
  const zone = `${at.quarters < 0 ? '-' : '+'}${two(Math.abs(at.quarters))}`;
  return {
    sender,
    text,
    time: `${two(at.year)}/${two(at.month)}/${two(at.day)},${two(at.hour)}:${two(at.minute)}:${two(at.second)}${zone}`,
    pdu: deliverPdu(message),
  };
}

function deliverPdu(message: Delivered): string {
  const { part, alphabet, text } = message;
  const header = part ? [5, 0, 3, part.reference, part.total, part.number] : [];
  const data = alphabet === 'ucs2' ? ucs2Data(text, header) : gsm7Data(text, header);
  const first = 0x04 | (part ? 0x40 : 0);
  const octets = [
    ...address('+27381000015', 'octets'),
    first,
    ...address(message.sender, 'digits'),
    0x00,
    alphabet === 'ucs2' ? 0x08 : 0x00,
    ...timestamp(message.at),
    ...data,
  ];
  return Buffer.from(octets).toString('hex').toUpperCase();
}

/** The service centre counts octets, a sender counts digits. */
function address(text: string, count: 'octets' | 'digits'): number[] {
  if (/[A-Za-z]/.test(text)) {
    const packed = pack(
      [...text].map(letter => letter.charCodeAt(0)),
      0,
    );
    return [Math.ceil((text.length * 7) / 4), 0xd0, ...packed];
  }
  const digits = text.replace('+', '');
  const swapped = (digits.length % 2 === 0 ? digits : `${digits}F`).match(/../g) ?? [];
  const octets = swapped.map(pair => Number.parseInt(`${pair[1]}${pair[0]}`, 16));
  return [
    count === 'octets' ? octets.length + 1 : digits.length,
    text.startsWith('+') ? 0x91 : 0x81,
    ...octets,
  ];
}

function timestamp(at: Delivered['at']): number[] {
  const swap = (value: number) => ((value % 10) << 4) | Math.floor(value / 10);
  const zone = swap(Math.abs(at.quarters)) | (at.quarters < 0 ? 0x08 : 0);
  return [at.year, at.month, at.day, at.hour, at.minute, at.second].map(swap).concat(zone);
}

function ucs2Data(text: string, header: number[]): number[] {
  const octets = [...header, ...Buffer.from(text, 'utf16le').swap16()];
  return [octets.length, ...octets];
}

/** Letters of the default alphabet whose codes are those of ASCII; others are not written here. */
function gsm7Data(text: string, header: number[]): number[] {
  const codes = [...text].map(letter => {
    if (letter === '@') return 0;
    if (letter === '€') return [0x1b, 0x65];
    if (!/^[A-Za-z0-9 !"#%&'()*+,\-./:;<=>?\n]$/.test(letter))
      throw new Error(`no code for "${letter}" here`);
    return letter.charCodeAt(0);
  });
  const septets = codes.flat();
  const headerSeptets = Math.ceil((header.length * 8) / 7);
  const fillBits = headerSeptets * 7 - header.length * 8;
  return [headerSeptets + septets.length, ...header, ...pack(septets, fillBits)];
}

function pack(septets: readonly number[], fillBits: number): number[] {
  const bits = [...Array<number>(fillBits).fill(0)];
  for (const septet of septets) for (let bit = 0; bit < 7; bit += 1) bits.push((septet >> bit) & 1);
  const octets: number[] = [];
  for (let at = 0; at < bits.length; at += 8)
    octets.push(bits.slice(at, at + 8).reduce((sum, bit, i) => sum | (bit << i), 0));
  return octets;
}
