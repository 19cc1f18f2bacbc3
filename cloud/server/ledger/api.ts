/** Procedures about usage. */
import { z } from 'zod';
import { permitted, router } from '../rpc/procedures';
import { queryUsage, usageSince } from './query';
import type { UsageSinceView, UsageView } from './views';

const Instant = z.int().min(0).max(8_640_000_000_000_000);

export const UsageQuery = z.object({
  /** Half-open, epoch milliseconds. Rounded outward to whole hours, since rollups are kept by the hour. */
  from: Instant,
  to: Instant,
  credentialId: z.uuid().optional(),
  slotId: z.uuid().optional(),
  groupBy: z.enum(['hour', 'day']),
});
export type UsageQuery = z.infer<typeof UsageQuery>;

export const usageRouter = router({
  query: permitted('usage:read')
    .input(UsageQuery)
    .query(({ ctx, input }): Promise<UsageView> => queryUsage(ctx.services, ctx.viewer.active, input)),
  /** Exact to the minute, from the records themselves; at most the last 24 hours. */
  since: permitted('usage:read')
    .input(z.object({ from: Instant }))
    .query(
      ({ ctx, input }): Promise<UsageSinceView> => usageSince(ctx.services, ctx.viewer.active, input.from),
    ),
});
