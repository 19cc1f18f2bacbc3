/**
 * What one credential, or one modem, may use at most. Plain values: the cloud or a file sets them, the agent's data
 * plane keeps them (agent/src/data-plane/limiter.ts). A field that is left out does not limit.
 */
import { z } from 'zod';
import { parseAddressRange } from './ip-range';

/** Slower than this is no connection but a trap; to forbid a direction, suspend the credential. */
export const MIN_BYTES_PER_SECOND = 1_000;
/** 10 Gbit/s: more than any modem, and what the arithmetic of the bucket is exact for. */
export const MAX_BYTES_PER_SECOND = 1_250_000_000;

/** A whole number within bounds, and a message that says them. */
function whole(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, error).max(max, error);
}

const BytesPerSecond = whole(MIN_BYTES_PER_SECOND, MAX_BYTES_PER_SECOND);

export const SourceRange = z
  .string()
  .refine(
    text => parseAddressRange(text)?.port === null,
    'must be an address or a range such as 203.0.113.7, 10.0.0.0/8 or fd00::/8, without a port',
  );

const PortRange = z
  .string()
  .refine(
    text => parsePortRange(text) !== null,
    'must be a port or a range of ports such as "443" or "8000-8999"',
  );

/** A share of a quota: `bytes` up and down together, counted from when `lease` was first seen. */
export const QuotaLease = z.looseObject({
  /** Another lease begins anew; the same one with other bytes is grown or shrunk by the difference. */
  lease: z.string().min(1).max(64),
  bytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  /** The bytes are lent on the way, by the cloud (domain/quota.ts); what stands here is what there is before a loan. */
  leased: z.boolean().optional(),
  /** More was asked for: at zero, flows wait instead of being cut. */
  holds: z.boolean().optional(),
});
export type QuotaLease = z.infer<typeof QuotaLease>;

export const FlowLimits = z.looseObject({
  /** New flows in a minute; as many may come at once. */
  flowsPerMinute: whole(1, 1_000_000).optional(),
  concurrentFlows: whole(1, 65_535).optional(),
  /** What happens to a flow beyond `concurrentFlows`; refused when left out. */
  whenFull: z.enum(['refuse', 'close-oldest'], { error: 'must be "refuse" or "close-oldest"' }).optional(),
  upBytesPerSecond: BytesPerSecond.optional(),
  downBytesPerSecond: BytesPerSecond.optional(),
  quota: QuotaLease.optional(),
  /** From where clients may come. */
  sourceAddresses: z.array(SourceRange).min(1).max(256).optional(),
  /** Ports of targets. */
  ports: z.array(PortRange).min(1).max(256).optional(),
  /** UTC epoch milliseconds; from then on nothing is served. */
  expiresAt: z.int().min(0).optional(),
});
export type FlowLimits = z.infer<typeof FlowLimits>;

/** First and last port of `443` or `8000-8999`; null when it is neither. */
export function parsePortRange(text: string): readonly [first: number, last: number] | null {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text);
  if (!match) return null;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return first >= 1 && first <= last && last <= 65_535 ? [first, last] : null;
}
