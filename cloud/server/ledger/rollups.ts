/**
 * Rollups made anew from the records: what tests compare with, and a repair (`rebuild-rollups`, see main.ts). Ingest
 * keeps them as it goes, with the same sums (ingest-sql.ts).
 */
import type pg from 'pg';
import { DAILY_OF, HOURLY_OF, ROLLUP_COLUMNS } from './ingest-sql';

type Client = Pick<pg.ClientBase, 'query'>;

const DAY_MS = 86_400_000;

export interface Rebuilt {
  hourly: number;
  daily: number;
  /** Rows that were there and differ from what the records say, those without records included. Zero in a sound ledger. */
  wrong: number;
}

/**
 * Rebuilds all rollups that the records can still give, within the caller's transaction; ingest waits meanwhile. Days
 * whose records retention has removed, wholly or in part, keep the rollups they have.
 */
export async function rebuildRollups(client: Client): Promise<Rebuilt> {
  const { rows: cuts } = await client.query<{ records_before: Date }>(
    'SELECT records_before FROM usage_retention',
  );
  const cut = cuts[0]?.records_before.getTime() ?? 0;
  const day = new Date(Math.ceil(cut / DAY_MS) * DAY_MS);
  await client.query('SET LOCAL statement_timeout = 0');
  await client.query('LOCK TABLE usage_rollups, usage_rollups_daily IN EXCLUSIVE MODE');
  await client.query(
    'CREATE TEMPORARY TABLE rollups_before ON COMMIT DROP AS SELECT * FROM usage_rollups WHERE hour >= $1',
    [day],
  );
  await client.query(
    'CREATE TEMPORARY TABLE rollups_daily_before ON COMMIT DROP AS SELECT * FROM usage_rollups_daily WHERE day >= $1',
    [day],
  );
  await client.query('DELETE FROM usage_rollups WHERE hour >= $1', [day]);
  await client.query('DELETE FROM usage_rollups_daily WHERE day >= $1', [day]);
  const hourly = await client.query(
    `INSERT INTO usage_rollups (hour, ${ROLLUP_COLUMNS}) ${HOURLY_OF('usage_records WHERE period_start >= $1')}
      ORDER BY organization_id, credential_key, 1`,
    [day],
  );
  const daily = await client.query(
    `INSERT INTO usage_rollups_daily (day, ${ROLLUP_COLUMNS}) ${DAILY_OF('usage_rollups WHERE hour >= $1')}
      ORDER BY organization_id, credential_key, 1`,
    [day],
  );
  const { rows } = await client.query<{ wrong: string }>(
    `SELECT (SELECT count(*) FROM (TABLE rollups_before EXCEPT ALL SELECT * FROM usage_rollups WHERE hour >= $1) a)
          + (SELECT count(*) FROM (SELECT * FROM usage_rollups WHERE hour >= $1 EXCEPT ALL TABLE rollups_before) b)
          + (SELECT count(*) FROM (TABLE rollups_daily_before EXCEPT ALL SELECT * FROM usage_rollups_daily WHERE day >= $1) c)
          + (SELECT count(*) FROM (SELECT * FROM usage_rollups_daily WHERE day >= $1 EXCEPT ALL TABLE rollups_daily_before) d)
            AS wrong`,
    [day],
  );
  return { hourly: hourly.rowCount ?? 0, daily: daily.rowCount ?? 0, wrong: Number(rows[0]?.wrong) };
}
