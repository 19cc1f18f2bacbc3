/**
 * Gives back, once, what the start has left behind. The migration engine and Prisma's query compiler are WebAssembly that
 * is compiled in the first seconds: tens of megabytes of buffers that nobody needs any more, and that V8 would keep until
 * the old generation is full. Where nodes come at once it would also keep what their first greetings have made. How far
 * the old generation may grow later is old-garbage.ts.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';

/** The first jobs look 15 s after the start (jobs/job-runner.ts), and they load what they need. */
export const FIRST_LOOK_MS = 20_000;
const LOOK_MS = 1_000;
/** Collecting stops the process for some tenths of a second: not while many are being let in. */
export const FEW_ARRIVING = 8;

/** `arriving`: nodes that are being let in now. */
export function giveBackWhenCalm(options: { clock: Clock; arriving(): number; giveBack(): void }): Timer {
  const { clock, arriving, giveBack } = options;
  const begunMs = clock.monotonicMs();
  const timer = clock.every(LOOK_MS, () => {
    if (clock.monotonicMs() - begunMs < FIRST_LOOK_MS || arriving() > FEW_ARRIVING) return;
    timer.cancel();
    giveBack();
  });
  return timer;
}
