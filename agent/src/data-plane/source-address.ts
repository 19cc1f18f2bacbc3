/**
 * From which local address a flow leaves. A slot has one address of a family or of each, and what it cannot bind it
 * cannot reach; pure. The rootless kind of virtual modem has a 127.x address: it is bound for loopback targets (where
 * it shows), and the kernel chooses for all others (which loopback cannot reach).
 */
import { isIPv4 } from 'node:net';
import { isLoopbackAddress } from '@mastline/shared/domain/ip-range';
import type { Egress } from '../ports';

export type Source = { ok: true; localAddress: string | null } | { ok: false };

export type Family = 4 | 6;

export type Sources = Pick<Egress, 'sourceAddress' | 'sourceAddress6'>;

const ANY: Source = { ok: true, localAddress: null };

/** What to bind for a connection to `target`; not ok when the slot has no address of its family. */
export function sourceFor({ sourceAddress, sourceAddress6 }: Sources, target: string): Source {
  if (sourceAddress === null) return ANY;
  const isV4 = isIPv4(target);
  const own = isIPv4(sourceAddress) === isV4 ? sourceAddress : isV4 ? null : sourceAddress6;
  if (!own) return { ok: false };
  if (isLoopbackAddress(own) && !isLoopbackAddress(target)) return ANY;
  return { ok: true, localAddress: own };
}

/** Address families that the slot can reach. */
export function familiesOf({ sourceAddress, sourceAddress6 }: Sources): readonly Family[] {
  if (sourceAddress === null) return BOTH;
  if (!isIPv4(sourceAddress)) return ONLY_6;
  return sourceAddress6 ? BOTH : ONLY_4;
}

const BOTH: readonly Family[] = [4, 6];
const ONLY_4: readonly Family[] = [4];
const ONLY_6: readonly Family[] = [6];
