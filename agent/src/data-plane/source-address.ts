/**
 * From which local address a flow leaves. A slot has one address, and what it cannot bind it cannot reach; pure.
 * The rootless kind of virtual modem has a 127.x address: it is bound for loopback targets (where it shows), and the
 * kernel chooses for all others (which loopback cannot reach).
 */
import { isIPv4 } from 'node:net';
import { isLoopbackAddress } from '@mastline/shared/domain/ip-range';

export type Source = { ok: true; localAddress: string | null } | { ok: false };

/** What to bind for a connection to `target`; not ok when the slot has no address of its family. */
export function sourceFor(sourceAddress: string | null, target: string): Source {
  if (sourceAddress === null) return { ok: true, localAddress: null };
  if (isIPv4(sourceAddress) !== isIPv4(target)) return { ok: false };
  if (isLoopbackAddress(sourceAddress) && !isLoopbackAddress(target)) return { ok: true, localAddress: null };
  return { ok: true, localAddress: sourceAddress };
}

/** Address families that the slot can reach. */
export function familiesOf(sourceAddress: string | null): (4 | 6)[] {
  if (sourceAddress === null) return [4, 6];
  return isIPv4(sourceAddress) ? [4] : [6];
}
