/**
 * Sets what a credential, or a modem's slot, may use at most. Who may is the procedures' to say; here a customer
 * reaches its own credentials, a host the slots of its own nodes, an operator those of all. What is set is sent to the
 * nodes at once, and holds for flows that run.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { recordAudit } from '../audit/record';
import { withTenant, withTenantSql } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { noSuchCredential } from './credentials';
import { servingNodes } from './endpoints';
import type { LimitsInput } from './settings-input';
import { ownNodes } from './visible';

/** Replaces all limits of the credential. */
export async function setCredentialLimits(
  services: Services,
  viewer: Viewer,
  { id, limits }: { id: string; limits: LimitsInput },
): Promise<void> {
  const organizationId = viewer.active.id;
  const nodeIds = await withTenant(services.db, organizationId, async store => {
    const { count } = await store.credential.updateMany({
      where: { id, deletedAt: null },
      data: { limits: plain(limits) },
    });
    if (count === 0) throw noSuchCredential(id, organizationId);
    await recordAudit(store, {
      organizationId,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'credential.limits',
      subject: { kind: 'credential', id },
      details: plain(limits),
    });
    return servingNodes(store);
  });
  await services.settingsChanged(nodeIds);
}

/** Replaces all limits of the slot, in the name of the host that it belongs to. */
export async function setSlotLimits(
  services: Services,
  viewer: Viewer,
  { slotId, limits }: { slotId: string; limits: LimitsInput },
): Promise<void> {
  const scope = scopeOf(viewer.active);
  const slot = await withTenantSql(services.db, scope.organizationId, async client => {
    const { rows } = await client.query<{ organization_id: string; node_id: string }>(
      `SELECT s.organization_id, s.node_id FROM slots s JOIN nodes n ON n.id = s.node_id
        WHERE s.id = $2 AND n.retired_at IS NULL AND ${ownNodes(scope)}`,
      [scope.organizationId, slotId],
    );
    return rows[0];
  });
  if (slot === undefined)
    throw new CodedError('fleet/no-such-slot', `no slot ${slotId} for ${scope.organizationId}`, {
      userMessage: 'There is no such modem among your nodes.',
    });
  await withTenant(services.db, slot.organization_id, async store => {
    await store.slot.updateMany({ where: { id: slotId }, data: { limits: plain(limits) } });
    await recordAudit(store, {
      organizationId: slot.organization_id,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'slot.limits',
      subject: { kind: 'slot', id: slotId },
      details: plain(limits),
    });
  });
  await services.settingsChanged([slot.node_id]);
}

/** As JSON: what is not set is not there. */
const plain = (limits: LimitsInput): Record<string, string | number | string[]> =>
  JSON.parse(JSON.stringify(limits));
