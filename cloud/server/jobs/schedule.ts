/** What the cloud does by itself, how often, in dependency order. How a run is claimed is job-runner.ts. */
import type { Clock } from '@mastline/shared/base/clock';
import { forgetConnections } from '../connections/retention';
import type { Database } from '../db/database';
import { tidyRotations } from '../fleet/rotations';
import { forgetAdmissions } from '../gateway/admissions';
import type { Sessions } from '../identity/sessions';
import { ensurePartitions, orderClosedWeeks } from '../ledger/partitions';
import { applyRetention, type Retention } from '../ledger/retention';
import { forgetWatched } from '../ledger/watch-sql';
import type { Log } from '../log';
import { compareAgain, forgetSlotDays } from '../reconciliation/reconcile';
import type { Job } from './job-runner';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Runs are remembered so long. */
const REMEMBER_RUNS_MS = 30 * DAY_MS;
/** What was watched of ingest: by minute, and by day. */
const REMEMBER_MINUTES_MS = 7 * DAY_MS;
const REMEMBER_DAYS_MS = 400 * DAY_MS;

export function schedule(options: {
  db: Database;
  sessions: Pick<Sessions, 'deleteExpired'>;
  retention: Retention;
  clock: Clock;
  log: Log;
}): Job[] {
  const { db, sessions, retention, clock, log } = options;
  const some = (names: readonly string[]) => (names.length === 0 ? 'nothing to do' : names.join(', '));
  return [
    {
      name: 'partitions',
      everyMs: HOUR_MS,
      run: async () => some(await ensurePartitions(db, clock.now())),
    },
    {
      name: 'sessions',
      everyMs: HOUR_MS,
      run: async () => {
        await sessions.deleteExpired();
        return 'expired sessions deleted';
      },
    },
    {
      name: 'admissions',
      everyMs: HOUR_MS,
      run: async () => `${await forgetAdmissions(db)} answered challenges forgotten`,
    },
    {
      name: 'order-rollups',
      everyMs: DAY_MS,
      run: async () => some(await orderClosedWeeks(db, clock.now())),
    },
    {
      name: 'retention',
      everyMs: DAY_MS,
      run: async () => some(await applyRetention(db, retention, clock.now())),
    },
    {
      name: 'forget-connections',
      everyMs: HOUR_MS,
      run: async () => {
        const { logs, events, marks, partitions } = await forgetConnections(db, clock.now());
        return `${logs} connections, ${events} events, ${marks} marks forgotten; ${some(partitions)}`;
      },
    },
    {
      name: 'rotations',
      everyMs: HOUR_MS,
      run: async () => {
        const { forgotten, unanswered } = await tidyRotations(db, clock.now());
        return `${forgotten} rotations forgotten, ${unanswered} never answered`;
      },
    },
    {
      name: 'reconciliation',
      everyMs: HOUR_MS,
      run: async () => {
        const { days, alarms, failed } = await compareAgain({ db, clock, log });
        const forgotten = await forgetSlotDays({ db, clock });
        return `${days} days of slots compared, ${alarms} with an alarm, ${forgotten} forgotten; ${failed} nodes could not be compared`;
      },
    },
    {
      name: 'forget-watched',
      everyMs: DAY_MS,
      run: async () => {
        const forgotten = await forgetWatched(db.pool, {
          minutes: new Date(clock.now() - REMEMBER_MINUTES_MS),
          days: new Date(clock.now() - REMEMBER_DAYS_MS),
        });
        return `${forgotten} figures of ingest forgotten`;
      },
    },
    {
      name: 'forget-runs',
      everyMs: DAY_MS,
      run: async () => {
        const { rowCount } = await db.pool.query('DELETE FROM job_runs WHERE due_at < $1', [
          new Date(clock.now() - REMEMBER_RUNS_MS),
        ]);
        return `${rowCount} runs forgotten`;
      },
    },
  ];
}
