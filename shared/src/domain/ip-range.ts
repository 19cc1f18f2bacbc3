/**
 * Which addresses belong to the public Internet, and whether an address lies in a range. Pure; used after names are
 * resolved, since a name says nothing about where it leads. The classification is ipaddr.js's (IANA's special-purpose
 * registries); what is not plain unicast there is not public here.
 */
import ipaddr from 'ipaddr.js';

/** `CIDR` or `CIDR:port`, IPv6 in brackets where a port follows. */
export interface AddressRange {
  bytes: readonly number[];
  prefix: number;
  /** Null means every port. */
  port: number | null;
}

/** Public by registry, but answered by the machine's own cloud: Azure's metadata and health service. */
const METADATA = new Set(['168.63.129.16']);

/** RFC 8215: a NAT64 prefix for local use. Where in it the IPv4 address stands is its operator's choice. */
const NAT64_LOCAL_USE = '64:ff9b:1::/48';

/** An address read once, to be compared with many ranges. */
export interface ReadAddress {
  /** 4 or 16; an IPv4-mapped or NAT64 address as the IPv4 address that it leads to. */
  bytes: readonly number[];
  isPublic: boolean;
}

/** The address with an IPv4-mapped or NAT64 one unwrapped (`::ffff:10.0.0.1` and `64:ff9b::a00:1` are 10.0.0.1). */
function unwrap(address: string): ipaddr.IPv4 | ipaddr.IPv6 {
  const parsed = ipaddr.process(address);
  // Of the prefixes for NAT64 only the well-known /96 (RFC 6052) has the IPv4 address in its last four bytes.
  if (parsed instanceof ipaddr.IPv6 && parsed.range() === 'rfc6052' && !isNat64LocalUse(parsed))
    return new ipaddr.IPv4(parsed.toByteArray().slice(12));
  return parsed;
}

const LOCAL_USE = ipaddr.IPv6.parseCIDR(NAT64_LOCAL_USE);
const isNat64LocalUse = (address: ipaddr.IPv6) => address.match(LOCAL_USE);

/** The address that was read last: it is judged several times on its way, and reading it is what costs. */
let last: { address: string; read: ReadAddress | null } = { address: '', read: null };

/** Null when it is no address; one with a zone (`fe80::1%eth0`) is never public. */
export function readAddress(address: string): ReadAddress | null {
  if (last.address === address) return last.read;
  const parsed = dotted(address) ?? (ipaddr.isValid(address) ? unwrap(address) : null);
  const read = parsed && {
    bytes: parsed.toByteArray(),
    isPublic: !address.includes('%') && isPublic(parsed),
  };
  last = { address, read };
  return read;
}

/** The usual spelling of IPv4, which most targets have; the others take longer to read. */
function dotted(address: string): ipaddr.IPv4 | null {
  const match = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(address);
  const bytes = match?.slice(1).map(Number);
  return bytes?.every(byte => byte <= 255) ? new ipaddr.IPv4(bytes) : null;
}

function isPublic(parsed: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  // IPv6 outside 2000::/3 is not given out at all, so "unicast" alone would let unassigned space through.
  if (parsed instanceof ipaddr.IPv6 && ((parsed.parts[0] ?? 0) & 0xe000) !== 0x2000) return false;
  return parsed.range() === 'unicast' && !METADATA.has(parsed.toString());
}

/** False for private, loopback, link-local, carrier-grade NAT, metadata, multicast, reserved and tunnel addresses. */
export function isPublicAddress(address: string): boolean {
  return readAddress(address)?.isPublic ?? false;
}

/** 127.0.0.0/8, ::1, and the same mapped into IPv6. */
export function isLoopbackAddress(address: string): boolean {
  return ipaddr.isValid(address) && unwrap(address).range() === 'loopback';
}

/** Parses `10.0.0.0/8`, `127.0.0.1`, `127.0.0.1/32:8000`, `[fd00::/8]:443`, `fd00::/8`; null when it is none. */
export function parseAddressRange(text: string): AddressRange | null {
  const match =
    /^(?:\[([^\]]+)\](?::([0-9]{1,5}))?|([0-9.]+(?:\/[0-9]{1,2})?)(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+(?:\/[0-9]{1,3})?))$/.exec(
      text,
    );
  if (!match) return null;
  const range = match[1] ?? match[3] ?? match[5] ?? '';
  const portText = match[2] ?? match[4];
  const port = portText === undefined ? null : Number(portText);
  if (port !== null && (port < 1 || port > 65_535)) return null;
  const [address = '', prefixText] = range.split('/');
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return null;
  const bytes = ipaddr.parse(address).toByteArray();
  const prefix = prefixText === undefined ? bytes.length * 8 : Number(prefixText);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > bytes.length * 8) return null;
  return { bytes, prefix, port };
}

/** Whether `address` and `port` lie in the range. Mapped addresses count as what they map to. */
export function inRange(range: AddressRange, address: string, port: number): boolean {
  const read = readAddress(address);
  return read !== null && holds(range, read, port);
}

/** The same for an address that was read before. */
export function holds(range: AddressRange, { bytes }: ReadAddress, port: number): boolean {
  if (bytes.length !== range.bytes.length || (range.port !== null && range.port !== port)) return false;
  for (let bit = 0; bit < range.prefix; bit += 8) {
    const at = bit >> 3;
    const mask = range.prefix - bit >= 8 ? 0xff : (0xff00 >> (range.prefix - bit)) & 0xff;
    if (((bytes[at] ?? 0) & mask) !== ((range.bytes[at] ?? 0) & mask)) return false;
  }
  return true;
}
