/**
 * Partitions of tables by time, made ahead: usage records by month, hourly rollups and the connection log by week. Time that was missed has its
 * rows in the default partition: they are moved into the new one in the same transaction, so that nothing is ever out
 * of sight. Works on PGlite too. What is removed when is retention.ts.
 */
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';

type Pool = Pick<Database, 'pool'>;

/** This month and so many after it. */
export const MONTHS_AHEAD = 3;
/** This week and so many after it. */
export const WEEKS_AHEAD = 5;
/** A week is put in order when it has been over for so long: by then most that was late has come. */
const SETTLED_MS = 2 * 86_400_000;
const DAY_MS = 86_400_000;

interface Table {
  name: 'usage_records' | 'usage_rollups' | 'connection_logs';
  column: string;
  storage: string;
  /** Start of the partition that is `ahead` after the one of `now`, epoch milliseconds. */
  startOf(now: number, ahead: number): number;
  ahead: number;
}

const RECORDS: Table = {
  name: 'usage_records',
  column: 'period_start',
  storage: '',
  startOf: (now, ahead) => {
    const month = new Date(now);
    return Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + ahead, 1);
  },
  ahead: MONTHS_AHEAD,
};
const ROLLUPS: Table = {
  name: 'usage_rollups',
  column: 'hour',
  // Rows grow in place while their hour lasts: room on the page keeps that out of the indexes.
  storage: 'WITH (fillfactor = 70)',
  // Weeks begin on Monday; the epoch began on a Thursday.
  startOf: (now, ahead) => (Math.floor((now / DAY_MS + 3) / 7) * 7 - 3 + ahead * 7) * DAY_MS,
  ahead: WEEKS_AHEAD,
};

const LOGS: Table = { ...ROLLUPS, name: 'connection_logs', column: 'ended_at', storage: '' };
const TABLES = [RECORDS, ROLLUPS, LOGS] as const;

/** Makes what is missing; returns the names of the partitions made. Safe to call from several processes. */
export async function ensurePartitions(db: Pool, now: number): Promise<string[]> {
  const made: string[] = [];
  for (const table of TABLES)
    for (let ahead = 0; ahead <= table.ahead; ahead += 1) {
      const from = new Date(table.startOf(now, ahead)).toISOString();
      const to = new Date(table.startOf(now, ahead + 1)).toISOString();
      const name = partitionName(table, from);
      if (await makePartition(db, { table, name, from, to })) made.push(name);
    }
  return made;
}

/** usage_records_2026_11, usage_rollups_2026_11_23, connection_logs_2026_11_23. */
function partitionName(table: Table, from: string): string {
  const digits = table === RECORDS ? 7 : 10;
  return `${table.name}_${from.slice(0, digits).replaceAll('-', '_')}`;
}

/** Names and instants are made by us from a date: there is nothing in them to quote. */
function makePartition(
  db: Pool,
  of: { table: Table; name: string; from: string; to: string },
): Promise<boolean> {
  const { table, name, from, to } = of;
  return inTransaction(db, async client => {
    const there = async () =>
      (await client.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [name])).rows[0]
        ?.there;
    if (await there()) return false;
    // Only now the lock that stops writers, and a second look behind it.
    await client.query(`LOCK TABLE ${table.name} IN ACCESS EXCLUSIVE MODE`);
    if (await there()) return false;
    await client.query(
      `CREATE TABLE ${name} (LIKE ${table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ${table.storage}`,
    );
    await client.query(
      `WITH moved AS (DELETE FROM ${table.name}_default
                       WHERE ${table.column} >= '${from}' AND ${table.column} < '${to}' RETURNING *)
       INSERT INTO ${name} SELECT * FROM moved`,
    );
    await client.query(
      `ALTER TABLE ${table.name} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
    );
    return true;
  });
}

export interface Partition {
  name: string;
  /** Half-open, epoch milliseconds. */
  from: number;
  to: number;
}

/** Partitions of a table that there are, oldest first, without the default one. */
export async function partitionsOf(db: Pool, table: Table['name']): Promise<Partition[]> {
  const { rows } = await db.pool.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = $1::regclass AND c.relname <> $1 || '_default' ORDER BY 1`,
    [table],
  );
  const kind = TABLES.find(each => each.name === table) ?? ROLLUPS;
  return rows.map(({ name }) => {
    const [year, month, day = '01'] = name.slice(table.length + 1).split('_');
    const from = Date.parse(`${year}-${month}-${day}T00:00:00Z`);
    if (Number.isNaN(from)) throw new Error(`partition ${name} was not made by this program`);
    return { name, from, to: kind.startOf(from, 1) };
  });
}

/**
 * Puts weeks of rollups that are over in order of credential, once each, and packs them: a month of one credential is then
 * read from few pages. Late usage still finds its row. Returns the names. Readers of such a week wait while its rows are moved.
 */
export async function orderClosedWeeks(db: Pool, now: number): Promise<string[]> {
  const ordered: string[] = [];
  for (const { name, to } of await partitionsOf(db, 'usage_rollups')) {
    if (to + SETTLED_MS > now) continue;
    const done = await inTransaction(db, async client => {
      await client.query('SET LOCAL statement_timeout = 0');
      const { rows } = await client.query<{ primary: string; ordered: boolean }>(
        `SELECT max(relname) FILTER (WHERE indisprimary) AS primary, bool_or(indisclustered) AS ordered
           FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::regclass`,
        [name],
      );
      const [index] = rows;
      if (index === undefined || index.ordered) return false;
      // Hardly a row grows any more: the room for that would be read with every question.
      await client.query(`ALTER TABLE ${name} SET (fillfactor = 100)`);
      await client.query(`CLUSTER ${name} USING ${index.primary}`);
      await client.query(`ANALYZE ${name}`);
      return true;
    });
    if (done) ordered.push(name);
  }
  return ordered;
}
