/** Procedures for the overview screen. */
import { permitted, router } from '../rpc/procedures';
import { readOverview } from './overview';
import type { OverviewView } from './views';

export const overviewRouter = router({
  get: permitted('usage:read').query(
    ({ ctx }): Promise<OverviewView> => readOverview(ctx.services, ctx.viewer.active),
  ),
});
