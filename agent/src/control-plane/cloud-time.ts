/**
 * The node's clock corrected by the cloud's. A Pi has no clock of its own and may wake in 1970; once the cloud has
 * said its time, ours goes on from there on the monotonic clock, whatever happens to the wall clock.
 */
import type { Clock } from '@mastline/shared/base/clock';

export interface CloudTime {
  /** Corrected epoch milliseconds; the machine's own clock before the first correction. */
  now(): number;
  /** Takes over the cloud's clock as it was told, `roundTripMs` after it was asked (0 when not known). */
  correct(cloudNowMs: number, roundTripMs: number): void;
  /** Milliseconds that the machine's clock is behind the cloud's; undefined before the first correction. */
  offsetMs(): number | undefined;
}

/** A slow answer says less about the time: past this it is not taken over. */
const MAX_ROUND_TRIP_MS = 5_000;

export function cloudTime(clock: Clock): CloudTime {
  let anchor: { cloudMs: number; monotonicMs: number } | undefined;
  const now = () =>
    anchor ? Math.floor(anchor.cloudMs + clock.monotonicMs() - anchor.monotonicMs) : clock.now();
  return {
    now,
    correct(cloudNowMs, roundTripMs) {
      if (anchor && roundTripMs > MAX_ROUND_TRIP_MS) return;
      anchor = { cloudMs: cloudNowMs + roundTripMs / 2, monotonicMs: clock.monotonicMs() };
    },
    offsetMs: () => (anchor ? now() - clock.now() : undefined),
  };
}
