/**
 * Many nodes, one quota, by chance: the agent's keeper of leases against the cloud's book, with partitions, crashes of
 * nodes, restarts, lost messages and changes of the quota. What customers moved never exceeds the quota by more than
 * what crashes forgot, and once all is well again the quota can be used up to its last byte. `SEED` replays a run.
 */
import type { LinkSession } from '@mastline/agent/control-plane/link-session';
import type { QuotaLeases } from '@mastline/agent/control-plane/quota-book';
import { QuotaKeeper } from '@mastline/agent/control-plane/quota-keeper';
import { quietLog } from '@mastline/agent/observe/log';
import type { QuotaLoan } from '@mastline/agent/ports';
import {
  available,
  LEASE_MS,
  type LeaseEntry,
  MAX_LEASE_BYTES,
  type QuotaBook,
  settle,
} from '@mastline/cloud/server/quota/lease-book';
import type { DesiredState } from '@mastline/shared/domain/desired-state';
import type { QuotaGrant } from '@mastline/shared/domain/quota';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../support/clock';
import { seeded } from '../support/random';
import { suite } from '../support/suite';

const test = suite('quota leases: many nodes, one quota');
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const MIB = 2 ** 20;
const QUOTA_ID = uuidv7();
const CREDENTIAL_ID = uuidv7();
const TAKES = ['quota-report'];

/** The cloud: the real book in memory, reached by links that can be cut. */
class Lender {
  quota: QuotaBook;
  readonly leases = new Map<string, LeaseEntry>();
  readonly boxes: Box[] = [];
  isUp = true;
  readonly #clock: FakeClock;
  /** The largest quota there was: what was lent under it may still be used. */
  most: number;

  constructor(clock: FakeClock, bytes: number) {
    this.#clock = clock;
    const at = clock.now();
    this.quota = { bytes, period: { kind: 'total' }, setAt: at, periodStart: at, used: 0 };
    this.most = bytes;
  }

  setBytes(bytes: number): void {
    this.quota = { ...this.quota, bytes };
    this.most = Math.max(this.most, bytes);
    for (const box of this.boxes) box.call();
  }

  answer(box: Box, body: UplinkBody<'quota-report'>): QuotaGrant[] {
    return body.leases.map(claim => {
      const settled = settle(
        { quota: this.quota, leases: [...this.leases.values()] },
        { nodeId: box.id, epoch: body.epoch, ...claim },
        {
          now: this.#clock.now(),
          entitled: true,
          ledgerOf: id => this.boxes.find(one => one.id === id)?.uploaded ?? 0,
        },
      );
      this.quota = settled.quota;
      for (const lease of settled.changed) this.leases.set(`${lease.nodeId} ${lease.epoch}`, lease);
      this.check();
      for (const id of settled.ask) this.boxes.find(one => one.id === id)?.call();
      return { credentialId: CREDENTIAL_ID, quotaId: QUOTA_ID, ...settled.answer, leaseMs: LEASE_MS };
    });
  }

  check(): void {
    const out = this.quota.bytes - available(this.quota, this.leases.values());
    assert.ok(this.quota.used >= 0, 'used is never negative');
    assert.ok(out <= this.most, `used and lent ${out} of ${this.most}`);
    for (const lease of this.leases.values())
      assert.ok(lease.allowed >= lease.counted && lease.counted >= lease.spent, 'no lease is below zero');
  }
}

/** A node: real keeper, a data plane that is one number, a spool that is another. */
class Box {
  readonly id = uuidv7();
  epoch = uuidv7();
  committed = 0;
  /** Committed to spools that were lost. */
  before = 0;
  uncommitted = 0;
  /** All that customers moved here, forgotten or not. */
  moved = 0;
  forgotten = 0;
  /** What the ledger has of it. */
  uploaded = 0;
  demand = 0;
  refused = 0;
  keeper!: QuotaKeeper;
  bootId = 1;
  readonly #clock: FakeClock;
  readonly #lender: Lender;
  readonly #random: () => number;
  #disk: QuotaLeases | undefined;
  #loan: QuotaLoan | undefined;
  #left = 0;
  #session: LinkSession | undefined;

  constructor(clock: FakeClock, lender: Lender, random: () => number) {
    this.#clock = clock;
    this.#lender = lender;
    this.#random = random;
    lender.boxes.push(this);
  }

  async boot(): Promise<void> {
    this.#loan = undefined;
    this.#left = 0;
    this.keeper = new QuotaKeeper({
      spool: {
        credentialBytes: async ids => ({ epoch: this.epoch, bytes: ids.map(() => this.committed) }),
      },
      dataPlane: {
        lend: loans => {
          for (const loan of loans) {
            this.#left =
              loan.lease === this.#loan?.lease ? this.#left + loan.bytes - this.#loan.bytes : loan.bytes;
            this.#loan = loan;
          }
        },
        lent: ids => ids.map(() => ({ left: this.#left, isWaitedFor: this.demand > 0 && this.#left <= 0 })),
      },
      book: {
        read: async () => structuredClone(this.#disk),
        write: async leases => {
          this.#disk = structuredClone(leases);
        },
      },
      metered: false,
      clock: this.#clock,
      boot: { id: String(this.bootId), uptimeMs: () => this.#clock.monotonicMs() },
      now: () => this.#clock.now(),
      log: quietLog,
    });
    await this.keeper.adopt(STATE);
  }

  connect(): void {
    if (this.#session || !this.#lender.isUp) return;
    const session: LinkSession = {
      send: (_kind, body) => {
        this.#later(session, () => {
          const report = body as UplinkBody<'quota-report'>;
          const leases = this.#lender.answer(this, report);
          this.#later(session, () => this.keeper.granted({ ask: report.ask, epoch: report.epoch, leases }));
        });
        return 'sent';
      },
      queuedBytes: () => 0,
      giveUp: () => this.cut(),
    };
    this.#session = session;
    this.keeper.begin(session, TAKES);
  }

  cut(): void {
    this.#session = undefined;
    this.keeper.end();
  }

  call(): void {
    const session = this.#session;
    if (session) this.#later(session, () => this.keeper.called({ credentialIds: [CREDENTIAL_ID] }));
  }

  /** Messages of a session that is over are lost. */
  #later(session: LinkSession, run: () => void): void {
    this.#clock.after(5 + this.#random() * 80, () => {
      if (this.#session === session && this.#lender.isUp) run();
    });
  }

  /** Moves what the data plane lets through. */
  spend(): void {
    const bytes = Math.max(0, Math.min(this.demand, this.#left));
    if (this.demand > 0 && bytes === 0 && this.#loan?.holds !== true) this.refused += 1;
    this.#left -= bytes;
    this.uncommitted += bytes;
    this.moved += bytes;
    if (this.uncommitted > 8 * MIB || this.#random() < 0.3) this.commit();
  }

  commit(): void {
    this.committed += this.uncommitted;
    this.uncommitted = 0;
    if (this.#session) this.uploaded = this.before + this.committed;
  }

  async crash(): Promise<void> {
    this.cut();
    this.forgotten += this.uncommitted;
    this.uncommitted = 0;
    await this.keeper.close().catch(() => undefined);
    await this.boot();
  }

  async restart(): Promise<void> {
    this.commit();
    this.cut();
    await this.keeper.close();
    if (this.#random() < 0.3) this.bootId += 1;
    await this.boot();
  }

  /** The file of leases as it was before, put back after a crash. */
  keepDisk(): () => void {
    const disk = structuredClone(this.#disk);
    return () => {
      this.#disk = disk;
    };
  }
}

const STATE = {
  credentials: [
    { id: CREDENTIAL_ID, suspended: false, limits: { quota: { lease: QUOTA_ID, bytes: 0, leased: true } } },
  ],
} as unknown as DesiredState;

const sum = (boxes: readonly Box[], of: (box: Box) => number) => boxes.reduce((all, box) => all + of(box), 0);

async function withBoxes(
  options: { boxes: number; bytes: number; seed: number },
  body: (of: { clock: FakeClock; lender: Lender; boxes: Box[]; random: () => number }) => Promise<void>,
): Promise<void> {
  const clock = fakeClock();
  const random = seeded(options.seed);
  const lender = new Lender(clock, options.bytes);
  const boxes = Array.from({ length: options.boxes }, () => new Box(clock, lender, random));
  for (const box of boxes) await box.boot();
  await body({ clock, lender, boxes, random });
  for (const box of boxes) await box.keeper.close();
}

/** Moves time, letting every box spend. */
async function live(clock: FakeClock, boxes: readonly Box[], ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    for (const box of boxes) box.spend();
    await clock.advance(100);
  }
}

async function heal(clock: FakeClock, lender: Lender, boxes: readonly Box[]): Promise<void> {
  lender.isUp = true;
  for (const box of boxes) box.connect();
  await clock.advance(1_000);
}

for (let run = 0; run < 12; run += 1)
  test(`run ${run} (SEED=${SEED}): no byte beyond the quota but what crashes forgot, and none is stranded`, () =>
    withBoxes(
      { boxes: 2 + (run % 4), bytes: 200 * MIB, seed: SEED + run },
      async ({ clock, lender, boxes, random }) => {
        const check = () => {
          lender.check();
          const moved = sum(boxes, box => box.moved - box.forgotten);
          assert.ok(moved <= lender.most, `moved ${moved} of ${lender.most}`);
        };
        for (let step = 0; step < 40; step += 1) {
          const box = boxes[Math.floor(random() * boxes.length)];
          if (!box) throw new Error('no box');
          const dice = random();
          if (dice < 0.15) box.cut();
          else if (dice < 0.4) box.connect();
          else if (dice < 0.5) await box.crash();
          else if (dice < 0.58) await box.restart();
          else if (dice < 0.64) {
            lender.isUp = false;
            for (const one of boxes) one.cut();
          } else if (dice < 0.75) await heal(clock, lender, boxes);
          else if (dice < 0.8) lender.setBytes(Math.floor((50 + random() * 250) * MIB));
          else box.demand = random() < 0.4 ? 0 : Math.floor(random() * 3 * MIB);
          await live(clock, boxes, 500);
          check();
        }
        await heal(clock, lender, boxes);
        lender.setBytes(lender.most + 20 * MIB + 12_345);
        // One wants all that is left, others want a little or nothing.
        for (const [at, box] of boxes.entries()) box.demand = at === 0 ? 4 * MIB : at === 1 ? 1_000 : 0;
        for (let second = 0; second < 90; second += 5) await live(clock, boxes, 5_000);
        for (const box of boxes) box.commit();
        check();
        assert.is(
          sum(boxes, box => box.committed),
          lender.quota.bytes,
          'used up to the last byte',
        );
      },
    ));

test('without its cloud a node spends what it has, no more, and across a restart', () =>
  withBoxes({ boxes: 1, bytes: 500 * MIB, seed: 1 }, async ({ clock, boxes: [box], lender }) => {
    if (!box) throw new Error('no box');
    box.connect();
    box.demand = MIB;
    await live(clock, [box], 10_000);
    box.demand = 0;
    await live(clock, [box], 1_000);
    box.cut();
    const [lease] = lender.leases.values();
    const before = box.moved;
    await box.restart();
    box.demand = 64 * 1024;
    box.refused = 0;
    for (let second = 0; second < 900 && box.refused === 0; second += 10) await live(clock, [box], 10_000);
    assert.ok(box.moved > before, 'it goes on after a restart');
    assert.is(box.moved, lease?.allowed, 'to the last byte that it was lent');
    assert.ok(box.refused > 0, 'then it cuts');
  }));

test('what nobody uses goes back, but for a first page', () =>
  withBoxes({ boxes: 1, bytes: 500 * MIB, seed: 2 }, async ({ clock, boxes: [box], lender }) => {
    if (!box) throw new Error('no box');
    box.connect();
    box.demand = 2 * MIB;
    await live(clock, [box], 5_000);
    box.demand = 0;
    await live(clock, [box], 62_000);
    box.commit();
    await live(clock, [box], 16_000);
    const [lease] = lender.leases.values();
    assert.is((lease?.allowed ?? 0) - box.committed, MIB);
  }));

test('a dead node keeps its lease until that ends; then others get what the ledger has not seen used', () =>
  withBoxes({ boxes: 2, bytes: 100 * MIB, seed: 3 }, async ({ clock, boxes: [dead, heir], lender }) => {
    if (!dead || !heir) throw new Error('no box');
    for (const box of [dead, heir]) box.connect();
    dead.demand = MIB;
    await live(clock, [dead, heir], 5_000);
    dead.commit();
    dead.cut();
    await dead.keeper.close();
    dead.demand = 0;
    heir.demand = 4 * MIB;
    await live(clock, [heir], 30_000);
    heir.commit();
    const kept = lender.quota.bytes - heir.committed - dead.committed;
    assert.ok(kept > 0 && kept <= MAX_LEASE_BYTES, `${kept} bytes are the dead one's`);
    assert.ok(heir.refused > 0, 'and nobody else gets them');
    heir.demand = 0;
    await clock.advance(LEASE_MS);
    heir.demand = 4 * MIB;
    await live(clock, [heir], 30_000);
    heir.commit();
    assert.is(heir.committed + dead.committed, lender.quota.bytes);
  }));

test('a lease that ends while its node is away is spent by it no more', () =>
  withBoxes({ boxes: 1, bytes: 100 * MIB, seed: 4 }, async ({ clock, boxes: [box] }) => {
    if (!box) throw new Error('no box');
    box.connect();
    box.demand = 1_000;
    await live(clock, [box], 3_000);
    box.cut();
    box.demand = 0;
    clock.jumpTo(clock.now() - 40 * 86_400_000);
    await clock.advance(LEASE_MS);
    const before = box.moved;
    box.demand = 1_000;
    await live(clock, [box], 1_000);
    assert.is(box.moved, before, 'whatever somebody sets the clock to');
    box.connect();
    await live(clock, [box], 1_000);
    assert.ok(box.moved > before, 'and again once the cloud is there');
  }));

test('a file of leases from before a crash lets nothing be spent again', () =>
  withBoxes({ boxes: 2, bytes: 60 * MIB, seed: 5 }, async ({ clock, boxes, lender }) => {
    const [box, other] = boxes;
    if (!box || !other) throw new Error('no box');
    for (const one of boxes) one.connect();
    box.demand = MIB;
    await live(clock, boxes, 3_000);
    const putBack = box.keepDisk();
    await live(clock, boxes, 2_000);
    putBack();
    await box.crash();
    box.connect();
    other.demand = 2 * MIB;
    await live(clock, boxes, 60_000);
    for (const one of boxes) one.commit();
    assert.is(
      sum(boxes, one => one.moved - one.forgotten),
      lender.quota.bytes,
    );
  }));

test('a spool that was lost begins a new count: nothing of the old lease is used', () =>
  withBoxes({ boxes: 1, bytes: 50 * MIB, seed: 6 }, async ({ clock, boxes: [box], lender }) => {
    if (!box) throw new Error('no box');
    box.connect();
    box.demand = MIB;
    await live(clock, [box], 2_000);
    box.commit();
    box.before = box.committed;
    box.epoch = uuidv7();
    box.committed = 0;
    await live(clock, [box], 60_000);
    box.commit();
    assert.ok(
      box.before + box.committed <= lender.quota.bytes + 2 * MIB,
      `${box.before} and ${box.committed}`,
    );
    assert.ok(
      box.before + box.committed >= lender.quota.bytes - 2 * MIB,
      `${box.before} and ${box.committed}`,
    );
  }));

test.run();
