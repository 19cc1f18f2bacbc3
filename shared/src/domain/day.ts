/** UTC days, apart from the schemas that name them (reconciliation.ts), so that the spool's thread need not load a parser. */

export const DAY_MS = 86_400_000;

/** The UTC day an instant falls into, as the epoch milliseconds of its beginning. */
export function dayOf(epochMs: number): number {
  return epochMs - (epochMs % DAY_MS);
}
