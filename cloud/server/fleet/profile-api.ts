/** Procedures about the firmware profiles that an operator ships: parse, authorise, call one function. */
import { z } from 'zod';
import { permitted, router } from '../rpc/procedures';
import { listProfiles, type ShippedProfileView, shipProfile, withdrawProfile } from './profiles';

export const profilesRouter = router({
  list: permitted('profile:manage').query(
    ({ ctx }): Promise<ShippedProfileView[]> => listProfiles(ctx.services, ctx.viewer),
  ),
  /** Beside the profiles of the agents, or instead of the one with the same id; every node gets it at once. */
  ship: permitted('profile:manage')
    .input(z.object({ profile: z.unknown() }))
    .mutation(
      ({ ctx, input }): Promise<{ id: string }> => shipProfile(ctx.services, ctx.viewer, input.profile),
    ),
  withdraw: permitted('profile:manage')
    .input(z.object({ id: z.string().min(1).max(128) }))
    .mutation(({ ctx, input }): Promise<void> => withdrawProfile(ctx.services, ctx.viewer, input.id)),
});
