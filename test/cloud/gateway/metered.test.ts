/**
 * A node on a metered link, against a whole cloud: its silence is borne as long as it announced, and a quiet month with
 * the real agent's control plane on the other end stays within its bytes. What the agent does by itself, and with clouds
 * of before, is test/agent/control-plane/metered.test.ts.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect as dial } from 'node:net';
import { createServer as createTlsServer, type Server } from 'node:tls';
import { cloudRoute } from '@mastline/agent/control-plane/cloud-route';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import type { SlotReport } from '@mastline/shared/domain/modem';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { METERED_PING_INTERVAL_MS, SILENCE_LIMIT_MS, silenceLimitOf } from '@mastline/shared/wire/limits';
import { AgentRig } from '../../agent/control-plane/rig';
import { canMakeCertificates, makeCertificates } from '../../support/certificates';
import { type FakeClock, fakeClock } from '../../support/clock';
import { connect, deviceKey, enrol } from '../../support/cloud-agent';
import { viewer } from '../../support/cloud-world';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { type TestCloud, testCloud } from '../../support/test-cloud';
import { WireMeter, wireBytes } from '../../support/wire-meter';

const test = suite('cloud/gateway: metered nodes');
const cleanUps: (() => Promise<void>)[] = [];
test.afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const HOUR_MS = 3_600_000;
/** What a node may cost its SIM in 30 days while nothing happens; `CONNECTION_BYTES` as the agent's own test counts. */
const MONTH_BYTES = 6_000_000;
const CONNECTION_BYTES = 600 + 3_000;

async function startedCloud(clock: FakeClock): Promise<{ cloud: TestCloud; claim: () => Promise<string> }> {
  const cloud = await testCloud({}, clock);
  cleanUps.push(async () => {
    // Its deadlines are on a clock that stands still otherwise.
    let stopped = false;
    const stopping = cloud.stop().finally(() => {
      stopped = true;
    });
    while (!stopped) {
      await clock.advance(20);
      await new Promise(resolve => setTimeout(resolve, 1));
    }
    await stopping;
  });
  const host = await viewer(cloud.services as never, 'Hosts', 'host');
  const claim = async () =>
    (
      await createClaim(cloud.services, {
        organizationId: host.active.id,
        nodeName: 'Box',
        createdById: null,
      })
    ).code;
  return { cloud, claim };
}

async function connected(
  { cloud, claim }: Awaited<ReturnType<typeof startedCloud>>,
  hello: { metered?: boolean; pingIntervalMs?: number },
) {
  const key = deviceKey();
  const id = String((await enrol(cloud.url, key, await claim())).body.nodeId);
  const epoch = '01935d3a-0000-7000-8000-000000000001';
  const { link, welcome } = await connect(
    cloud.url,
    { id, privateKey: key.privateKey },
    { epoch, now: 0, ...hello },
  );
  return { id, link, welcome };
}

test('a metered agent may be silent for two and a half of its pings, one of before as long as ever', async () => {
  const clock = fakeClock();
  const started = await startedCloud(clock);
  const metered = await connected(started, { metered: true, pingIntervalMs: METERED_PING_INTERVAL_MS });
  const old = await connected(started, {});
  const hasty = await connected(started, { pingIntervalMs: 1_000 });
  const limitMs = silenceLimitOf(METERED_PING_INTERVAL_MS);
  assert.equal(metered.welcome.silenceLimitMs, limitMs);
  assert.equal(metered.welcome.liveReportMs, 0, 'figures of the moment cost SIM data');
  // None is borne for a shorter time than the first protocol promised.
  for (const each of [old, hasty]) assert.equal(each.welcome.silenceLimitMs, SILENCE_LIMIT_MS);

  await clock.advance(SILENCE_LIMIT_MS + 1_000);
  for (const each of [old, hasty]) assert.equal((await each.link.closed).code, CLOSE.silent);
  await clock.advance(limitMs - SILENCE_LIMIT_MS - 2_000);
  assert.ok(started.cloud.gateway.session(metered.id), 'the metered one is still there');
  await clock.advance(2_000);
  assert.equal((await metered.link.closed).code, CLOSE.silent);
});

const modem = (slot: number): SlotReport => ({
  slot,
  usbPath: `1-1.${slot}`,
  interface: `wwan${slot}`,
  sourceAddress: `192.168.8.10${slot}`,
  state: 'connected',
  reason: '',
  exitAddress: `100.64.17.2${slot}`,
  imei: `86000000000000${slot}`,
  model: 'E3372h-320',
  firmware: '11.0.1.1(H697SP5C983)',
  virtual: false,
});

/** TLS as a reverse proxy before the cloud ends it. */
async function tlsBefore(
  cloudUrl: string,
  certificate: { key: string; cert: string },
): Promise<{ server: Server; port: number }> {
  const server = createTlsServer(certificate, socket => {
    const inner = dial(Number(new URL(cloudUrl).port), '127.0.0.1');
    socket.pipe(inner).pipe(socket);
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

if (canMakeCertificates())
  test(
    'a quiet month of a metered node with four modems costs at most 6 MB, the link dropped once a day',
    async () => {
      const clock = fakeClock();
      const folder = await tempDir('metered-cloud');
      cleanUps.push(folder.remove);
      const { cloud, claim } = await startedCloud(clock);
      const tls = makeCertificates(folder.path);
      const { server, port } = await tlsBefore(cloud.url, tls);
      const meter = new WireMeter(
        () => port,
        () => clock.monotonicMs(),
      );
      const rig = new AgentRig({
        clock,
        claim: await claim(),
        route: cloudRoute({ caFile: tls.caPath }),
        metered: true,
      });
      rig.slots = [1, 2, 3, 4].map(modem);
      rig.cloudUrl = `https://127.0.0.1:${await meter.listen()}`;
      await rig.start();
      cleanUps.push(async () => {
        await rig.stop();
        await meter.stop();
        const closed = once(server, 'close');
        server.close();
        await closed;
      });
      await rig.up();

      /** Quiet for so long, the answer to each ping awaited; the pings are those that the agent likes to send. */
      const quiet = async (ms: number) => {
        for (let spent = 0; spent < ms; spent += METERED_PING_INTERVAL_MS) {
          const answers = () => meter.passed.filter(({ direction }) => direction === 'down').length;
          const heard = answers();
          await clock.advance(METERED_PING_INTERVAL_MS);
          await meter.until(() => answers() > heard);
        }
      };
      // What follows a greeting (desired state, its report, modems) is not part of a quiet hour.
      await eventually(() => rig.applied.length === 1);
      await quiet(HOUR_MS);
      const connectionsBefore = meter.connections;
      let from = meter.passed.length;
      await quiet(4 * HOUR_MS);
      const fourHours = meter.passed.slice(from);
      assert.equal(meter.connections, connectionsBefore, 'nobody gave the link up');
      assert.ok(cloud.gateway.session(rig.nodeId), 'the cloud holds it');

      from = meter.passed.length;
      const lines = rig.lines.length;
      meter.cut();
      await rig.said('the link is down', lines);
      await clock.advance(1_000);
      await rig.said('the link is up', lines);
      await quiet(METERED_PING_INTERVAL_MS);
      const redial = meter.passed.slice(from);
      assert.ok(meter.connections > connectionsBefore);

      const pings = (4 * HOUR_MS) / METERED_PING_INTERVAL_MS;
      const up = fourHours.filter(({ direction }) => direction === 'up').length;
      assert.ok(up >= pings && up < 2 * pings, `${up} frames sent for ${pings} pings`);
      for (const [family, headerBytes] of [
        ['IPv4', 52],
        ['IPv6', 72],
      ] as const) {
        // Costs of a connection belong to the redial: the four hours have none of their own.
        const still = wireBytes(fourHours, { headerBytes, connectionBytes: -7 * headerBytes });
        const dialled = wireBytes(redial, { headerBytes, connectionBytes: CONNECTION_BYTES });
        const month = 30 * (6 * still + dialled);
        console.log(
          `${family}: ${(month / 1e6).toFixed(2)} MB a month; ${Math.round(still / 4)} bytes an hour, ${dialled} a redial`,
        );
        assert.ok(month <= MONTH_BYTES, `${family}: ${month} bytes a month`);
        assert.ok(month > MONTH_BYTES / 3, `${family}: ${month} bytes a month cannot be the whole truth`);
      }
    },
    { deadlineMs: 120_000 },
  );
else test.skip('a quiet month of a metered node costs at most 6 MB', 'openssl is missing');

test.run();
