/** How late the event loop is: everything here runs on it, so that its delay is everybody's. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** How often it is looked at, milliseconds: fine enough for what people notice, and no load. */
const RESOLUTION_MS = 20;

export interface EventLoopWatch {
  /** Seconds beyond the timer's own period since the last call of `read`. */
  read(): { p50: number; p99: number; max: number };
  close(): void;
}

export function watchEventLoop(): EventLoopWatch {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  // It measures from one look to the next, the time between looks included.
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000) || 0;
  return {
    read() {
      const read =
        histogram.count === 0
          ? { p50: 0, p99: 0, max: 0 }
          : {
              p50: seconds(histogram.percentile(50)),
              p99: seconds(histogram.percentile(99)),
              max: seconds(histogram.max),
            };
      histogram.reset();
      return read;
    },
    close: () => void histogram.disable(),
  };
}
