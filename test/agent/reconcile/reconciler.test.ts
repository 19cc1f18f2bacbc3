/**
 * The book of days over time: readings, midnight, re-plugs, wrapped counters, crashes, reboots, clean ends. Kernel, spool
 * and data plane are plain values here; the real ones meet in test/system/reconciliation.test.ts.
 */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { quietLog } from '@mastline/agent/observe/log';
import { type Counters, movedBetween } from '@mastline/agent/reconcile/interface-counters';
import { Reconciler } from '@mastline/agent/reconcile/reconciler';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('reconciliation: the book of days');
const NOON = Date.UTC(2026, 10, 23, 12);
const MIB = 2 ** 20;
const SEGMENT = 1448;

/** A box with one stick: what goes through it is counted by all three, unless a test lets one of them err. */
class Box {
  readonly folder: string;
  readonly clock: FakeClock;
  boot = 'boot-1';
  ifindex = 7;
  counters = { tx_bytes: 5_000, rx_bytes: 9_000, tx_packets: 40, rx_packets: 50 };
  relayed = { up: 0, down: 0 };
  own = { up: 0, down: 0 };
  /** In the spool, by day. */
  committed = new Map<number, { up: number; down: number }>();
  oldestPending: number | null = null;
  /** Relayed, on its way to the spool. */
  #flying = { up: 0, down: 0 };
  reconciler!: Reconciler;

  constructor(folder: string, clock: FakeClock) {
    this.folder = folder;
    this.clock = clock;
    mkdirSync(join(folder, 'sys/class/net'), { recursive: true });
    mkdirSync(join(folder, 'sys/bus/usb/drivers/cdc_ether'), { recursive: true });
    mkdirSync(join(folder, 'proc/sys/net/ipv4'), { recursive: true });
    mkdirSync(join(folder, 'data'), { recursive: true });
    writeFileSync(join(folder, 'proc/sys/net/ipv4/tcp_timestamps'), '1\n');
    this.plug();
  }

  /** What the kernel shows. */
  plug(): void {
    const folder = join(this.folder, 'sys/class/net/eth1');
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(join(folder, 'statistics'), { recursive: true });
    mkdirSync(join(folder, 'device'));
    symlinkSync(join(this.folder, 'sys/bus/usb/drivers/cdc_ether'), join(folder, 'device/driver'));
    this.#show();
  }

  unplug(): void {
    rmSync(join(this.folder, 'sys/class/net/eth1'), { recursive: true, force: true });
  }

  #show(): void {
    const folder = join(this.folder, 'sys/class/net/eth1');
    writeFileSync(join(folder, 'ifindex'), `${this.ifindex}\n`);
    for (const [name, value] of Object.entries(this.counters))
      writeFileSync(join(folder, 'statistics', name), `${value}\n`);
  }

  /** Bytes go over the interface, as cdc_ether counts them. */
  move(up: number, down: number): void {
    const upPackets = Math.ceil(up / SEGMENT);
    const downPackets = Math.ceil(down / SEGMENT);
    this.counters.tx_bytes += up + upPackets * 66;
    this.counters.tx_packets += upPackets;
    this.counters.rx_bytes += down + downPackets * 52;
    this.counters.rx_packets += downPackets;
    this.#show();
  }

  /** Customers' bytes: moved, relayed, and committed unless `fly`. */
  relay(up: number, down: number, fly = false): void {
    this.move(up, down);
    this.relayed.up += up;
    this.relayed.down += down;
    this.#flying = { up: this.#flying.up + up, down: this.#flying.down + down };
    if (!fly) this.commit();
  }

  commitOnly(up: number, down: number): void {
    this.#flying = { up: this.#flying.up + up, down: this.#flying.down + down };
    this.commit();
  }

  commit(): void {
    const day = dayOf(this.clock.now());
    const sum = this.committed.get(day) ?? { up: 0, down: 0 };
    this.committed.set(day, { up: sum.up + this.#flying.up, down: sum.down + this.#flying.down });
    this.#flying = { up: 0, down: 0 };
  }

  async start(): Promise<void> {
    this.reconciler = await Reconciler.open({
      dataDir: join(this.folder, 'data'),
      spool: {
        slotDays: async fromDay => ({
          days: [...this.committed]
            .filter(([day]) => day >= fromDay)
            .map(([day, { up, down }]) => ({ day, slot: 1, upBytes: up, downBytes: down })),
          oldestPending: this.oldestPending,
        }),
      },
      bootId: this.boot,
      clock: this.clock,
      now: () => this.clock.now(),
      roots: { sysfs: join(this.folder, 'sys'), proc: join(this.folder, 'proc') },
      log: quietLog,
    });
    this.reconciler.begin({
      slots: () => [{ slot: 1, interface: 'eth1', imei: '860000000000001' }],
      onChange: () => undefined,
      traffic: async () => [
        { slot: 1, openFlows: 0, upBytes: this.relayed.up, downBytes: this.relayed.down },
      ],
      own: async () => [
        { slot: 1, upBytes: this.own.up, downBytes: this.own.down, upDatagrams: 0, downDatagrams: 0 },
      ],
    });
    await this.reconciler.read();
  }

  /** kill -9: what was on its way is gone, the file is as it was written last. */
  die(): void {
    this.#flying = { up: 0, down: 0 };
    this.relayed = { up: 0, down: 0 };
    this.own = { up: 0, down: 0 };
    // Its timers go on here; they read nothing of the next one.
    const dead = this.reconciler;
    Object.assign(dead, { read: async () => undefined });
  }

  /** Lets time go by, and the reading that falls due be over. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.reconciler.read();
  }

  async day(at = this.clock.now()): Promise<SlotDay> {
    const { days } = await this.reconciler.report({ finished: false });
    const day = days.find(one => one.day === dayOf(at));
    if (!day) throw new Error(`no day ${new Date(at).toISOString()}`);
    return day;
  }
}

const total = (bytes: { up: number; down: number } | null) => (bytes === null ? -1 : bytes.up + bytes.down);
/** Carried for customers less what is committed. */
const difference = (day: SlotDay) =>
  total(day.carried) + total(day.unseen) - total(day.own) - total(day.committed);

function scenario(name: string, body: (box: Box) => Promise<void>): void {
  test(name, async () => {
    const dir = await tempDir('book');
    const clock = fakeClock(NOON);
    const box = new Box(dir.path, clock);
    try {
      await box.start();
      await body(box);
    } finally {
      await box.reconciler.close();
      await dir.remove();
    }
  });
}

scenario('what is relayed, committed and carried comes out even, to the byte', async box => {
  box.relay(1 * MIB, 40 * MIB);
  await box.pass(15_000);
  box.relay(3 * MIB, 7 * MIB);
  const day = await box.day();
  assert.equal(day.relayed, { up: 4 * MIB, down: 47 * MIB });
  assert.equal(day.committed, day.relayed);
  assert.equal(day.carried, day.relayed);
  assert.is(day.driver, 'cdc_ether');
  assert.equal([day.crashes, day.resets, total(day.unseen), total(day.unattributed)], [0, 0, 0, 0]);
});

scenario('what the agent itself moves is told apart', async box => {
  box.relay(MIB, MIB);
  box.own = { up: 40_000, down: 90_000 };
  box.move(40_000, 90_000);
  const day = await box.day();
  assert.equal(day.own, { up: 40_000, down: 90_000 });
  assert.is(difference(day), 0);
});

scenario('what other software moves shows as a difference', async box => {
  box.relay(MIB, MIB);
  box.move(0, 9 * MIB);
  assert.is(difference(await box.day()), 9 * MIB);
});

scenario('a day ends at midnight UTC: what comes after is the next one’s', async box => {
  box.relay(MIB, 2 * MIB);
  await box.pass(12 * 3_600_000);
  box.relay(5 * MIB, 6 * MIB);
  const { days } = await box.reconciler.report({ finished: false });
  assert.equal(
    days.map(day => [day.day, day.relayed, day.carried]),
    [
      [dayOf(NOON), { up: MIB, down: 2 * MIB }, { up: MIB, down: 2 * MIB }],
      [dayOf(NOON) + DAY_MS, { up: 5 * MIB, down: 6 * MIB }, { up: 5 * MIB, down: 6 * MIB }],
    ],
  );
});

scenario(
  'a stick that is plugged in again: what its old counters had last is unseen, nothing is made up',
  async box => {
    box.relay(MIB, 10 * MIB);
    await box.pass(15_000);
    // Relayed after the last reading, and never seen in any counter.
    box.relay(0, 2 * MIB);
    box.unplug();
    await box.pass(15_000);
    box.ifindex = 9;
    box.counters = { tx_bytes: 0, rx_bytes: 0, tx_packets: 0, rx_packets: 0 };
    box.plug();
    box.relay(MIB, 3 * MIB);
    await box.pass(15_000);
    const day = await box.day();
    assert.is(day.resets, 1);
    assert.equal(day.unseen, { up: 0, down: 2 * MIB });
    assert.is(difference(day), 0);
  },
);

scenario('counters that begin anew on the same device are a reset, too', async box => {
  box.relay(MIB, 10 * MIB);
  await box.pass(15_000);
  box.counters = { tx_bytes: 0, rx_bytes: 0, tx_packets: 0, rx_packets: 0 };
  box.relay(0, 4 * MIB);
  const day = await box.day();
  assert.is(day.resets, 1);
  assert.is(difference(day), 0);
});

test('counters of 32 bits that went round are told from such that began anew', () => {
  const at = (bytes: number): Counters => ({ upBytes: 0, upPackets: 0, downBytes: bytes, downPackets: 0 });
  assert.is(movedBetween(at(2 ** 32 - 1000), at(500))?.downBytes, 1500);
  assert.is(movedBetween(at(2 ** 31 - 1000), at(500)), null);
  assert.is(movedBetween(at(2 ** 32 + 1000), at(500)), null);
  assert.is(movedBetween(at(2 ** 40), at(2 ** 40 + 7))?.downBytes, 7);
});

scenario('kill -9: what was carried and not committed is unattributed, exactly', async box => {
  box.relay(MIB, 30 * MIB);
  await box.pass(15_000);
  box.relay(MIB, 20 * MIB);
  box.relay(0, 5 * MIB, true);
  box.die();
  await box.start();
  const day = await box.day();
  assert.is(day.crashes, 1);
  assert.equal(day.unattributed, { up: 0, down: 5 * MIB });
  assert.equal(day.committed, { up: 2 * MIB, down: 50 * MIB });
  assert.equal(day.relayed, { up: 2 * MIB, down: 50 * MIB });
  assert.is(difference(day), total(day.unattributed));
});

scenario(
  'kill -9 with bytes on their way at the last reading: lost ones are unattributed, saved ones are not',
  async box => {
    box.relay(0, 6 * MIB, true);
    await box.pass(15_000);
    assert.equal((await box.day()).relayed, { up: 0, down: 6 * MIB });
    box.die();
    await box.start();
    let day = await box.day();
    assert.equal(day.unattributed, { up: 0, down: 6 * MIB });
    assert.is(difference(day), 6 * MIB);

    box.relay(0, 3 * MIB, true);
    await box.pass(15_000);
    box.commit();
    box.die();
    await box.start();
    day = await box.day();
    assert.equal(day.unattributed, { up: 0, down: 6 * MIB }, 'nothing more was lost');
    assert.is(day.crashes, 2);
    assert.is(difference(day), 6 * MIB);
  },
);

scenario('kill -9 with bytes in the buffers of the kernel: they were carried, nobody got them', async box => {
  box.relay(MIB, 30 * MIB);
  await box.pass(15_000);
  // Came in and was not read yet; what was there before goes on meanwhile.
  box.move(0, 5 * MIB);
  await box.pass(15_000);
  box.relay(0, 10 * MIB);
  await box.pass(15_000);
  box.die();
  await box.start();
  const day = await box.day();
  assert.equal(day.unattributed, { up: 0, down: 5 * MIB });
  assert.is(difference(day), 5 * MIB);
});

scenario(
  'kill -9 with bytes that were relayed before they left the box: they are not counted twice',
  async box => {
    box.relay(MIB, 30 * MIB);
    await box.pass(15_000);
    box.relayed.up += 3 * MIB;
    box.commitOnly(3 * MIB, 0);
    await box.pass(15_000);
    box.die();
    // The kernel sends what it has taken, whoever has died.
    box.move(3 * MIB, 0);
    await box.start();
    const day = await box.day();
    assert.equal([total(day.unattributed), difference(day)], [0, 0]);
  },
);

scenario('what other software moved long before a crash is not blamed on the crash', async box => {
  box.relay(MIB, 30 * MIB);
  box.move(0, 9 * MIB);
  for (let minute = 0; minute < 3; minute += 1) {
    await box.pass(60_000);
    box.relay(0, MIB);
  }
  await box.pass(15_000);
  box.die();
  await box.start();
  const day = await box.day();
  assert.is(total(day.unattributed), 0);
  assert.is(difference(day), 9 * MIB);
});

scenario(
  'a power cut: counters begin anew with the boot, what the spool saved is unseen and not a difference',
  async box => {
    box.relay(MIB, 30 * MIB);
    await box.pass(15_000);
    box.relay(0, 4 * MIB);
    box.die();
    box.boot = 'boot-2';
    box.counters = { tx_bytes: 100, rx_bytes: 100, tx_packets: 1, rx_packets: 1 };
    box.plug();
    await box.start();
    box.relay(0, MIB);
    const day = await box.day();
    assert.equal(day.unseen, { up: 0, down: 4 * MIB });
    assert.equal([day.crashes, total(day.unattributed), difference(day)], [1, 0, 0]);
  },
);

scenario(
  'a clean end is no crash, and what goes over the modem while no agent runs is nobody’s',
  async box => {
    box.relay(MIB, 8 * MIB);
    // Relayed after the last reading; the data plane is closed when the book is.
    box.relay(0, 2 * MIB);
    await box.reconciler.close();
    box.relayed = { up: 0, down: 0 };
    box.move(0, 50 * MIB);
    await box.start();
    box.relay(MIB, MIB);
    const day = await box.day();
    assert.equal([day.crashes, difference(day), total(day.unattributed)], [0, 0, 0]);
    assert.equal(day.relayed, { up: 2 * MIB, down: 11 * MIB });
  },
);

scenario(
  'days are told until the cloud has their last word, which comes when all usage is acknowledged',
  async box => {
    box.relay(MIB, MIB);
    await box.pass(12 * 3_600_000 + 60_000);
    box.oldestPending = NOON;
    const tell = async (finished: boolean) => {
      const at = box.clock.now();
      const { oldestPending, days } = await box.reconciler.report({ finished });
      box.reconciler.noted({ at, oldestPending, days });
      return days.map(day => day.day);
    };
    assert.equal(await tell(true), [], 'a metered node waits for the last word');
    assert.equal((await tell(false))[0], dayOf(NOON));
    assert.equal((await tell(false))[0], dayOf(NOON), 'noted, but not final');
    box.oldestPending = null;
    assert.equal(await tell(true), [dayOf(NOON)]);
    assert.equal(await tell(true), []);
    assert.not((await tell(false)).includes(dayOf(NOON)));
  },
);

scenario('forty days are kept', async box => {
  for (let day = 0; day < 45; day += 1) {
    box.relay(MIB, MIB);
    await box.reconciler.read();
    box.clock.jumpTo(box.clock.now() + DAY_MS);
    await box.reconciler.read();
  }
  const days = box.reconciler.rows().map(row => row.day);
  assert.is(days.length, 40);
  assert.is(days.at(-1), dayOf(box.clock.now()) - DAY_MS);
});

test.run();
