/** Sets and removes the quota of a credential. A removed quota is gone with its leases; a new one counts from nothing. */

import { type QuotaSetting, quotaPeriodStart } from '@mastline/shared/domain/quota';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { recordAudit } from '../audit/record';
import { type TenantStore, withTenant } from '../db/tenant';
import { noSuchCredential } from '../fleet/credentials';
import { servingNodes } from '../fleet/endpoints';
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
    // Changes nothing, but holds the row: two people who set the same quota do so one after the other.
    const { count } = await store.credential.updateMany({
      where: { id, deletedAt: null },
      data: { deletedAt: null },
    });
    if (count === 0) throw noSuchCredential(id, organizationId);
    if (quota === null) await store.quota.deleteMany({ where: { credentialId: id } });
    else await write(store, { organizationId, credentialId: id, quota, now });
    await recordAudit(store, {
      organizationId,
      at: now,
      actor: { kind: 'user', id: viewer.user.id },
      action: 'credential.quota',
      subject: { kind: 'credential', id },
      details: quota === null ? { removed: true } : { bytes: quota.bytes, period: { ...quota.period } },
    });
    return servingNodes(store);
  });
  await services.settingsChanged(nodeIds);
  services.quotas.changed(id, nodeIds);
}

async function write(
  store: Pick<TenantStore, 'quota'>,
  of: { organizationId: string; credentialId: string; quota: QuotaSetting; now: number },
): Promise<void> {
  const { organizationId, credentialId, now } = of;
  const { bytes, period } = of.quota;
  const set = {
    bytes: BigInt(bytes),
    period: period.kind,
    billingDay: period.kind === 'monthly' ? period.billingDay : null,
  };
  const { count } = await store.quota.updateMany({ where: { credentialId }, data: set });
  if (count > 0) return;
  const begun = { periodStart: new Date(quotaPeriodStart(period, now, now)), setAt: new Date(now) };
  await store.quota.create({ data: { id: uuidv7(now), organizationId, credentialId, ...set, ...begun } });
}
