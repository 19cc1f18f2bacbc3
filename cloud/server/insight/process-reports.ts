/**
 * The figures of the moment of each process of the cloud, in a row of its own that it rewrites every two seconds, so
 * that the System page, whichever process serves it, shows all of them. A process that dies goes stale and is left out.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Database } from '../db/database';
import type { Log } from '../log';
import type { EventLoopWatch } from '../observe/event-loop';
import type { LinkFigures, PoolFigures, WriterFigures } from '../observe/metrics-page';
import type { Tallies } from '../observe/tallies';
import type { ProcessFigures, ProcessView } from './system-views';

export const REPORT_MS = 2_000;
/** A row that was not rewritten for so long is of a process that is gone, or has no database. */
export const STALE_MS = 15_000;
/** Rows that nobody rewrites are deleted after so long, by whoever is alive. */
const FORGET_MS = 86_400_000;
/** Rates are over so many reports. */
const RATE_REPORTS = 5;

export interface ProcessSources {
  version: string;
  tallies: Tallies;
  eventLoop: EventLoopWatch;
  link(): LinkFigures;
  writer(): WriterFigures;
  pool(): PoolFigures;
  liveStreams(): number;
}

export class ProcessReports {
  readonly #db: Pick<Database, 'pool'>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sources: ProcessSources;
  readonly #processId: string;
  readonly #startedAt: Date;
  readonly #timer: Timer;
  readonly #samples: { atMs: number; stored: number; batches: number }[] = [];
  #writing: Promise<void> | undefined;
  #failing = false;

  constructor(options: {
    db: Pick<Database, 'pool'>;
    clock: Clock;
    log: Log;
    sources: ProcessSources;
    processId?: string;
  }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#sources = options.sources;
    this.#processId = options.processId ?? randomUUID();
    this.#startedAt = new Date(options.clock.now());
    this.#timer = options.clock.every(REPORT_MS, () => void this.report());
  }

  /** Writes the row; one at a time, and a write that hangs delays no other. Never rejects. */
  report(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  /** Takes the row away: this process is about to stop. */
  async close(): Promise<void> {
    this.#timer.cancel();
    this.#sources.eventLoop.close();
    await this.#writing;
    try {
      await this.#db.pool.query('DELETE FROM cloud_processes WHERE process_id = $1', [this.#processId]);
    } catch (error) {
      this.#log.warn({ err: error }, 'the row of this process stays until it is stale');
    }
  }

  async #write(): Promise<void> {
    const now = new Date(this.#clock.now());
    try {
      await this.#db.pool.query(
        `WITH gone AS (DELETE FROM cloud_processes WHERE reported_at < $6)
         INSERT INTO cloud_processes (process_id, version, started_at, reported_at, figures)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (process_id) DO UPDATE SET reported_at = excluded.reported_at, figures = excluded.figures`,
        [
          this.#processId,
          this.#sources.version,
          this.#startedAt,
          now,
          JSON.stringify(this.#figures()),
          new Date(now.getTime() - FORGET_MS),
        ],
      );
      this.#failing = false;
    } catch (error) {
      // Said once: the database is away for everybody then.
      if (!this.#failing) this.#log.warn({ err: error }, 'the figures of this process could not be written');
      this.#failing = true;
    }
  }

  #figures(): ProcessFigures {
    const { tallies, eventLoop } = this.#sources;
    const batches = tallies.batches.counts.reduce((sum, count) => sum + count, 0);
    const sample = { atMs: this.#clock.monotonicMs(), stored: tallies.records.of('stored'), batches };
    const first = this.#samples[0] ?? sample;
    this.#samples.push(sample);
    if (this.#samples.length > RATE_REPORTS) this.#samples.shift();
    const seconds = (sample.atMs - first.atMs) / 1000;
    const rate = (now: number, then: number) => (seconds > 0 ? (now - then) / seconds : 0);
    const [link, writer, pool] = [this.#sources.link(), this.#sources.writer(), this.#sources.pool()];
    return {
      sessions: link.sessions,
      recordsPerSecond: rate(sample.stored, first.stored),
      batchesPerSecond: rate(sample.batches, first.batches),
      waitingRecords: writer.waitingRecords,
      waitingBatches: writer.waitingBatches,
      oldestWaitingMs: writer.oldestWaitingMs,
      retries: writer.retries,
      waitingBytes: link.waitingBytes,
      pausedSockets: link.pausedSockets,
      heldSockets: link.heldSockets,
      timesHeld: link.timesHeld,
      databaseInUse: pool.open - pool.idle,
      databaseMax: pool.size,
      databaseWaiting: pool.waiting,
      liveStreams: this.#sources.liveStreams(),
      eventLoopP99Ms: eventLoop.read().p99 * 1000,
      rssBytes: process.memoryUsage.rss(),
    };
  }
}

/** Processes that have reported of late, oldest first. */
export async function readProcesses(db: Pick<Database, 'pool'>, now: number): Promise<ProcessView[]> {
  const { rows } = await db.pool.query<{
    process_id: string;
    version: string;
    started_at: Date;
    reported_at: Date;
    figures: ProcessFigures;
  }>('SELECT * FROM cloud_processes WHERE reported_at > $1 ORDER BY started_at, process_id', [
    new Date(now - STALE_MS),
  ]);
  return rows.map(row => ({
    id: row.process_id,
    version: row.version,
    startedAt: row.started_at.getTime(),
    reportedAt: row.reported_at.getTime(),
    ...row.figures,
  }));
}
