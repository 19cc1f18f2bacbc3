/** Procedures for the overview screen, and for the System page of those who run the cloud. */
import { z } from 'zod';
import { operating, permitted, router } from '../rpc/procedures';
import { readOverview } from './overview';
import { readLagPage, readSystem } from './system';
import type { NodeLagPage, SystemView } from './system-views';
import type { OverviewView } from './views';

export const overviewRouter = router({
  get: permitted('usage:read').query(
    ({ ctx }): Promise<OverviewView> => readOverview(ctx.services, ctx.viewer.active),
  ),
});

export const systemRouter = router({
  get: operating('system:read').query(({ ctx }): Promise<SystemView> => readSystem(ctx.services)),

  /** Nodes, those first whose usage is longest on its way. */
  nodes: operating('system:read')
    .input(
      z.object({
        // No text column takes a NUL.
        search: z
          .string()
          .max(80)
          .transform(text => text.replaceAll('\u0000', ''))
          .default(''),
        after: z.string().max(80).nullable().default(null),
        limit: z.int().min(1).max(200).default(50),
      }),
    )
    .query(({ ctx, input }): Promise<NodeLagPage> => readLagPage(ctx.services, input)),
});
