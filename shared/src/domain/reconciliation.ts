/**
 * One slot's UTC day as its node counted it, to be held against the ledger: what the data plane relayed, what the
 * spool took, what the slot's interface moved. Cumulative for the day, so that telling it twice changes nothing. How the
 * node counts is agent/src/reconcile, what follows from it is cloud/server/reconciliation.
 */
import { z } from 'zod';
import { DAY_MS } from './day';
import { Count } from './usage';

/** Bytes (or packets) toward the target and back. */
export const UpDown = z.looseObject({ up: Count, down: Count });
export type UpDown = z.infer<typeof UpDown>;

export const SlotDay = z.looseObject({
  /** Beginning of the UTC day, epoch milliseconds. */
  day: z
    .int()
    .min(0)
    .refine(ms => ms % DAY_MS === 0, 'must be a whole UTC day'),
  slot: z.int().min(0).max(65_535),
  /** Of the modem that was there last. */
  imei: z.string().max(20).nullable(),
  interface: z.string().max(32).nullable(),
  /** What drives the interface, by which headers are taken off; null where there is no interface. */
  driver: z.string().max(64).nullable(),
  /** Billable bytes as the data plane counted them. */
  relayed: UpDown,
  /** Billable bytes that are in the spool or were, by the minute they are charged in: what the ledger must come to hold. */
  committed: UpDown,
  /** Payload that the interface moved, headers taken off; null where there is no interface to look at. */
  carried: UpDown.nullable(),
  packets: UpDown,
  /** What the agent itself sent and received through the slot: names, probes, the modem's web API, hops of chains. */
  own: UpDown,
  /** Relayed while the interface's counters could not be followed: around re-plugs, in a boot that ended in a crash. */
  unseen: UpDown,
  /** Carried around crashes of the agent and in no record: nobody is charged for it. */
  unattributed: UpDown,
  /** Times that the agent ended without saying goodbye. */
  crashes: Count,
  /** Times that the interface's counters began anew. */
  resets: Count,
});
export type SlotDay = z.infer<typeof SlotDay>;
