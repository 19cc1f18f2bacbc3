/**
 * Every statement that reads what nodes remembered: plain SQL, the same on PostgreSQL 15 and on PGlite. What may be
 * asked is query.ts and trace.ts. Pages go by key, never by count: the millionth row costs what the first does.
 */
import type { EventSeverity } from '@mastline/shared/domain/node-event';
import type pg from 'pg';
import { ownNodes } from '../fleet/visible';
import type { Scope } from '../identity/scope';

type Client = Pick<pg.ClientBase, 'query'>;

/** Where a page begins: right after this row, which is newer. */
export interface Cursor {
  at: Date;
  id: string;
}

export interface ConnectionFilter {
  organizationId: string;
  from: Date | null;
  to: Date | null;
  credentialId: string | null;
  slotId: string | null;
  /** An outcome by name; `refused` is all but OUTCOME_OK and OUTCOME_CUT. */
  outcome: string | null;
  after: Cursor | null;
}

export interface ConnectionRow {
  id: string;
  ended_at: Date;
  took_ms: string;
  credential_id: string;
  credential_name: string;
  endpoint_name: string;
  node_name: string;
  slot: number | null;
  slot_id: string | null;
  model: string | null;
  protocol: string;
  outcome: string;
  times: string;
  up_bytes: string;
  down_bytes: string;
  host: string | null;
  address: string | null;
  port: number | null;
}

/** Connections of the organization's own credentials, newest first. */
export async function selectConnections(
  client: Client,
  filter: ConnectionFilter,
  limit: number,
): Promise<ConnectionRow[]> {
  const values: unknown[] = [filter.organizationId];
  const add = (value: unknown) => `$${values.push(value)}`;
  const conditions = ['l.organization_id = $1'];
  if (filter.from) conditions.push(`l.ended_at >= ${add(filter.from)}`);
  if (filter.to) conditions.push(`l.ended_at < ${add(filter.to)}`);
  if (filter.credentialId)
    conditions.push(
      `l.credential_key = (SELECT key FROM credentials WHERE id = ${add(filter.credentialId)} AND organization_id = $1)`,
    );
  if (filter.slotId)
    conditions.push(
      `(l.node_key, l.slot) = (SELECT n.key, s.number FROM slots s JOIN nodes n ON n.id = s.node_id
                                WHERE s.id = ${add(filter.slotId)})`,
    );
  if (filter.outcome === 'refused') conditions.push(`l.outcome NOT IN ('ok', 'cut')`);
  else if (filter.outcome) conditions.push(`l.outcome = ${add(filter.outcome)}`);
  if (filter.after)
    conditions.push(
      `(l.ended_at, l.id) < (${add(filter.after.at)}::timestamptz, ${add(filter.after.id)}::bigint)`,
    );
  // The page first, then its names.
  const { rows } = await client.query<ConnectionRow>(
    `WITH page AS (SELECT * FROM connection_logs l WHERE ${conditions.join(' AND ')}
                    ORDER BY l.ended_at DESC, l.id DESC LIMIT ${add(limit)})
     SELECT p.id, p.ended_at, p.took_ms, c.id AS credential_id, c.name AS credential_name, e.name AS endpoint_name,
            n.name AS node_name, p.slot, s.id AS slot_id, m.model, p.protocol, p.outcome, p.times, p.up_bytes,
            p.down_bytes, p.host, p.address, p.port
       FROM page p
       JOIN credentials c ON c.key = p.credential_key
       JOIN endpoints e ON e.key = p.endpoint_key
       JOIN nodes n ON n.key = p.node_key
       LEFT JOIN slots s ON s.node_id = n.id AND s.number = p.slot
       LEFT JOIN modems m ON m.key = p.modem_key
      ORDER BY p.ended_at DESC, p.id DESC`,
    values,
  );
  return rows;
}

export type CarriedRow = Pick<
  ConnectionRow,
  'id' | 'ended_at' | 'took_ms' | 'slot' | 'protocol' | 'outcome' | 'times' | 'up_bytes' | 'down_bytes'
>;

/** Flows that a node of the organization's carried, newest first, without whose they were and where they went. */
export async function selectCarried(
  client: Client,
  { scope, nodeId, after }: { scope: Scope; nodeId: string; after: Cursor | null },
  limit: number,
): Promise<CarriedRow[]> {
  const { rows } = await client.query<CarriedRow>(
    `SELECT l.id, l.ended_at, l.took_ms, l.slot, l.protocol, l.outcome, l.times, l.up_bytes, l.down_bytes
       FROM connection_logs l
      WHERE l.node_key = (SELECT n.key FROM nodes n WHERE n.id = $2 AND ${ownNodes(scope)})
        AND ($3::timestamptz IS NULL OR (l.ended_at, l.id) < ($3::timestamptz, $4::bigint))
      ORDER BY l.ended_at DESC, l.id DESC LIMIT $5`,
    [scope.organizationId, nodeId, after?.at ?? null, after?.id ?? null, limit],
  );
  return rows;
}

export interface EventRow {
  id: string;
  at: Date;
  kind: string;
  severity: EventSeverity;
  slot: number | null;
  source: string | null;
  times: string;
  took_ms: string | null;
  detail: string;
}

export interface EventFilter {
  scope: Scope;
  nodeId: string;
  severities: readonly EventSeverity[];
  after: Cursor | null;
}

/** What happened on a node of the organization's, newest first. */
export async function selectEvents(client: Client, filter: EventFilter, limit: number): Promise<EventRow[]> {
  const { scope, nodeId, severities, after } = filter;
  const { rows } = await client.query<EventRow>(
    `SELECT v.id, v.at, v.kind, v.severity, v.slot, v.source, v.times, v.took_ms, v.detail
       FROM node_events v
      WHERE v.node_key = (SELECT n.key FROM nodes n WHERE n.id = $2 AND ${ownNodes(scope)})
        AND v.severity = ANY ($3)
        AND ($4::timestamptz IS NULL OR (v.at, v.id) < ($4::timestamptz, $5::bigint))
      ORDER BY v.at DESC, v.id DESC LIMIT $6`,
    [scope.organizationId, nodeId, severities, after?.at ?? null, after?.id ?? null, limit],
  );
  return rows;
}

/** What a node of the organization's had no room for since an instant, by stream. */
export async function selectDropped(
  client: Client,
  { scope, nodeId, since }: { scope: Scope; nodeId: string; since: Date },
): Promise<{ stream: string; dropped: string }[]> {
  const { rows } = await client.query<{ stream: string; dropped: string }>(
    `SELECT m.stream, sum(m.dropped)::bigint AS dropped FROM event_marks m JOIN nodes n ON n.id = m.node_id
      WHERE n.id = $2 AND ${ownNodes(scope)} AND m.updated_at >= $3 GROUP BY m.stream`,
    [scope.organizationId, nodeId, since],
  );
  return rows;
}

export interface TraceRow extends ConnectionRow {
  organization_id: string;
  organization_name: string;
  node_id: string;
  source_port: number | null;
}

/**
 * Flows that ran between two instants through whatever slot had `address` then. Crosses tenants: for operators only.
 * A flow that is still open has no line yet; one that ran for longer than `longest` is not found.
 */
export async function selectTrace(
  client: Client,
  ask: {
    address: string;
    from: Date;
    to: Date;
    host: string | null;
    port: number | null;
    sourcePort: number | null;
  },
  limit: number,
): Promise<TraceRow[]> {
  const { rows } = await client.query<TraceRow>(
    `WITH places AS (
       SELECT DISTINCT n.key AS node_key, n.id AS node_id, n.name AS node_name, s.number AS slot
         FROM modem_addresses a JOIN slots s ON s.id = a.slot_id JOIN nodes n ON n.id = s.node_id
        WHERE a.address = $1 AND a.since <= $3 AND (a.until IS NULL OR a.until >= $2)
     )
     SELECT l.id, l.ended_at, l.took_ms, o.id AS organization_id, o.name AS organization_name, c.id AS credential_id,
            c.name AS credential_name, e.name AS endpoint_name, p.node_id, p.node_name, p.slot, NULL AS slot_id,
            NULL AS model, l.protocol, l.outcome, l.times, l.up_bytes, l.down_bytes, l.host, l.address, l.port,
            l.source_port
       FROM places p
       JOIN connection_logs l ON l.node_key = p.node_key AND l.slot = p.slot
            AND l.ended_at >= $2 AND l.ended_at <= $3::timestamptz + interval '1 day'
            AND l.ended_at - l.took_ms * interval '1 millisecond' <= $3
       JOIN organizations o ON o.id = l.organization_id
       JOIN credentials c ON c.key = l.credential_key
       JOIN endpoints e ON e.key = l.endpoint_key
      WHERE ($4::text IS NULL OR l.host = $4 OR l.address = $4 OR l.host IS NULL)
        AND ($5::int IS NULL OR l.port = $5 OR l.port IS NULL)
        AND ($6::int IS NULL OR l.source_port = $6 OR l.source_port IS NULL)
      ORDER BY l.ended_at, l.id LIMIT $7`,
    [ask.address, ask.from, ask.to, ask.host, ask.port, ask.sourcePort, limit],
  );
  return rows;
}
