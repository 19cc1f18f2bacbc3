/**
 * The networks that the host itself is in: its LAN, its containers' bridges, its sticks' subnets, whatever an interface
 * of its has an address of. None of them is a customer's business, be its addresses public by registry or not (IPv6
 * LANs have public ones). Interfaces come and go, so data-plane.ts looks again now and then, for all lanes. What is refused everywhere,
 * private ranges and the like, is shared/domain/ip-range.ts; who judges is gate.ts.
 */
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { type AddressRange, parseAddressRange } from '@mastline/shared/domain/ip-range';

export type Interfaces = NodeJS.Dict<Pick<NetworkInterfaceInfo, 'address' | 'cidr' | 'family'>[]>;

/** A LAN of IPv6 (RFC 4291 section 2.5.4, RFC 7421): DHCPv6 hands out single addresses of one. */
const IPV6_LAN_PREFIX = 64;

export class HostNetworks {
  ranges: readonly AddressRange[] = [];
  readonly #interfaces: () => Interfaces;
  #seen = '';

  /** `interfaces` asks the system; handed in by tests. */
  constructor(interfaces: () => Interfaces = networkInterfaces) {
    this.#interfaces = interfaces;
  }

  /** Looks again. True when `ranges` changed. Throws the system's error when it does not tell; they then stay. */
  refresh(): boolean {
    const texts = [
      ...new Set(Object.values(this.#interfaces()).flatMap(list => (list ?? []).map(networkOf))),
    ];
    const seen = texts.sort().join(' ');
    if (seen === this.#seen) return false;
    this.#seen = seen;
    this.ranges = texts.flatMap(text => parseAddressRange(text) ?? []);
    return true;
  }
}

/** A mask of nothing, or none at all, is a mistake of somebody's: the address itself is the host's in any case. */
function networkOf({
  address,
  cidr,
  family,
}: {
  address: string;
  cidr: string | null;
  family: string;
}): string {
  const prefix = Number(cidr?.split('/')[1] ?? 0);
  const plain = address.split('%')[0] ?? address;
  if (prefix === 0) return plain;
  return `${plain}/${family === 'IPv6' ? Math.min(prefix, IPV6_LAN_PREFIX) : prefix}`;
}
