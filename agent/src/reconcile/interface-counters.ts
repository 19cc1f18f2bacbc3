/**
 * What the kernel counts of one interface. Counters go only up while the same device lives (boot and `ifindex`); a stick
 * that is plugged in again begins at zero with another `ifindex`. What the bytes mean is payload-estimate.ts's.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { linkName, readNumber, readText } from '../modem-plane/discovery/sysfs';
import type { SystemRoots } from '../modem-plane/discovery/system-roots';

/** Some drivers of 32-bit kernels count in 32 bits. */
const WRAP = 2 ** 32;

export const Counters = z.strictObject({
  upBytes: z.int().min(0),
  downBytes: z.int().min(0),
  upPackets: z.int().min(0),
  downPackets: z.int().min(0),
});
export type Counters = z.infer<typeof Counters>;

export interface Reading {
  ifindex: number;
  /** The driver's name; `virtual` for a device without hardware. */
  driver: string;
  counters: Counters;
}

/** Null when there is no such interface, or it vanished meanwhile. */
export async function readInterface(
  name: string,
  roots: Pick<SystemRoots, 'sysfs'>,
): Promise<Reading | null> {
  const folder = join(roots.sysfs, 'class/net', name);
  const count = (what: string) => readNumber(join(folder, 'statistics', what));
  const [ifindex, upBytes, downBytes, upPackets, downPackets, driver, rawIp] = await Promise.all([
    readNumber(join(folder, 'ifindex')),
    count('tx_bytes'),
    count('rx_bytes'),
    count('tx_packets'),
    count('rx_packets'),
    linkName(join(folder, 'device/driver')),
    readText(join(folder, 'qmi/raw_ip')),
  ]);
  if (ifindex === null || upBytes === null || downBytes === null) return null;
  if (upPackets === null || downPackets === null) return null;
  return {
    ifindex,
    driver: driver === 'qmi_wwan' && rawIp === 'Y' ? 'qmi_wwan raw-ip' : (driver ?? 'virtual'),
    counters: { upBytes, downBytes, upPackets, downPackets },
  };
}

/** What was counted between two readings of the same device; null when the counters began anew in between. */
export function movedBetween(before: Counters, now: Counters): Counters | null {
  const moved = { upBytes: 0, downBytes: 0, upPackets: 0, downPackets: 0 };
  for (const key of ['upBytes', 'downBytes', 'upPackets', 'downPackets'] as const) {
    const by = now[key] - before[key];
    // Down from the upper half of 32 bits: it went round once.
    const wrapped = by < 0 && before[key] < WRAP && before[key] >= WRAP / 2 ? by + WRAP : by;
    if (wrapped < 0) return null;
    moved[key] = wrapped;
  }
  return moved;
}
