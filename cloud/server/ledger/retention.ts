/**
 * What is kept how long. Records and hourly rollups go by whole partitions, since deleting rows by the million is slower
 * than ingest; daily rollups stay. What was removed is written down, so that a rebuild of rollups leaves alone what
 * it could not make again. Money is not here: invoices have their own rows.
 */
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import { partitionsOf } from './partitions';

export interface Retention {
  /** Whole months of records before the present one. More than the 400 days that usage may be late. */
  recordMonths: number;
  /** The same for hourly rollups. */
  rollupMonths: number;
}

/** A node may have been offline for 400 days (record-batch.ts), and its records must still be provable once. */
export const MIN_RECORD_MONTHS = 14;
export const DEFAULT_RETENTION: Retention = { recordMonths: 14, rollupMonths: 37 };

/** Removes what is older; returns the names of the partitions removed. Safe to run again after a crash. */
export async function applyRetention(
  db: Pick<Database, 'pool'>,
  retention: Retention,
  now: number,
): Promise<string[]> {
  const monthsBefore = (months: number) => {
    const at = new Date(now);
    return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() - months, 1);
  };
  const recordsBefore = monthsBefore(Math.max(MIN_RECORD_MONTHS, retention.recordMonths));
  const rollupsBefore = Math.min(recordsBefore, monthsBefore(retention.rollupMonths));
  // Written down before anything is removed: a rebuild in between must not take the rest for everything.
  await db.pool.query(
    `INSERT INTO usage_retention AS r (id, records_before, rollups_before) VALUES (true, $1, $2)
     ON CONFLICT (id) DO UPDATE SET records_before = greatest(r.records_before, excluded.records_before),
                                    rollups_before = greatest(r.rollups_before, excluded.rollups_before)`,
    [new Date(recordsBefore), new Date(rollupsBefore)],
  );
  const removed: string[] = [];
  for (const [table, column, before] of [
    ['usage_records', 'period_start', recordsBefore],
    ['usage_rollups', 'hour', rollupsBefore],
  ] as const) {
    for (const { name, to } of await partitionsOf(db, table)) {
      if (to > before) continue;
      await inTransaction(db, async client => {
        // In the order in which writers lock: the parent first.
        await client.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
        await client.query(`DROP TABLE ${name}`);
      });
      removed.push(name);
    }
    await db.pool.query(`DELETE FROM ${table}_default WHERE ${column} < $1`, [new Date(before)]);
  }
  return removed;
}
