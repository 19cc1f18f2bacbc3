/**
 * Messages as a network delivers them (SMS-DELIVER with its service centre part, 3GPP TS 23.040 part 9.2.2.1), for the
 * stores of simulated modems.
 */
import { packSeptets, textToSeptets } from '@mastline/agent/modem-plane/sms/gsm7';

export interface DeliveredText {
  sender: string;
  text: string;
  /** UTC epoch milliseconds. */
  sentAt: number;
  part?: { reference: number; total: number; number: number };
}

const SERVICE_CENTRE = Buffer.from('07917283010010f5', 'hex');
const HEADER_SEPTETS = 7;

export function deliverPdu(message: DeliveredText): Buffer {
  const septets = textToSeptets(message.text);
  const header =
    message.part === undefined
      ? Buffer.alloc(0)
      : Buffer.from([5, 0, 3, message.part.reference, message.part.total, message.part.number]);
  const first = 0x04 | (header.length > 0 ? 0x40 : 0);
  const body =
    septets === null
      ? ucs2Body(header, message.text)
      : header.length === 0
        ? { coding: 0x00, length: septets.length, octets: packSeptets(septets) }
        : packedBehind(header, septets);
  return Buffer.concat([
    SERVICE_CENTRE,
    Buffer.from([first]),
    address(message.sender),
    Buffer.from([0x00, body.coding]),
    timestamp(message.sentAt),
    Buffer.from([body.length]),
    body.octets,
  ]);
}

function ucs2Body(header: Buffer, text: string) {
  const octets = Buffer.concat([header, Buffer.from(text, 'utf16le').swap16()]);
  return { coding: 0x08, length: octets.length, octets };
}

/** Six header octets take the room of seven septets, of which one bit is left over. */
function packedBehind(header: Buffer, septets: readonly number[]) {
  const octets = packSeptets([...new Array<number>(HEADER_SEPTETS).fill(0), ...septets]);
  header.copy(octets);
  return { coding: 0x00, length: HEADER_SEPTETS + septets.length, octets };
}

function address(sender: string): Buffer {
  const international = sender.startsWith('+');
  const digits = sender.replace('+', '');
  const padded = digits.length % 2 === 0 ? digits : `${digits}f`;
  const swapped = padded.replace(/(.)(.)/g, '$2$1');
  return Buffer.concat([
    Buffer.from([digits.length, international ? 0x91 : 0x81]),
    Buffer.from(swapped, 'hex'),
  ]);
}

/** In UTC. */
function timestamp(at: number): Buffer {
  const date = new Date(at);
  const parts = [
    date.getUTCFullYear() % 100,
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    0,
  ];
  return Buffer.from(parts.map(value => ((value % 10) << 4) | Math.floor(value / 10)));
}
