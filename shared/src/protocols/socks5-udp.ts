/**
 * Datagrams between a SOCKS5 client and its relay (RFC 1928 section 7). Pure: bytes to values and back; who may send
 * and where to is the relay's business.
 *
 *     +------+------+------+----------+----------+----------+
 *     | RSV  | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
 *     |  0 0 |  0   |  1  | variable |    2     | variable |
 *     +------+------+------+----------+----------+----------+
 */
import { AddressWriter, addressBytes, readAddress } from './shadowsocks/address';
import { SOCKS_VERSION } from './socks5';
import type { Target } from './target';

/** RSV and FRAG. */
const ADDRESS_AT = 3;
const BEFORE_ADDRESS = Buffer.alloc(ADDRESS_AT);
const SUCCEEDED = Buffer.from([SOCKS_VERSION, 0x00, 0x00]);

export type Socks5Datagram =
  | { kind: 'datagram'; target: Target; payload: Buffer }
  /** `fragment`: reassembly is optional by the RFC, and not offered here. */
  | { kind: 'drop'; cause: 'fragment' | 'malformed' };

const MALFORMED: Socks5Datagram = { kind: 'drop', cause: 'malformed' };
const FRAGMENT: Socks5Datagram = { kind: 'drop', cause: 'fragment' };

/** What a client sent. The payload is a view into `bytes`. */
export function parseSocks5Datagram(bytes: Buffer): Socks5Datagram {
  if (bytes.length <= ADDRESS_AT || bytes[0] !== 0 || bytes[1] !== 0) return MALFORMED;
  if (bytes[2] !== 0) return FRAGMENT;
  const read = readAddress(bytes, ADDRESS_AT);
  if (read.kind !== 'address') return MALFORMED;
  return { kind: 'datagram', target: read.target, payload: bytes.subarray(read.end) };
}

/** A datagram as it is sent, with `address` as target of a client's or as origin of an answer. */
export function socks5Datagram(address: Target, payload: Uint8Array): Buffer {
  return Buffer.concat([BEFORE_ADDRESS, addressBytes(address), payload]);
}

/** What stands before the payloads of a client's answers, which mostly come from where the last one came from. */
export class Socks5Headers {
  readonly #addresses = new AddressWriter();
  #address: Buffer | null = null;
  #header: Buffer = BEFORE_ADDRESS;

  /** Not to be written to. */
  of(origin: Target): Buffer {
    const address = this.#addresses.bytesOf(origin);
    if (address !== this.#address) this.#header = Buffer.concat([BEFORE_ADDRESS, address]);
    this.#address = address;
    return this.#header;
  }
}

/** The reply to UDP ASSOCIATE that succeeded: where the client is to send its datagrams. */
export function socks5Associated(relay: Target): Buffer {
  return Buffer.concat([SUCCEEDED, addressBytes(relay)]);
}
