/** One modem as its page shows it, and the button on that page. */
import { CodedError } from '@mastline/shared/base/coded-error';
import { recordAudit } from '../audit/record';
import { withTenant } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { OrganizationView, Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { readSchedule } from './rotation-schedules';
import type { ModemDetailView, RotationView } from './rotation-views';
import { awaitRotation, findSlot, recentRotations, startRotation } from './rotations';
import { readSlots } from './store';

export async function readModem(
  services: Services,
  organization: Pick<OrganizationView, 'id' | 'kinds'>,
  slotId: string,
): Promise<ModemDetailView> {
  const scope = scopeOf(organization);
  const place = await findSlot(services.db, scope, { slotId });
  const row = (await readSlots(services.db, scope)).find(each => each.id === slotId);
  if (row === undefined) throw new CodedError('fleet/no-such-slot', `slot ${slotId} vanished`);
  const { rotations, methods } = await recentRotations(services, place);
  return {
    slotId,
    nodeName: row.node_name,
    nodeOnline: services.presence.isOnline(row.node_id),
    slot: row.number,
    model: row.model,
    virtual: row.virtual,
    state: row.state,
    reason: row.reason,
    exitAddress: row.exit_address,
    exitAddress6: row.exit_address6,
    lastSeenAt: row.last_seen_at.getTime(),
    schedule: await readSchedule(services, place),
    rotations,
    methods,
  };
}

/** A person asks for another address; waits for the end, but at most `waitMs`. */
export async function rotateByPerson(
  services: Services,
  viewer: Viewer,
  input: { slotId: string; waitMs: number },
): Promise<RotationView> {
  const slot = await findSlot(services.db, scopeOf(viewer.active), { slotId: input.slotId });
  const begun = await startRotation(services, slot, { askedFor: 'user', id: viewer.user.id });
  await withTenant(services.db, viewer.active.id, store =>
    recordAudit(store, {
      organizationId: viewer.active.id,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'modem.rotate',
      subject: { kind: 'slot', id: slot.slotId },
      details: { rotationId: begun.id },
    }),
  );
  return awaitRotation(services, slot, { id: begun.id, ms: input.waitMs });
}
