/**
 * The book of leases in the database: every change under the lock of its quota's row, so that two processes never lend
 * the same bytes. Crosses tenants, as the link does: a quota is a customer's, the node that claims is a host's. What is
 * decided is lease-book.ts.
 */
import type { QuotaPeriod } from '@mastline/shared/domain/quota';
import type pg from 'pg';
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import {
  type Claim,
  endedLeases,
  inPeriod,
  type LeaseEntry,
  type QuotaBook,
  type Settlement,
  settle,
} from './lease-book';

type Client = Pick<pg.ClientBase, 'query'>;

interface QuotaRow {
  organization_id: string;
  credential_key: string;
  bytes: string;
  period: string;
  billing_day: number | null;
  period_start: Date;
  used: string;
  set_at: Date;
  entitled: boolean;
}

interface LeaseRow {
  node_id: string;
  epoch: string;
  spent: string;
  counted: string;
  allowed: string;
  serial: string;
  expires_at: Date;
  reclaimed: boolean;
  opened_spent: string;
  opened_ledger: string;
}

/** Takes one claim down; null when there is no such quota, or when it is none of this node's business. */
export function settleClaim(
  db: Pick<Database, 'pool'>,
  of: { credentialId: string; quotaId: string },
  claim: Claim,
  now: number,
): Promise<Settlement | null> {
  return inTransaction(db, async client => {
    const { rows } = await client.query<QuotaRow>(
      `SELECT q.organization_id, c.key AS credential_key, q.bytes, q.period, q.billing_day, q.period_start, q.used, q.set_at,
              NOT c.suspended AND c.deleted_at IS NULL AND EXISTS (
                SELECT 1 FROM endpoints e WHERE e.organization_id = q.organization_id AND e.node_id = $3 AND e.deleted_at IS NULL
              ) AS entitled
         FROM quotas q JOIN credentials c ON c.id = q.credential_id
        WHERE q.id = $1 AND q.credential_id = $2 FOR UPDATE OF q`,
      [of.quotaId, of.credentialId, claim.nodeId],
    );
    const [row] = rows;
    if (row === undefined) return null;
    const leases = await readLeases(client, of.quotaId);
    const isKnown = leases.some(lease => lease.nodeId === claim.nodeId);
    if (!row.entitled && !isKnown) return null;
    const wanted = new Set(endedLeases(leases, claim, now).map(lease => lease.nodeId));
    if (!leases.some(lease => lease.nodeId === claim.nodeId && lease.epoch === claim.epoch))
      wanted.add(claim.nodeId);
    const ledger = await ledgerSums(client, row, [...wanted]);
    const settlement = settle({ quota: bookOf(row), leases }, claim, {
      now,
      entitled: row.entitled,
      ledgerOf: nodeId => ledger.get(nodeId) ?? 0,
    });
    await client.query('UPDATE quotas SET used = $2, period_start = $3 WHERE id = $1', [
      of.quotaId,
      settlement.quota.used,
      new Date(settlement.quota.periodStart),
    ]);
    for (const lease of settlement.changed)
      await client.query(WRITE_LEASE, [
        ...[of.quotaId, lease.nodeId, lease.epoch, row.organization_id],
        ...[
          lease.spent,
          lease.counted,
          lease.allowed,
          lease.serial,
          new Date(lease.expiresAt),
          lease.reclaimed,
        ],
        ...[lease.openedSpent, lease.openedLedger],
      ]);
    return settlement;
  });
}

const WRITE_LEASE = `
INSERT INTO quota_leases (quota_id, node_id, epoch, organization_id, spent, counted, allowed, serial, expires_at, reclaimed,
                          opened_spent, opened_ledger)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (quota_id, node_id, epoch) DO UPDATE SET spent = excluded.spent, counted = excluded.counted,
  allowed = excluded.allowed, serial = excluded.serial, expires_at = excluded.expires_at, reclaimed = excluded.reclaimed`;

async function readLeases(client: Client, quotaId: string): Promise<LeaseEntry[]> {
  const { rows } = await client.query<LeaseRow>(
    `SELECT node_id, epoch, spent, counted, allowed, serial, expires_at, reclaimed, opened_spent, opened_ledger
       FROM quota_leases WHERE quota_id = $1`,
    [quotaId],
  );
  return rows.map(row => ({
    nodeId: row.node_id,
    epoch: row.epoch,
    spent: Number(row.spent),
    counted: Number(row.counted),
    allowed: Number(row.allowed),
    serial: Number(row.serial),
    expiresAt: row.expires_at.getTime(),
    reclaimed: row.reclaimed,
    openedSpent: Number(row.opened_spent),
    openedLedger: Number(row.opened_ledger),
  }));
}

/** What the ledger holds of this credential, by node. Daily rollups: a few rows for each node and day. */
async function ledgerSums(
  client: Client,
  of: Pick<QuotaRow, 'organization_id' | 'credential_key'>,
  nodeIds: readonly string[],
): Promise<Map<string, number>> {
  if (nodeIds.length === 0) return new Map();
  const { rows } = await client.query<{ id: string; bytes: string }>(
    `SELECT n.id, sum(u.up_bytes + u.down_bytes) AS bytes
       FROM usage_rollups_daily u JOIN nodes n ON n.key = u.node_key
      WHERE u.organization_id = $1 AND u.credential_key = $2 AND n.id = ANY ($3::uuid[]) GROUP BY n.id`,
    [of.organization_id, of.credential_key, nodeIds],
  );
  return new Map(rows.map(row => [row.id, Number(row.bytes)]));
}

function bookOf(
  row: Pick<QuotaRow, 'bytes' | 'period' | 'billing_day' | 'period_start' | 'used' | 'set_at'>,
): QuotaBook {
  return {
    bytes: Number(row.bytes),
    period: periodOf(row),
    setAt: row.set_at.getTime(),
    periodStart: row.period_start.getTime(),
    used: Number(row.used),
  };
}

function periodOf(row: { period: string; billing_day: number | null }): QuotaPeriod {
  return row.period === 'monthly' ? { kind: 'monthly', billingDay: row.billing_day ?? 1 } : { kind: 'total' };
}

/** A quota as people see it. Bytes. */
export interface QuotaStanding extends QuotaBook {
  id: string;
  credentialId: string;
  /** Lent to nodes and not used, as far as they have said. */
  lent: number;
}

/** Quotas of an organization's credentials, as of `now`. */
export async function readQuotas(
  db: Pick<Database, 'pool'>,
  organizationId: string,
  now: number,
): Promise<QuotaStanding[]> {
  const { rows } = await db.pool.query<
    Omit<QuotaRow, 'credential_key' | 'entitled'> & { id: string; credential_id: string; lent: string }
  >(
    `SELECT q.id, q.credential_id, q.organization_id, q.bytes, q.period, q.billing_day, q.period_start, q.used, q.set_at,
            coalesce((SELECT sum(l.allowed - l.counted) FROM quota_leases l WHERE l.quota_id = q.id), 0) AS lent
       FROM quotas q WHERE q.organization_id = $1`,
    [organizationId],
  );
  return rows.map(row => ({
    ...inPeriod(bookOf(row), now),
    id: row.id,
    credentialId: row.credential_id,
    lent: Number(row.lent),
  }));
}
