/**
 * What one slot's recovery is given by the node it is on: its neighbours, who else is in its way, the power of its port.
 * When and how it is brought back is recovery.ts.
 */

import type { CheckedOptions } from '../plane-options';
import { isUsbPath, type SlotRoster } from '../slot-roster';
import type { SlotSupervisor, SupervisorOptions } from '../slot-supervisor';
import type { recoveryLadder } from './ladder';
import type { RecoveryRecord } from './record';

export interface NodeRecovery {
  options: Pick<CheckedOptions, 'recovery' | 'now' | 'sources'>;
  record: RecoveryRecord;
  rungs: ReturnType<typeof recoveryLadder>;
  roster: () => SlotRoster;
}

/** `supervisor` is asked for only when something is to be done: it is being made. */
export function recoveryOf(
  supervisor: () => SlotSupervisor,
  { options: { recovery, now, sources = [] }, record, rungs, roster }: NodeRecovery,
): SupervisorOptions['recovery'] {
  const others = () =>
    roster()
      .all()
      .filter(one => one !== supervisor());
  return {
    now,
    record,
    ladder: identity => rungs(supervisor().config.api.kind, identity),
    cycleUsb: ({ usbPath }) => {
      const cycle = recovery?.cycleUsb;
      if (cycle === undefined || !isUsbPath(usbPath)) return null;
      return way => cycle(usbPath, { way, cutNeighbours: recovery?.cutNeighbours ?? false });
    },
    rebootHost: async () => recovery?.rebootHost?.(),
    mayReboot: recovery?.rebootHost !== undefined,
    neighbours: () => ({
      carrying: others().filter(one => one.carries()).length,
      silent: others().filter(one => one.isSilent()).length,
    }),
    suspectOthers: () => {
      for (const one of others()) one.suspect();
    },
    conflicts: async () => {
      const found = await Promise.all(sources.map(source => source.conflicts?.() ?? []));
      return found.flat().filter(one => one.usbPath === supervisor().config.usbPath);
    },
  };
}
