/**
 * What is remembered of one flow when it is over: whose it was, which way it went, how much and how it ended. Metadata
 * only: never a byte of what was carried, no address within a site, and not where the client came from. Bills are made
 * from usage records (usage.ts), never from these, which may be dropped when there is no room for them.
 */
import { z } from 'zod';
import { Count } from './usage';

/**
 * What a summary says of where a flow went; its customer decides. `host`: the name or address as it was asked for.
 * `host-and-port`: the address it was found at and the port, too, which is what a complaint about an exit address
 * names: behind a carrier's NAT the port that the other side saw is known to nobody here. Hence the default: with less,
 * everybody who used that address at that time answers for it.
 */
export const DestinationPolicy = z.enum(['none', 'host', 'host-and-port']);
export type DestinationPolicy = z.infer<typeof DestinationPolicy>;
export const DEFAULT_DESTINATION_POLICY: DestinationPolicy = 'host-and-port';

/** The flow ran and both sides ended it. */
export const OUTCOME_OK = 'ok';
/** The flow ran and was broken off: by a reset, a deadline, or a plan that forbids it. */
export const OUTCOME_CUT = 'cut';

export const FlowSummary = z.looseObject({
  /** UTC epoch milliseconds, by the node's corrected clock; of several refusals, the last. */
  endedAt: z.int().min(0),
  /** From the target being reached to the end; 0 of a refusal. */
  tookMs: Count,
  credentialId: z.string().min(1).max(64),
  endpointId: z.string().min(1).max(64),
  /** Missing when it was refused before a modem was chosen. */
  slot: z.int().min(0).max(65_535).optional(),
  imei: z.string().max(20).optional(),
  /** As metrics name it: `socks5`, `http`, `socks5-udp`, `shadowsocks`, … */
  protocol: z.string().min(1).max(24),
  /** OUTCOME_OK, OUTCOME_CUT, or the reason of a refusal (protocols/refusal.ts, or of a later version). */
  outcome: z.string().regex(/^[a-z0-9-]{1,40}$/, 'must be a name such as "ok" or "origin-refused"'),
  upBytes: Count,
  downBytes: Count,
  /** Refusals that this line stands for, where they are more than one. */
  times: z.int().min(1).optional(),
  /** As far as the policy allows. Associations have many targets and name none. */
  host: z.string().max(255).optional(),
  address: z.string().max(64).optional(),
  port: z.int().min(0).max(65_535).optional(),
  /** Local port of the connection to the target, before any NAT. */
  sourcePort: z.int().min(1).max(65_535).optional(),
});
export type FlowSummary = z.infer<typeof FlowSummary>;
