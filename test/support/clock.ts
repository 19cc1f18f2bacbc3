/** Time that moves when told. Timers fire in order, at their own instants, while `advance` runs. */
import type { Clock, Timer } from '@mastline/shared/base/clock';

export interface FakeClock extends Clock {
  /** Moves time on by `ms`, firing what falls due; lets promises settle between firings. */
  advance(ms: number): Promise<void>;
  /** Sets the wall clock without moving the monotonic one, as an NTP step does. */
  jumpTo(epochMs: number): void;
  pending(): number;
}

export function fakeClock(startMs = Date.UTC(2026, 0, 1)): FakeClock {
  let mono = 0;
  let wallOffset = startMs;
  let nextId = 1;
  const timers = new Map<number, { at: number; every: number | undefined; run: () => void }>();

  const add = (ms: number, run: () => void, every?: number): Timer => {
    const id = nextId++;
    timers.set(id, { at: mono + Math.max(0, ms), every, run });
    return { cancel: () => void timers.delete(id) };
  };
  const settle = async () => {
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
    await new Promise<void>(resolve => setImmediate(resolve));
  };

  return {
    now: () => Math.floor(wallOffset + mono),
    monotonicMs: () => mono,
    after: (ms, run) => add(ms, run),
    every: (ms, run) => add(ms, run, ms),
    async advance(ms) {
      const end = mono + ms;
      await settle();
      for (;;) {
        let dueId: number | undefined;
        let dueAt = Number.POSITIVE_INFINITY;
        for (const [id, timer] of timers)
          if (timer.at <= end && timer.at < dueAt) {
            dueId = id;
            dueAt = timer.at;
          }
        if (dueId === undefined) break;
        const timer = timers.get(dueId);
        if (!timer) break;
        mono = Math.max(mono, timer.at);
        if (timer.every === undefined) timers.delete(dueId);
        else timer.at += timer.every;
        timer.run();
        await settle();
      }
      mono = end;
      await settle();
    },
    jumpTo: epochMs => {
      wallOffset = epochMs - mono;
    },
    pending: () => timers.size,
  };
}
