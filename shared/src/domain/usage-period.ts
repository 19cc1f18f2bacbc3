/** The periods of usage, apart from the record's schema (usage.ts), so that the spool's thread need not load a parser. */

/** Milliseconds of a period: usage is kept per UTC minute; its start is inclusive, its end is not. */
export const PERIOD_MS = 60_000;

/** The minute an instant falls into. */
export function periodStartOf(epochMs: number): number {
  return epochMs - (epochMs % PERIOD_MS);
}
