import { join } from 'node:path';
import { cloudRoute } from '@mastline/agent/control-plane/cloud-route';
import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { EventJournal } from '@mastline/agent/control-plane/event-journal';
import { watchNode } from '@mastline/agent/control-plane/node-watch';
import { quietLog } from '@mastline/agent/observe/log';
import { eventStore } from '@mastline/agent/spool/event-store';
import type { ModemState, SlotReport } from '@mastline/shared/domain/modem';
import { METERED_PING_INTERVAL_MS, PING_INTERVAL_MS, silenceLimitOf } from '@mastline/shared/wire/limits';
import * as assert from 'uvu/assert';
import { canMakeCertificates, makeCertificates } from '../../support/certificates';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { type Passed, WireMeter, wireBytes } from '../../support/wire-meter';
import { delta } from '../spool/open-spool';
import { AgentRig, withAgent } from './rig';

const test = suite('metered link');
const cleanUps: (() => Promise<void>)[] = [];
test.afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

const DAY_MS = 24 * 3_600_000;
/** What a node may cost its SIM in 30 days while nothing happens. */
const MONTH_BYTES = 6_000_000;
/** Two DNS questions and answers, and 3 KB more of certificates than ours: a public authority's chain. */
const CONNECTION_BYTES = 600 + 3_000;

const modem = (slot: number, state: ModemState = 'connected'): SlotReport => ({
  slot,
  usbPath: `1-1.${slot}`,
  interface: `wwan${slot}`,
  sourceAddress: `192.168.8.10${slot}`,
  state,
  reason: state === 'connected' ? '' : 'the carrier ended the session',
  exitAddress: `100.64.17.2${slot}`,
  imei: `86000000000000${slot}`,
  model: 'E3372h-320',
  firmware: '11.0.1.1(H697SP5C983)',
  virtual: false,
});

/** Days of a node with four modems, over TLS through a meter. What happens on them is the test's. */
class MeteredNode {
  readonly clock = fakeClock();
  readonly rig: AgentRig;
  readonly meter: WireMeter;
  #noticed: () => void = () => undefined;
  #pings = 0;

  private constructor(readonly folder: { path: string; remove(): Promise<void> }) {
    const { clock } = this;
    const tls = makeCertificates(folder.path);
    const time = cloudTime(clock);
    time.correct(clock.now(), 0);
    const journal = new EventJournal({
      store: eventStore(join(folder.path, 'events.db'), clock),
      ...{ time, clock, metered: true, log: quietLog },
    });
    const route = cloudRoute({ caFile: tls.caPath });
    this.rig = new AgentRig({ clock, tls, route, metered: true, journal });
    this.meter = new WireMeter(
      () => Number(new URL(this.rig.cloud.url).port),
      () => clock.monotonicMs(),
    );
    cleanUps.push(async () => {
      await this.rig.stop();
      await journal.close();
      await this.meter.stop();
      await folder.remove();
    });
    this.#journal = journal;
  }

  readonly #journal: EventJournal;

  static async start(): Promise<MeteredNode> {
    const node = new MeteredNode(await tempDir('metered'));
    const { rig, meter } = node;
    rig.slots = [1, 2, 3, 4].map(slot => modem(slot));
    // Whatever the cloud would like to see.
    rig.cloud.misbehave.liveReportMs = 1_000;
    rig.cloudUrl = `https://127.0.0.1:${await meter.listen()}`;
    await rig.start();
    watchNode({
      journal: node.#journal,
      modems: {
        slots: () => rig.slots,
        onChange: listener => {
          node.#noticed = listener;
        },
      },
      rotations: rig.rotations,
      spool: rig.spool,
    });
    await rig.up();
    return node;
  }

  set(slots: SlotReport[]): void {
    this.rig.slots = slots;
    this.#noticed();
    this.rig.changed();
  }

  /** Three minutes with a ping in them, in so many parts. */
  async pass(parts: number, between: (part: number) => void): Promise<void> {
    const pongs = () => this.meter.passed.filter(({ direction }) => direction === 'down').length;
    const heard = pongs();
    for (let part = 0; part < parts; part += 1) {
      between(part);
      await this.clock.advance(METERED_PING_INTERVAL_MS / parts);
    }
    await this.meter.until(() => pongs() > heard);
    this.#pings += 1;
  }

  /** The carrier drops the link. */
  async drop(): Promise<void> {
    const from = this.rig.lines.length;
    this.meter.cut();
    await this.rig.said('the link is down', from);
    await this.clock.advance(1_000);
    await this.rig.said('the link is up', from);
  }

  /** Twice a day each modem loses its session for a moment, and once the link is dropped. */
  async day(parts = 1, between: (part: number) => void = () => undefined): Promise<Passed[]> {
    const before = this.meter.passed.length;
    for (let nth = 1; nth <= DAY_MS / METERED_PING_INTERVAL_MS; nth += 1) {
      if (nth % 60 === 30) {
        const well = this.rig.slots;
        const lost = ((nth - 30) / 60) % 4;
        this.set(well.map((slot, index) => (index === lost ? modem(index + 1, 'registering') : slot)));
        await this.clock.advance(2_000);
        this.set(well);
      }
      if (nth === 240) await this.drop();
      await this.pass(parts, between);
    }
    return this.meter.passed.slice(before);
  }

  said(kind: string): number {
    return this.rig.cloud.received.filter(message => message.kind === kind).length;
  }

  get pings(): number {
    return this.rig.cloud.pings + this.said('ping');
  }
}

/** The dearer of both families. */
const onTheWire = (passed: Passed[]) =>
  Math.max(
    ...[52, 72].map(headerBytes => wireBytes(passed, { headerBytes, connectionBytes: CONNECTION_BYTES })),
  );

if (canMakeCertificates()) {
  test(
    'a quiet node with four modems costs at most 6 MB a month, TLS, TCP and what it remembers included',
    async () => {
      const node = await MeteredNode.start();
      const month = 30 * onTheWire(await node.day());
      const told = `${node.pings} pings, ${node.said('modem-report')} modem reports, ${node.said('event-batch')} batches of events, one new link a day`;
      console.log(`${(month / 1e6).toFixed(2)} MB a month by IPv6 (${told})`);
      assert.ok(node.pings >= 470 && node.pings <= 482, told);
      assert.ok(node.said('modem-report') >= 3, told);
      assert.ok(node.said('event-batch') >= 1, told);
      assert.is(node.said('live-report'), 0);
      assert.is(node.rig.cloud.connections, 2, 'the link was dropped once and came back');
      assert.ok(month <= MONTH_BYTES, `${month} bytes a month`);
      assert.ok(month > MONTH_BYTES / 3, `${month} bytes a month cannot be the whole truth`);
    },
    { deadlineMs: 300_000 },
  );

  test(
    'values of all four modems that creep the whole month, in steps and back, stay within the 6 MB',
    async () => {
      const node = await MeteredNode.start();
      let steps = 0;
      const creep = () => {
        steps += 1;
        node.set(
          node.rig.slots.map((slot, i) => ({ ...slot, reason: `signal ${-95 + ((steps + i) % 7)} dBm` })),
        );
      };
      const first = onTheWire(await node.day(3, creep));
      const before = node.said('modem-report');
      const second = onTheWire(await node.day(3, creep));
      const month = first + 29 * second;
      const told = `${steps} steps in two days, ${before} and ${node.said('modem-report') - before} modem reports`;
      console.log(`${(month / 1e6).toFixed(2)} MB a month by IPv6 (${told})`);
      assert.ok(steps > 2_800, told);
      assert.ok(before >= 8, `what is new is told at first: ${told}`);
      assert.ok(month <= MONTH_BYTES, `${month} bytes a month: ${told}`);
    },
    { deadlineMs: 300_000 },
  );
} else test.skip('a quiet node costs at most 6 MB a month', 'openssl is missing');

test('a cloud of the first day hears pings often enough not to take the node for dead', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      rig.cloud.misbehave.firstDay = true;
      await rig.up();
      const from = rig.lines.length;
      [...rig.cloud.sessions][0]?.cut();
      await rig.said('the link is down', from);
      await clock.advance(1_000);
      await rig.said('the link is up', from);
      await clock.advance(PING_INTERVAL_MS);
      await rig.cloud.next('ping');
    },
    { clock, metered: true },
  );
});

test('gives a silent cloud up after two and a half long pings', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      rig.cloud.misbehave.ignorePings = true;
      await rig.up();
      const from = rig.lines.length;
      // Answers nothing of either kind.
      await clock.advance(silenceLimitOf(METERED_PING_INTERVAL_MS) - 1_000);
      assert.is(rig.plane.status().link.phase, 'up');
      await clock.advance(1_000);
      await rig.said('the link is down', from);
    },
    { clock, metered: true },
  );
});

test('tells the first change of a modem within seconds, and one that flaps every quarter of an hour', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      await clock.advance(3_600_000);
      rig.cloud.received.splice(0);
      const flap = async (nth: number) => {
        rig.slots = [modem(1, nth % 2 === 0 ? 'connected' : 'registering')];
        rig.changed();
        await clock.advance(10_000);
      };
      await flap(1);
      assert.is((await rig.cloud.next('modem-report')).slots[0]?.state, 'registering');
      rig.cloud.received.splice(0);
      for (let nth = 2; nth <= 360; nth += 1) await flap(nth);
      const told = rig.cloud.received.filter(({ kind }) => kind === 'modem-report').length;
      assert.ok(told >= 3 && told <= 4, `${told} reports in an hour of flapping`);
    },
    { clock, metered: true },
  );
});

test('a modem that is as it was told last is no news, however often it was away meanwhile', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      rig.slots = [modem(1)];
      await rig.up();
      await clock.advance(3_600_000);
      rig.cloud.received.splice(0);
      for (let nth = 0; nth < 100; nth += 1) {
        for (const state of ['registering', 'connected'] as const) {
          rig.slots = [modem(1, state)];
          rig.changed();
          await clock.advance(2_000);
        }
        await clock.advance(60_000);
      }
      assert.is(rig.cloud.received.filter(({ kind }) => kind === 'modem-report').length, 0);
    },
    { clock, metered: true },
  );
});

test('sends usage once a minute instead of with each commit', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      for (let nth = 0; nth < 50; nth += 1) {
        await rig.spool.commit([delta()]);
        await clock.advance(1_000);
      }
      assert.is(rig.cloud.received.filter(({ kind }) => kind === 'usage-batch').length, 0);
      await clock.advance(11_000);
      const batch = await rig.cloud.next('usage-batch');
      assert.is(
        batch.records.reduce((sum, { flows }) => sum + flows, 0),
        50,
      );
    },
    { clock, metered: true },
  );
});

test.run();
