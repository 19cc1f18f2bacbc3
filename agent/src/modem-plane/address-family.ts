/**
 * What can be asked from an address of a slot: name servers and services of its own family. The others would be asked
 * from another address, and so by another link than the slot's. Pure, but for the resolver that is handed in.
 */
import type { Resolver } from 'node:dns';
import { isIP, isIPv6 } from 'node:net';

/** IPv4 where the kernel chooses. */
export function familyOf(localAddress: string | null): 4 | 6 {
  return localAddress !== null && isIPv6(localAddress) ? 6 : 4;
}

/** Those of `servers` (`ADDRESS`, `ADDRESS:PORT`, `[IPv6]:PORT`) that can be asked; all where the kernel chooses. */
export function serversFor(localAddress: string | null, servers: readonly string[]): string[] {
  if (localAddress === null) return [...servers];
  const six = familyOf(localAddress) === 6;
  return servers.filter(server => (isIPv6(server) || server.startsWith('[')) === six);
}

/** Those of `urls` whose host is a name or an address that can be reached. */
export function urlsFor(localAddress: string | null, urls: readonly string[]): string[] {
  const family = familyOf(localAddress);
  return urls.filter(url => {
    const host = new URL(url).hostname;
    const literal = host.startsWith('[') ? 6 : isIP(host);
    return literal === 0 || literal === family;
  });
}

/** Has `resolver` ask from `localAddress`, by its family alone. False when no server can be asked. */
export function askFrom(
  resolver: Pick<Resolver, 'setServers' | 'setLocalAddress'>,
  localAddress: string | null,
  servers: readonly string[],
): boolean {
  const able = serversFor(localAddress, servers);
  if (able.length === 0) return false;
  resolver.setServers(able);
  if (localAddress === null) return true;
  if (familyOf(localAddress) === 4) resolver.setLocalAddress(localAddress);
  else resolver.setLocalAddress('0.0.0.0', localAddress);
  return true;
}
