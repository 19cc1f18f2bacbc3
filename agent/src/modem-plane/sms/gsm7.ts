/**
 * The GSM 7-bit alphabet and its packing, 3GPP TS 23.038 parts 6.1.2 and 6.2.1: text of SMS and USSD. Pure. Shift
 * tables of single languages (Turkish, Spanish, …) are not read: such a message shows the default table's letters.
 * The messages around it are in `pdu.ts`.
 */

const ESCAPE = 0x1b;
const CARRIAGE_RETURN = 0x0d;

const DEFAULT_TABLE =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u001bÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà';

const EXTENSION_TABLE: ReadonlyMap<number, string> = new Map([
  [0x0a, '\f'],
  [0x14, '^'],
  [0x28, '{'],
  [0x29, '}'],
  [0x2f, '\\'],
  [0x3c, '['],
  [0x3d, '~'],
  [0x3e, ']'],
  [0x40, '|'],
  [0x65, '€'],
]);

const SEPTET_OF: ReadonlyMap<string, readonly number[]> = new Map([
  ...Array.from(DEFAULT_TABLE, (letter, septet): [string, number[]] => [letter, [septet]]).filter(
    ([, [septet]]) => septet !== ESCAPE,
  ),
  ...Array.from(EXTENSION_TABLE, ([septet, letter]): [string, number[]] => [letter, [ESCAPE, septet]]),
]);

/** Up to `count` septets out of packed octets, after `skipBits` fill bits; fewer when the octets end first. */
export function unpackSeptets(octets: Uint8Array, count: number, skipBits = 0): number[] {
  const available = Math.max(0, Math.floor((octets.length * 8 - skipBits) / 7));
  const septets: number[] = [];
  for (let index = 0; index < Math.min(count, available); index += 1) {
    const bit = skipBits + index * 7;
    const at = bit >> 3;
    const pair = (octets[at] ?? 0) | ((octets[at + 1] ?? 0) << 8);
    septets.push((pair >> (bit & 7)) & 0x7f);
  }
  return septets;
}

/** Packed octets of septets; unused bits at the end are zero. */
export function packSeptets(septets: readonly number[], skipBits = 0): Buffer {
  const octets = Buffer.alloc(Math.ceil((skipBits + septets.length * 7) / 8));
  septets.forEach((septet, index) => {
    const bit = skipBits + index * 7;
    const at = bit >> 3;
    const shifted = (septet & 0x7f) << (bit & 7);
    octets[at] = (octets[at] ?? 0) | (shifted & 0xff);
    if (shifted > 0xff) octets[at + 1] = (octets[at + 1] ?? 0) | (shifted >> 8);
  });
  return octets;
}

/** An unknown extension shows its default letter, as the standard asks of a receiver that lacks it. */
export function septetsToText(septets: readonly number[]): string {
  let text = '';
  for (let index = 0; index < septets.length; index += 1) {
    const septet = septets[index] ?? 0;
    if (septet !== ESCAPE) {
      text += DEFAULT_TABLE.charAt(septet);
      continue;
    }
    index += 1;
    const extended = septets[index];
    // An escape at the very end has nothing to escape: a space, by the standard.
    if (extended === undefined) text += ' ';
    else text += EXTENSION_TABLE.get(extended) ?? DEFAULT_TABLE.charAt(extended);
  }
  return text;
}

/** Null when a letter is not in the alphabet. */
export function textToSeptets(text: string): number[] | null {
  const septets: number[] = [];
  for (const letter of text) {
    const known = SEPTET_OF.get(letter);
    if (known === undefined) return null;
    septets.push(...known);
  }
  return septets;
}

/**
 * USSD packing (part 6.1.2.3): where exactly seven bits are left over, they hold a carriage return, since zeros would
 * read as "@"; and text that itself ends in a carriage return on that boundary gets a second one.
 */
export function packUssd(text: string): Buffer | null {
  const septets = textToSeptets(text);
  if (septets === null) return null;
  const onBoundary = septets.length % 8 === 0 && septets.at(-1) === CARRIAGE_RETURN;
  if (septets.length % 8 === 7 || onBoundary) septets.push(CARRIAGE_RETURN);
  return packSeptets(septets);
}

/** The other direction: takes off the filling carriage return, or the zeros of those who do not write it. */
export function unpackUssd(octets: Uint8Array): string {
  const septets = unpackSeptets(octets, Number.POSITIVE_INFINITY);
  const last = septets.at(-1);
  if (septets.length % 8 === 0 && (last === CARRIAGE_RETURN || last === 0)) septets.pop();
  return septetsToText(septets);
}
