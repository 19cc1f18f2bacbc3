/** Sets and removes the quota of a credential. A removed quota is gone with its leases; a new one counts from nothing. */

import { type QuotaSetting, quotaPeriodStart } from '@mastline/shared/domain/quota';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { recordAudit } from '../audit/record';
import { withTenant, withTenantSql } from '../db/tenant';
import { noSuchCredential } from '../fleet/credentials';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';

/**
 * Sets the quota, or takes it away with null. One that was there keeps its count: with more bytes its nodes go on at
 * once, with fewer they give back what they do not use. Throws `fleet/no-such-credential`.
 */
export async function setCredentialQuota(
  services: Services,
  viewer: Viewer,
  { id, quota }: { id: string; quota: QuotaSetting | null },
): Promise<void> {
  const organizationId = viewer.active.id;
  const now = services.clock.now();
  const nodeIds = await withTenant(services.db, organizationId, async store => {
    const found = await store.credential.findFirst({ where: { id, deletedAt: null }, select: { id: true } });
    if (found === null) throw noSuchCredential(id, organizationId);
    await recordAudit(store, {
      organizationId,
      at: now,
      actor: { kind: 'user', id: viewer.user.id },
      action: 'credential.quota',
      subject: { kind: 'credential', id },
      details: quota === null ? { removed: true } : { bytes: quota.bytes, period: { ...quota.period } },
    });
    const endpoints = await store.endpoint.findMany({ where: { deletedAt: null }, select: { nodeId: true } });
    return [...new Set(endpoints.map(each => each.nodeId))];
  });
  await withTenantSql(services.db, organizationId, client =>
    quota === null
      ? client.query('DELETE FROM quotas WHERE organization_id = $1 AND credential_id = $2', [
          organizationId,
          id,
        ])
      : client.query(
          `INSERT INTO quotas AS q (organization_id, id, credential_id, bytes, period, billing_day, period_start, set_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (credential_id) DO UPDATE SET bytes = excluded.bytes, period = excluded.period,
             billing_day = excluded.billing_day
            WHERE q.organization_id = $1`,
          [
            ...[organizationId, uuidv7(now), id, quota.bytes, quota.period.kind],
            quota.period.kind === 'monthly' ? quota.period.billingDay : null,
            ...[new Date(quotaPeriodStart(quota.period, now, now)), new Date(now)],
          ],
        ),
  );
  await services.settingsChanged(nodeIds);
  services.quotas.changed(id, nodeIds);
}
