/** The procedure behind the modem's page: its last days, for its host and for operators. */
import { CodedError } from '@mastline/shared/base/coded-error';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import { z } from 'zod';
import { withTenantSql } from '../db/tenant';
import { findSlot } from '../fleet/rotations';
import { scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { permitted, router } from '../rpc/procedures';
import { CAUSES, type Cause, type Judgement } from './judge';
import { SHOWN_DAYS, type SlotDayView } from './views';

export const reconciliationRouter = router({
  ofSlot: permitted('node:read')
    .input(z.object({ slotId: z.uuid() }))
    .query(
      ({ ctx, input }): Promise<SlotDayView[]> => slotDaysOf(ctx.services, ctx.viewer.active, input.slotId),
    ),
});

interface DayRow {
  day: Date;
  ledger: string;
  relayed: string;
  carried: string | null;
  difference: string;
  unattributed: string;
  own: string;
  crashes: number;
  resets: number;
  state: Judgement['state'];
  cause: string | null;
}

/** Newest first. Throws `fleet/no-such-slot` for whoever is neither its host nor an operator. */
export async function slotDaysOf(
  services: Services,
  organization: Pick<OrganizationView, 'id' | 'kinds'>,
  slotId: string,
): Promise<SlotDayView[]> {
  const scope = scopeOf(organization);
  const place = await findSlot(services.db, scope, { slotId });
  const isOwn = scope.everything || (scope.asHost && place.organizationId === scope.organizationId);
  // What went over a modem altogether is not for one of its customers.
  if (!isOwn)
    throw new CodedError('fleet/no-such-slot', `slot ${slotId} is not ${organization.id}'s own`, {
      userMessage: 'These figures are for the host of the modem.',
    });
  const from = dayOf(services.clock.now()) - (SHOWN_DAYS - 1) * DAY_MS;
  const { rows } = await withTenantSql(services.db, place.organizationId, client =>
    client.query<DayRow>(
      `SELECT day, ledger_up::numeric + ledger_down AS ledger, relayed_up::numeric + relayed_down AS relayed,
              CASE WHEN carried_up IS NULL THEN NULL ELSE
                greatest(0, carried_up::numeric + carried_down + unseen_up + unseen_down - own_up - own_down) END AS carried,
              difference, unattributed_up::numeric + unattributed_down AS unattributed,
              own_up::numeric + own_down AS own, crashes, resets, state, cause
         FROM slot_days WHERE organization_id = $1 AND node_id = $2 AND slot_number = $3 AND day >= $4
        ORDER BY day DESC LIMIT ${SHOWN_DAYS}`,
      [place.organizationId, place.nodeId, place.number, new Date(from)],
    ),
  );
  return rows.map(row => {
    const cause = row.cause !== null && row.cause in CAUSES ? (row.cause as Cause) : null;
    return {
      day: row.day.getTime(),
      ledger: Number(row.ledger),
      relayed: Number(row.relayed),
      carried: row.carried === null ? null : Number(row.carried),
      difference: Number(row.difference),
      unattributed: Number(row.unattributed),
      own: Number(row.own),
      ...{ crashes: row.crashes, resets: row.resets, state: row.state, cause },
      why: cause === null ? '' : CAUSES[cause],
    };
  });
}
