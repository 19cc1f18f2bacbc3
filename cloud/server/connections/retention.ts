/**
 * How long what nodes remember is kept: each organization says so for its own. Weeks that nobody keeps any more go
 * whole; what one organization keeps shorter than others goes row by row, a few thousand at a time, so that no
 * statement holds ingest up.
 */
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import { partitionsOf } from '../ledger/partitions';

export const MIN_DAYS = 1;
export const MAX_DAYS = 365;
const DAY_MS = 86_400_000;
/** Rows that one statement deletes. */
const STEP_ROWS = 5_000;
/** Marks of runs that ended long ago: what such a run left on its disk is older than anybody keeps it. */
const MARKS_KEPT_MS = 400 * DAY_MS;

export interface Forgotten {
  logs: number;
  events: number;
  marks: number;
  partitions: string[];
}

/** Removes what is older than its organization keeps it. Safe to run again after a crash. */
export async function forgetConnections(db: Pick<Database, 'pool'>, now: number): Promise<Forgotten> {
  const { rows: kept } = await db.pool.query<{ id: string; log_days: number; event_days: number }>(
    'SELECT id, connection_log_days AS log_days, event_days FROM organizations ORDER BY id',
  );
  const longest = Math.max(MIN_DAYS, ...kept.map(each => each.log_days));
  const partitions = await dropWeeks(db, now - longest * DAY_MS);
  let logs = 0;
  let events = 0;
  for (const { id, log_days, event_days } of kept) {
    logs += await deleteOlder(db, LOGS, { organizationId: id, before: new Date(now - log_days * DAY_MS) });
    events += await deleteOlder(db, EVENTS, {
      organizationId: id,
      before: new Date(now - event_days * DAY_MS),
    });
  }
  const { rowCount: marks } = await db.pool.query('DELETE FROM event_marks WHERE updated_at < $1', [
    new Date(now - MARKS_KEPT_MS),
  ]);
  return { logs, events, marks: marks ?? 0, partitions };
}

/** By the primary key, which begins with the organization and the time. */
const LOGS = `DELETE FROM connection_logs WHERE (organization_id, ended_at, id) IN
  (SELECT organization_id, ended_at, id FROM connection_logs
    WHERE organization_id = $1 AND ended_at < $2 ORDER BY ended_at LIMIT $3)`;
const EVENTS = `DELETE FROM node_events WHERE (organization_id, at, id) IN
  (SELECT organization_id, at, id FROM node_events WHERE organization_id = $1 AND at < $2 ORDER BY at LIMIT $3)`;

async function deleteOlder(
  db: Pick<Database, 'pool'>,
  statement: string,
  of: { organizationId: string; before: Date },
): Promise<number> {
  let deleted = 0;
  for (;;) {
    const { rowCount } = await db.pool.query(statement, [of.organizationId, of.before, STEP_ROWS]);
    deleted += rowCount ?? 0;
    if ((rowCount ?? 0) < STEP_ROWS) return deleted;
  }
}

async function dropWeeks(db: Pick<Database, 'pool'>, before: number): Promise<string[]> {
  const dropped: string[] = [];
  for (const { name, to } of await partitionsOf(db, 'connection_logs')) {
    if (to > before) continue;
    await inTransaction(db, async client => {
      // In the order in which writers lock: the parent first.
      await client.query('LOCK TABLE connection_logs IN ACCESS EXCLUSIVE MODE');
      await client.query(`DROP TABLE ${name}`);
    });
    dropped.push(name);
  }
  return dropped;
}
