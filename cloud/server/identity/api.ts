/** Procedures about the viewer. */
import { OrganizationId } from '@mastline/shared/domain/ids';
import { z } from 'zod';
import { member, router } from '../rpc/procedures';
import { switchOrganization } from './organizations';
import type { Viewer } from './viewer';

export const viewerRouter = router({
  get: member.query(({ ctx }): Viewer => ctx.viewer),
  switchOrganization: member
    .input(z.object({ id: OrganizationId }))
    .mutation(({ ctx, input }): Promise<Viewer> => switchOrganization(ctx.services, ctx, input.id)),
});
