/**
 * What all threads of the data plane have in common, as memory: made once by the control thread, handed to every lane.
 * Each part is wrapped by the file that knows its meaning (usage-window.ts, shared-count.ts); plain values only, so
 * that it passes to a worker as it is.
 */

import type { Clock } from '@mastline/shared/base/clock';
import { createLimitMemory, type LimitMemory } from './limit-memory';
import { SESSION_TABLE_BYTES } from './session-table';
import { createSaltMemory, type SaltMemory } from './shadowsocks-ports';
import { LANE_COUNTS } from './shared-count';
import { createSourceMemory } from './source-guard';
import { WINDOW_BYTES } from './usage-window';

export interface SharedMemory {
  /** Bytes ahead of the disk, one cell for each slot: usage-window.ts. */
  window: SharedArrayBuffer;
  /** Connections and handshakes of all lanes together: shared-count.ts. */
  counts: SharedArrayBuffer;
  /** What strangers of one source have taken: source-guard.ts. */
  sources: SharedArrayBuffer;
  /** Beginnings of Shadowsocks streams and datagrams that were seen: shadowsocks-ports.ts. */
  salts: SaltMemory;
  /** Slots of customers' sessions: session-table.ts. */
  sessions: SharedArrayBuffer;
  /** Limits of credentials and slots: limit-memory.ts. */
  limits: LimitMemory;
}

/** For `lanes` threads; `clock` is the control thread's. */
export function createSharedMemory(lanes: number, clock: Clock): SharedMemory {
  return {
    window: new SharedArrayBuffer(WINDOW_BYTES),
    counts: new SharedArrayBuffer(Object.keys(LANE_COUNTS).length * 4),
    sources: createSourceMemory(),
    salts: createSaltMemory(),
    sessions: new SharedArrayBuffer(SESSION_TABLE_BYTES),
    limits: createLimitMemory(lanes, clock),
  };
}
