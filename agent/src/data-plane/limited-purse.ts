/**
 * An account (meter.ts) whose owner and slot have limits: leave to write is asked of the quotas, of the two buckets
 * of bandwidth, and of the window ahead of the disk, and what one gives and another does not goes back at once. Shared
 * by the flows of an account; where there are no limits it costs a loop over two empty parties.
 */
import type { Direction } from './limit-cells';
import type { LimitedParty } from './limited-party';
import type { Account, WindowWaiter } from './meter';
import type { Purse } from './outlet';

/** What the purse tells the limiter. */
export interface PurseKeeper {
  waitsAt(party: LimitedParty): void;
  ranOut(party: LimitedParty): void;
}

export class LimitedPurse implements Purse {
  parties: readonly LimitedParty[] = [];
  readonly #account: Account;
  readonly #direction: Direction;
  readonly #keeper: PurseKeeper;
  /** Whose bucket was short the last time; a caller who then waits waits there. */
  #short: LimitedParty | null = null;

  constructor(account: Account, direction: Direction, keeper: PurseKeeper) {
    this.#account = account;
    this.#direction = direction;
    this.#keeper = keeper;
  }

  /** What a flow should read at once: not more than it may pass on soon. */
  get readBytes(): number {
    let bytes = Number.POSITIVE_INFINITY;
    for (const party of this.parties) bytes = Math.min(bytes, party[this.#direction].readBytes);
    return bytes;
  }

  take(want: number): number {
    return this.#take(want, false);
  }

  #take(want: number, first: boolean): number {
    this.#short = null;
    if (this.#unpaced()) return this.#account.take(want);
    const paced = this.#takePaced(want, first);
    if (paced === 0) return 0;
    const left = this.#takeQuota(paced);
    const granted = left === 0 ? 0 : this.#account.take(left);
    if (granted < left) {
      this.#short = null;
      this.#giveBackQuota(left - granted, this.parties.length);
    }
    if (granted < paced) this.#giveBackPace(paced - granted, this.parties.length);
    return granted;
  }

  /**
   * Leave for the whole of a datagram, or none. It does not queue behind flows that wait: a datagram that waits is
   * late, and one that is dropped tells its sender to slow down.
   */
  takeWhole(bytes: number): boolean {
    const granted = this.#take(bytes, true);
    if (granted === bytes) return true;
    this.giveBack(granted);
    return false;
  }

  giveBack(bytes: number): void {
    if (bytes === 0) return;
    this.#account.giveBack(bytes);
    if (this.#unpaced()) return;
    this.#giveBackQuota(bytes, this.parties.length);
    this.#giveBackPace(bytes, this.parties.length);
  }

  countUp(bytes: number): void {
    this.#account.countUp(bytes);
  }

  countDown(bytes: number): void {
    this.#account.countDown(bytes);
  }

  wait(waiter: WindowWaiter): void {
    if (!this.#short) {
      this.#account.wait(waiter);
      return;
    }
    this.#short[this.#direction].wait(waiter);
    this.#keeper.waitsAt(this.#short);
  }

  stopWaiting(waiter: WindowWaiter): void {
    this.#account.stopWaiting(waiter);
    for (const party of this.parties) party[this.#direction].stopWaiting(waiter);
  }

  #unpaced(): boolean {
    for (const party of this.parties) if (!party.unpaced) return false;
    return true;
  }

  #takePaced(want: number, first: boolean): number {
    let granted = want;
    const mayPass = first || this.parties.some(party => party[this.#direction].inTurn);
    for (let at = 0; at < this.parties.length; at += 1) {
      const party = this.parties[at];
      if (!party) continue;
      const got = party[this.#direction].take(granted, mayPass);
      if (got === granted) continue;
      this.#short = party;
      this.#giveBackPace(granted - got, at);
      granted = got;
      if (granted === 0) return 0;
    }
    return granted;
  }

  /** A bucket gives at least a few bytes or none, so the quota is asked second: it gives whatever is left of it. */
  #takeQuota(want: number): number {
    let granted = want;
    for (let at = 0; at < this.parties.length; at += 1) {
      const party = this.parties[at];
      if (!party) continue;
      const got = party.takeQuota(granted);
      if (party.exhausted) this.#keeper.ranOut(party);
      if (got === granted) continue;
      if (party.holds) this.#short = party;
      this.#giveBackQuota(granted - got, at);
      granted = got;
      if (granted === 0) return 0;
    }
    return granted;
  }

  #giveBackPace(bytes: number, parties: number): void {
    for (let at = 0; at < parties; at += 1) this.parties[at]?.[this.#direction].giveBack(bytes);
  }

  #giveBackQuota(bytes: number, parties: number): void {
    for (let at = 0; at < parties; at += 1) this.parties[at]?.giveBackQuota(bytes);
  }
}
