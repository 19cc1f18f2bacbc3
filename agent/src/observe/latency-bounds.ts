/**
 * Upper bounds of latency buckets, in milliseconds; one more bucket holds what is above. From loopback to a modem that
 * has just woken up. Counted in by data-plane/lane-metrics.ts, named by metrics.ts.
 */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 350, 500, 750, 1_000, 1_500, 2_000, 3_500, 5_000, 10_000, 15_000,
];
