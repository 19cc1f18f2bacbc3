/**
 * Work that is due now and then and must be done once, however many processes there are: whoever inserts the key (job,
 * the instant it was due) runs it, and holds it by a lease that it renews. A process that dies leaves its run to the
 * next that looks; a run that fails is tried again, by anyone, a few times. What the jobs are is schedule.ts.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Database } from '../db/database';
import type { Log } from '../log';
import { Tallies } from '../observe/tallies';

const LOOK_MS = 15_000;
export const LEASE_MS = 60_000;
const RENEW_MS = LEASE_MS / 3;
const MAX_ATTEMPTS = 5;
/** What is kept of a failure, characters. */
const MAX_DETAIL = 500;

export interface Job {
  /** Stable: part of the key. */
  name: string;
  /** It is due at every whole multiple of this since 1970, milliseconds. */
  everyMs: number;
  /** Does it; returns a few words on what was done. Must be safe to do again after a crash in the middle. */
  run(): Promise<string>;
}

export class JobRunner {
  readonly #db: Pick<Database, 'pool'>;
  readonly #jobs: readonly Job[];
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #processId: string;
  readonly #tallies: Tallies;
  readonly #timer: Timer;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(options: {
    db: Pick<Database, 'pool'>;
    jobs: readonly Job[];
    clock: Clock;
    log: Log;
    processId?: string;
    tallies?: Tallies;
  }) {
    this.#db = options.db;
    this.#jobs = options.jobs;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#processId = options.processId ?? randomUUID();
    this.#tallies = options.tallies ?? new Tallies();
    this.#timer = options.clock.every(LOOK_MS, () => void this.look());
  }

  /** Runs what is due, one after the other; a look while another is on joins it. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#runDue().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** No new runs; resolves when the one under way is over. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer.cancel();
    await this.#looking;
  }

  async #runDue(): Promise<void> {
    for (const job of this.#jobs) {
      if (this.#closed) return;
      const now = this.#clock.now();
      const dueAt = new Date(now - (now % job.everyMs));
      try {
        if (await this.#claim(job, dueAt, now)) await this.#run(job, dueAt);
      } catch (error) {
        this.#log.warn(
          { job: job.name, err: messageOf(error) },
          'a job could not be claimed; trying again soon',
        );
      }
    }
  }

  async #claim(job: Job, dueAt: Date, now: number): Promise<boolean> {
    const { rowCount } = await this.#db.pool.query(
      `INSERT INTO job_runs AS j (job, due_at, process_id, started_at, lease_until)
       VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (job, due_at) DO UPDATE
          SET process_id = excluded.process_id, started_at = excluded.started_at, lease_until = excluded.lease_until,
              attempts = j.attempts + 1, outcome = NULL, detail = NULL
        WHERE j.finished_at IS NULL AND j.lease_until < $4 AND j.attempts < $6`,
      [job.name, dueAt, this.#processId, new Date(now), new Date(now + LEASE_MS), MAX_ATTEMPTS],
    );
    return rowCount === 1;
  }

  async #run(job: Job, dueAt: Date): Promise<void> {
    const begun = this.#clock.monotonicMs();
    const renewal = this.#clock.every(RENEW_MS, () => {
      this.#db.pool
        .query('UPDATE job_runs SET lease_until = $4 WHERE job = $1 AND due_at = $2 AND process_id = $3', [
          job.name,
          dueAt,
          this.#processId,
          new Date(this.#clock.now() + LEASE_MS),
        ])
        .catch(error =>
          this.#log.warn({ job: job.name, err: messageOf(error) }, 'the lease of a job was not renewed'),
        );
    });
    let outcome: 'done' | 'failed' = 'done';
    let detail: string;
    try {
      detail = await job.run();
      this.#log.info(
        { job: job.name, ms: Math.round(this.#clock.monotonicMs() - begun), detail },
        'job done',
      );
    } catch (error) {
      outcome = 'failed';
      detail = messageOf(error);
      this.#log.error({ job: job.name, err: error }, 'job failed; it is tried again when its lease is over');
    } finally {
      renewal.cancel();
    }
    this.#tallies.jobs.add(`${job.name} ${outcome}`);
    // A failed run stays unfinished: its lease ends and somebody tries again.
    const now = this.#clock.now();
    await this.#db.pool.query(
      `UPDATE job_runs SET finished_at = $4, outcome = $5, detail = $6, lease_until = $7
        WHERE job = $1 AND due_at = $2 AND process_id = $3`,
      [
        job.name,
        dueAt,
        this.#processId,
        outcome === 'done' ? new Date(now) : null,
        outcome,
        detail.replaceAll('\u0000', '').slice(0, MAX_DETAIL),
        new Date(now + LEASE_MS),
      ],
    );
  }
}

/** When each job last succeeded, in whatever process; epoch milliseconds. */
export async function lastSuccesses(
  db: Pick<Database, 'pool'>,
): Promise<{ job: string; succeededAt: number }[]> {
  const { rows } = await db.pool.query<{ job: string; finished_at: Date }>(
    `SELECT job, max(finished_at) AS finished_at FROM job_runs WHERE outcome = 'done' GROUP BY job ORDER BY job`,
  );
  return rows.map(row => ({ job: row.job, succeededAt: row.finished_at.getTime() }));
}
