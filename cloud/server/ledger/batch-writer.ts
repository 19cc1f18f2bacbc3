/**
 * Many nodes' batches in few transactions: what waits while one transaction runs goes into the next, so that a commit
 * is paid once for thousands of records. A batch that the database cannot take fails alone; a database that is away
 * is waited for, and meanwhile senders are held back by their unanswered batches. Exactness is record-batch.ts.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Span } from '@opentelemetry/api';
import type { Database } from '../db/database';
import type { Log } from '../log';
import { beginSpan, contextOf, endSpan, linksTo, within } from '../observe/spans';
import { type Batch, type BatchOutcome, recordBatches } from './record-batch';

/** Records of one transaction: past it the transaction grows but not the rate. */
export const MAX_GROUP_RECORDS = 5_000;
/** Transactions at once: one waits for the disk while the other's statement runs. The embedded database has one. */
const LANES = { server: 2, embedded: 1 } as const;
/** Records that wait; more are refused, and their sender comes again (`ledger/busy`). */
export const MAX_WAITING_RECORDS = 2_000_000;
/** How long a database that does not answer is waited for before senders are told. */
const GIVE_UP_MS = 20_000;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 2_000;

interface Waiting {
  batch: Batch;
  sinceMs: number;
  /** From here to its answer; undefined while nobody collects traces. */
  span: Span | undefined;
  resolve(outcome: BatchOutcome): void;
  reject(error: unknown): void;
}

export interface WriterFigures {
  /** Records that wait or are being written. */
  waitingRecords: number;
  waitingBatches: number;
  /** How long the oldest batch that is not committed has waited, milliseconds. */
  oldestWaitingMs: number;
  transactions: number;
  /** Tries that the database did not answer or could not finish, and that were made again. */
  retries: number;
}

export class BatchWriter {
  readonly #options: { db: Database; clock: Clock; log: Log; random?: () => number };
  readonly #waiting: Waiting[] = [];
  #next = 0;
  /** Groups that are being written. */
  readonly #writing = new Set<readonly Waiting[]>();
  #running = 0;
  #waitingRecords = 0;
  #transactions = 0;
  #retries = 0;

  constructor(options: { db: Database; clock: Clock; log: Log; random?: () => number }) {
    this.#options = options;
  }

  figures(): WriterFigures {
    const firsts = [...this.#writing].map(group => group[0]);
    const since = Math.min(...[...firsts, this.#waiting[this.#next]].map(each => each?.sinceMs ?? Infinity));
    return {
      waitingRecords: this.#waitingRecords,
      waitingBatches: this.#waiting.length - this.#next,
      oldestWaitingMs: Number.isFinite(since) ? this.#options.clock.monotonicMs() - since : 0,
      transactions: this.#transactions,
      retries: this.#retries,
    };
  }

  /** Resolves after the commit. Batches of one node and epoch must be handed in one after the other, each when the one before is answered. */
  write(batch: Batch): Promise<BatchOutcome> {
    if (this.#waitingRecords + batch.records.length > MAX_WAITING_RECORDS)
      return Promise.reject(
        new CodedError('ledger/busy', `${this.#waitingRecords} records wait for the database`, {
          retryable: true,
        }),
      );
    return new Promise((resolve, reject) => {
      const span = beginSpan('ledger write', { attributes: { 'mastline.records': batch.records.length } });
      this.#waiting.push({
        batch,
        sinceMs: this.#options.clock.monotonicMs(),
        span,
        resolve: outcome => {
          span?.setAttribute('mastline.outcome', outcome.is);
          endSpan(span);
          resolve(outcome);
        },
        reject: error => {
          endSpan(span, error ?? 'fault');
          reject(error);
        },
      });
      this.#waitingRecords += batch.records.length;
      this.#start();
    });
  }

  #start(): void {
    if (this.#running >= LANES[this.#options.db.kind]) return;
    this.#running += 1;
    void this.#lane();
  }

  async #lane(): Promise<void> {
    // What arrives in this turn of the event loop goes together.
    await new Promise<void>(resolve => setImmediate(resolve));
    for (let group = this.#take(); group.length > 0; group = this.#take()) {
      this.#writing.add(group);
      await this.#write(group);
      this.#writing.delete(group);
      for (const { batch } of group) this.#waitingRecords -= batch.records.length;
    }
    this.#running -= 1;
  }

  #take(): Waiting[] {
    const group: Waiting[] = [];
    let records = 0;
    while (this.#next < this.#waiting.length) {
      const one = this.#waiting[this.#next];
      if (one === undefined) break;
      if (group.length > 0 && records + one.batch.records.length > MAX_GROUP_RECORDS) break;
      group.push(one);
      records += one.batch.records.length;
      this.#next += 1;
    }
    // Taking from the front of a long array costs its length: it is cut now and then instead.
    if (this.#next === this.#waiting.length || this.#next > 1_000) {
      this.#waiting.splice(0, this.#next);
      this.#next = 0;
    }
    return group;
  }

  /** Answers every one of the group, whatever happens. */
  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.#inSpan(group);
      for (const [index, { resolve, reject }] of group.entries()) {
        const outcome = outcomes[index];
        if (outcome === undefined) reject(new Error('a batch has no outcome'));
        else resolve(outcome);
      }
    } catch (error) {
      const [only] = group;
      if (group.length === 1 || isAway(error)) {
        for (const { reject } of group) reject(error);
        return;
      }
      this.#options.log.warn(
        { err: messageOf(error), batches: group.length, first: only?.batch.nodeId },
        'a group of batches failed: trying each by itself, so that only the bad one does',
      );
      for (const one of group) await this.#write([one]);
    }
  }

  /**
   * One transaction is one span, whoever's batches are in it: the child of the first that is recorded, linked with all
   * of them both ways, so that each trace leads to the rows.
   */
  async #inSpan(group: readonly Waiting[]): Promise<BatchOutcome[]> {
    const batches = group.map(each => each.batch);
    const recorded = group.filter(each => each.span?.isRecording());
    const [first, ...others] = recorded;
    if (first === undefined) return this.#patiently(batches);
    const span = beginSpan('ledger transaction', {
      parent: contextOf(first.span),
      links: linksTo(recorded.map(each => each.span)),
      attributes: {
        'mastline.batches': batches.length,
        'mastline.records': batches.reduce((sum, batch) => sum + batch.records.length, 0),
      },
    });
    const [link] = linksTo([span]);
    if (link !== undefined) for (const other of others) other.span?.addLink(link);
    try {
      const outcomes = await within(span, () => this.#patiently(batches));
      endSpan(span);
      return outcomes;
    } catch (error) {
      endSpan(span, error ?? 'fault');
      throw error;
    }
  }

  /** Writes; waits and tries again while the database is away. A commit whose answer was lost shows as duplicates. */
  async #patiently(batches: readonly Batch[]): Promise<BatchOutcome[]> {
    const { db, clock, random, log } = this.#options;
    const backoff = new Backoff({
      firstMs: RETRY_FIRST_MS,
      maxMs: RETRY_MAX_MS,
      ...(random === undefined ? {} : { random }),
    });
    const begun = clock.monotonicMs();
    for (;;)
      try {
        this.#transactions += 1;
        return await recordBatches(db, batches, clock.now());
      } catch (error) {
        if (!isAway(error) || clock.monotonicMs() - begun > GIVE_UP_MS) throw error;
        this.#retries += 1;
        if (backoff.failures === 0)
          log.warn({ err: messageOf(error) }, 'the database does not take usage now; trying again');
        await sleep(clock, backoff.nextMs());
      }
  }
}

/** Codes of system calls by which a connection is lost. */
const LOST = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
]);

/**
 * True when the same statements may succeed later: the connection broke (SQLSTATE class 08, 57P0x shutting down or
 * starting, 53 out of resources) or two transactions stood in each other's way (40001, 40P01).
 */
export function isAway(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined) return LOST.has(code) || /^(08|53)...$|^57P0[123]$|^40(001|P01)$/.test(code);
  // What pg itself says has no code.
  return /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error/.test(
    messageOf(error),
  );
}
