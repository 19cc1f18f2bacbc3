/**
 * Holds one slot's day against the ledger: how far the two are apart, whether somebody should look, and what the
 * likely cause is, by the evidence that the node brought along. Pure. What the figures mean is
 * shared/src/domain/reconciliation.ts; where they come from and go to is reconcile.ts.
 *
 *   carried for customers = the interface's payload + what was relayed unseen − the agent's own traffic
 *   difference            = carried for customers − the ledger
 */
import { DAY_MS } from '@mastline/shared/domain/day';

/** A difference up to here is never an alarm: a quiet day has little to measure by. */
export const FLOOR_BYTES = 1024 * 1024;
/** Nor is one up to this share of the day (design: over 1 % is an alarm). */
export const ALARM_SHARE = 0.01;
/**
 * How much the assumed headers of a packet may be off: peers without TCP timestamps (12 bytes), IPv6 (20), framing
 * that the driver does not count (14) or counts beside it.
 */
const HEADER_DOUBT_BYTES = 20;

/** Why carried bytes and ledger may differ: names for programs, words for people. Only add. */
export const CAUSES = {
  'agent-crashed':
    'The agent ended without saying goodbye. What it carried last is in no record, and nobody is charged for it.',
  'records-lost':
    'The node committed usage that never reached the ledger: its spool was lost, or set back by a restored image.',
  'not-committed':
    'The node relayed more than it could write down. Look at its disk (agent status, "spool").',
  'counter-reset':
    'The modem was plugged in again or its counters began anew, and what they held before is not known.',
  headers:
    'The difference is as large as headers of packets could be: the driver, IPv6 or TCP options are other than assumed.',
  'other-traffic':
    'More went over the modem than the agent relayed: other software on the box uses it, or many downloads were broken off.',
  'ledger-exceeds':
    'More was charged than the modem carried. The agent counts wrongly or lies, or its data directory is copied to a second box.',
} as const;
export type Cause = keyof typeof CAUSES;

/** Sums of both directions, in bytes unless said otherwise. */
export interface DayFigures {
  /** Beginning of the UTC day, epoch milliseconds. */
  day: number;
  reportedAt: number;
  /** First minute with usage that is not acknowledged; null when there is none. */
  oldestPending: number | null;
  ledger: number;
  committed: number;
  relayed: number;
  /** Null where there is no interface to look at: then the node's own count is all there is. */
  carried: number | null;
  own: number;
  unseen: number;
  unattributed: number;
  /** A number of packets. */
  packets: number;
  crashes: number;
  resets: number;
}

export interface Judgement {
  /** `running`: the day is not over. `waiting`: records of it are still with the node. */
  state: 'running' | 'waiting' | 'even' | 'alarm';
  difference: number;
  /** Of an alarm. */
  cause: Cause | null;
}

export function judgeDay(figures: DayFigures): Judgement {
  const { ledger, committed, carried, own, unseen } = figures;
  const forCustomers = carried === null ? committed : Math.max(0, carried + unseen - own);
  const difference = forCustomers - ledger;
  const end = figures.day + DAY_MS;
  if (figures.reportedAt < end) return { state: 'running', difference, cause: null };
  if (figures.oldestPending !== null && figures.oldestPending < end)
    return { state: 'waiting', difference, cause: null };
  const allowed = Math.max(FLOOR_BYTES, ALARM_SHARE * Math.max(forCustomers, ledger));
  // What the node has committed is in the ledger to the byte, or something is wrong whatever the interface says.
  const missing = committed - ledger;
  if (Math.abs(difference) <= allowed && Math.abs(missing) <= allowed)
    return { state: 'even', difference, cause: null };
  return { state: 'alarm', difference, cause: causeOf(figures, { difference, missing, allowed }) };
}

function causeOf(
  figures: DayFigures,
  { difference, missing, allowed }: { difference: number; missing: number; allowed: number },
): Cause {
  const headers = HEADER_DOUBT_BYTES * figures.packets;
  if (missing > allowed) return 'records-lost';
  if (difference < -allowed) {
    if (figures.resets > 0) return 'counter-reset';
    // Every byte of the ledger is one that this spool committed, so that only the measure is in doubt.
    if (-missing <= allowed && -difference <= headers) return 'headers';
    return 'ledger-exceeds';
  }
  if (-missing > allowed) return 'ledger-exceeds';
  if (figures.crashes > 0 && difference - figures.unattributed <= allowed) return 'agent-crashed';
  if (figures.relayed - figures.committed > allowed) return 'not-committed';
  return difference <= headers ? 'headers' : 'other-traffic';
}
