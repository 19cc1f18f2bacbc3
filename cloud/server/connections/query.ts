/**
 * What screens and programs ask of the connection log and of events. A customer sees the flows of its own
 * credentials; a host what its nodes carried, without whose it was and where it went, and what happened on them. The
 * SQL is query-sql.ts; who used an exit address is trace.ts.
 */
import type { EventSeverity } from '@mastline/shared/domain/node-event';
import { countOf } from '../db/counts';
import { withTenantSql } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import type { Services } from '../rpc/context';
import {
  type CarriedRow,
  type ConnectionFilter,
  type ConnectionRow,
  type Cursor,
  selectCarried,
  selectConnections,
  selectDropped,
  selectEvents,
} from './query-sql';
import {
  type CarriedFlowView,
  type ConnectionsPage,
  type ConnectionView,
  type EventsPage,
  MAX_EXPORT_ROWS,
  PAGE_ROWS,
} from './views';

const DROPPED_WITHIN_MS = 30 * 86_400_000;

export interface ConnectionsAsk {
  /** Half-open, epoch milliseconds. */
  from?: number | undefined;
  to?: number | undefined;
  credentialId?: string | undefined;
  slotId?: string | undefined;
  outcome?: string | undefined;
  after?: string | undefined;
}

export async function listConnections(
  services: Services,
  organization: OrganizationView,
  ask: ConnectionsAsk,
): Promise<ConnectionsPage> {
  const rows = await read(services, organization, ask, PAGE_ROWS + 1);
  const page = rows.slice(0, PAGE_ROWS);
  return { rows: page, next: rows.length > PAGE_ROWS ? (page.at(-1)?.cursor ?? null) : null };
}

/** For an export: the newest, at most MAX_EXPORT_ROWS; `cut` says whether there were more. */
export async function exportConnections(
  services: Services,
  organization: OrganizationView,
  ask: ConnectionsAsk,
): Promise<{ rows: ConnectionView[]; cut: boolean }> {
  const rows = await read(services, organization, ask, MAX_EXPORT_ROWS + 1);
  return { rows: rows.slice(0, MAX_EXPORT_ROWS), cut: rows.length > MAX_EXPORT_ROWS };
}

function read(
  services: Services,
  organization: OrganizationView,
  ask: ConnectionsAsk,
  limit: number,
): Promise<ConnectionView[]> {
  const filter: ConnectionFilter = {
    organizationId: organization.id,
    from: ask.from === undefined ? null : new Date(ask.from),
    to: ask.to === undefined ? null : new Date(ask.to),
    credentialId: ask.credentialId ?? null,
    slotId: ask.slotId ?? null,
    outcome: ask.outcome ?? null,
    after: ask.after === undefined ? null : cursorFrom(ask.after),
  };
  return withTenantSql(services.db, organization.id, async client =>
    (await selectConnections(client, filter, limit)).map(viewOf),
  );
}

export async function listCarried(
  services: Services,
  organization: OrganizationView,
  { nodeId, after }: { nodeId: string; after?: string | undefined },
): Promise<{ rows: CarriedFlowView[]; next: string | null }> {
  const scope = scopeOf(organization);
  const cursor = after === undefined ? null : cursorFrom(after);
  return withTenantSql(services.db, organization.id, async client => {
    const rows = await selectCarried(client, { scope, nodeId, after: cursor }, PAGE_ROWS + 1);
    const page = rows.slice(0, PAGE_ROWS).map(carriedOf);
    return { rows: page, next: rows.length > PAGE_ROWS ? (page.at(-1)?.cursor ?? null) : null };
  });
}

export async function listEvents(
  services: Services,
  organization: OrganizationView,
  ask: { nodeId: string; severities: readonly EventSeverity[]; after?: string | undefined },
): Promise<EventsPage> {
  const scope = scopeOf(organization);
  const { nodeId, severities } = ask;
  const after = ask.after === undefined ? null : cursorFrom(ask.after);
  const since = new Date(services.clock.now() - DROPPED_WITHIN_MS);
  return withTenantSql(services.db, organization.id, async client => {
    const rows = await selectEvents(client, { scope, nodeId, severities, after }, PAGE_ROWS + 1);
    const dropped = await selectDropped(client, { scope, nodeId, since });
    const droppedOf = (stream: string) => countOf(dropped.find(each => each.stream === stream)?.dropped ?? 0);
    const page = rows.slice(0, PAGE_ROWS).map(row => ({
      cursor: cursorOf(row.at, row.id),
      at: row.at.getTime(),
      kind: row.kind,
      severity: row.severity,
      slot: row.slot,
      source: row.source,
      times: countOf(row.times),
      tookMs: row.took_ms === null ? null : countOf(row.took_ms),
      detail: row.detail,
    }));
    return {
      rows: page,
      next: rows.length > PAGE_ROWS ? (page.at(-1)?.cursor ?? null) : null,
      dropped: { events: droppedOf('events'), flows: droppedOf('flows') },
    };
  });
}

function viewOf(row: ConnectionRow): ConnectionView {
  return {
    ...carriedOf(row),
    credentialId: row.credential_id,
    credentialName: row.credential_name,
    endpointName: row.endpoint_name,
    nodeName: row.node_name,
    slotId: row.slot_id,
    model: row.model,
    host: row.host,
    address: row.address,
    port: row.port,
  };
}

function carriedOf(row: CarriedRow): CarriedFlowView {
  return {
    cursor: cursorOf(row.ended_at, row.id),
    endedAt: row.ended_at.getTime(),
    tookMs: countOf(row.took_ms),
    slot: row.slot,
    protocol: row.protocol,
    outcome: row.outcome,
    times: countOf(row.times),
    upBytes: countOf(row.up_bytes),
    downBytes: countOf(row.down_bytes),
  };
}

const CURSOR = /^\d{1,16}-\d{1,19}$/;
/** The last instant that a Date can be, and the last number that a bigint can. */
const LAST_INSTANT = 8_640_000_000_000_000;
const LAST_NUMBER = 2n ** 63n - 1n;

/** Whether it is a cursor: the instant and the row's number, both of which only mean a place in a list. */
export function isCursor(text: string): boolean {
  if (!CURSOR.test(text)) return false;
  const [at = '', id = ''] = text.split('-');
  return Number(at) <= LAST_INSTANT && BigInt(id) <= LAST_NUMBER;
}

const cursorOf = (at: Date, id: string) => `${at.getTime()}-${id}`;

function cursorFrom(text: string): Cursor {
  const [at = '0', id = '0'] = text.split('-');
  return { at: new Date(Number(at)), id };
}
