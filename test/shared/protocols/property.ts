/** A property that must hold, checked at once: `fc.assert` for synchronous properties only, so nothing floats. */
import fc from 'fast-check';

/** Throws with the smallest counter-example found in `numRuns` tries. */
export function holds<Values>(property: fc.IProperty<Values>, numRuns = 200): void {
  void fc.assert(property, { numRuns });
}
