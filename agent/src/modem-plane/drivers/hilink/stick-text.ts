/**
 * Text between us and a stick: request bodies with everything escaped, in the order given (sticks refuse another one),
 * and replies decoded with their CESU-8, which a strict UTF-8 decoder turns into replacement characters.
 */

/** Elements of a request in their order; a value may hold elements itself. */
export type RequestElements = readonly (readonly [name: string, value: string | number | RequestElements])[];

export function requestXml(elements: RequestElements): string {
  return `<?xml version="1.0" encoding="UTF-8"?><request>${elementsXml(elements)}</request>`;
}

function elementsXml(elements: RequestElements): string {
  return elements
    .map(([name, value]) => {
      const inner = typeof value === 'object' ? elementsXml(value) : escapeXml(String(value));
      return `<${name}>${inner}</${name}>`;
    })
    .join('');
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, char => ESCAPES[char] ?? char);
}

/**
 * UTF-8, with surrogate halves written as three bytes each (CESU-8: ED A0..AF xx ED B0..BF xx) put together. Bytes
 * that are neither become U+FFFD.
 */
export function decodeStickText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = '';
  let from = 0;
  for (let at = buffer.indexOf(0xed); at >= 0 && at + 5 < buffer.length; ) {
    if (isHalf(buffer, at, 0xa0) && isHalf(buffer, at + 3, 0xb0)) {
      text +=
        buffer.toString('utf8', from, at) + String.fromCharCode(halfAt(buffer, at), halfAt(buffer, at + 3));
      from = at + 6;
      at = buffer.indexOf(0xed, from);
    } else at = buffer.indexOf(0xed, at + 1);
  }
  return text + buffer.toString('utf8', from);
}

function isHalf(buffer: Buffer, at: number, second: 0xa0 | 0xb0): boolean {
  const [first, middle, last] = [buffer[at] ?? 0, buffer[at + 1] ?? 0, buffer[at + 2] ?? 0];
  return first === 0xed && (middle & 0xf0) === second && (last & 0xc0) === 0x80;
}

function halfAt(buffer: Buffer, at: number): number {
  return 0xd000 | (((buffer[at + 1] ?? 0) & 0x3f) << 6) | ((buffer[at + 2] ?? 0) & 0x3f);
}
