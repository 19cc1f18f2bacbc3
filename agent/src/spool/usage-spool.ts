/**
 * The usage spool as the agent sees it: calls with deadlines to the thread that owns the file (spool.worker.ts).
 * Commits that wait while one is being written go together in the next transaction, so that many slots cost one
 * fsync. What the numbers mean is in usage-table.ts; sending them is control-plane/uplink-sync.ts.
 */
import { randomUUID } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Clock, systemClock, type Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { periodStartOf } from '@mastline/shared/domain/usage-period';
import type { Log } from '../observe/log';
import type { UsageDelta, UsageSpool } from '../ports';
import { workerUrl } from '../worker-url';
import { checkDeltas } from './check-deltas';
import type { BrokenFile } from './database';
import type { CommitEntry, CredentialCounts, Renewal, SlotDays, SpoolPosition } from './usage-table';
import type {
  SpoolCalls,
  SpoolFailure,
  SpoolHealth,
  SpoolOperation,
  SpoolReply,
  SpoolWorkerData,
} from './worker-messages';

/** How long a call may take. A cheap card can stall for seconds while it moves blocks around. */
const CALL_DEADLINE_MS = 30_000;
const OPEN_DEADLINE_MS = 60_000;
/** How often the file is read through, and the reserve taken again. */
const CHECK_INTERVAL_MS = 3_600_000;
/** Commits that wait for the one being written; past it `commit` rejects with `spool/busy`. */
export const MAX_WAITING_COMMITS = 1024;
/** Calls are numbered from 1 to here and then anew: a number must fit into an Int32. */
const MAX_CALL_ID = 0x7fff_ffff;

export interface NodeSpool extends UsageSpool {
  /** Where the numbers stand; `acknowledged` is the highest mark the cloud has confirmed. */
  position(): Promise<SpoolPosition>;
  /** With `epoch`, a question about another epoch rejects with `spool/other-epoch`. */
  recordsAfter(sequence: number, limit: number, epoch?: string): Promise<UsageRecord[]>;
  /** With `epoch`, an acknowledgement of another epoch rejects with `spool/other-epoch`. */
  acknowledge(mark: number, epoch?: string): Promise<void>;
  /**
   * Starts a new epoch because this one can no longer be told to the ledger, whose mark for it is `mark`: the file
   * is older than the ledger (a restored image) or the ledger is older than the file. Sealed records up to `mark`
   * are in the ledger and are dropped; those after it are not and are numbered anew from 1.
   */
  renew(mark: number): Promise<Renewal>;
  /** What credentials have used since the epoch began, of what is committed; 0 for those never seen. */
  credentialBytes(credentialIds: readonly string[]): Promise<CredentialCounts>;
  /** What slots have committed by UTC day, from `fromDay` (epoch milliseconds) on; 41 days are kept. */
  slotDays(fromDay: number): Promise<SlotDays>;
  /** Called after each commit that is on disk. */
  onCommit(listener: () => void): void;
  /**
   * The cloud has told the time for the first time in this run: minutes told before were `offsetMs` behind. Usage of
   * runs that never heard it is stamped now too. With `awaitsCorrection` nothing is sealed before.
   */
  corrected(offsetMs: number): Promise<void>;
  /** How the file and its disk stand. */
  health(): SpoolHealth;
  /** Called after each change of `health()`. */
  onHealth(listener: (health: SpoolHealth) => void): void;
  /** Set when a file was broken and moved aside: usage that was only there is lost to the ledger. */
  readonly broken: BrokenFile | undefined;
}

export interface UsageSpoolOptions {
  /** The SQLite file; its folder must exist. */
  path: string;
  /** The node's corrected clock, epoch milliseconds: decides the minute that a commit falls into. */
  now: () => number;
  /** The clock waits for the cloud's word (`corrected`); without it the clock is taken as it is. */
  awaitsCorrection?: boolean;
  log: Log;
  /**
   * The spool is gone for good (its thread died or hangs): whether the last commit reached the disk is unknown, so
   * nothing may be committed again by this process. The agent must stop and start anew.
   */
  onFault: (fault: CodedError) => void;
  /** For deadlines and the hourly check. */
  clock?: Clock;
}

interface WaitingCommit {
  entry: CommitEntry;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** Opens the spool at `path`. Rejects with a `spool/…` code that names the file and the remedy. */
export async function openUsageSpool(options: UsageSpoolOptions): Promise<NodeSpool> {
  const spool = new ThreadedSpool(options);
  await spool.opened();
  return spool;
}

class ThreadedSpool implements NodeSpool {
  readonly #options: UsageSpoolOptions;
  readonly #clock: Clock;
  readonly #worker: Worker;
  readonly #pending = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: unknown) => void }
  >();
  readonly #waiting: WaitingCommit[] = [];
  readonly #listeners: (() => void)[] = [];
  readonly #healthListeners: ((health: SpoolHealth) => void)[] = [];
  readonly #opening: Promise<void>;
  #health: SpoolHealth = { problem: null, reserve: 'used', broken: null };
  #checks: Timer | undefined;
  /** Which clock tells the minutes: a name of this run's own until the cloud has corrected it. */
  #clockName: string;
  #writing: Promise<void> | undefined;
  /** The worker writes the number of the last commit here, which is seen without a turn of the event loop. */
  readonly #committed = new Int32Array(new SharedArrayBuffer(4));
  /** Number of the commit that is being written; 0 when none is. There is never more than one. */
  #committing = 0;
  #nextId = 1;
  #fault: CodedError | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: UsageSpoolOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#clockName = options.awaitsCorrection ? randomUUID() : '';
    const workerData: SpoolWorkerData = {
      path: options.path,
      nowMs: Math.floor(options.now()),
      committed: this.#committed.buffer,
    };
    this.#worker = new Worker(workerUrl('spool.worker'), { workerData, name: 'spool' });
    this.#opening = new Promise((resolve, reject) => {
      this.#worker.on('message', (reply: SpoolReply) => {
        if (reply.is === 'open') {
          this.#stands(reply.health);
          resolve();
        } else if (reply.is === 'health') this.#stands(reply.health);
        else if (reply.is === 'not-open') reject(errorOf(reply.failure));
        else this.#settle(reply);
      });
      this.#worker.on('error', error => {
        const fault = this.#dead(`the spool's thread failed: ${messageOf(error)}`, error);
        reject(fault);
      });
      this.#worker.on('exit', code => {
        if (!this.#closing) reject(this.#dead(`the spool's thread ended with code ${code}`));
      });
    });
  }

  async opened(): Promise<void> {
    try {
      await withDeadline(
        this.#opening,
        OPEN_DEADLINE_MS,
        `opening the spool ${this.#options.path}`,
        this.#clock,
      );
    } catch (error) {
      this.#closing ??= Promise.resolve();
      await this.#worker.terminate();
      throw error;
    }
    this.#checks = this.#clock.every(CHECK_INTERVAL_MS, () => void this.#check());
  }

  get broken(): BrokenFile | undefined {
    return this.#health.broken ?? undefined;
  }

  health(): SpoolHealth {
    return this.#health;
  }

  onHealth(listener: (health: SpoolHealth) => void): void {
    this.#healthListeners.push(listener);
  }

  commit(deltas: readonly UsageDelta[]): Promise<void> {
    const unfit = this.#unfit() ?? checkDeltas(deltas);
    if (unfit) return Promise.reject(unfit);
    if (deltas.length === 0) return Promise.resolve();
    if (this.#waiting.length >= MAX_WAITING_COMMITS)
      return Promise.reject(
        new CodedError('spool/busy', `${MAX_WAITING_COMMITS} commits wait for the disk already`, {
          retryable: true,
        }),
      );
    const periodStart = Math.max(0, periodStartOf(Math.floor(this.#options.now())));
    const entry = { clock: this.#clockName, periodStart, deltas };
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** Writes what waits, one transaction after the other, until nothing waits. */
  async #write(): Promise<void> {
    // Let commits of the same turn join the first transaction.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0);
      try {
        await this.#call('commit', { entries: group.map(({ entry }) => entry) });
        for (const { resolve } of group) resolve();
        for (const listener of this.#listeners) listener();
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#writing = undefined;
  }

  settle(): void {
    const id = this.#committing;
    if (id !== 0 && Atomics.load(this.#committed, 0) === id) this.#settle({ is: 'done', id, value: null });
  }

  position(): Promise<SpoolPosition> {
    return this.#call('position', {});
  }

  recordsAfter(sequence: number, limit: number, epoch?: string): Promise<UsageRecord[]> {
    return this.#call('recordsAfter', { sequence, limit, epoch });
  }

  async acknowledge(mark: number, epoch?: string): Promise<void> {
    await this.#call('acknowledge', { mark, epoch });
  }

  renew(mark: number): Promise<Renewal> {
    return this.#call('renew', { mark, nowMs: Math.floor(this.#options.now()) });
  }

  credentialBytes(credentialIds: readonly string[]): Promise<CredentialCounts> {
    return this.#call('credentialBytes', { credentialIds });
  }

  slotDays(fromDay: number): Promise<SlotDays> {
    return this.#call('slotDays', { fromDay });
  }

  async corrected(offsetMs: number): Promise<void> {
    const nowMs = Math.floor(this.#options.now());
    const clock = this.#clockName;
    this.#clockName = '';
    // What waits for the disk is stamped here; what is on its way there is before this call in the thread's queue.
    for (const { entry } of this.#waiting)
      if (entry.clock !== '') {
        entry.clock = '';
        entry.periodStart = Math.min(periodStartOf(entry.periodStart + offsetMs), periodStartOf(nowMs));
      }
    await this.#call('restamp', { correction: { clock, offsetMs, nowMs } });
    // Sealed only now: whoever waits for commits has something to send.
    for (const listener of this.#listeners) listener();
  }

  onCommit(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Writes what was committed before, closes the file, ends the thread. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Takes over how the file stands, and says what changed. */
  #stands(health: SpoolHealth): void {
    const before = this.#health;
    this.#health = health;
    const { log } = this.#options;
    if (health.broken && health.broken.movedTo !== before.broken?.movedTo)
      log.error('the spool was broken: moved aside, a new epoch begins', {
        code: 'spool/broken',
        ...health.broken,
      });
    if (health.problem && health.problem.code !== before.problem?.code)
      log.error('the spool cannot be written', health.problem);
    if (!health.problem && before.problem)
      log.info('the spool can be written again', { code: before.problem.code });
    if (health.reserve === 'used' && before.reserve === 'whole')
      log.error('the disk is full: usage goes into its reserve now', { code: 'spool/reserve-used' });
    for (const listener of this.#healthListeners) listener(health);
  }

  async #check(): Promise<void> {
    try {
      await this.#call('check', { nowMs: Math.floor(this.#options.now()) });
    } catch (error) {
      this.#options.log.warn('the spool could not be checked', { error });
    }
  }

  async #close(): Promise<void> {
    this.#checks?.cancel();
    try {
      await this.#writing;
      if (!this.#fault) await this.#call('close', {}, true);
    } finally {
      await this.#worker.terminate();
    }
  }

  async #call<K extends SpoolOperation>(
    operation: K,
    takes: SpoolCalls[K]['takes'],
    closing = false,
  ): Promise<SpoolCalls[K]['gives']> {
    const unfit = this.#fault ?? (closing || operation === 'commit' ? undefined : this.#unfit());
    if (unfit) throw unfit;
    const id = this.#nextId;
    this.#nextId = (this.#nextId % MAX_CALL_ID) + 1;
    if (operation === 'commit') this.#committing = id;
    const answer = new Promise<SpoolCalls[K]['gives']>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    this.#worker.postMessage({ id, operation, ...takes });
    try {
      return await withDeadline(answer, CALL_DEADLINE_MS, `spool ${operation}`, this.#clock);
    } catch (error) {
      // A commit that was sent and not answered may be on disk or not. To try it again could charge it twice.
      if (this.#pending.delete(id) && operation === 'commit')
        throw this.#dead(
          `the disk under ${this.#options.path} has not answered for ${CALL_DEADLINE_MS} ms`,
          error,
        );
      throw error;
    }
  }

  #settle(reply: Extract<SpoolReply, { id: number }>): void {
    const waiter = this.#pending.get(reply.id);
    // An answer after its deadline, or one that `settle` has seen before: nobody waits.
    if (!waiter) return;
    this.#pending.delete(reply.id);
    if (reply.id === this.#committing) this.#committing = 0;
    if (reply.is === 'done') waiter.resolve(reply.value as never);
    else waiter.reject(errorOf(reply.failure));
  }

  #unfit(): CodedError | undefined {
    if (this.#fault) return this.#fault;
    return this.#closing ? new CodedError('spool/closed', 'the spool is closed') : undefined;
  }

  #dead(message: string, cause?: unknown): CodedError {
    if (this.#fault) return this.#fault;
    const fault = new CodedError('spool/died', message, {
      userMessage: `${message}. The agent has to start anew.`,
      ...(cause === undefined ? {} : { cause }),
    });
    this.#fault = fault;
    for (const { reject } of this.#pending.values()) reject(fault);
    this.#pending.clear();
    void this.#worker.terminate();
    this.#options.onFault(fault);
    return fault;
  }
}

function errorOf(failure: SpoolFailure): CodedError {
  const { code, message, userMessage, retryable } = failure;
  return new CodedError(code, message, { userMessage, retryable });
}
