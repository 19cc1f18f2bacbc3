/**
 * Quotas of credentials as they are set, and how parts of them are lent to nodes. The cloud lends (cloud/server/quota),
 * a node spends and gives back (agent/src/control-plane/quota-keeper.ts); limits of speed and number are flow-limits.ts.
 *
 * Bytes of a lease are points on the node's own count of the credential (up and down, as committed to its spool) since
 * its spool's epoch began: `spent` is where it stands, `limit` is how far it may go. So every message says all there is
 * to say, and one that is lost or comes twice changes nothing.
 */
import { z } from 'zod';
import { Count } from './usage';

/** Bytes of a quota at most: a pebibyte. */
export const MAX_QUOTA_BYTES = 2 ** 50;

const bytes = `must be a whole number of bytes from 1 to ${MAX_QUOTA_BYTES}`;
const day = 'must be a day from 1 to 28, which every month has';

export const QuotaPeriod = z.discriminatedUnion('kind', [
  /** Until it is used up. */
  z.strictObject({ kind: z.literal('total') }),
  /** Anew on this day of each month, at 00:00 UTC by the cloud's clock. */
  z.strictObject({ kind: z.literal('monthly'), billingDay: z.int({ error: day }).min(1, day).max(28, day) }),
]);
export type QuotaPeriod = z.infer<typeof QuotaPeriod>;

export const QuotaSetting = z.strictObject({
  bytes: z.int({ error: bytes }).min(1, bytes).max(MAX_QUOTA_BYTES, bytes),
  period: QuotaPeriod,
});
export type QuotaSetting = z.infer<typeof QuotaSetting>;

/** When the period began in which `now` lies; a total quota's began when it was set. Epoch milliseconds, UTC. */
export function quotaPeriodStart(period: QuotaPeriod, setAt: number, now: number): number {
  return period.kind === 'total' ? setAt : monthlyStart(period.billingDay, now, 0);
}

/** When the next period begins; null for never. */
export function quotaPeriodEnd(period: QuotaPeriod, now: number): number | null {
  return period.kind === 'total' ? null : monthlyStart(period.billingDay, now, 1);
}

function monthlyStart(billingDay: number, now: number, later: 0 | 1): number {
  const date = new Date(now);
  const before = date.getUTCDate() < billingDay ? 1 : 0;
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() - before + later, billingDay);
}

/** A node's word on one lease. */
export const QuotaClaim = z.looseObject({
  credentialId: z.uuid(),
  quotaId: z.uuid(),
  /** Committed to its spool. */
  spent: Count,
  /** It goes no further, and never will but by a later grant: lower than what was granted gives the rest back. */
  limit: Count,
  /** Of the last grant that it has; 0 for none. */
  serial: Count,
  /** Bytes that it would like to have ahead of `spent`; 0 when it has enough. */
  wants: Count,
});
export type QuotaClaim = z.infer<typeof QuotaClaim>;

/** The cloud's answer. */
export const QuotaGrant = z.looseObject({
  credentialId: z.uuid(),
  quotaId: z.uuid(),
  /** A grant counts when its serial is higher than the last one's. */
  serial: Count,
  limit: Count,
  /** `wait`: others were asked for what they do not use; ask again soon. `exhausted`: beyond `limit` there is nothing. */
  outcome: z.enum(['granted', 'wait', 'exhausted']),
  /** How long the lease is the node's, milliseconds, counted from when it sent the claim that this answers. */
  leaseMs: z
    .int()
    .min(1_000)
    .max(31 * 86_400_000),
});
export type QuotaGrant = z.infer<typeof QuotaGrant>;
