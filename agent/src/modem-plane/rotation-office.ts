/**
 * All rotations of a node in one place: takes requests from whoever asks (command line, cloud, customer, schedule),
 * has the slot's supervisor do them, and keeps and tells what came of them. What a rotation is stands in rotation.ts,
 * whether it may be in rotation-desk.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { RotationRecord, RotationSchedule, SlotSchedule } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type { Log } from '../observe/log';
import type { RotateOutcome, RotationRequest, Rotations } from '../ports';
import type { RotationDrain } from './rotation';
import { RotationBook } from './rotation-book';
import type { RotationLimits, RotationReport } from './rotation-desk';
import { RotationScheduler } from './rotation-scheduler';
import { type MethodFigures, RotationStatistics } from './rotation-statistics';
import type { SlotConfig } from './slot-config';

const MAX_REASON = 500;
const MAX_ASKED_FOR = 120;
/** A driver's verb may take a minute to see that nobody wants it any more. */
const CLOSE_MS = 1000;

export interface OfficeOptions {
  dataDir: string;
  clock: Clock;
  /** Corrected epoch milliseconds. */
  now: () => number;
  random: () => number;
  log: Log;
  /** Has the slot rotated by its supervisor; never rejects. */
  perform(slot: number, request: RotationRequest): Promise<RotationReport>;
}

export class RotationOffice implements Rotations {
  readonly statistics = new RotationStatistics();
  readonly #options: OfficeOptions;
  readonly #book: RotationBook;
  readonly #scheduler: RotationScheduler;
  /** Under way, by the request's id. */
  readonly #running = new Map<string, Promise<RotationRecord>>();
  /** What the slots' configuration says. */
  readonly #configured = new Map<number, RotationSchedule>();
  #wanted: readonly SlotSchedule[] = [];
  #listeners: ((record: RotationRecord) => void)[] = [];

  constructor(options: OfficeOptions) {
    this.#options = options;
    const { dataDir, clock, now, random, log } = options;
    this.#book = new RotationBook({ dataDir, log, experience: () => this.statistics.experiences() });
    for (const one of this.#book.pastExperience()) this.statistics.add(one);
    this.#scheduler = new RotationScheduler({
      ...{ clock, now, random, log },
      rotate: slot => this.rotate(slot, { askedFor: 'schedule' }),
      lastEnd: slot => this.#book.history(slot).at(-1)?.endedAt ?? null,
    });
  }

  /** Never rejects. A request that was made before, by its id, is not done twice. */
  rotate(slot: number, request: RotationRequest): Promise<RotationRecord> {
    const id = request.id ?? uuidv7(this.#options.now());
    const known = this.#book.find(id);
    if (known) return Promise.resolve(known);
    const running = this.#running.get(id);
    if (running) return running;
    const work = this.#perform(id, slot, request);
    this.#running.set(id, work);
    return work;
  }

  /** Oldest first. */
  history(slot: number): RotationRecord[] {
    return this.#book.history(slot);
  }

  figures(): MethodFigures[] {
    return this.statistics.figures();
  }

  /** Next scheduled rotation of a slot, epoch milliseconds; null when none is. */
  due(slot: number): number | null {
    return this.#scheduler.due(slot);
  }

  unnoted(): RotationRecord[] {
    return this.#book.unnoted();
  }

  note(ids: readonly string[]): void {
    this.#book.note(ids);
  }

  onEnd(listener: (record: RotationRecord) => void): void {
    this.#listeners.push(listener);
  }

  schedule(slots: readonly SlotSchedule[]): void {
    this.#wanted = slots;
    this.#setSchedules();
  }

  /** What the supervisor of a slot is to be made with. */
  openSlot(config: SlotConfig): {
    limits: Partial<RotationLimits>;
    graceMs: number | undefined;
    past: number[];
  } {
    const { slot, rotation } = config;
    this.#configured.delete(slot);
    if (rotation?.schedule) this.#configured.set(slot, rotation.schedule);
    this.#setSchedules();
    return {
      limits: {
        ...(rotation?.coolDownSeconds === undefined ? {} : { coolDownMs: rotation.coolDownSeconds * 1000 }),
        ...(rotation?.perHour === undefined ? {} : { perHour: rotation.perHour }),
        ...(rotation?.perDay === undefined ? {} : { perDay: rotation.perDay }),
      },
      graceMs: rotation?.graceSeconds === undefined ? undefined : rotation.graceSeconds * 1000,
      past: this.#book.history(slot).map(record => record.endedAt),
    };
  }

  /** Begins no more; those under way (their supervisors are closed before) get a moment to be written down. */
  async close(): Promise<void> {
    const { clock, log } = this.#options;
    const ended = Promise.all([this.#scheduler.close(), ...this.#running.values()]);
    try {
      await withDeadline(ended, CLOSE_MS, 'ending rotations', clock);
    } catch (error) {
      if (codeOf(error) !== 'deadline/exceeded') throw error;
      log.warn('a rotation under way is left behind');
    }
    await this.#book.close();
  }

  async #perform(id: string, slot: number, request: RotationRequest): Promise<RotationRecord> {
    try {
      const report = await this.#options.perform(slot, request);
      const record = recordOf(report, { id, endedAt: Math.floor(this.#options.now()) });
      // Whoever hammers must not push out of the book what really happened.
      if (record.outcome !== 'unavailable') {
        this.#book.add(record);
        this.#scheduler.ended(slot);
        for (const listener of this.#listeners) listener(record);
      }
      return record;
    } finally {
      this.#running.delete(id);
    }
  }

  /** What the cloud says of a slot counts before its configuration. */
  #setSchedules(): void {
    this.#scheduler.set(
      new Map([...this.#configured, ...this.#wanted.map(one => [one.slot, one.schedule] as const)]),
    );
  }
}

/** As it is kept and told. */
export function recordOf(report: RotationReport, of: { id: string; endedAt: number }): RotationRecord {
  const common = {
    ...of,
    slot: report.slot,
    askedFor: report.askedFor.slice(0, MAX_ASKED_FOR),
    outcome: report.kind,
    reason: (report.kind === 'rotated' ? leftBehind(report) : report.reason).slice(0, MAX_REASON),
    carrier: report.carrier,
  };
  if (report.kind === 'unavailable')
    return {
      ...common,
      ...{ method: null, oldAddress: null, newAddress: null, tookMs: 0, attempts: 0, connected: true },
      retryAfterMs: report.retryAfterMs === null ? null : Math.ceil(report.retryAfterMs),
    };
  const { method, oldAddress, newAddress, tookMs, attempts, connected } = report;
  return {
    ...common,
    ...{ method, oldAddress, newAddress, tookMs: Math.round(tookMs), attempts: attempts.length, connected },
    retryAfterMs: null,
  };
}

/** What became of running flows that outlived their time; empty when none did. */
function leftBehind({ drain }: { drain: RotationDrain | null }): string {
  if (drain === null || drain.flowsLeft === 0) return '';
  const waited = `after ${Math.round(drain.waitedMs / 1000)} s`;
  if (drain.flowsLeft === null) return `changed ${waited}; ${drain.problem}`;
  return `${drain.flowsLeft} flows still ran when it changed ${waited}`;
}

/** The same for the customer who asked by user name. */
export function toldToCustomer(record: RotationRecord): RotateOutcome {
  const { outcome, reason } = record;
  return outcome === 'rotated' || outcome === 'collision' ? { kind: outcome } : { kind: outcome, reason };
}
