/**
 * What rotations taught: how often each method gave another address, per modem and carrier, how long it took, and
 * which method to try first. Pure but for the record it keeps, which is bounded. Deciding when is rotation-desk.ts.
 */
import { RotationMethod } from '@mastline/shared/profile/schema';
import { z } from 'zod';

/** Old experience counts no more: carriers change. */
const KEPT_PER_METHOD = 50;
const MAX_KEYS = 512;

export interface RotationStep {
  method: RotationMethod;
  dwellSeconds: number;
  expectSeconds: number;
}

export const AttemptOutcome = z.enum(['rotated', 'collision', 'failed']);
export type AttemptOutcome = z.infer<typeof AttemptOutcome>;

/** Also as it lies on disk (rotation-book.ts). */
export const Experience = z.looseObject({
  /** IMEI and carrier; a SIM that moves to another modem learns anew. */
  modem: z.string().max(40),
  carrier: z.string().max(80),
  method: RotationMethod,
  outcome: AttemptOutcome,
  tookMs: z.number().min(0),
});
export type Experience = z.infer<typeof Experience>;

export interface MethodFigures {
  modem: string;
  carrier: string;
  method: RotationMethod;
  tries: number;
  rotated: number;
  /** Of 1; the same address came back. */
  collisionRate: number;
  /** Milliseconds of the rotations that worked; null without any. */
  p50Ms: number | null;
  p95Ms: number | null;
}

export class RotationStatistics {
  readonly #kept = new Map<string, Experience[]>();

  add(experience: Experience): void {
    const key = keyOf(experience);
    const list = this.#kept.get(key) ?? [];
    list.push(experience);
    if (list.length > KEPT_PER_METHOD) list.shift();
    // The one that was used last goes to the end; the first is forgotten.
    this.#kept.delete(key);
    this.#kept.set(key, list);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > MAX_KEYS && !oldest.done) this.#kept.delete(oldest.value);
  }

  /** All that is kept, in an order in which it can be added again. */
  experiences(): Experience[] {
    return [...this.#kept.values()].flat();
  }

  /**
   * The profile's ladder, the method first that is expected to give another address soonest: usual seconds over
   * the chance that it works. Unknown methods count as working every second time, so that the ladder's order holds
   * until experience speaks against it.
   */
  order(ladder: readonly RotationStep[], modem: string, carrier: string): RotationStep[] {
    const cost = (step: RotationStep) => {
      const list = this.#kept.get(keyOf({ modem, carrier, method: step.method })) ?? [];
      const worked = list.filter(one => one.outcome === 'rotated');
      const seconds = (quantile(worked, 0.5) ?? step.expectSeconds * 1000) / 1000;
      return (Math.max(seconds, 0.001) * (list.length + 2)) / (worked.length + 1);
    };
    return ladder
      .map((step, place) => ({ step, place, cost: cost(step) }))
      .sort((a, b) => a.cost - b.cost || a.place - b.place)
      .map(({ step }) => step);
  }

  figures(): MethodFigures[] {
    return [...this.#kept.values()].flatMap(list => {
      const first = list[0];
      if (!first) return [];
      const { modem, carrier, method } = first;
      const worked = list.filter(one => one.outcome === 'rotated');
      const collisions = list.filter(one => one.outcome === 'collision').length;
      return {
        ...{ modem, carrier, method },
        tries: list.length,
        rotated: worked.length,
        collisionRate: collisions / list.length,
        p50Ms: quantile(worked, 0.5),
        p95Ms: quantile(worked, 0.95),
      };
    });
  }
}

function keyOf({ modem, carrier, method }: Pick<Experience, 'modem' | 'carrier' | 'method'>): string {
  return JSON.stringify([modem, carrier, method]);
}

/** Nearest rank; null of nothing. */
function quantile(list: readonly Experience[], share: number): number | null {
  const sorted = list.map(one => one.tookMs).sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
