/** Service and context type identifiers: sixteen bytes in the order in which their text reads, lower case. Pure. */
import { malformed } from './malformed';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const UUID_BYTES = 16;

export function uuidText(bytes: Buffer): string {
  if (bytes.length !== UUID_BYTES) throw malformed(`an identifier of ${bytes.length} bytes`);
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function uuidBytes(text: string): Buffer {
  if (!UUID.test(text)) throw malformed(`"${text}" is not an identifier`);
  return Buffer.from(text.replaceAll('-', ''), 'hex');
}
