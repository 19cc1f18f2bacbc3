/**
 * What recovering taught, over restarts: per kind of modem, cause and rung how often it helped and how long that took,
 * and the latest climbs of each slot. One record for the node, in a file of its data directory. Using it is plan.ts.
 */
import { join } from 'node:path';
import type { Clock } from '@mastline/shared/base/clock';
import { type ModemCause, RecoveryReport } from '@mastline/shared/domain/modem';
import { z } from 'zod';
import type { Log } from '../../observe/log';
import { KeptFile } from '../kept-file';
import type { Experience, Rung } from './plan';

export const RECOVERY_FILE = 'recovery.json';
const CLIMBS_KEPT = 20;
const MAX_KEYS = 512;
const TIMES_KEPT = 20;
const DAY_MS = 86_400_000;

const Figures = z.strictObject({
  model: z.string().max(80),
  cause: z.string().max(40),
  rung: z.string().max(40),
  tries: z.int().min(0),
  mended: z.int().min(0),
  /** Climbs since the last try that passed it over. */
  passed: z.int().min(0).default(0),
  /** Milliseconds of the latest that helped. */
  tookMs: z.array(z.int().min(0)).max(TIMES_KEPT),
});

const Kept = z.strictObject({
  version: z.literal(1),
  rungs: z.array(Figures).max(MAX_KEYS),
  /** By slot number, oldest first. */
  climbs: z.record(z.string(), z.array(RecoveryReport).max(CLIMBS_KEPT)),
  /** Rungs that were begun within the last day. */
  done: z.array(z.strictObject({ slot: z.int(), rung: z.string().max(40), at: z.number() })),
});
type Kept = z.infer<typeof Kept>;

export interface RungFigures {
  model: string;
  cause: string;
  rung: string;
  tries: number;
  mended: number;
  /** Of 1. */
  successRate: number;
  /** Of the latest that helped; null without any. */
  p50Ms: number | null;
}

export class RecoveryRecord {
  readonly #file: KeptFile<Kept>;
  readonly #now: () => number;

  /** `now`: UTC by the cloud's clock. */
  constructor(options: { dataDir: string; clock: Clock; now: () => number; log: Log }) {
    this.#now = options.now;
    this.#file = new KeptFile<Kept>({
      path: join(options.dataDir, RECOVERY_FILE),
      schema: Kept,
      fresh: () => ({ version: 1, rungs: [], climbs: {}, done: [] }),
      clock: options.clock,
      log: options.log,
    });
  }

  /** A rung is about to be done. Resolves at once but for a restart of the box, which has to be on disk before. */
  async begin(slot: number, rung: Rung): Promise<void> {
    const now = this.#now();
    const { value } = this.#file;
    value.done = value.done.filter(one => Math.abs(now - one.at) < DAY_MS);
    value.done.push({ slot, rung, at: now });
    if (rung === 'host-reboot') await this.#file.flush();
    else this.#file.changed();
  }

  doneToday(slot: number, rung: Rung): number {
    const now = this.#now();
    // The box is everybody's.
    return this.#file.value.done.filter(
      one =>
        one.rung === rung && (one.slot === slot || rung === 'host-reboot') && Math.abs(now - one.at) < DAY_MS,
    ).length;
  }

  experience(model: string, cause: ModemCause, rung: Rung): Experience | null {
    return this.#figuresOf(model, cause, rung) ?? null;
  }

  /** A climb leaves these rungs out, since they have never helped. */
  passOver(model: string, cause: ModemCause, rungs: readonly Rung[]): void {
    for (const rung of rungs) {
      const figures = this.#figuresOf(model, cause, rung);
      if (figures) figures.passed += 1;
    }
    if (rungs.length > 0) this.#file.changed();
  }

  /** What came of a climb. */
  add(slot: number, model: string, report: RecoveryReport): void {
    const { value } = this.#file;
    const key = String(slot);
    value.climbs[key] = [...(value.climbs[key] ?? []), report].slice(-CLIMBS_KEPT);
    for (const { rung, outcome, tookMs } of report.rungs) {
      if (outcome !== 'mended' && outcome !== 'not-mended') continue;
      let figures = this.#figuresOf(model, report.cause, rung);
      if (figures === undefined) {
        figures = { model, cause: report.cause, rung, tries: 0, mended: 0, passed: 0, tookMs: [] };
        value.rungs.push(figures);
        if (value.rungs.length > MAX_KEYS) value.rungs.shift();
      }
      figures.tries += 1;
      figures.passed = 0;
      if (outcome === 'mended') {
        figures.mended += 1;
        figures.tookMs = [...figures.tookMs, tookMs].slice(-TIMES_KEPT);
      }
    }
    this.#file.changed();
  }

  /** Oldest first. */
  climbsOf(slot: number): readonly RecoveryReport[] {
    return this.#file.value.climbs[String(slot)] ?? [];
  }

  figures(): RungFigures[] {
    return this.#file.value.rungs.map(({ tookMs, passed: _, ...one }) => {
      const sorted = [...tookMs].sort((a, b) => a - b);
      return {
        ...one,
        successRate: one.tries === 0 ? 0 : one.mended / one.tries,
        p50Ms: sorted[Math.ceil(sorted.length / 2) - 1] ?? null,
      };
    });
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #figuresOf(model: string, cause: string, rung: string) {
    return this.#file.value.rungs.find(
      one => one.model === model && one.cause === cause && one.rung === rung,
    );
  }
}
