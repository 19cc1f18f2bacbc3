/**
 * Statements on what is watched of ingest: who lags, what came in each minute, what was refused. They cross tenants and
 * are for operators only (insight/api.ts). What is watched is ingest-watch.ts.
 */
import type pg from 'pg';
import { addIngestCounts } from './ingest-sql';

type Client = Pick<pg.ClientBase, 'query'>;

/** Where a node's spool stands. */
export interface Standing {
  epoch: string;
  /** Highest sequence in the ledger. */
  mark: number;
  /** Highest sequence that the node said it has. */
  announced: number;
  /** The minute of the newest record stored, epoch milliseconds; null for none since it was last written. */
  lastPeriodStart: number | null;
  /** Epoch milliseconds. */
  at: number;
}

export interface MinuteCounts {
  batches: number;
  stored: number;
  duplicates: number;
  gaps: number;
  refused: number;
  unattributed: number;
}

/** What was noted of one node; without a standing when nothing that it said is believed. */
export interface NodeNote extends MinuteCounts {
  nodeId: string;
  organizationId: string;
  standing: Standing | undefined;
}

/** Writes what was noted; in one order everywhere, so that two processes never wait for each other. */
export async function writeNotes(
  client: Client,
  notes: { nodes: readonly NodeNote[]; total: MinuteCounts; refusals: ReadonlyMap<string, number> },
  at: Date,
): Promise<void> {
  const { nodes, total, refusals } = notes;
  const counted = nodes.filter(
    node => node.stored + node.duplicates + node.gaps + node.refused + node.unattributed > 0,
  );
  if (counted.length > 0) await addIngestCounts(client, counted, at);
  const standing = nodes.flatMap(node => (node.standing ? [{ ...node, standing: node.standing }] : []));
  if (standing.length > 0)
    await client.query(
      `INSERT INTO ingest_watch AS w (node_id, organization_id, epoch, mark, announced, last_period_start, first_heard_at, updated_at)
       SELECT node_id, organization_id, epoch, mark, announced, to_timestamp(period / 1000), to_timestamp(at / 1000), to_timestamp(at / 1000)
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::float8[], $7::float8[])
           AS x (node_id, organization_id, epoch, mark, announced, period, at)
        ORDER BY node_id
       ON CONFLICT (node_id) DO UPDATE SET
         epoch = excluded.epoch,
         mark = CASE WHEN w.epoch = excluded.epoch THEN greatest(w.mark, excluded.mark) ELSE excluded.mark END,
         announced = CASE WHEN w.epoch = excluded.epoch THEN greatest(w.announced, excluded.announced) ELSE excluded.announced END,
         last_period_start = coalesce(excluded.last_period_start, w.last_period_start),
         updated_at = excluded.updated_at
        WHERE w.updated_at <= excluded.updated_at`,
      [
        standing.map(each => each.nodeId),
        standing.map(each => each.organizationId),
        standing.map(each => each.standing.epoch),
        standing.map(each => each.standing.mark),
        standing.map(each => each.standing.announced),
        standing.map(each => each.standing.lastPeriodStart),
        standing.map(each => each.standing.at),
      ],
    );
  if (total.batches > 0)
    await client.query(
      `INSERT INTO ingest_minutes AS m (minute, batches, stored, duplicates, gaps, refused, unattributed)
       VALUES (date_trunc('minute', $1::timestamptz, 'UTC'), $2, $3, $4, $5, $6, $7)
       ON CONFLICT (minute) DO UPDATE SET
         batches = m.batches + excluded.batches, stored = m.stored + excluded.stored,
         duplicates = m.duplicates + excluded.duplicates, gaps = m.gaps + excluded.gaps,
         refused = m.refused + excluded.refused, unattributed = m.unattributed + excluded.unattributed`,
      [at, total.batches, total.stored, total.duplicates, total.gaps, total.refused, total.unattributed],
    );
  if (refusals.size > 0)
    await client.query(
      `INSERT INTO ingest_refusals AS r (day, code, batches)
       SELECT date_trunc('day', $1::timestamptz, 'UTC'), code, batches
         FROM unnest($2::text[], $3::bigint[]) AS x (code, batches) ORDER BY code
       ON CONFLICT (day, code) DO UPDATE SET batches = r.batches + excluded.batches`,
      [at, [...refusals.keys()], [...refusals.values()]],
    );
}

export interface Minute extends MinuteCounts {
  /** Epoch milliseconds. */
  at: number;
}

/** Minutes from `from` on in which something came; others are left out. */
export async function readMinutes(client: Client, from: Date): Promise<Minute[]> {
  const { rows } = await client.query<Record<keyof MinuteCounts, string> & { minute: Date }>(
    'SELECT * FROM ingest_minutes WHERE minute >= $1 ORDER BY minute',
    [from],
  );
  return rows.map(row => ({
    at: row.minute.getTime(),
    batches: Number(row.batches),
    stored: Number(row.stored),
    duplicates: Number(row.duplicates),
    gaps: Number(row.gaps),
    refused: Number(row.refused),
    unattributed: Number(row.unattributed),
  }));
}

/** Batches not taken since `from`, by code, most first. */
export async function readRefusals(client: Client, from: Date): Promise<{ code: string; batches: number }[]> {
  const { rows } = await client.query<{ code: string; batches: string }>(
    'SELECT code, sum(batches)::bigint AS batches FROM ingest_refusals WHERE day >= $1 GROUP BY code ORDER BY 2 DESC, code',
    [from],
  );
  return rows.map(row => ({ code: row.code, batches: Number(row.batches) }));
}

/** Where a list of nodes goes on: the last row's key. */
export interface LagCursor {
  /** Epoch milliseconds; UP_TO_DATE for nodes that lag nothing. */
  since: number;
  nodeId: string;
}

/** Sorts behind every instant. */
export const UP_TO_DATE = 8.64e15;

export interface NodeLag {
  nodeId: string;
  name: string;
  organization: string;
  lastSeenAt: number | null;
  /** Records that the node has said it has and that are not in the ledger. */
  behind: number;
  /** Since when usage may be missing, epoch milliseconds; UP_TO_DATE when none is known to be. */
  since: number;
  lastPeriodStart: number | null;
  /** Of today, UTC. */
  duplicates: number;
  gaps: number;
  refused: number;
}

/** Nodes, worst first, from a cursor on. `search` is part of a node's or its host's name, or the start of its id. */
export async function readLags(
  client: Client,
  question: { search: string; after: LagCursor | null; limit: number; now: number },
): Promise<NodeLag[]> {
  const { search, after, limit, now } = question;
  const pattern = `%${search.replace(/[\\%_]/g, '\\$&')}%`;
  const { rows } = await client.query<{
    id: string;
    name: string;
    organization: string;
    last_seen_at: Date | null;
    behind: string;
    since: number;
    last_period_start: Date | null;
    duplicates: string | null;
    gaps: string | null;
    refused: string | null;
  }>(
    `WITH lags AS (
       SELECT n.id, n.name, o.name AS organization, n.last_seen_at, w.last_period_start,
              greatest(w.announced - w.mark, 0) AS behind,
              CASE WHEN w.announced > w.mark
                   THEN round(extract(epoch FROM coalesce(w.last_period_start, w.first_heard_at)) * 1000)
                   ELSE ${UP_TO_DATE} END::float8 AS since
         FROM nodes n
         JOIN organizations o ON o.id = n.organization_id
         LEFT JOIN ingest_watch w ON w.node_id = n.id
        WHERE n.retired_at IS NULL
          AND ($1 = '' OR n.name ILIKE $2 OR o.name ILIKE $2 OR n.id::text LIKE $3)
     )
     SELECT l.*, d.duplicates, d.gaps, d.refused
       FROM (SELECT * FROM lags WHERE $4::float8 IS NULL OR (since, id) > ($4, $5::uuid)
              ORDER BY since, id LIMIT $6) l
       LEFT JOIN usage_ingest_daily d ON d.node_id = l.id AND d.day = date_trunc('day', $7::timestamptz, 'UTC')
      ORDER BY l.since, l.id`,
    [
      search,
      pattern,
      `${search.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`,
      after?.since ?? null,
      after?.nodeId ?? null,
      limit,
      new Date(now),
    ],
  );
  return rows.map(row => ({
    nodeId: row.id,
    name: row.name,
    organization: row.organization,
    lastSeenAt: row.last_seen_at?.getTime() ?? null,
    behind: Number(row.behind ?? 0),
    since: row.since,
    lastPeriodStart: row.last_period_start?.getTime() ?? null,
    duplicates: Number(row.duplicates ?? 0),
    gaps: Number(row.gaps ?? 0),
    refused: Number(row.refused ?? 0),
  }));
}

/** How many nodes lag, and since when the worst does. */
export async function readLagSum(
  client: Client,
): Promise<{ lagging: number; records: number; since: number | null }> {
  const { rows } = await client.query<{ lagging: string; records: string | null; since: Date | null }>(
    `SELECT count(*) AS lagging, sum(w.announced - w.mark)::bigint AS records,
            min(coalesce(w.last_period_start, w.first_heard_at)) AS since
       FROM ingest_watch w JOIN nodes n ON n.id = w.node_id
      WHERE w.announced > w.mark AND n.retired_at IS NULL`,
  );
  const [row] = rows;
  return {
    lagging: Number(row?.lagging ?? 0),
    records: Number(row?.records ?? 0),
    since: row?.since?.getTime() ?? null,
  };
}

/** Forgets minutes and refusals before these instants; returns how many rows went. */
export async function forgetWatched(client: Client, before: { minutes: Date; days: Date }): Promise<number> {
  const minutes = await client.query('DELETE FROM ingest_minutes WHERE minute < $1', [before.minutes]);
  const refusals = await client.query('DELETE FROM ingest_refusals WHERE day < $1', [before.days]);
  const days = await client.query('DELETE FROM usage_ingest_daily WHERE day < $1', [before.days]);
  return (minutes.rowCount ?? 0) + (refusals.rowCount ?? 0) + (days.rowCount ?? 0);
}
