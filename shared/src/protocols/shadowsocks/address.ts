/**
 * Addresses inside Shadowsocks headers: the layout of RFC 1928 section 5, which SOCKS5 requests have too.
 *
 *     | type 1 | 4 bytes | port 2 |    | type 4 | 16 bytes | port 2 |    | type 3 | n | n bytes of name | port 2 |
 *
 * Where it stands in a header is the business of the stream and packet files.
 */
import ipaddr from 'ipaddr.js';
import { CodedError } from '../../base/coded-error';
import { formatIpv6 } from '../socks5';
import { normalizeHost, type Target } from '../target';

/** Type, length byte, the longest name, port. */
export const MAX_ADDRESS_BYTES: number = 1 + 1 + 255 + 2;

export type AddressRead =
  /** `end` is the first byte behind it. */
  { kind: 'address'; target: Target; end: number } | { kind: 'more' } | { kind: 'bad' };

const MORE: AddressRead = { kind: 'more' };
const BAD: AddressRead = { kind: 'bad' };

/** Reads the address that starts at `at`. */
export function readAddress(bytes: Buffer, at: number): AddressRead {
  const end = addressEnd(bytes, at);
  if (end === 'bad') return BAD;
  if (bytes.length < end) return MORE;
  const host = hostOf(bytes, at, end - 2);
  const port = bytes.readUInt16BE(end - 2);
  return host === null || port === 0 ? BAD : { kind: 'address', target: { host, port }, end };
}

/** The address of `target` as bytes. Throws `shadowsocks/bad-target` when it has no such form. */
export function addressBytes(target: Target): Buffer {
  const { host, port } = target;
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new CodedError('shadowsocks/bad-target', `port ${port} is not between 1 and 65535`);
  const tail = Buffer.from([port >> 8, port & 0xff]);
  if (ipaddr.IPv4.isValidFourPartDecimal(host))
    return Buffer.concat([Buffer.from([1, ...host.split('.').map(Number)]), tail]);
  if (ipaddr.IPv6.isValid(host) && !host.includes('%'))
    return Buffer.concat([Buffer.from([4, ...ipaddr.IPv6.parse(host).toByteArray()]), tail]);
  const name = Buffer.from(host, 'latin1');
  if (normalizeHost(host) === null || name.length > 255)
    throw new CodedError(
      'shadowsocks/bad-target',
      'host is neither an address nor a name of at most 253 characters',
    );
  return Buffer.concat([Buffer.from([3, name.length]), name, tail]);
}

/** Writes addresses that mostly repeat: the same bytes, as long as the target is the one before. */
export class AddressWriter {
  #host = '';
  #port = -1;
  #bytes: Buffer = Buffer.alloc(0);

  /** As `addressBytes`; not to be written to. */
  bytesOf(target: Target): Buffer {
    if (target.port === this.#port && target.host === this.#host) return this.#bytes;
    this.#bytes = addressBytes(target);
    this.#host = target.host;
    this.#port = target.port;
    return this.#bytes;
  }
}

/**
 * Reads addresses that mostly repeat: the packets of one session go to few targets, and text is made of an address
 * only when it is not the one before.
 */
export class AddressMemo {
  #bytes: Buffer | null = null;
  #read: AddressRead & { kind: 'address' } = { kind: 'address', target: { host: '', port: 0 }, end: 0 };

  read(bytes: Buffer, at: number): AddressRead {
    const known = this.#bytes;
    if (known?.equals(bytes.subarray(at, at + known.length)))
      return { kind: 'address', target: this.#read.target, end: at + known.length };
    const read = readAddress(bytes, at);
    if (read.kind === 'address') {
      this.#bytes = Buffer.from(bytes.subarray(at, read.end));
      this.#read = read;
    }
    return read;
  }
}

function addressEnd(bytes: Buffer, at: number): number | 'bad' {
  const type = bytes[at];
  if (type === undefined) return Number.POSITIVE_INFINITY;
  if (type === 1) return at + 1 + 4 + 2;
  if (type === 4) return at + 1 + 16 + 2;
  if (type !== 3) return 'bad';
  const length = bytes[at + 1];
  if (length === undefined) return Number.POSITIVE_INFINITY;
  return length === 0 ? 'bad' : at + 2 + length + 2;
}

function hostOf(bytes: Buffer, at: number, end: number): string | null {
  const type = bytes[at];
  if (type === 1) return `${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}.${bytes[at + 4]}`;
  if (type === 4) return formatIpv6(bytes.subarray(at + 1, end));
  return normalizeHost(bytes.toString('latin1', at + 2, end));
}
