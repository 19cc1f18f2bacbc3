/**
 * Every statement that writes what nodes remember: plain SQL, the same on PostgreSQL 15 and on PGlite. What a batch is
 * and what becomes of it is keep-events.ts.
 *
 * These statements cross tenants, as those of usage do: a flow belongs to its credential's customer, an event to the
 * node's host. Whatever names what does not belong to the node finds no row to join, and is not kept.
 */
import type { FlowSummary } from '@mastline/shared/domain/flow-summary';
import type { EventStream, NodeEvent } from '@mastline/shared/domain/node-event';
import type pg from 'pg';

type Client = Pick<pg.ClientBase, 'query'>;

export interface StreamOf {
  nodeId: string;
  hostOrganizationId: string;
  epoch: string;
  stream: EventStream;
}

/** New epochs of one node within a day, each a start of its agent: more than this is no accident. */
export const MAX_EVENT_EPOCHS_PER_DAY = 200;

/** The mark, held until the transaction ends; made at the first batch. Undefined when the node has had too many. */
export async function lockEventMark(client: Client, of: StreamOf, at: Date): Promise<number | undefined> {
  const found = await selectMark(client, of);
  if (found !== undefined) return found;
  await client.query(
    `INSERT INTO event_marks (node_id, epoch, stream, organization_id, first_seen_at, updated_at)
     SELECT $1, $2, $3, $4, $5, $5
      WHERE (SELECT count(*) FROM event_marks
              WHERE node_id = $1 AND stream = $3 AND first_seen_at > $5::timestamptz - interval '1 day') < $6
     ON CONFLICT (node_id, epoch, stream) DO NOTHING`,
    [of.nodeId, of.epoch, of.stream, of.hostOrganizationId, at, MAX_EVENT_EPOCHS_PER_DAY],
  );
  return selectMark(client, of);
}

async function selectMark(client: Client, { nodeId, epoch, stream }: StreamOf): Promise<number | undefined> {
  const { rows } = await client.query<{ mark: string }>(
    'SELECT mark FROM event_marks WHERE node_id = $1 AND epoch = $2 AND stream = $3 FOR UPDATE',
    [nodeId, epoch, stream],
  );
  return rows[0] && Number(rows[0].mark);
}

export async function moveEventMark(
  client: Client,
  { nodeId, epoch, stream }: StreamOf,
  to: { mark: number; dropped: number; foreign: number; stale: number; at: Date },
): Promise<void> {
  await client.query(
    `UPDATE event_marks SET mark = greatest(mark, $4), dropped = greatest(dropped, $5),
            foreign_items = foreign_items + $6, stale_items = stale_items + $7, updated_at = $8
      WHERE node_id = $1 AND epoch = $2 AND stream = $3`,
    [nodeId, epoch, stream, to.mark, to.dropped, to.foreign, to.stale, to.at],
  );
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const asUuid = (text: string | undefined) => (text !== undefined && UUID.test(text) ? text : null);
/** PostgreSQL text cannot hold NUL. */
const storable = (text: string | undefined) => text?.replaceAll('\u0000', '\ufffd') ?? null;
/** Numbers as PostgreSQL's own text of an array: quicker than quoting each. */
const numbers = (values: readonly (number | undefined)[]) =>
  `{${values.map(value => value ?? 'NULL').join(',')}}`;

/** Keeps flow summaries; returns how many: what does not belong to the node is left out. */
export async function insertFlows(
  client: Client,
  nodeId: string,
  flows: readonly FlowSummary[],
): Promise<number> {
  const { rowCount } = await client.query(
    `INSERT INTO connection_logs (ended_at, organization_id, host_organization_id, node_key, endpoint_key,
                                  credential_key, modem_key, slot, protocol, outcome, took_ms, up_bytes, down_bytes,
                                  times, host, address, port, source_port)
     SELECT to_timestamp(x.ended_at / 1000.0), c.organization_id, n.organization_id, n.key, e.key, c.key, m.key,
            x.slot, x.protocol, x.outcome, x.took_ms, x.up_bytes, x.down_bytes, x.times, x.host, x.address, x.port,
            x.source_port
       FROM unnest($2::bigint[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                   $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::int[], $16::int[])
              WITH ORDINALITY
              AS x (ended_at, credential_id, endpoint_id, slot, imei, protocol, outcome, took_ms, up_bytes, down_bytes,
                    times, host, address, port, source_port, place)
       JOIN nodes n ON n.id = $1
       JOIN endpoints e ON e.id = x.endpoint_id AND e.node_id = n.id
       JOIN credentials c ON c.id = x.credential_id AND c.organization_id = e.organization_id
       LEFT JOIN modems m ON m.organization_id = n.organization_id AND m.imei = x.imei
      ORDER BY x.place`,
    [
      nodeId,
      numbers(flows.map(flow => flow.endedAt)),
      flows.map(flow => asUuid(flow.credentialId)),
      flows.map(flow => asUuid(flow.endpointId)),
      numbers(flows.map(flow => flow.slot)),
      flows.map(flow => storable(flow.imei)),
      flows.map(flow => storable(flow.protocol)),
      flows.map(flow => storable(flow.outcome)),
      numbers(flows.map(flow => flow.tookMs)),
      numbers(flows.map(flow => flow.upBytes)),
      numbers(flows.map(flow => flow.downBytes)),
      numbers(flows.map(flow => flow.times ?? 1)),
      flows.map(flow => storable(flow.host)),
      flows.map(flow => storable(flow.address)),
      numbers(flows.map(flow => flow.port)),
      numbers(flows.map(flow => flow.sourcePort)),
    ],
  );
  return rowCount ?? 0;
}

/**
 * Keeps events; returns of how many the credential is one that the node does not serve: those are kept without it. A
 * node tells of itself only, whatever it says.
 */
export async function insertEvents(
  client: Client,
  nodeId: string,
  events: readonly NodeEvent[],
): Promise<number> {
  const { rows } = await client.query<{ strange: string }>(
    `WITH told AS (
       SELECT x.*, n.key AS node_key, n.organization_id, c.key AS credential_key
         FROM unnest($2::bigint[], $3::text[], $4::text[], $5::int[], $6::text[], $7::uuid[], $8::boolean[],
                     $9::bigint[], $10::bigint[], $11::text[]) WITH ORDINALITY
                AS x (at, kind, severity, slot, source, credential_id, has_credential, times, took_ms, detail, place)
         JOIN nodes n ON n.id = $1
         LEFT JOIN credentials c ON c.id = x.credential_id
               AND EXISTS (SELECT 1 FROM endpoints e
                            WHERE e.node_id = n.id AND e.organization_id = c.organization_id)
     ), kept AS (
       INSERT INTO node_events (at, organization_id, node_key, kind, severity, slot, source, credential_key, times,
                                took_ms, detail)
       SELECT to_timestamp(at / 1000.0), organization_id, node_key, kind, severity, slot, source, credential_key,
              times, took_ms, detail FROM told ORDER BY place
     )
     SELECT count(*) AS strange FROM told WHERE has_credential AND credential_key IS NULL`,
    [
      nodeId,
      numbers(events.map(event => event.at)),
      events.map(event => storable(event.kind)),
      events.map(event => event.severity),
      numbers(events.map(event => event.slot)),
      events.map(event => storable(event.source)),
      events.map(event => asUuid(event.credentialId)),
      events.map(event => event.credentialId !== undefined),
      numbers(events.map(event => event.times ?? 1)),
      numbers(events.map(event => event.tookMs)),
      events.map(event => storable(event.detail)),
    ],
  );
  return Number(rows[0]?.strange ?? 0);
}
