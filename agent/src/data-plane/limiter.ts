/**
 * Keeps the limits of credentials and slots in one lane: admits flows, paces their bytes, cuts them at the end of a
 * quota or of a credential, and does all that anew when a plan changes a limit under running flows. What is counted
 * lies in shared memory (limit-cells.ts), so lanes need no messages to be exact; they are only woken by one when
 * flows of theirs have to go, and find out themselves which.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { LoanState, QuotaLoan } from '../ports';
import { type Asker, type CompiledLimits, judgeLimits, portAllowed } from './customer-limits';
import type { Direction, LimitCells } from './limit-cells';
import type { LimitSeat } from './limit-memory';
import { LimitRows } from './limit-rows';
import { type HeldFlow, LimitedParty, type PartyKind } from './limited-party';
import { LimitedPurse } from './limited-purse';
import type { Account } from './meter';
import type { Policy } from './policy';
import type { Place } from './roll';

/** How often those who wait for bandwidth get their turns, while somebody waits. */
const PACE_MS = 20;

/** A flow asks to be admitted. */
export interface AdmissionAsk extends Asker {
  credentialId: string;
  slot: number;
  /** Must end the flow and call `release`. */
  cut(reason: RefusalReason): void;
}

/** What an admitted flow holds; `release` once, when it is over. */
export interface Lease {
  release(): void;
}

export type Admission = { ok: true; lease: Lease } | { ok: false; reason: RefusalReason };

export class Limiter {
  readonly #cells: LimitCells;
  /** Seat 0, the control thread's, writes what all have in common. */
  readonly #lane: number;
  readonly #clock: Clock;
  readonly #seat: LimitSeat;
  readonly #rows = new LimitRows();
  readonly #credentials = new Map<string, LimitedParty>();
  readonly #slots = new Map<number, LimitedParty>();
  readonly #byRow = new Map<number, LimitedParty>();
  /** What was lent last, in the control thread; plans come and go without changing it. */
  readonly #loans = new Map<string, QuotaLoan>();
  readonly #purses = new WeakMap<Account, Record<Direction, LimitedPurse>>();
  readonly #waitingAt = new Set<LimitedParty>();
  readonly #exhausted = new Set<LimitedParty>();
  #pacer: Timer | null = null;
  #isClosed = false;

  constructor(seat: LimitSeat, clock: Clock) {
    this.#seat = seat;
    this.#cells = seat.cells;
    this.#lane = seat.lane;
    this.#clock = clock;
    seat.onWake(row => this.#look(row));
  }

  /** Keeps the limits of `policy` from now on; flows that they forbid are cut. */
  adopt(policy: Policy): void {
    const names = [
      ...[...policy.credentialLimits.keys()].map(id => nameOf('credential', id)),
      ...[...policy.egresses.keys()].map(slot => nameOf('slot', slot)),
    ];
    this.#rows.assign(new Set(names));
    this.#adoptKind('credential', this.#credentials, policy.credentialLimits);
    this.#adoptKind(
      'slot',
      this.#slots,
      new Map([...policy.egresses].map(([slot, one]) => [slot, one.keptLimits])),
    );
    for (const party of this.#byRow.values()) this.#recheck(party);
  }

  /** Whether a flow may begin, and its place among the others if so. */
  admit(ask: AdmissionAsk): Admission {
    const parties = this.#partiesOf(ask.credentialId, ask.slot);
    const admitted: LimitedParty[] = [];
    for (const party of parties) {
      const reason = judgeLimits(party.limits, ask, this.#clock.now()) ?? party.admit();
      if (reason) {
        for (const other of admitted) other.unadmit();
        return { ok: false, reason };
      }
      admitted.push(party);
    }
    const lease = new HeldLease(this.#cells.nextAge(), ask, parties);
    for (const party of parties) {
      if (!party.overfull) continue;
      this.#trim(party);
      if (party.overfull) this.#seat.wake(party.row);
    }
    return { ok: true, lease };
  }

  /** Whether a target port is one that the limits allow; for datagrams, whose flow has no one target. */
  allowsPort(credentialId: string, slot: number, port: number): boolean {
    return this.#partiesOf(credentialId, slot).every(party => portAllowed(party.limits, port));
  }

  /** Flows of all lanes that hold a lease on a slot. */
  openFlows(slot: number): number {
    const modem = this.#slots.get(slot);
    return modem ? this.#cells.openFlows(modem.row) : 0;
  }

  /** What credentials with leased quotas may use from now on, for all lanes; called in the control thread. */
  lend(loans: readonly QuotaLoan[]): void {
    if (this.#isClosed) return;
    for (const loan of loans) {
      this.#loans.set(loan.credentialId, loan);
      const party = this.#credentials.get(loan.credentialId);
      if (!party?.limits.quota?.leased) continue;
      party.adoptQuota(loan);
      if (!party.exhausted) continue;
      this.#recheck(party);
      this.#seat.wake(party.row);
    }
  }

  /** How a loan stands, over all lanes; null for a credential without a leased quota. */
  lent(credentialId: string): LoanState | null {
    const party = this.#credentials.get(credentialId);
    return party?.limits.quota?.leased ? { left: party.quotaLeft, isWaitedFor: party.isWaitedFor } : null;
  }

  /** The account's purse for one direction, with limits kept. */
  purse(account: Account, direction: Direction): LimitedPurse {
    let purses = this.#purses.get(account);
    if (!purses) {
      const make = (direction: Direction) => new LimitedPurse(account, direction, this);
      purses = { up: make('up'), down: make('down') };
      this.#purses.set(account, purses);
    }
    const { credentialId, slot } = account.key;
    const parties = this.#partiesOf(credentialId, slot);
    purses.up.parties = parties;
    purses.down.parties = parties;
    return purses[direction];
  }

  /** Called by purses: somebody waits at this party. */
  waitsAt(party: LimitedParty): void {
    this.#waitingAt.add(party);
    this.#pacer ??= this.#clock.every(PACE_MS, () => this.#serve());
  }

  /** Called by purses: nothing is left of this party's quota. Its flows are cut when the caller has returned. */
  ranOut(party: LimitedParty): void {
    if (this.#exhausted.size === 0) queueMicrotask(() => this.#cutExhausted());
    this.#exhausted.add(party);
  }

  /** Once a second: what ends by time, and what a message would have told. */
  onTick(): void {
    const now = this.#clock.now();
    for (const party of this.#byRow.values())
      if (party.flows.size > 0 && (now >= party.limits.expiresAt || party.exhausted || party.overfull))
        this.#recheck(party);
  }

  close(): void {
    this.#isClosed = true;
    this.#pacer?.cancel();
    this.#pacer = null;
    this.#seat.close();
  }

  /** Another lane says that something of this row's flows may have to go. */
  #look(row: number): void {
    const party = this.#byRow.get(row);
    if (party) this.#recheck(party);
  }

  #partiesOf(credentialId: string, slot: number): LimitedParty[] {
    const parties: LimitedParty[] = [];
    const credential = this.#credentials.get(credentialId);
    if (credential) parties.push(credential);
    const modem = this.#slots.get(slot);
    if (modem) parties.push(modem);
    return parties;
  }

  /** Those who are gone are forgotten; the lane cuts their flows, and these release the party that they know. */
  #adoptKind<Id extends string | number>(
    kind: PartyKind,
    parties: Map<Id, LimitedParty>,
    wanted: ReadonlyMap<Id, CompiledLimits>,
  ): void {
    for (const [id, party] of parties) {
      if (wanted.has(id)) continue;
      parties.delete(id);
      if (kind === 'credential') this.#loans.delete(String(id));
      this.#byRow.delete(party.row);
    }
    for (const [id, limits] of wanted) {
      let party = parties.get(id);
      if (!party) {
        party = this.#make(kind, nameOf(kind, id));
        parties.set(id, party);
      }
      if (this.#lane === 0 && limits.quota)
        party.adoptQuota((limits.quota.leased && this.#loans.get(String(id))) || limits.quota);
      party.adopt(limits);
    }
  }

  #make(kind: PartyKind, name: string): LimitedParty {
    const row = this.#rows.row(name);
    if (row === undefined) throw new Error(`${name} has no row`);
    const party = new LimitedParty(kind, row, { cells: this.#cells, lane: this.#lane });
    if (this.#lane === 0) this.#cells.renew(row);
    this.#byRow.set(row, party);
    return party;
  }

  /** Cuts what the party's limits do not allow any more. */
  #recheck(party: LimitedParty): void {
    const now = this.#clock.now();
    const exhausted = party.exhausted ? party.reasons.quota : null;
    for (const flow of [...party.flows]) {
      const reason = judgeLimits(party.limits, flow, now) ?? exhausted;
      if (reason) flow.cut(reason);
    }
    // Whoever closed one and is not the oldest any more says so to the next; nobody else passes the word on.
    if (party.overfull && this.#trim(party) && party.overfull) this.#seat.wake(party.row);
  }

  /** Closes the oldest flows as long as they are this lane's; whether there was any. */
  #trim(party: LimitedParty): boolean {
    let any = false;
    for (let flow = party.surplus(); flow; flow = party.surplus()) {
      any = true;
      flow.cut(party.reasons.full);
    }
    return any;
  }

  #cutExhausted(): void {
    const parties = [...this.#exhausted];
    this.#exhausted.clear();
    for (const party of parties) {
      // What was taken and not carried may have come back.
      if (!party.exhausted) continue;
      this.#recheck(party);
      this.#seat.wake(party.row);
    }
  }

  #serve(): void {
    for (const party of [...this.#waitingAt]) {
      party.up.serve();
      party.down.serve();
      // Whoever was first goes last: where a flow waits at two parties, neither always eats before the other.
      this.#waitingAt.delete(party);
      if (party.up.waiting || party.down.waiting) this.#waitingAt.add(party);
    }
    if (this.#waitingAt.size > 0) return;
    this.#pacer?.cancel();
    this.#pacer = null;
  }
}

const nameOf = (kind: PartyKind, id: string | number) => `${kind} ${id}`;

class HeldLease implements Lease, HeldFlow {
  readonly age: number;
  readonly source: string;
  readonly port: number | null;
  readonly #ask: AdmissionAsk;
  readonly #held: { party: LimitedParty; place: Place<HeldFlow> }[];

  constructor(age: number, ask: AdmissionAsk, parties: readonly LimitedParty[]) {
    this.age = age;
    this.source = ask.source;
    this.port = ask.port;
    this.#ask = ask;
    this.#held = parties.map(party => ({ party, place: party.hold(this) }));
  }

  cut(reason: RefusalReason): void {
    this.#ask.cut(reason);
    // A flow that did not go must not be asked again and again.
    this.release();
  }

  release(): void {
    for (const { party, place } of this.#held) party.release(place);
  }
}
