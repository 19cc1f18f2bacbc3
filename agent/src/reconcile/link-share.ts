/** Which of the link's bytes went over which slot: the box may reach its cloud through one of its own modems. Pure. */
import type { NetworkInterfaceInfo } from 'node:os';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { OwnTraffic } from '../ports';

export function linkShare(
  moved: readonly { localAddress: string; upBytes: number; downBytes: number }[],
  slots: readonly Pick<SlotReport, 'slot' | 'interface'>[],
  interfaces: NodeJS.Dict<Pick<NetworkInterfaceInfo, 'address'>[]>,
): OwnTraffic[] {
  return slots.flatMap(({ slot, interface: name }) => {
    // The link leaves by the system's choice: from any address of the interface, not only the slot's own.
    const addresses = new Set((name === null ? undefined : interfaces[name])?.map(one => one.address));
    return moved
      .filter(one => addresses.has(one.localAddress))
      .map(({ upBytes, downBytes }) => ({ slot, upBytes, downBytes, upDatagrams: 0, downDatagrams: 0 }));
  });
}
