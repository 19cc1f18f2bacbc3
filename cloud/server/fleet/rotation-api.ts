/** Procedures about a modem and its rotations: parse, authorise, call one function. */
import type { RecoveryReport } from '@mastline/shared/domain/modem';
import { RotationSchedule } from '@mastline/shared/domain/rotation';
import { z } from 'zod';
import { scopeOf } from '../identity/scope';
import { permitted, router } from '../rpc/procedures';
import { readModem, rotateByPerson } from './modem-detail';
import { readRecoveries } from './recovery-history';
import { createRotationLink, listRotationLinks, revokeRotationLink } from './rotation-links';
import { setSchedule } from './rotation-schedules';
import type { ModemDetailView, RotationLinkView, RotationView } from './rotation-views';
import { awaitRotation, findSlot } from './rotations';

const OfSlot = z.object({ slotId: z.uuid() });
/** Longest that a call waits for an end; callers ask again. */
const MAX_WAIT_MS = 25_000;
const WaitMs = z.int().min(0).max(MAX_WAIT_MS).default(0);

export const modemsRouter = router({
  get: permitted('node:read')
    .input(OfSlot)
    .query(
      ({ ctx, input }): Promise<ModemDetailView> => readModem(ctx.services, ctx.viewer.active, input.slotId),
    ),
  /** What its box did lately to bring it back, newest first; for those whose modem it is. */
  recoveries: permitted('node:read')
    .input(OfSlot)
    .query(
      ({ ctx, input }): Promise<RecoveryReport[]> =>
        readRecoveries(ctx.services, ctx.viewer.active, input.slotId),
    ),
});

export const rotationsRouter = router({
  /** Asks for another address; gives it back as it is after at most `waitMs`: `outcome` null means under way. */
  start: permitted('modem:rotate')
    .input(OfSlot.extend({ waitMs: WaitMs }))
    .mutation(({ ctx, input }): Promise<RotationView> => rotateByPerson(ctx.services, ctx.viewer, input)),
  get: permitted('node:read')
    .input(OfSlot.extend({ id: z.uuid(), waitMs: WaitMs }))
    .query(async ({ ctx, input }): Promise<RotationView> => {
      const slot = await findSlot(ctx.services.db, scopeOf(ctx.viewer.active), input);
      return awaitRotation(ctx.services, slot, { id: input.id, ms: input.waitMs });
    }),
  setSchedule: permitted('modem:manage')
    .input(OfSlot.extend({ schedule: RotationSchedule.nullable() }))
    .mutation(({ ctx, input }): Promise<void> => setSchedule(ctx.services, ctx.viewer, input)),
});

export const rotationLinksRouter = router({
  list: permitted('modem:manage')
    .input(OfSlot)
    .query(async ({ ctx, input }): Promise<RotationLinkView[]> => {
      const slot = await findSlot(ctx.services.db, scopeOf(ctx.viewer.active), input);
      return listRotationLinks(ctx.services, ctx.viewer.active.id, slot);
    }),
  create: permitted('modem:manage')
    .input(OfSlot.extend({ name: z.string().trim().min(1).max(80) }))
    .mutation(
      ({ ctx, input }): Promise<{ id: string; token: string }> =>
        createRotationLink(ctx.services, ctx.viewer, input),
    ),
  revoke: permitted('modem:manage')
    .input(z.object({ id: z.uuid() }))
    .mutation(({ ctx, input }): Promise<void> => revokeRotationLink(ctx.services, ctx.viewer, input.id)),
});
