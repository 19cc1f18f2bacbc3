/**
 * How long a node may go on serving without hearing from its cloud. Counted on the monotonic clock since boot, so
 * that setting the wall clock changes nothing; noted on disk, so that restarting the agent does not either. What
 * stops at the end is desired-state.ts's business.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Log } from '../observe/log';
import type { LeaseNote, StateStore } from '../spool/state-store';
import type { Boot } from './boot';

/** Longest time between two notes: a restart forgets at most this much of contact, or a tenth of the lease. */
const NOTE_INTERVAL_MS = 600_000;
/** Timers longer than 2^31 ms fire at once; this also keeps the check honest after a suspend. */
const MAX_TIMER_MS = 3_600_000;

export interface LeaseOptions {
  clock: Clock;
  boot: Boot;
  /** Corrected epoch milliseconds. */
  now: () => number;
  store: Pick<StateStore, 'saveLeaseNote'>;
  log: Log;
  onLapse(): void;
  onRenew(): void;
}

/** Milliseconds without contact that a note stands for now. */
export function usedSince(note: LeaseNote, boot: Boot, nowMs: number): number {
  if (note.bootId === boot.id) return Math.max(note.usedMs, boot.uptimeMs() - note.contactUptimeMs);
  // Another boot: the monotonic clock began anew. The wall clock counts, but never less than what was noted.
  return Math.max(note.usedMs, nowMs - note.contactAt);
}

export class Lease {
  readonly #options: LeaseOptions;
  #lengthMs: number | undefined;
  /** Milliseconds since boot at the last contact, as far as the lease is concerned (may lie before this boot). */
  #contactUptimeMs: number;
  #lapsed = false;
  #check: Timer | undefined;
  #notes: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#contactUptimeMs = options.boot.uptimeMs();
  }

  /** Takes up the count where the last process left it. */
  resume(note: LeaseNote | undefined): void {
    if (!note) return;
    const { boot, now } = this.#options;
    this.#contactUptimeMs = boot.uptimeMs() - usedSince(note, boot, now());
  }

  /** Sets how long it is; counting begins with the first call. Says at once whether it has run out. */
  setLength(leaseSeconds: number): { lapsed: boolean } {
    const lengthMs = leaseSeconds * 1000;
    if (lengthMs !== this.#lengthMs) {
      this.#lengthMs = lengthMs;
      this.#notes?.cancel();
      this.#notes = this.#options.clock.every(Math.min(NOTE_INTERVAL_MS, lengthMs / 10), () => this.#note());
      this.#note();
    }
    this.#lapsed = this.remainingMs() <= 0;
    this.#watch();
    return { lapsed: this.#lapsed };
  }

  /** The cloud was heard. */
  contact(): void {
    const before = this.#contactUptimeMs;
    this.#contactUptimeMs = this.#options.boot.uptimeMs();
    if (this.#lengthMs === undefined || !this.#lapsed) return;
    this.#options.log.info('the cloud is back: the lease runs anew', {
      withoutMs: this.#contactUptimeMs - before,
    });
    this.#lapsed = false;
    this.#note();
    this.#watch();
    this.#options.onRenew();
  }

  get lapsed(): boolean {
    return this.#lapsed;
  }

  /** Milliseconds left; 0 when run out, Infinity before there is a lease. */
  remainingMs(): number {
    if (this.#lengthMs === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#lengthMs - this.#withoutContactMs());
  }

  /** Stops counting and writes the last note. */
  async close(): Promise<void> {
    this.#check?.cancel();
    this.#notes?.cancel();
    if (this.#lengthMs !== undefined) this.#note();
    await this.#saving;
  }

  #withoutContactMs(): number {
    return Math.max(0, this.#options.boot.uptimeMs() - this.#contactUptimeMs);
  }

  #watch(): void {
    this.#check?.cancel();
    this.#check = undefined;
    if (this.#lapsed) return;
    this.#check = this.#options.clock.after(Math.min(this.remainingMs(), MAX_TIMER_MS), () => {
      if (this.remainingMs() > 0) return this.#watch();
      this.#lapsed = true;
      this.#note();
      this.#options.log.error('the lease has run out: not serving until the cloud is heard', {
        code: 'lease/run-out',
        withoutMs: this.#withoutContactMs(),
      });
      this.#options.onLapse();
    });
  }

  #note(): void {
    const { boot, now, store, log } = this.#options;
    const usedMs = this.#withoutContactMs();
    const note: LeaseNote = {
      bootId: boot.id,
      contactUptimeMs: this.#contactUptimeMs,
      contactAt: now() - usedMs,
      usedMs,
    };
    this.#saving = this.#saving
      .then(() => store.saveLeaseNote(note))
      .catch(error => log.warn('the note of the lease cannot be written', { error }));
  }
}
