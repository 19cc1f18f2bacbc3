/** This boot of the machine: durations since boot can be compared between processes only within one boot. */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Boot {
  id: string;
  /** Milliseconds since boot, monotonic (CLOCK_MONOTONIC: time asleep does not count). */
  uptimeMs(): number;
}

/** From Linux; elsewhere each process counts as a boot of its own. */
export function thisBoot(): Boot {
  return { id: bootId(), uptimeMs: () => Number(process.hrtime.bigint() / 1_000_000n) };
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    // No Linux: a fresh id only makes leases count by the wall clock across restarts.
    return randomUUID();
  }
}
