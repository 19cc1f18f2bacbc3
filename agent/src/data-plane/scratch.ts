/**
 * Memory for sealing and opening, shared by all flows of a thread, since each use is over before the next begins.
 * Opened bytes may be sealed in the same call (a Shadowsocks client behind whom a chain goes on), so both have their
 * own; each has two, so that several layers can go from one to the other. Grows to the largest read, and stays.
 */
import type { SealMemory } from './sealed-outlet';

export interface Scratch {
  /** What the last opener writes to, and the one before it. */
  opened: readonly [SealMemory, SealMemory];
  /** What is sealed last, and what goes from one layer to the next. */
  sealed: SealMemory;
  layers: readonly [SealMemory, SealMemory];
}

export function createScratch(): Scratch {
  return { opened: [growing(), growing()], sealed: growing(), layers: [growing(), growing()] };
}

function growing(): SealMemory {
  let memory = Buffer.alloc(0);
  return bytes => {
    if (memory.length < bytes) memory = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * memory.length));
    return memory;
  };
}
