/** Reconciliation as the modem's page shows it. Values only. */
import type { Cause, Judgement } from './judge';

/** Days on the page. */
export const SHOWN_DAYS = 14;

export interface SlotDayView {
  /** Beginning of the UTC day, epoch milliseconds. */
  day: number;
  /** Bytes, both directions together. */
  ledger: number;
  relayed: number;
  /** What the modem's interface carried for customers; null where there is no interface to look at. */
  carried: number | null;
  /** Carried and not in the ledger; negative: in the ledger and not carried. */
  difference: number;
  unattributed: number;
  own: number;
  crashes: number;
  resets: number;
  state: Judgement['state'];
  cause: Cause | null;
  /** The cause in words; empty when there is none. */
  why: string;
}
