/**
 * Every statement that screens read usage with: plain SQL, the same on PostgreSQL 15 and on PGlite. What writes is
 * ingest-sql.ts; what may be asked is query.ts. `$1` is the organization wherever a scope is asked.
 */
import type pg from 'pg';
import type { Scope } from '../identity/scope';

type Client = Pick<pg.ClientBase, 'query'>;

export interface SumRow {
  up_bytes: string | null;
  down_bytes: string | null;
  flows: string | null;
}

export interface UsageFilter {
  scope: Scope;
  /** Half-open, whole hours. */
  from: Date;
  to: Date;
  credentialId: string | null;
  slotId: string | null;
}

const SUMS = 'sum(u.up_bytes) AS up_bytes, sum(u.down_bytes) AS down_bytes, sum(u.flows) AS flows';

/** Condition on a usage table `u`. */
function visible(scope: Scope): string {
  if (scope.everything) return '$1::uuid IS NOT NULL';
  return scope.asHost ? '(u.organization_id = $1 OR u.host_organization_id = $1)' : 'u.organization_id = $1';
}

/** Whether a row is another organization's, so that its names are not for this scope. */
const foreign = (scope: Scope) => (scope.everything ? 'false' : '(u.organization_id <> $1)');

function where(filter: UsageFilter): { text: string; values: unknown[] } {
  const values: unknown[] = [filter.scope.organizationId, filter.from, filter.to];
  let text = `${visible(filter.scope)} AND u.hour >= $2 AND u.hour < $3`;
  if (filter.credentialId !== null) {
    values.push(filter.credentialId);
    const own = filter.scope.everything ? '' : ' AND organization_id = $1';
    text += ` AND u.credential_key = (SELECT key FROM credentials WHERE id = $${values.length}${own})`;
  }
  if (filter.slotId !== null) {
    values.push(filter.slotId);
    text += ` AND (u.node_key, u.slot) = (SELECT n.key, s.number FROM slots s JOIN nodes n ON n.id = s.node_id
                                           WHERE s.id = $${values.length})`;
  }
  return { text, values };
}

const ROLLUP =
  'hour, organization_id, host_organization_id, node_key, endpoint_key, credential_key, slot, up_bytes, down_bytes, flows';
const DAY_MS = 86_400_000;
/** Shorter ranges are read by the hour: their days would save little. */
const MIN_WHOLE_DAYS = 3;

/**
 * Rollups of the range as a table `u`, for sums that do not ask for the hour: whole UTC days from the daily rollups,
 * the hours before and after them from the hourly ones. A year is then 365 rows a credential and modem, not 8,760.
 */
function byDay({ from, to }: UsageFilter): string {
  const first = new Date(Math.ceil(from.getTime() / DAY_MS) * DAY_MS);
  const last = new Date(Math.floor(to.getTime() / DAY_MS) * DAY_MS);
  if (last.getTime() - first.getTime() < MIN_WHOLE_DAYS * DAY_MS) return 'usage_rollups u';
  // Made by us from dates: nothing to quote.
  const [a, b] = [`'${first.toISOString()}'::timestamptz`, `'${last.toISOString()}'::timestamptz`];
  return `(SELECT ${ROLLUP} FROM usage_rollups WHERE hour < ${a} AND hour >= $2
           UNION ALL SELECT ${ROLLUP.replace('hour', 'day')} FROM usage_rollups_daily WHERE day >= ${a} AND day < ${b}
           UNION ALL SELECT ${ROLLUP} FROM usage_rollups WHERE hour >= ${b} AND hour < $3) u`;
}

export async function selectTotal(client: Client, filter: UsageFilter): Promise<SumRow> {
  const { text, values } = where(filter);
  const { rows } = await client.query<SumRow>(`SELECT ${SUMS} FROM ${byDay(filter)} WHERE ${text}`, values);
  return rows[0] ?? { up_bytes: null, down_bytes: null, flows: null };
}

/** Sums by hour or day, oldest first; `start` in seconds since 1970. */
export async function selectSeries(
  client: Client,
  filter: UsageFilter,
  by: 'hour' | 'day',
): Promise<(SumRow & { start: number })[]> {
  const { text, values } = where(filter);
  // Rollups begin at whole hours.
  const step = by === 'hour' ? 'u.hour' : "date_trunc('day', u.hour, 'UTC')";
  const { rows } = await client.query<SumRow & { start: number }>(
    `SELECT extract(epoch FROM ${step})::float8 AS start, ${SUMS} FROM ${by === 'day' ? byDay(filter) : 'usage_rollups u'} WHERE ${text} GROUP BY ${step} ORDER BY ${step}`,
    values,
  );
  return rows;
}

export interface CredentialSumRow extends SumRow {
  credential_id: string | null;
  credential_name: string | null;
  foreign: boolean;
}

export async function selectByCredential(client: Client, filter: UsageFilter): Promise<CredentialSumRow[]> {
  const { text, values } = where(filter);
  const { rows } = await client.query<CredentialSumRow>(
    `WITH sums AS (
       SELECT CASE WHEN ${foreign(filter.scope)} THEN 0 ELSE u.credential_key END AS credential_key,
              ${foreign(filter.scope)} AS "foreign", ${SUMS}
         FROM ${byDay(filter)} WHERE ${text} GROUP BY 1, 2)
     SELECT c.id AS credential_id, c.name AS credential_name, s.*
       FROM sums s LEFT JOIN credentials c ON c.key = s.credential_key
      ORDER BY s.up_bytes + s.down_bytes DESC, c.name`,
    values,
  );
  return rows;
}

export interface ModemSumRow extends SumRow {
  slot_id: string | null;
  node_id: string;
  node_name: string;
  slot: number;
  model: string | null;
}

export async function selectByModem(client: Client, filter: UsageFilter): Promise<ModemSumRow[]> {
  const { text, values } = where(filter);
  const { rows } = await client.query<ModemSumRow>(
    `WITH sums AS (SELECT u.node_key, u.slot, ${SUMS} FROM ${byDay(filter)} WHERE ${text} GROUP BY 1, 2)
     SELECT s.*, t.id AS slot_id, n.id AS node_id, n.name AS node_name, coalesce(m.model, t.model) AS model
       FROM sums s JOIN nodes n ON n.key = s.node_key
       LEFT JOIN slots t ON t.node_id = n.id AND t.number = s.slot LEFT JOIN modems m ON m.id = t.modem_id
      ORDER BY n.name, n.id, s.slot`,
    values,
  );
  return rows;
}

export interface UsageHourRow extends CredentialSumRow {
  /** Seconds since 1970. */
  hour: number;
  slot_id: string | null;
  node_id: string;
  node_name: string;
  slot: number;
  endpoint_name: string | null;
}

interface HourSumRow extends SumRow {
  hour: number;
  node_key: string;
  slot: number;
  foreign: boolean;
  credential_key: string;
  endpoint_key: string;
}

/**
 * Credential × modem × endpoint × hour, newest first. The rows carry keys, and names are asked for once each: joined to
 * each of 2,000 rows they cost more than reading them, half of it here, where every cell of an answer is parsed.
 */
export async function selectRows(
  client: Client,
  filter: UsageFilter,
  limit: number,
): Promise<UsageHourRow[]> {
  const { text, values } = where(filter);
  const hidden = foreign(filter.scope);
  const { rows } = await client.query<HourSumRow>(
    `SELECT extract(epoch FROM u.hour)::float8 AS hour, u.node_key, u.slot, ${hidden} AS "foreign",
            CASE WHEN ${hidden} THEN 0 ELSE u.credential_key END AS credential_key,
            CASE WHEN ${hidden} THEN 0 ELSE u.endpoint_key END AS endpoint_key, ${SUMS}
       FROM usage_rollups u WHERE ${text} GROUP BY u.hour, 2, 3, 4, 5, 6
      ORDER BY u.hour DESC, 2, 3, 4, 5, 6 LIMIT ${Math.trunc(limit)}`,
    values,
  );
  if (rows.length === 0) return [];
  const names = await selectNames(client, rows);
  const named: { row: UsageHourRow; ranks: number[] }[] = [];
  for (const row of rows) {
    const node = names.get(`node ${row.node_key}`);
    if (!node) continue;
    const credential = names.get(`credential ${row.credential_key}`);
    const endpoint = names.get(`endpoint ${row.endpoint_key}`);
    named.push({
      row: {
        hour: row.hour,
        slot: row.slot,
        foreign: row.foreign,
        up_bytes: row.up_bytes,
        down_bytes: row.down_bytes,
        flows: row.flows,
        node_id: node.id,
        node_name: node.name ?? '',
        slot_id: names.get(`slot ${row.node_key} ${row.slot}`)?.id ?? null,
        credential_id: credential?.id ?? null,
        credential_name: credential?.name ?? null,
        endpoint_name: endpoint?.name ?? null,
      },
      ranks: [-row.hour, rankOf(credential), node.rank, row.slot, rankOf(endpoint)],
    });
  }
  return named.sort((a, b) => firstDifference(a.ranks, b.ranks)).map(({ row }) => row);
}

interface Named {
  what: string;
  id: string;
  name: string | null;
  /** Of its name among all of them, as the database sorts. */
  rank: number;
}

/** What the keys of the rows stand for, by kind and key. */
async function selectNames(client: Client, of: readonly HourSumRow[]): Promise<Map<string, Named>> {
  const keys = (key: 'node_key' | 'credential_key' | 'endpoint_key') => [...new Set(of.map(row => row[key]))];
  const { rows } = await client.query<Named>(
    `SELECT what, id, name, (dense_rank() OVER (ORDER BY name))::int AS rank FROM (
       SELECT 'node ' || key AS what, id, name FROM nodes WHERE key = ANY($1::bigint[])
       UNION ALL
       SELECT 'slot ' || n.key || ' ' || s.number, s.id, NULL FROM slots s JOIN nodes n ON n.id = s.node_id
        WHERE n.key = ANY($1::bigint[])
       UNION ALL
       SELECT 'credential ' || key, id, name FROM credentials WHERE key = ANY($2::bigint[])
       UNION ALL
       SELECT 'endpoint ' || key, id, name FROM endpoints WHERE key = ANY($3::bigint[])) x`,
    [keys('node_key'), keys('credential_key'), keys('endpoint_key')],
  );
  return new Map(rows.map(row => [row.what, row]));
}

/** What has no name comes last. */
const rankOf = (named: Named | undefined) => named?.rank ?? Number.MAX_SAFE_INTEGER;

function firstDifference(a: readonly number[], b: readonly number[]): number {
  for (const [at, one] of a.entries()) {
    const by = one - (b[at] ?? 0);
    if (by !== 0) return by;
  }
  return 0;
}

export interface EndpointSumRow extends SumRow {
  endpoint_id: string | null;
  endpoint_name: string | null;
  foreign: boolean;
}

/** From the records themselves: what reached the ledger from `from` on and was used within the day before it or later. */
export async function selectByEndpointSince(
  client: Client,
  scope: Scope,
  from: Date,
): Promise<EndpointSumRow[]> {
  const hidden = foreign(scope);
  const { rows } = await client.query<EndpointSumRow>(
    `WITH sums AS (
       SELECT CASE WHEN ${hidden} THEN 0 ELSE u.endpoint_key END AS endpoint_key, ${hidden} AS "foreign", ${SUMS}
         FROM usage_records u
        WHERE ${visible(scope)} AND u.received_at >= $2 AND u.period_start >= $2::timestamptz - interval '1 day'
        GROUP BY 1, 2)
     SELECT e.id AS endpoint_id, e.name AS endpoint_name, s.*
       FROM sums s LEFT JOIN endpoints e ON e.key = s.endpoint_key ORDER BY e.name`,
    [scope.organizationId, from],
  );
  return rows;
}
