/** When slots get another address by themselves: set by people, sent to the node as part of what it should be. */
import { RotationSchedule } from '@mastline/shared/domain/rotation';
import { recordAudit } from '../audit/record';
import { withTenant, withTenantSql } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { findSlot, type SlotPlace } from './rotations';

/** Null: by request only, or as the node's own configuration says. */
export async function readSchedule(
  services: Pick<Services, 'db'>,
  slot: SlotPlace,
): Promise<RotationSchedule | null> {
  const { rows } = await withTenantSql(services.db, slot.organizationId, client =>
    client.query<{ schedule: unknown }>(
      'SELECT schedule FROM rotation_schedules WHERE organization_id = $1 AND node_id = $2 AND slot_number = $3',
      [slot.organizationId, slot.nodeId, slot.number],
    ),
  );
  const [row] = rows;
  return row === undefined ? null : RotationSchedule.parse(row.schedule);
}

/** Sets it, or takes it away with null; the node hears of it at once when it is connected. */
export async function setSchedule(
  services: Services,
  viewer: Viewer,
  input: { slotId: string; schedule: RotationSchedule | null },
): Promise<void> {
  const { db, clock } = services;
  const slot = await findSlot(db, scopeOf(viewer.active), { slotId: input.slotId });
  const at = clock.now();
  await withTenantSql(db, slot.organizationId, client =>
    input.schedule === null
      ? client.query(
          'DELETE FROM rotation_schedules WHERE organization_id = $1 AND node_id = $2 AND slot_number = $3',
          [slot.organizationId, slot.nodeId, slot.number],
        )
      : client.query(
          `INSERT INTO rotation_schedules (organization_id, node_id, slot_number, schedule, set_at, set_by_id)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (node_id, slot_number)
           DO UPDATE SET schedule = excluded.schedule, set_at = excluded.set_at, set_by_id = excluded.set_by_id`,
          [
            ...[slot.organizationId, slot.nodeId, slot.number],
            ...[JSON.stringify(input.schedule), new Date(at), viewer.user.id],
          ],
        ),
  );
  await withTenant(db, viewer.active.id, store =>
    recordAudit(store, {
      organizationId: viewer.active.id,
      at,
      actor: { kind: 'user', id: viewer.user.id },
      action: 'rotation-schedule.set',
      subject: { kind: 'slot', id: slot.slotId },
      details: { schedule: input.schedule === null ? null : { ...input.schedule } } as never,
    }),
  );
  await services.settingsChanged([slot.nodeId]);
}
