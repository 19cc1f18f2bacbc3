/**
 * Brings the spool to the ledger: sealed records in batches, a few under way at once, again from the mark after each
 * loss, until acknowledged and pruned. The cloud drops what it has and refuses what leaves a gap; so sending twice is
 * always safe and sending out of order never is. The numbers' meaning is spool/usage-table.ts, the window's is
 * send-window.ts.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import type { DownlinkBody } from '@mastline/shared/wire/downlink';
import { MAX_BATCH_RECORDS } from '@mastline/shared/wire/limits';
import type { Log } from '../observe/log';
import type { BeginTrace } from '../observe/trace-parent';
import type { NodeSpool } from '../spool/usage-spool';
import type { SpoolPosition } from '../spool/usage-table';
import type { LinkSession } from './link-session';
import { SendWindow } from './send-window';

/** Commits within this time of each other go in one batch. */
const SEND_DELAY_MS = 500;
/** The same on a metered link: one record for each minute and key, not one for each commit. */
const METERED_SEND_DELAY_MS = 60_000;
/** No acknowledgement for so long: send again. */
const ACK_DEADLINE_MS = 15_000;
/** Sent again so often without an answer: the link is no use. */
const MAX_STALLS = 3;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
/** When the socket's queue is full. */
const BUSY_WAIT_MS = 1_000;

export interface UplinkSyncOptions {
  spool: NodeSpool;
  /** The link costs SIM data. */
  metered?: boolean;
  clock: Clock;
  random: () => number;
  log: Log;
  /** Begins traces for some of the batches; left out for none. */
  beginTrace?: BeginTrace | undefined;
}

/** One session's dealings. */
interface Run {
  session: LinkSession;
  epoch: string;
  window: SendWindow;
  /** What the spool has pruned; behind the window's mark until told. */
  pruned: number;
  /** The highest mark the cloud itself has said in this session. */
  heardMark: number;
  /** Set when the epoch cannot go on; the ledger's mark for it. */
  renewAt: number | undefined;
  stalls: number;
}

export class UplinkSync {
  readonly #options: UplinkSyncOptions;
  readonly #retry: Backoff;
  #run: Run | undefined;
  #wake: Timer | undefined;
  #ackDeadline: Timer | undefined;
  #pumping = false;
  #pumpAgain = false;
  #flushWaiters: (() => void)[] = [];

  constructor(options: UplinkSyncOptions) {
    this.#options = options;
    this.#retry = new Backoff({ firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random: options.random });
    const delayMs = options.metered ? METERED_SEND_DELAY_MS : SEND_DELAY_MS;
    options.spool.onCommit(() => this.#wakeAfter(delayMs));
  }

  /** A session is up: `position` is what its hello announced, `mark` what the welcome answered. */
  begin(session: LinkSession, position: SpoolPosition, mark: number): void {
    this.end();
    const { log } = this.#options;
    if (mark < position.acknowledged)
      log.warn('the ledger says less than it acknowledged before', {
        mark,
        acknowledged: position.acknowledged,
      });
    this.#run = {
      session,
      epoch: position.epoch,
      window: new SendWindow(Math.max(mark, position.acknowledged)),
      pruned: position.acknowledged,
      heardMark: mark,
      // Numbers that we never gave out are in the ledger: this file is older than it (a restored image).
      renewAt: mark > position.lastSequence ? mark : undefined,
      stalls: 0,
    };
    this.#retry.reset();
    this.#wakeAfter(0);
  }

  /** The session is over; what was under way is sent again in the next. */
  end(): void {
    this.#run = undefined;
    this.#wake?.cancel();
    this.#wake = undefined;
    this.#ackDeadline?.cancel();
    this.#ackDeadline = undefined;
  }

  acknowledged({ epoch, mark }: DownlinkBody<'usage-ack'>): void {
    const run = this.#run;
    if (!run) return;
    if (epoch !== run.epoch) {
      this.#options.log.warn('an acknowledgement of another epoch', { epoch, ours: run.epoch });
      return;
    }
    run.heardMark = Math.max(run.heardMark, mark);
    if (!run.window.acknowledge(mark)) return;
    run.stalls = 0;
    this.#retry.reset();
    this.#armAckDeadline(run);
    this.#wakeAfter(0);
  }

  refused({ epoch, expected, code, message }: DownlinkBody<'usage-refused'>): void {
    const run = this.#run;
    if (!run) return;
    if (epoch !== run.epoch) {
      this.#options.log.warn('a refusal of another epoch', { epoch, ours: run.epoch });
      return;
    }
    // An answer to something older than what has been acknowledged since.
    if (expected <= run.heardMark) return;
    this.#options.log.warn('the cloud refused a batch', { code, message, expected });
    if (expected <= run.pruned) {
      // It asks for records that it acknowledged before and that are gone here: the ledger was set back. Nothing of
      // this epoch can be stored any more, hence what is left can go on in a new one without being doubled.
      run.renewAt = expected - 1;
      this.#wakeAfter(0);
      return;
    }
    run.window.rewind(expected - 1);
    this.#armAckDeadline(run);
    // Each batch under way is refused after a gap: the first refusal is answered at once, the others wait.
    const isFirst = this.#retry.failures === 0;
    const waitMs = this.#retry.nextMs();
    this.#wakeAfter(isFirst ? 0 : waitMs);
  }

  /** Nothing of usage is under way or being read: what can wait may go now. */
  get isQuiet(): boolean {
    return this.#run !== undefined && this.#run.window.inFlight === 0 && !this.#pumping;
  }

  /** Resolves when all that was committed before is acknowledged; never while there is no session. */
  flushed(): Promise<void> {
    return new Promise(resolve => {
      this.#flushWaiters.push(resolve);
      this.#wakeAfter(0);
    });
  }

  #wakeAfter(ms: number): void {
    if (!this.#run) return;
    if (this.#pumping && ms === 0) this.#pumpAgain = true;
    else if (ms === 0) {
      this.#wake?.cancel();
      this.#wake = undefined;
      void this.#pump();
    } else
      this.#wake ??= this.#options.clock.after(ms, () => {
        this.#wake = undefined;
        this.#wakeAfter(0);
      });
  }

  /** Runs `#step` until there is nothing to do; only one at a time, whatever wakes it. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    try {
      let more = true;
      while (this.#run && (more || this.#pumpAgain)) {
        this.#pumpAgain = false;
        more = await this.#step(this.#run);
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#pumping = false;
    }
    if (this.#pumpAgain) this.#wakeAfter(0);
  }

  /** One thing at a time; true when there may be more to do at once. */
  async #step(run: Run): Promise<boolean> {
    const { spool, log } = this.#options;
    if (run.renewAt !== undefined) {
      const renewal = await spool.renew(run.renewAt);
      log.error('spool and ledger do not fit each other: a new epoch begins', {
        code: 'usage/new-epoch',
        oldEpoch: run.epoch,
        ledgerMark: run.renewAt,
        ...renewal,
      });
      // The epoch is announced in the hello: dial again. Without a run nothing of the old one is sent.
      if (this.#run === run) this.end();
      run.session.giveUp(1000, 'a new epoch begins');
      return false;
    }
    if (run.window.acknowledged > run.pruned) {
      const mark = run.window.acknowledged;
      await spool.acknowledge(mark, run.epoch);
      run.pruned = mark;
      return true;
    }
    if (!run.window.hasRoom()) return false;
    const after = run.window.sent;
    const records = await spool.recordsAfter(after, MAX_BATCH_RECORDS, run.epoch);
    // Things may have moved while the disk was read.
    if (run !== this.#run || run.window.sent !== after || run.renewAt !== undefined) return true;
    const last = records.at(-1);
    if (!last) {
      // Woken meanwhile: there may have been a commit that this read did not see.
      if (run.window.inFlight === 0 && !this.#pumpAgain) this.#tellFlushed();
      return false;
    }
    const trace = this.#options.beginTrace?.();
    const outcome = run.session.send('usage-batch', {
      epoch: run.epoch,
      records,
      ...(trace ? { trace: trace.header } : {}),
    });
    if (outcome === 'busy') this.#wakeAfter(BUSY_WAIT_MS);
    if (outcome !== 'sent') return false;
    if (trace)
      log.info('a batch begins a trace', {
        traceId: trace.traceId,
        first: records[0]?.sequence,
        last: last.sequence,
      });
    run.window.batchSent(last.sequence);
    if (run.window.inFlight === 1) this.#armAckDeadline(run);
    return true;
  }

  #armAckDeadline(run: Run): void {
    this.#ackDeadline?.cancel();
    this.#ackDeadline = undefined;
    if (run.window.inFlight === 0) return;
    this.#ackDeadline = this.#options.clock.after(ACK_DEADLINE_MS, () => {
      run.stalls += 1;
      if (run.stalls >= MAX_STALLS) {
        run.session.giveUp(CLOSE.silent, `usage batches unanswered for ${run.stalls * ACK_DEADLINE_MS} ms`);
        return;
      }
      run.window.rewind(run.window.acknowledged);
      this.#wakeAfter(0);
    });
  }

  #failed(error: unknown): void {
    const { log } = this.#options;
    const code = codeOf(error);
    if (code === 'spool/closed') return;
    if (code === 'spool/ack-ahead') {
      log.error('the cloud acknowledged what was never sent', { error });
      this.#run?.session.giveUp(CLOSE.protocol, code);
      return;
    }
    if (code === 'spool/other-epoch') {
      // A new epoch began while this session was opening: its hello announced the old one.
      log.warn('the session speaks of an epoch that is over', { error });
      this.#run?.session.giveUp(1000, code);
      return;
    }
    log.warn('usage cannot be read from the spool now', { error });
    this.#wakeAfter(this.#retry.nextMs());
  }

  #tellFlushed(): void {
    for (const tell of this.#flushWaiters.splice(0)) tell();
  }
}
