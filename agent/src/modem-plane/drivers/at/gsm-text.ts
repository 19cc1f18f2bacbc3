/**
 * Text as networks write it: the GSM 7-bit alphabet (TS 23.038 6.2.1), packed or not, and UCS2 in hexadecimal. Pure;
 * used by messages (sms-pdu.ts) and USSD (replies.ts).
 */

/** Position is the code. 0x1B is the escape to EXTENSION. */
const ALPHABET = [
  ...'@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ',
  ...' !"#¤%&\'()*+,-./0123456789:;<=>?',
  ...'¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§',
  ...'¿abcdefghijklmnopqrstuvwxyzäöñüà',
];
const EXTENSION: Record<number, string> = {
  10: '\f',
  20: '^',
  40: '{',
  41: '}',
  47: '\\',
  60: '[',
  61: '~',
  62: ']',
  64: '|',
  101: '€',
};
const ESCAPE = 0x1b;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Septets → text. An unknown escape is the letter without it, as TS 23.038 asks. */
export function gsm7Text(septets: readonly number[]): string {
  let text = '';
  let escaped = false;
  for (const septet of septets) {
    if (!escaped && septet === ESCAPE) {
      escaped = true;
      continue;
    }
    text += (escaped ? EXTENSION[septet] : undefined) ?? ALPHABET[septet] ?? '';
    escaped = false;
  }
  return text;
}

/** `count` septets out of packed octets, from bit `skipBits` on (the fill after a user data header). */
export function unpackSeptets(octets: Uint8Array, count: number, skipBits = 0): number[] {
  const septets: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const bit = skipBits + i * 7;
    const at = bit >> 3;
    if (at >= octets.length) break;
    const pair = (octets[at] ?? 0) | ((octets[at + 1] ?? 0) << 8);
    septets.push((pair >> (bit & 7)) & 0x7f);
  }
  return septets;
}

/** Packed text of a USSD: its length is not told, and a CR pads a last septet (TS 23.038 6.1.2.3.1). */
export function unpackGsm7(octets: Uint8Array): string {
  const count = Math.floor((octets.length * 8) / 7);
  const septets = unpackSeptets(octets, count);
  if (count % 8 === 0 && (septets.at(-1) === 0x0d || septets.at(-1) === 0)) septets.pop();
  return gsm7Text(septets);
}

/** Text → packed octets in upper-case hexadecimal; null when a letter is not in the alphabet. */
export function packGsm7Hex(text: string): string | null {
  const septets: number[] = [];
  for (const letter of text) {
    const code = ALPHABET.indexOf(letter);
    if (code === -1 || code === ESCAPE) return null;
    septets.push(code);
  }
  if (septets.length % 8 === 7) septets.push(0x0d);
  const octets = Buffer.alloc(Math.ceil((septets.length * 7) / 8));
  for (const [i, septet] of septets.entries()) {
    const bit = i * 7;
    const at = bit >> 3;
    const shifted = septet << (bit & 7);
    octets[at] = (octets[at] ?? 0) | (shifted & 0xff);
    if (shifted > 0xff) octets[at + 1] = shifted >> 8;
  }
  return octets.toString('hex').toUpperCase();
}

/** UTF-16BE in hexadecimal → text; null when it is not that. Lone surrogates become the replacement letter. */
export function decodeUcs2Hex(hex: string): string | null {
  if (!/^([0-9A-F]{4})*$/i.test(hex)) return null;
  return decodeUcs2(Buffer.from(hex, 'hex'));
}

export function decodeUcs2(octets: Uint8Array): string {
  const even = Buffer.from(octets.subarray(0, octets.length - (octets.length % 2)));
  return even.swap16().toString('utf16le').replace(LONE_SURROGATE, '\ufffd');
}
