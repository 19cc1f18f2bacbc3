/**
 * The usage record, its identity, and what a billable byte is. Counting is the agent's meter, keeping is its spool,
 * adding up is the cloud's ledger; all three mean what is written here.
 *
 * Billable bytes are payload bytes that the kernel accepted toward their receiver:
 *
 * | protocol            | up (client to target)                        | down (target to client)                     |
 * | ------------------- | -------------------------------------------- | ------------------------------------------- |
 * | SOCKS5 CONNECT      | bytes after the request, written to target   | bytes after the reply, written to client    |
 * | SOCKS5 UDP          | datagram payload without the SOCKS header    | the same                                    |
 * | HTTP CONNECT        | bytes after the request head                 | bytes after our 200                         |
 * | HTTP absolute form  | request as forwarded, head and body          | response as forwarded, head and body        |
 * | Shadowsocks         | plaintext after the target address           | plaintext                                   |
 *
 * Handshakes, our own refusals and error pages, and bytes still in our buffers when a flow ends are not billable.
 */
import { z } from 'zod';
import { PERIOD_MS } from './usage-period';

/** A safe, non-negative count. */
export const Count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const UsageRecord = z.looseObject({
  /** Position in the node's epoch, from 1, without gaps. With node and epoch it names the record for good. */
  sequence: z.int().min(1),
  /** UTC minute, epoch milliseconds, a multiple of PERIOD_MS. */
  periodStart: z
    .int()
    .min(0)
    .refine(ms => ms % PERIOD_MS === 0, 'must be a whole UTC minute'),
  endpointId: z.string().min(1).max(64),
  credentialId: z.string().min(1).max(64),
  slot: z.int().min(0).max(65_535),
  /** IMEI of the modem that carried it; null where the slot has none (direct egress). */
  imei: z.string().max(20).nullable(),
  upBytes: Count,
  downBytes: Count,
  /** Flows that began in this record. */
  flows: Count,
});
export type UsageRecord = z.infer<typeof UsageRecord>;
