/**
 * Counts what the kernel took, per (endpoint, credential, slot, IMEI), and hands it on as deltas. What a billable
 * byte is stands in shared/src/domain/usage.ts; who writes the bytes is outlet.ts; who brings deltas to the spool is
 * committer.ts. One meter in each thread: counting touches no lock and allocates nothing.
 */
import type { UsageDelta } from '../ports';
import type { PathMetrics } from './lane-metrics';
import type { UsageWindow } from './usage-window';

export interface MeterKey {
  endpointId: string;
  credentialId: string;
  slot: number;
  imei: string | null;
}

/** Running totals of one slot in this thread, for live figures. */
export interface SlotTotals {
  slot: number;
  upBytes: number;
  downBytes: number;
  openFlows: number;
}

/** Something that waits until its slot may relay again. */
export interface WindowWaiter {
  pump(): void;
}

export class Meter {
  readonly window: UsageWindow;
  readonly #commitBytes: number;
  readonly #hand: (deltas: UsageDelta[]) => void;
  readonly #waits: (slot: number) => void;
  readonly #settle: () => void;
  readonly #accounts = new Map<string, Account>();
  readonly #totals = new Map<number, SlotTotals>();
  readonly #waiters = new Map<number, Set<WindowWaiter>>();
  #dirty: Account[] = [];
  /** Deltas are on their way to the disk: a full slot need not send more before they are there. */
  #handed = false;

  /**
   * `hand` gets the deltas to commit; `released` must be called when they are on disk, and `settle` asks for that
   * call if they are already. `waits`: a flow of that slot stands still.
   */
  constructor(options: {
    window: UsageWindow;
    commitBytes: number;
    hand: (deltas: UsageDelta[]) => void;
    waits: (slot: number) => void;
    settle: () => void;
  }) {
    this.window = options.window;
    this.#commitBytes = options.commitBytes;
    this.#hand = options.hand;
    this.#waits = options.waits;
    this.#settle = options.settle;
  }

  /**
   * The account that flows with this key and protocol share; what the protocol carried goes into `path` as well.
   * Accounts are few (credentials × slots × protocols) and stay.
   */
  account(key: MeterKey, path: PathMetrics): Account {
    const name = `${key.endpointId}\n${key.credentialId}\n${key.slot}\n${key.imei ?? ''}\n${path.protocol}`;
    let account = this.#accounts.get(name);
    if (!account) {
      account = new Account(key, this, { totals: this.totals(key.slot), path });
      this.#accounts.set(name, account);
    }
    return account;
  }

  totals(slot: number): SlotTotals {
    let totals = this.#totals.get(slot);
    if (!totals) {
      totals = { slot, upBytes: 0, downBytes: 0, openFlows: 0 };
      this.#totals.set(slot, totals);
    }
    return totals;
  }

  allTotals(): SlotTotals[] {
    return [...this.#totals.values()].map(totals => ({ ...totals }));
  }

  /** Hands on everything counted since the last time. */
  flush(): void {
    if (this.#dirty.length === 0) return;
    const deltas = this.#dirty.map(account => account.takeDelta());
    this.#dirty = [];
    this.#handed = true;
    this.#hand(deltas);
  }

  /** Deltas of `slots` are on disk and their window is free again: flows that waited go on. */
  released(slots: readonly number[]): void {
    this.#handed = false;
    for (const slot of slots) {
      const waiters = this.#waiters.get(slot);
      if (!waiters) continue;
      this.#waiters.delete(slot);
      for (const waiter of waiters) waiter.pump();
    }
    if (this.#dirty.some(account => this.window.taken(account.key.slot) >= this.#commitBytes)) this.flush();
  }

  wait(slot: number, waiter: WindowWaiter): void {
    this.#waits(slot);
    const waiters = this.#waiters.get(slot);
    if (waiters) waiters.add(waiter);
    else this.#waiters.set(slot, new Set([waiter]));
  }

  stopWaiting(slot: number, waiter: WindowWaiter): void {
    this.#waiters.get(slot)?.delete(waiter);
  }

  /** Called by accounts when they have something; begins a commit early where a slot has much. */
  noticed(account: Account, isNew: boolean): void {
    if (isNew) this.#dirty.push(account);
    if (this.window.taken(account.key.slot) < this.#commitBytes) return;
    // A fast flow is read from again and again before the event loop gets to any message.
    if (this.#handed) this.#settle();
    else this.flush();
  }
}

/** What flows of one key count into. */
export class Account {
  readonly key: MeterKey;
  readonly path: PathMetrics;
  readonly #meter: Meter;
  readonly #totals: SlotTotals;
  #upBytes = 0;
  #downBytes = 0;
  #flows = 0;
  #isDirty = false;

  constructor(key: MeterKey, meter: Meter, live: { totals: SlotTotals; path: PathMetrics }) {
    this.key = key;
    this.#meter = meter;
    this.#totals = live.totals;
    this.path = live.path;
  }

  /** Leave to write up to `want` bytes; 0 when the slot has to wait for the disk. */
  take(want: number): number {
    return this.#meter.window.take(this.key.slot, want);
  }

  /** Gives back leave that was not used. */
  giveBack(bytes: number): void {
    this.#meter.window.giveBack(this.key.slot, bytes);
  }

  countUp(bytes: number): void {
    this.#upBytes += bytes;
    this.#totals.upBytes += bytes;
    this.path.upBytes += bytes;
    this.#notice();
  }

  countDown(bytes: number): void {
    this.#downBytes += bytes;
    this.#totals.downBytes += bytes;
    this.path.downBytes += bytes;
    this.#notice();
  }

  flowOpened(): void {
    this.#flows += 1;
    this.#totals.openFlows += 1;
    this.path.flows += 1;
    this.path.openFlows += 1;
    this.#notice();
  }

  flowClosed(): void {
    this.#totals.openFlows -= 1;
    this.path.openFlows -= 1;
  }

  wait(waiter: WindowWaiter): void {
    this.#meter.wait(this.key.slot, waiter);
  }

  stopWaiting(waiter: WindowWaiter): void {
    this.#meter.stopWaiting(this.key.slot, waiter);
  }

  takeDelta(): UsageDelta {
    const delta: UsageDelta = {
      ...this.key,
      upBytes: this.#upBytes,
      downBytes: this.#downBytes,
      flows: this.#flows,
    };
    this.#upBytes = 0;
    this.#downBytes = 0;
    this.#flows = 0;
    this.#isDirty = false;
    return delta;
  }

  #notice(): void {
    const isNew = !this.#isDirty;
    this.#isDirty = true;
    this.#meter.noticed(this, isNew);
  }
}
