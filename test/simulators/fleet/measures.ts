/** What a run of the fleet is measured with: how long others wait meanwhile, and figures of many samples. */
import { setTimeout as wait } from 'node:timers/promises';

const PROBE_EVERY_MS = 200;
const PROBE_DEADLINE_MS = 30_000;

/**
 * Asks again and again, one after the other, as a person's browser would: how long it takes is what a person feels.
 * `failed` hears of the first question that was not answered; no other is asked then.
 */
export function probe(url: string, failed: (fault: string) => void): { end(): Promise<number[]> } {
  const times: number[] = [];
  let over = false;
  const asking = (async () => {
    while (!over) {
      const begun = performance.now();
      try {
        await (await fetch(url, { signal: AbortSignal.timeout(PROBE_DEADLINE_MS) })).text();
      } catch (error) {
        failed(`${url} did not answer while nodes came back: ${error}`);
        return;
      }
      times.push(performance.now() - begun);
      await wait(PROBE_EVERY_MS);
    }
  })();
  return {
    async end() {
      over = true;
      await asking;
      return times;
    },
  };
}

/** A dozen points of the curve, for people. */
export function curveText(curve: readonly { second: number; connected: number }[]): string {
  const step = Math.max(1, Math.ceil(curve.length / 12));
  return curve
    .filter((_, index) => index % step === 0 || index === curve.length - 1)
    .map(({ second, connected }) => `${Math.round(second)} s ${connected}`)
    .join(', ');
}

export const median = (values: readonly number[]) => percentile(values, 0.5);

/** The sample that `share` (0 to 1) of all are not above; 0 for none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
