/** UCS2 as SMS, USSD and AT commands carry it: UTF-16BE, as octets or in hexadecimal. Pure. */

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A lone last octet is dropped; half a letter becomes the replacement letter. */
export function readUcs2(octets: Uint8Array): string {
  const even = octets.length - (octets.length % 2);
  return Buffer.from(octets.subarray(0, even)).swap16().toString('utf16le').replace(LONE_SURROGATE, '\ufffd');
}

/** Null when it is not hexadecimal of whole letters. */
export function readUcs2Hex(hex: string): string | null {
  return /^([0-9A-F]{4})*$/i.test(hex) ? readUcs2(Buffer.from(hex, 'hex')) : null;
}
