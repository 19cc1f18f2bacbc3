/**
 * A credential or a slot whose limits are kept, as one lane sees it: its row of the shared counts, its flows in this
 * lane by age, its two queues. Who is admitted and when flows are cut is limiter.ts.
 */
import type { QuotaLease } from '@mastline/shared/domain/flow-limits';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import { type CompiledLimits, UNLIMITED } from './customer-limits';
import type { LimitCells } from './limit-cells';
import { Pace } from './pace';
import { type Place, Roll } from './roll';

export type PartyKind = 'credential' | 'slot';

/** A flow that counts against its parties' limits until it is released. */
export interface HeldFlow {
  readonly age: number;
  readonly source: string;
  readonly port: number | null;
  /** Ends the flow, which releases it. */
  cut(reason: RefusalReason): void;
}

/** The same refusal has another name by whose limit it was: a customer can do something about the own one only. */
const REASONS = {
  credential: { rate: 'too-many-new-flows', full: 'too-many-flows', quota: 'quota-exhausted' },
  slot: { rate: 'modem-busy', full: 'modem-busy', quota: 'modem-quota-exhausted' },
} as const satisfies Record<PartyKind, Record<string, RefusalReason>>;

export class LimitedParty {
  readonly kind: PartyKind;
  readonly row: number;
  readonly up: Pace;
  readonly down: Pace;
  readonly reasons: (typeof REASONS)[PartyKind];
  limits: CompiledLimits = UNLIMITED;
  /** Bytes pass without a question. */
  unpaced = true;
  readonly #flows = new Roll<HeldFlow>();
  readonly #cells: LimitCells;
  readonly #lane: number;
  #lease: QuotaLease | null = null;

  constructor(kind: PartyKind, row: number, at: { cells: LimitCells; lane: number }) {
    this.kind = kind;
    this.row = row;
    this.reasons = REASONS[kind];
    this.#cells = at.cells;
    this.#lane = at.lane;
    this.up = new Pace(at.cells, row, 'up');
    this.down = new Pace(at.cells, row, 'down');
  }

  adopt(limits: CompiledLimits): void {
    this.limits = limits;
    this.unpaced = !limits.up && !limits.down && !limits.quota;
    this.up.shape = limits.up;
    this.down.shape = limits.down;
  }

  /** Writes what is left of the quota; done by one lane for all. A lease that comes back goes on where it was. */
  adoptQuota(next: QuotaLease): void {
    const before = this.#lease;
    this.#lease = next;
    // Flows must not see zero bytes and nothing on its way between two writes that say otherwise.
    if (next.holds === true) this.#cells.setHolds(this.row, true);
    if (next.lease === before?.lease) this.#cells.addQuota(this.row, next.bytes - before.bytes);
    else this.#cells.setQuota(this.row, next.bytes);
    if (next.holds !== true) this.#cells.setHolds(this.row, false);
  }

  get flows(): Pick<Roll<HeldFlow>, 'size' | typeof Symbol.iterator> {
    return this.#flows;
  }

  /** Takes a place and a start; null when both were to be had. */
  admit(): RefusalReason | null {
    const { quota, flows, concurrentFlows, closesOldest } = this.limits;
    const cells = this.#cells;
    if (quota && this.exhausted) return this.reasons.quota;
    if (flows && cells.take(this.row, 'flows', { shape: flows, want: 1, least: 1 }) === 0)
      return this.reasons.rate;
    // With `close-oldest` there is always a place: somebody else's is taken once the flow is held.
    if (cells.open(this.row, closesOldest ? Number.POSITIVE_INFINITY : concurrentFlows)) return null;
    if (flows) cells.giveBack(this.row, 'flows', { shape: flows, units: 1 });
    return this.reasons.full;
  }

  /** Gives back what `admit` took, for a flow that another party refused. */
  unadmit(): void {
    const { flows } = this.limits;
    if (flows) this.#cells.giveBack(this.row, 'flows', { shape: flows, units: 1 });
    this.#cells.closed(this.row);
  }

  /** Its place here, to be given to `release`. */
  hold(flow: HeldFlow): Place<HeldFlow> {
    const place = this.#flows.add(flow);
    if (this.#flows.size === 1) this.#cells.setOldest(this.row, this.#lane, flow.age);
    return place;
  }

  /** The count goes down before the next one is shown as the oldest: `surplus` looks in the other order. */
  release(place: Place<HeldFlow>): void {
    const wasOldest = this.#flows.first === place.item;
    if (!this.#flows.remove(place)) return;
    this.#cells.closed(this.row);
    if (wasOldest) this.#cells.setOldest(this.row, this.#lane, this.#flows.first?.age ?? 0);
  }

  /** The flow that must make room, when there is one and it is in this lane. */
  surplus(): HeldFlow | null {
    if (!this.limits.closesOldest || !this.#cells.hasOldest(this.row, this.#lane)) return null;
    return this.overfull ? this.#flows.first : null;
  }

  /** More flows than there may be, over all lanes; some lane has to close its oldest. */
  get overfull(): boolean {
    return this.limits.closesOldest && this.#cells.openFlows(this.row) > this.limits.concurrentFlows;
  }

  takeQuota(want: number): number {
    return this.limits.quota ? this.#cells.takeQuota(this.row, want) : want;
  }

  giveBackQuota(bytes: number): void {
    if (this.limits.quota) this.#cells.addQuota(this.row, bytes);
  }

  /** Nothing is left and nothing is on its way: flows have to go. */
  get exhausted(): boolean {
    return this.limits.quota !== null && this.quotaLeft <= 0 && !this.#cells.holds(this.row);
  }

  /** More was asked for: a flow that finds nothing waits. */
  get holds(): boolean {
    return this.limits.quota !== null && this.#cells.holds(this.row);
  }

  /** Bytes; below zero when what was lent was called back too late. */
  get quotaLeft(): number {
    return this.#cells.quotaLeft(this.row);
  }

  /** Flows of any lane stand in its queues. */
  get isWaitedFor(): boolean {
    return this.#cells.waiting(this.row, 'up', 0) > 0 || this.#cells.waiting(this.row, 'down', 0) > 0;
  }
}
