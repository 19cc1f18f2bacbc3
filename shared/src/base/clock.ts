/**
 * Time as a parameter. Code that waits or stamps takes a `Clock`; production hands in `systemClock`, tests hand in
 * one that moves when told (`test/support/clock.ts`).
 */
export interface Timer {
  /** Forgets the timer; harmless when it has fired already. */
  cancel(): void;
}

export interface Clock {
  /** UTC instant in epoch milliseconds; may jump when somebody sets the machine's clock. */
  now(): number;
  /** Milliseconds from an arbitrary start that never go backwards; for durations, deadlines and leases. */
  monotonicMs(): number;
  /** Calls `run` once after `ms` milliseconds. */
  after(ms: number, run: () => void): Timer;
  /** Calls `run` every `ms` milliseconds until cancelled. */
  every(ms: number, run: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, run) => {
    const handle = setTimeout(run, ms);
    return { cancel: () => clearTimeout(handle) };
  },
  every: (ms, run) => {
    const handle = setInterval(run, ms);
    return { cancel: () => clearInterval(handle) };
  },
};

/** Resolves after `ms` by `clock`; rejects with the signal's reason when aborted first. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
