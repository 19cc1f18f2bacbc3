/**
 * Every statement that writes usage: plain SQL, the same on PostgreSQL 15 and on PGlite. What a batch is and when it is
 * refused is record-batch.ts; what screens read with is usage-sql.ts; making rollups anew is rollups.ts.
 *
 * These statements cross tenants: one transaction holds batches of many hosts' nodes, and each record is charged to
 * the owner of its credential. Values travel as arrays, one per column, so that a statement costs the same round trip
 * for one record as for five thousand; names that repeat travel once and are looked up once.
 */
import type { UsageRecord } from '@mastline/shared/domain/usage';
import type pg from 'pg';

type Client = Pick<pg.ClientBase, 'query'>;

export interface EpochOf {
  nodeId: string;
  epoch: string;
  hostOrganizationId: string;
}

export interface Mark {
  key: string;
  mark: number;
}

/** New epochs of one node within a day. An epoch is a lost spool file: more than this is no accident. */
export const MAX_NEW_EPOCHS_PER_DAY = 100;

/**
 * Takes the marks of these epochs (each named once) and holds their rows until the transaction ends, in one order
 * everywhere so that two processes never wait for each other. Makes a mark at an epoch's first batch; undefined in
 * place of one that its node may not have, for it has had MAX_NEW_EPOCHS_PER_DAY.
 */
export async function lockMarks(
  client: Client,
  epochs: readonly EpochOf[],
  at: Date,
): Promise<(Mark | undefined)[]> {
  const found = await selectMarks(client, epochs);
  if (found.every(mark => mark !== undefined)) return found;
  const missing = epochs.filter((_, index) => found[index] === undefined);
  await client.query(
    `INSERT INTO usage_marks (node_id, epoch, organization_id, mark, first_seen_at, updated_at)
     SELECT w.node_id, w.epoch, w.organization_id, 0, $4, $4
       FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (node_id, epoch, organization_id)
      WHERE (SELECT count(*) FROM usage_marks m
              WHERE m.node_id = w.node_id AND m.first_seen_at > $4::timestamptz - interval '1 day') < $5
      ORDER BY w.node_id, w.epoch
     ON CONFLICT (node_id, epoch) DO NOTHING`,
    [
      missing.map(each => each.nodeId),
      missing.map(each => each.epoch),
      missing.map(each => each.hostOrganizationId),
      at,
      MAX_NEW_EPOCHS_PER_DAY,
    ],
  );
  return selectMarks(client, epochs);
}

async function selectMarks(client: Client, epochs: readonly EpochOf[]): Promise<(Mark | undefined)[]> {
  const { rows } = await client.query<{ place: number; key: string; mark: string }>(
    `SELECT w.place::int AS place, m.key, m.mark
       FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (node_id, epoch, place)
       JOIN usage_marks m ON m.node_id = w.node_id AND m.epoch = w.epoch
      ORDER BY m.key FOR UPDATE OF m`,
    [epochs.map(each => each.nodeId), epochs.map(each => each.epoch)],
  );
  const marks: (Mark | undefined)[] = epochs.map(() => undefined);
  for (const { place, key, mark } of rows) marks[place - 1] = { key, mark: Number(mark) };
  return marks;
}

/** The mark without locking; 0 for an epoch that never sent anything. */
export async function readMark(client: Client, nodeId: string, epoch: string): Promise<number> {
  const { rows } = await client.query<{ mark: string }>(
    'SELECT mark FROM usage_marks WHERE node_id = $1 AND epoch = $2',
    [nodeId, epoch],
  );
  return Number(rows[0]?.mark ?? 0);
}

/** One record as stored. Its period may have been corrected: `reportedPeriodStart` then says what it came with. */
export type StoredRecord = UsageRecord & { reportedPeriodStart?: number };

/** Records of one batch that are new, under their mark. */
export interface FreshBatch {
  nodeId: string;
  markKey: string;
  records: readonly StoredRecord[];
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const asUuid = (text: string) => (UUID.test(text) ? text : null);
/** PostgreSQL text cannot hold NUL; an id with one is a lie, but its bytes must still be kept. */
const storable = (text: string) => text.replaceAll('\u0000', '\ufffd');
/** Numbers as PostgreSQL's own text of an array: quicker than quoting each. */
const numbers = (values: readonly (number | string)[]) => `{${values.join(',')}}`;

/**
 * Inserts records of many batches, adds them to the rollups and moves the marks, in one statement. Who pays is decided
 * here: the credential's owner, if credential and endpoint belong together and the endpoint is on this node; else the
 * host, with the reason. Returns how many records of each batch nobody but the host has.
 */
export async function insertRecords(
  client: Client,
  batches: readonly FreshBatch[],
  moved: { marks: readonly Mark[]; at: Date },
): Promise<number[]> {
  const names = new Names();
  const column = {
    name: [] as number[],
    markKey: [] as string[],
    sequence: [] as number[],
    second: [] as number[],
    up: [] as number[],
    down: [] as number[],
    flows: [] as number[],
    reported: [] as (number | 'NULL')[],
  };
  for (const { nodeId, markKey, records } of batches)
    for (const record of records) {
      column.name.push(names.placeOf(nodeId, record));
      column.markKey.push(markKey);
      column.sequence.push(record.sequence);
      column.second.push(record.periodStart / 1000);
      column.up.push(record.upBytes);
      column.down.push(record.downBytes);
      column.flows.push(record.flows);
      column.reported.push(record.reportedPeriodStart ?? 'NULL');
    }
  const { rows } = await client.query<{ stored: string; problems: number[] | null }>(INSERT_RECORDS, [
    names.rows.map(each => each.nodeId),
    names.rows.map(each => asUuid(each.endpointId)),
    names.rows.map(each => asUuid(each.credentialId)),
    numbers(names.rows.map(each => each.slot)),
    names.rows.map(each => (each.imei === null ? null : storable(each.imei))),
    names.rows.map(each => storable(each.endpointId)),
    names.rows.map(each => storable(each.credentialId)),
    numbers(column.name),
    numbers(column.markKey),
    numbers(column.sequence),
    numbers(column.second),
    numbers(column.up),
    numbers(column.down),
    numbers(column.flows),
    numbers(column.reported),
    numbers(moved.marks.map(each => each.key)),
    numbers(moved.marks.map(each => each.mark)),
    moved.at,
  ]);
  const sent = column.sequence.length;
  if (Number(rows[0]?.stored) !== sent)
    throw new Error(`stored ${rows[0]?.stored} of ${sent} records: a node is missing`);
  const problems = new Set(rows[0]?.problems);
  let next = 0;
  return batches.map(({ records }) => {
    const from = next;
    next += records.length;
    let unattributed = 0;
    if (problems.size > 0)
      for (let i = from; i < next; i += 1) if (problems.has(column.name[i] ?? -1)) unattributed += 1;
    return unattributed;
  });
}

type Name = { nodeId: string } & Pick<UsageRecord, 'endpointId' | 'credentialId' | 'slot' | 'imei'>;

/** What records name, each combination once: thousands of records have but a few. */
class Names {
  readonly rows: Name[] = [];
  /** Node → endpoint → credential → slot and modem → place. Not one joined text: ids may hold any character. */
  readonly #places = new Map<string, Map<string, Map<string, Map<string | number, number>>>>();

  placeOf(nodeId: string, { endpointId, credentialId, slot, imei }: UsageRecord): number {
    const places = within(within(within(this.#places, nodeId), endpointId), credentialId);
    const where = imei === null ? slot : `${slot} ${imei}`;
    let place = places.get(where);
    if (place === undefined) {
      place = this.rows.length;
      this.rows.push({ nodeId, endpointId, credentialId, slot, imei });
      places.set(where, place);
    }
    return place;
  }
}

function within<Key, Value>(outer: Map<string, Map<Key, Value>>, key: string): Map<Key, Value> {
  let inner = outer.get(key);
  if (inner === undefined) {
    inner = new Map();
    outer.set(key, inner);
  }
  return inner;
}

/** Sums are cast back: what sum() makes of bigint is numeric. The order of insertion keeps processes from deadlocks. */
const SUMS =
  'sum(up_bytes)::bigint AS up_bytes, sum(down_bytes)::bigint AS down_bytes, sum(flows)::bigint AS flows, max(last_period_start) AS last_period_start';
const KEYS = 'organization_id, host_organization_id, node_key, endpoint_key, credential_key, modem_key, slot';
const ORDER = 'organization_id, credential_key, 1, endpoint_key, node_key, slot, modem_key';
const ADD = `up_bytes = u.up_bytes + excluded.up_bytes, down_bytes = u.down_bytes + excluded.down_bytes,
         flows = u.flows + excluded.flows,
         last_period_start = greatest(u.last_period_start, excluded.last_period_start)`;

/** Hourly and daily sums, made of rows with `period_start` or of hourly sums: the same text for ingest and rebuilding. */
export const HOURLY_OF = (source: string) => `SELECT date_trunc('hour', period_start, 'UTC') AS hour, ${KEYS},
         ${SUMS.replace('max(last_period_start)', 'max(period_start)')} FROM ${source} GROUP BY 1, ${KEYS}`;
export const DAILY_OF = (source: string) => `SELECT date_trunc('day', hour, 'UTC') AS day, ${KEYS},
         ${SUMS} FROM ${source} GROUP BY 1, ${KEYS}`;
export const ROLLUP_COLUMNS = `${KEYS}, up_bytes, down_bytes, flows, last_period_start`;

const INSERT_RECORDS = `
WITH names AS (
  SELECT x.place - 1 AS name, x.slot, x.imei, x.endpoint_ref, x.credential_ref, n.key AS node_key,
         n.organization_id AS host_organization_id, coalesce(m.key, 0) AS modem_key, p.problem,
         CASE WHEN p.problem IS NULL THEN c.organization_id ELSE n.organization_id END AS organization_id,
         CASE WHEN p.problem IS NULL THEN e.key ELSE 0 END AS endpoint_key,
         CASE WHEN p.problem IS NULL THEN c.key ELSE 0 END AS credential_key
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY
           AS x (node_id, endpoint_id, credential_id, slot, imei, endpoint_ref, credential_ref, place)
    JOIN nodes n ON n.id = x.node_id
    LEFT JOIN endpoints e ON e.id = x.endpoint_id
    LEFT JOIN credentials c ON c.id = x.credential_id
    LEFT JOIN modems m ON m.organization_id = n.organization_id AND m.imei = x.imei
   CROSS JOIN LATERAL (SELECT CASE WHEN e.key IS NULL THEN 'unknown-endpoint'
                                   WHEN e.node_id <> n.id THEN 'endpoint-of-another-node'
                                   WHEN c.key IS NULL THEN 'unknown-credential'
                                   WHEN c.organization_id <> e.organization_id THEN 'credential-not-served-here'
                              END AS problem) p
), fresh AS (
  SELECT to_timestamp(r.second) AS period_start, r.mark_key, r.sequence, names.*, r.up_bytes, r.down_bytes, r.flows,
         r.reported_period
    FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
                $15::bigint[])
           AS r (name, mark_key, sequence, second, up_bytes, down_bytes, flows, reported_period)
    JOIN names USING (name)
), inserted AS (
  INSERT INTO usage_records (period_start, mark_key, sequence, organization_id, host_organization_id, node_key,
                             endpoint_key, credential_key, modem_key, slot, imei, up_bytes, down_bytes, flows,
                             unattributed, reported, received_at)
  SELECT period_start, mark_key, sequence, organization_id, host_organization_id, node_key, endpoint_key,
         credential_key, modem_key, slot, imei, up_bytes, down_bytes, flows, problem,
         CASE WHEN problem IS NOT NULL OR reported_period IS NOT NULL THEN jsonb_strip_nulls(jsonb_build_object(
           'endpoint', endpoint_ref, 'credential', credential_ref, 'periodStart', reported_period)) END, $18
    FROM fresh
), hours AS (
  ${HOURLY_OF('fresh')} ORDER BY ${ORDER}
), hourly AS (
  INSERT INTO usage_rollups AS u (hour, ${ROLLUP_COLUMNS}) SELECT * FROM hours
  ON CONFLICT (organization_id, credential_key, hour, endpoint_key, node_key, slot, modem_key) DO UPDATE SET ${ADD}
), daily AS (
  INSERT INTO usage_rollups_daily AS u (day, ${ROLLUP_COLUMNS}) ${DAILY_OF('hours')} ORDER BY ${ORDER}
  ON CONFLICT (organization_id, credential_key, day, endpoint_key, node_key, slot, modem_key) DO UPDATE SET ${ADD}
), moved AS (
  UPDATE usage_marks m SET mark = x.mark, updated_at = $18
    FROM unnest($16::bigint[], $17::bigint[]) AS x (key, mark) WHERE m.key = x.key
)
SELECT (SELECT count(*) FROM fresh) AS stored,
       (SELECT array_agg(name::int) FROM names WHERE problem IS NOT NULL) AS problems`;

/** What ingest counted for one node since the counts were last written. */
export interface IngestCounts {
  organizationId: string;
  stored: number;
  duplicates: number;
  gaps: number;
  refused: number;
  unattributed: number;
}

/** Adds counts to the nodes' days: figures for the desk that watches the ledger, never the base of a bill. */
export async function addIngestCounts(
  client: Client,
  counts: readonly (IngestCounts & { nodeId: string })[],
  at: Date,
): Promise<void> {
  await client.query(
    `INSERT INTO usage_ingest_daily AS d (node_id, day, organization_id, stored, duplicates, gaps, refused, unattributed)
     SELECT node_id, date_trunc('day', $8::timestamptz, 'UTC'), organization_id, stored, duplicates, gaps, refused, unattributed
       FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
         AS x (node_id, organization_id, stored, duplicates, gaps, refused, unattributed)
      ORDER BY node_id
     ON CONFLICT (node_id, day) DO UPDATE SET
       stored = d.stored + excluded.stored, duplicates = d.duplicates + excluded.duplicates,
       gaps = d.gaps + excluded.gaps, refused = d.refused + excluded.refused,
       unattributed = d.unattributed + excluded.unattributed`,
    [
      counts.map(each => each.nodeId),
      counts.map(each => each.organizationId),
      numbers(counts.map(each => each.stored)),
      numbers(counts.map(each => each.duplicates)),
      numbers(counts.map(each => each.gaps)),
      numbers(counts.map(each => each.refused)),
      numbers(counts.map(each => each.unattributed)),
      at,
    ],
  );
}
