/**
 * Brings deltas of all threads to the sink, one commit at a time. A commit that fails is tried again with the very
 * same deltas (the sink promises that none of them was kept), so nothing is lost or doubled; what comes meanwhile
 * waits for the next commit, and the window (usage-window.ts) holds traffic back until then.
 *
 * A commit that does not settle is waited for, without deadline: whether its deltas are on disk is not known, and
 * both giving up and trying again could be wrong. It is logged, and traffic of those slots stands still.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import { addBytes } from '@mastline/shared/base/bytes';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type { UsageDelta, UsageSink } from '../ports';
import type { UsageWindow } from './usage-window';

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 2_000;
/** A commit is an fsync; one that takes longer than this is worth a line in the log. */
const SLOW_COMMIT_MS = 3_000;

export class Committer {
  readonly #sink: UsageSink;
  readonly #window: UsageWindow;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #released: (slots: number[]) => void;
  readonly #stop = new AbortController();
  #waiting = new Map<string, UsageDelta>();
  #running: Promise<void> | null = null;

  constructor(options: {
    sink: UsageSink;
    window: UsageWindow;
    clock: Clock;
    log: Log;
    /** Called when deltas of these slots are on disk and their window is free. */
    released: (slots: number[]) => void;
  }) {
    this.#sink = options.sink;
    this.#window = options.window;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#released = options.released;
  }

  /** Takes deltas over; they reach the sink in a later commit. */
  add(deltas: readonly UsageDelta[]): void {
    for (const delta of deltas) {
      const name = `${delta.endpointId}\n${delta.credentialId}\n${delta.slot}\n${delta.imei ?? ''}`;
      const known = this.#waiting.get(name);
      if (!known) this.#waiting.set(name, { ...delta });
      else {
        known.upBytes = addBytes(known.upBytes, delta.upBytes);
        known.downBytes = addBytes(known.downBytes, delta.downBytes);
        known.flows += delta.flows;
      }
    }
    this.#run();
  }

  /** Looks whether a commit is on disk, without waiting for the event loop to say so. */
  settle(): void {
    if (this.#running) this.#sink.settle?.();
  }

  /** Resolves when all deltas are committed; rejects with `usage/uncommitted` when that takes longer than `ms`. */
  async close(ms: number): Promise<void> {
    if (!this.#running) return;
    const timer = this.#clock.after(ms, () =>
      this.#stop.abort(new CodedError('usage/stopped', 'told to stop')),
    );
    const stopped = new Promise<void>(resolve =>
      this.#stop.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    await Promise.race([this.#running, stopped]);
    timer.cancel();
    if (this.#stop.signal.aborted)
      throw new CodedError(
        'usage/uncommitted',
        `usage could not be committed within ${ms} ms and is lost to the bill`,
        { userMessage: 'The last usage could not be written to disk. Look at the disk of this machine.' },
      );
  }

  #run(): void {
    if (this.#running || this.#stop.signal.aborted) return;
    this.#running = this.#commitAll().finally(() => {
      this.#running = null;
      if (this.#waiting.size > 0) this.#run();
    });
  }

  async #commitAll(): Promise<void> {
    while (this.#waiting.size > 0 && !this.#stop.signal.aborted) {
      const batch = [...this.#waiting.values()];
      this.#waiting = new Map();
      if (await this.#commit(batch)) this.#release(batch);
    }
  }

  /** False only when told to stop. */
  async #commit(batch: readonly UsageDelta[]): Promise<boolean> {
    const backoff = new Backoff({ firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS });
    while (!this.#stop.signal.aborted) {
      const slow = this.#clock.after(SLOW_COMMIT_MS, () =>
        this.#log.warn('the spool takes long to commit usage; traffic may wait', {
          code: 'usage/slow-commit',
        }),
      );
      try {
        await this.#sink.commit(batch);
        return true;
      } catch (error) {
        this.#log.error('usage could not be committed, will try again', {
          code: 'usage/commit-failed',
          failures: backoff.failures + 1,
          error,
        });
      } finally {
        slow.cancel();
      }
      await sleep(this.#clock, backoff.nextMs(), this.#stop.signal).catch(() => undefined);
    }
    return false;
  }

  #release(batch: readonly UsageDelta[]): void {
    const slots = new Set<number>();
    for (const delta of batch) {
      this.#window.giveBack(delta.slot, delta.upBytes + delta.downBytes);
      slots.add(delta.slot);
    }
    this.#released([...slots]);
  }
}
