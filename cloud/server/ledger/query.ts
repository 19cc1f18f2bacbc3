/**
 * What was used, for screens. Range and scope checks are here, the SQL is usage-sql.ts. Customers see what their
 * credentials used; hosts what left their modems, without the names of other organizations' credentials; operators
 * everything.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { countOf } from '../db/counts';
import { withTenantSql } from '../db/tenant';
import { type Scope, scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import type { Services } from '../rpc/context';
import type { UsageQuery } from './api';
import {
  type SumRow,
  selectByCredential,
  selectByEndpointSince,
  selectByModem,
  selectRows,
  selectSeries,
  selectTotal,
  type UsageFilter,
} from './usage-sql';
import {
  MAX_RANGE_DAYS,
  MAX_USAGE_ROWS,
  UNATTRIBUTED,
  type UsagePoint,
  type UsageSinceView,
  type UsageSum,
  type UsageView,
} from './views';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Answers one usage screen. `ledger/range-empty` and `ledger/range-too-long` name the bound. */
export async function queryUsage(
  services: Services,
  organization: OrganizationView,
  query: UsageQuery,
): Promise<UsageView> {
  const stepMs = query.groupBy === 'hour' ? HOUR_MS : DAY_MS;
  const from = query.from - (query.from % HOUR_MS);
  const to = Math.ceil(query.to / HOUR_MS) * HOUR_MS;
  checkRange(from, to, query.groupBy);
  const scope = scopeOf(organization);
  const filter: UsageFilter = {
    scope,
    from: new Date(from),
    to: new Date(to),
    credentialId: query.credentialId ?? null,
    slotId: query.slotId ?? null,
  };
  return withTenantSql(services.db, organization.id, async client => {
    const series = await selectSeries(client, filter, query.groupBy);
    const byCredential = await selectByCredential(client, filter);
    const byModem = await selectByModem(client, filter);
    const rows = await selectRows(client, filter, MAX_USAGE_ROWS + 1);
    const total = await selectTotal(client, filter);
    return {
      series: filled(
        series.map(row => ({ start: row.start * 1000, ...sumOf(row) })),
        from,
        to,
        stepMs,
      ),
      byCredential: byCredential.map(row => ({
        credentialId: row.credential_id ?? (row.foreign ? 'customers' : UNATTRIBUTED),
        name: row.credential_name ?? (row.foreign ? 'Customers' : 'Unattributed'),
        ...sumOf(row),
      })),
      byModem: byModem.map(row => ({
        slotId: row.slot_id ?? `${row.node_id}:${row.slot}`,
        nodeName: row.node_name,
        slot: row.slot,
        model: row.model,
        ...sumOf(row),
      })),
      rows: rows.slice(0, MAX_USAGE_ROWS).map(row => ({
        hour: row.hour * 1000,
        credentialId: row.credential_id ?? (row.foreign ? 'customers' : UNATTRIBUTED),
        credentialName: row.credential_name ?? (row.foreign ? 'Customers' : 'Unattributed'),
        slotId: row.slot_id ?? `${row.node_id}:${row.slot}`,
        nodeName: row.node_name,
        slot: row.slot,
        endpointName: row.endpoint_name ?? (row.foreign ? 'Customer endpoint' : 'Unknown endpoint'),
        ...sumOf(row),
      })),
      rowsCut: rows.length > MAX_USAGE_ROWS,
      total: sumOf(total),
    };
  });
}

/** Sum over whole hours; the range is the caller's to align. */
export async function sumUsage(
  services: Pick<Services, 'db'>,
  scope: Scope,
  range: { from: number; to: number },
): Promise<UsageSum> {
  const total = await withTenantSql(services.db, scope.organizationId, client =>
    selectTotal(client, {
      scope,
      from: new Date(range.from),
      to: new Date(range.to),
      credentialId: null,
      slotId: null,
    }),
  );
  return sumOf(total);
}

/** Usage of records that reached the ledger from `from` (epoch milliseconds) on; at most the last 24 hours. */
export async function usageSince(
  services: Services,
  organization: OrganizationView,
  from: number,
): Promise<UsageSinceView> {
  if (services.clock.now() - from > DAY_MS)
    throw new CodedError('ledger/range-too-long', 'usage.since reaches back more than a day', {
      userMessage: 'This answers for at most the last 24 hours. Use the usage screen for longer ranges.',
    });
  const scope = scopeOf(organization);
  const rows = await withTenantSql(services.db, organization.id, client =>
    selectByEndpointSince(client, scope, new Date(from)),
  );
  const byEndpoint = rows.map(row => ({
    endpointId: row.endpoint_id,
    name: row.endpoint_name ?? (row.foreign ? 'Customer endpoint' : 'Unknown endpoint'),
    ...sumOf(row),
  }));
  const total = byEndpoint.reduce<UsageSum>(
    (sum, each) => ({
      upBytes: sum.upBytes + each.upBytes,
      downBytes: sum.downBytes + each.downBytes,
      flows: sum.flows + each.flows,
    }),
    { upBytes: 0, downBytes: 0, flows: 0 },
  );
  return { total, byEndpoint };
}

function checkRange(from: number, to: number, groupBy: 'hour' | 'day'): void {
  if (to <= from)
    throw new CodedError('ledger/range-empty', `range ${from}..${to} is empty`, {
      userMessage: 'The end of the range must be after its start.',
    });
  const days = MAX_RANGE_DAYS[groupBy];
  // One more day: a range of whole local days is not one of whole UTC hours.
  if (to - from > (days + 1) * DAY_MS)
    throw new CodedError('ledger/range-too-long', `range of ${to - from} ms by ${groupBy}`, {
      userMessage: `Choose at most ${days} days when grouped by ${groupBy}.`,
    });
}

/** Every bucket of the range, with zeros where nothing was used. */
function filled(points: UsagePoint[], from: number, to: number, stepMs: number): UsagePoint[] {
  const known = new Map(points.map(point => [point.start, point]));
  const all: UsagePoint[] = [];
  for (let start = from - (from % stepMs); start < to; start += stepMs)
    all.push(known.get(start) ?? { start, upBytes: 0, downBytes: 0, flows: 0 });
  return all;
}

function sumOf(row: SumRow): UsageSum {
  return { upBytes: countOf(row.up_bytes), downBytes: countOf(row.down_bytes), flows: countOf(row.flows) };
}
