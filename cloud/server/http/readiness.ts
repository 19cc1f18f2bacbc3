/**
 * `/healthz` and `/readyz`. Alive: the event loop turns, nobody is asked; a restart would help when it does not answer.
 * Ready: work that is sent here now will be done; a load balancer asks this one.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { RequestHandler } from 'express';
import type { Database } from '../db/database';
import type { Log } from '../log';

const READY_DEADLINE_MS = 2_000;

export const healthz: RequestHandler = (_request, response) => void response.type('text/plain').send('ok\n');

/** 200, or 503 with the reason. `migrations` are those that this version stands on; more of a newer one do no harm. */
export function readyz(options: {
  db: Pick<Database, 'pool'>;
  clock: Clock;
  log: Log;
  migrations: readonly string[];
  isStopping(): boolean;
  /** What is said beside "ready": nothing, or lines. */
  note(): string;
}): RequestHandler {
  const { db, clock, log, migrations } = options;
  const missing = async (): Promise<number> => {
    const { rows } = await db.pool.query<{ applied: string }>(
      `SELECT count(DISTINCT migration_name) AS applied FROM _prisma_migrations
        WHERE migration_name = ANY ($1) AND finished_at IS NOT NULL AND rolled_back_at IS NULL`,
      [migrations],
    );
    return migrations.length - Number(rows[0]?.applied ?? 0);
  };
  return async (_request, response) => {
    const not = (why: string) => void response.status(503).type('text/plain').send(`${why}\n`);
    if (options.isStopping()) return not('about to stop');
    try {
      const count = await withDeadline(missing(), READY_DEADLINE_MS, 'asking the database', clock);
      if (count === 0) response.type('text/plain').send(`ready\n${options.note()}`);
      else not(`the database lacks ${count} of this version's migrations`);
    } catch (error) {
      log.warn({ err: error, requestId: response.locals.requestId }, 'not ready');
      not('the database does not answer');
    }
  };
}
