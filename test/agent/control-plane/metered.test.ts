import { cloudRoute } from '@mastline/agent/control-plane/cloud-route';
import type { ModemState, SlotReport } from '@mastline/shared/domain/modem';
import { METERED_PING_INTERVAL_MS, PING_INTERVAL_MS, silenceLimitOf } from '@mastline/shared/wire/limits';
import * as assert from 'uvu/assert';
import { canMakeCertificates, makeCertificates } from '../../support/certificates';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { WireMeter, wireBytes } from '../../support/wire-meter';
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

if (canMakeCertificates())
  test(
    'a quiet node with four modems costs at most 6 MB a month, TLS and TCP included',
    async () => {
      const clock = fakeClock();
      const folder = await tempDir('metered');
      const tls = makeCertificates(folder.path);
      const rig = new AgentRig({ clock, tls, route: cloudRoute({ caFile: tls.caPath }), metered: true });
      const meter = new WireMeter(
        () => Number(new URL(rig.cloud.url).port),
        () => clock.monotonicMs(),
      );
      rig.slots = [1, 2, 3, 4].map(slot => modem(slot));
      // Whatever the cloud would like to see.
      rig.cloud.misbehave.liveReportMs = 1_000;
      rig.cloudUrl = `https://127.0.0.1:${await meter.listen()}`;
      await rig.start();
      cleanUps.push(async () => {
        await rig.stop();
        await meter.stop();
        await folder.remove();
      });
      await rig.up();
      const before = meter.passed.length;
      const count = { pings: 0, reports: 0 };
      const begunMs = clock.monotonicMs();
      for (let nth = 1; clock.monotonicMs() < begunMs + DAY_MS; nth += 1) {
        // Twice a day each modem loses its session for a moment, and once the carrier drops the link.
        if (nth % 60 === 30)
          for (const state of ['registering', 'connected'] as const) {
            rig.slots = rig.slots.map((slot, index) =>
              index === (nth / 30) % 4 ? modem(index + 1, state) : slot,
            );
            rig.changed();
            await clock.advance(2_000);
          }
        if (nth === 240) {
          const from = rig.lines.length;
          meter.cut();
          await rig.said('the link is down', from);
          await clock.advance(1_000);
          await rig.said('the link is up', from);
        }
        const pongs = () => meter.passed.filter(({ direction }) => direction === 'down').length;
        const heard = pongs();
        await clock.advance(METERED_PING_INTERVAL_MS);
        await meter.until(() => pongs() > heard);
      }
      count.pings = rig.cloud.pings;
      for (const message of rig.cloud.received) {
        if (message.kind === 'ping') count.pings += 1;
        assert.is.not(message.kind, 'live-report');
        if (message.kind === 'modem-report') count.reports += 1;
      }
      assert.ok(count.pings >= 470 && count.pings <= 480, `${count.pings} pings`);
      assert.ok(count.reports >= 4, `${count.reports} modem reports`);
      assert.is(rig.cloud.connections, 2, 'the link was dropped once and came back');
      const day = meter.passed.slice(before);
      for (const [family, headerBytes] of [
        ['IPv4', 52],
        ['IPv6', 72],
      ] as const) {
        const month = 30 * wireBytes(day, { headerBytes, connectionBytes: CONNECTION_BYTES });
        console.log(
          `${family}: ${(month / 1e6).toFixed(2)} MB a month (${count.pings} pings, ${count.reports} modem reports, one new link a day)`,
        );
        assert.ok(month <= MONTH_BYTES, `${family}: ${month} bytes a month`);
        assert.ok(month > MONTH_BYTES / 3, `${family}: ${month} bytes a month cannot be the whole truth`);
      }
    },
    { deadlineMs: 120_000 },
  );
else test.skip('a quiet node costs at most 6 MB a month', 'openssl is missing');

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
