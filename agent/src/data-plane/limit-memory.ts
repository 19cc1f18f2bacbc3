/**
 * How a lane takes part in the common limits: its number, the cells in shared memory, a time that all lanes agree on,
 * and a channel by which one wakes the others. Made once by the control thread, joined once by every lane.
 */
import { randomUUID } from 'node:crypto';
import { BroadcastChannel } from 'node:worker_threads';
import type { Clock } from '@mastline/shared/base/clock';
import { LimitCells, limitBytes } from './limit-cells';

/** Plain values, to be passed to workers. */
export interface LimitMemory {
  cells: SharedArrayBuffer;
  /** One cell: how many lanes have joined. */
  joined: SharedArrayBuffer;
  lanes: number;
  channel: string;
  /** The kernel's monotonic time less the control thread's: a worker's own clock starts at its own birth. */
  clockOffsetMs: number;
}

export function createLimitMemory(lanes: number, clock: Clock): LimitMemory {
  return {
    cells: new SharedArrayBuffer(limitBytes(lanes)),
    joined: new SharedArrayBuffer(4),
    lanes,
    channel: `mastline-limits-${randomUUID()}`,
    clockOffsetMs: kernelMs() - clock.monotonicMs(),
  };
}

export interface LimitSeat {
  cells: LimitCells;
  /** From 0, which is the control thread's: it joins first, also when it carries nothing. */
  lane: number;
  /** Asks the other lanes to look at this row. */
  wake(row: number): void;
  /** `look` is called when another lane asks. */
  onWake(look: (row: number) => void): void;
  close(): void;
}

/** Takes the next seat. */
export function joinLimits(memory: LimitMemory, clock: Clock): LimitSeat {
  const lane = Atomics.add(new Int32Array(memory.joined), 0, 1);
  if (lane >= memory.lanes) throw new Error(`limits were made for ${memory.lanes} lanes`);
  const behindMs = lane === 0 ? 0 : kernelMs() - clock.monotonicMs() - memory.clockOffsetMs;
  const cells = new LimitCells({
    memory: memory.cells,
    lanes: memory.lanes,
    monotonicMs: () => clock.monotonicMs() + behindMs,
  });
  if (memory.lanes === 1)
    return { cells, lane, wake: () => undefined, onWake: () => undefined, close: () => undefined };
  const channel = new BroadcastChannel(memory.channel);
  // Nothing waits for a wish of another lane; the thread may end all the same.
  channel.unref();
  return {
    cells,
    lane,
    wake: row => channel.postMessage(row),
    onWake: look => {
      channel.onmessage = (event: unknown) => {
        const row = typeof event === 'object' && event !== null && 'data' in event ? event.data : null;
        if (typeof row === 'number') look(row);
      };
    },
    close: () => channel.close(),
  };
}

/** CLOCK_MONOTONIC, the same in all threads of the machine. */
function kernelMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
