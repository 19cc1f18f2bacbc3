/**
 * One credential's lease as the node holds it: how far it may go, how fast it goes there, when it has to ask and what
 * it can give back. No I/O and no clock of its own; quota-keeper.ts asks, sends and keeps.
 */
import type { QuotaGrant } from '@mastline/shared/domain/quota';
import type { LoanState, QuotaLoan } from '../ports';

/** Without use for a while a node keeps so much, for the first page of whoever comes next, bytes. */
export const KEPT_BYTES = 2 ** 20;
/** Asked for at first, at least, and at most, bytes. Who is slow must not keep from others what they could use at once. */
export const FIRST_WANT_BYTES = 2 ** 20;
export const MIN_WANT_BYTES = 64 * 1024;
export const MAX_WANT_BYTES = 256 * 2 ** 20;
/** A lease is to last so long at the pace of the moment, milliseconds; half of that before its end more is asked for. */
const WANT_MS = 20_000;
/** Not used for so long: what is not needed goes back, milliseconds. */
export const IDLE_MS = 60_000;
/** Flows wait so long at zero for the cloud's answer, milliseconds; then they are cut. */
export const HOLD_MS = 1_000;

export class HeldQuota {
  readonly credentialId: string;
  readonly quotaId: string;
  /** On the count of the spool's epoch: where the loan began, and how far it may go. */
  #base: number;
  #limit: number;
  serial: number;
  /** Milliseconds since boot at which it ends. */
  endsAt: number;
  /** Names the loan for the data plane: another one begins its count anew. */
  readonly #loan: string;
  #carried: number;
  #perMs = 0;
  #want = FIRST_WANT_BYTES;
  #usedAt: number;
  #isDry = true;
  #waitingSince: number | null = null;
  /** The cloud has answered once. */
  #isKnown = false;
  #holds = false;
  /** More may be had by asking. Not so after the cloud has said that there is nothing, until it is asked again. */
  isSpent = false;
  /** Not before this is it asked again, monotonic milliseconds. */
  askAfter = Number.NEGATIVE_INFINITY;
  /** The cloud has called for what is not needed. */
  isCalled = false;
  /** `spent` and the time of the last report that was answered. */
  told = { spent: -1, at: Number.NEGATIVE_INFINITY };
  /** No plan has it any more: everything goes back. */
  isGone = false;

  constructor(of: {
    credentialId: string;
    quotaId: string;
    loan: string;
    spent: number;
    limit: number;
    serial: number;
    endsAt: number;
    now: number;
  }) {
    this.credentialId = of.credentialId;
    this.quotaId = of.quotaId;
    this.#loan = of.loan;
    this.#base = of.spent;
    this.#carried = of.spent;
    this.#limit = Math.max(of.limit, of.spent);
    this.serial = of.serial;
    this.endsAt = of.endsAt;
    this.#usedAt = of.now;
  }

  get limit(): number {
    return this.#limit;
  }

  /** Where the data plane stands, which is ahead of what is committed. */
  get carried(): number {
    return this.#carried;
  }

  get left(): number {
    return this.#limit - this.#carried;
  }

  get holds(): boolean {
    return this.#holds;
  }

  /** For the data plane. */
  loan(): QuotaLoan {
    return {
      credentialId: this.credentialId,
      lease: `${this.quotaId} ${this.#loan}`,
      // Below the base when the cloud has taken back what was used meanwhile.
      bytes: this.#limit - this.#base,
      leased: true,
      holds: this.#holds,
    };
  }

  /** How the loan stands in the data plane, `sinceMs` after the last look. */
  look({ left, isWaitedFor }: LoanState, at: { now: number; sinceMs: number }): void {
    const used = Math.max(0, this.#limit - left - this.#carried);
    this.#carried = Math.max(this.#carried, this.#limit - left);
    if (used > 0) this.#usedAt = at.now;
    this.#perMs = (this.#perMs + used / Math.max(1, at.sinceMs)) / 2;
    const wasDry = this.#isDry;
    this.#isDry = left <= 0;
    this.#waitingSince = this.#isDry && isWaitedFor ? (this.#waitingSince ?? at.now) : null;
    const want = Math.max(MIN_WANT_BYTES, Math.ceil(this.#perMs * WANT_MS));
    // Dry between two looks: how fast it would have gone is not known, only that it was too little.
    const grown = this.#isDry && !wasDry && used > 0 ? this.#want * 4 : 0;
    this.#want = Math.min(MAX_WANT_BYTES, Math.max(want, grown));
  }

  isDry(): boolean {
    return this.#isDry;
  }

  /** Flows have waited long enough. */
  waitedOut(now: number): boolean {
    return this.#waitingSince !== null && now - this.#waitingSince >= HOLD_MS;
  }

  /** Bytes to ask for ahead of what is spent; 0 while there is enough, or while nobody uses it. */
  wants(now: number): number {
    if (this.isGone) return 0;
    // An idle lease that was called back stays at nothing until somebody comes.
    const isMissed =
      this.#waitingSince !== null || !this.#holds || !this.#isKnown || now - this.#usedAt < 1_000;
    if (this.#isDry) return isMissed ? this.#want : 0;
    return now - this.#usedAt < IDLE_MS && this.left < this.#want / 2 ? this.#want : 0;
  }

  /** What may stay here now, bytes; the rest can go back. */
  keeps(now: number): number {
    if (this.isGone) return 0;
    if (this.isCalled) return now - this.#usedAt < 1_000 ? Math.ceil(this.#perMs * 500) : 0;
    return now - this.#usedAt >= IDLE_MS ? KEPT_BYTES : Number.POSITIVE_INFINITY;
  }

  setHolds(holds: boolean): boolean {
    const changed = this.#holds !== holds;
    this.#holds = holds;
    return changed;
  }

  /** Goes no further than this; never lower than what was carried. */
  lower(limit: number): void {
    this.#limit = Math.max(this.#carried, Math.min(this.#limit, limit));
  }

  /** The spool says `spent`: what the data plane carried before the loan and committed since is part of it. */
  reconcile(spent: number): boolean {
    const behind = spent - this.#carried;
    if (behind <= 0) return false;
    // The loan was counted from too low a point: flows may use less of it.
    this.#base += behind;
    this.#carried = spent;
    return true;
  }

  /** The cloud's word, and where the lease then ends. True when the data plane has to know. */
  hear(grant: QuotaGrant, at: { endsAt: number; now: number }): boolean {
    const before = this.#limit;
    this.endsAt = at.endsAt;
    this.isCalled = false;
    if (grant.serial > this.serial) {
      this.serial = grant.serial;
      this.#limit = grant.limit;
    }
    this.#isKnown = true;
    if (grant.outcome === 'granted' && this.left > 0) {
      this.#isDry = false;
      this.#waitingSince = null;
      this.isSpent = false;
    } else if (grant.outcome === 'exhausted') this.isSpent = true;
    return this.#limit !== before;
  }
}
