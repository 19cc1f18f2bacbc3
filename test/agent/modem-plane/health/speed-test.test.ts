/** The speed test against the bundled origin and against servers that do not do their part. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type SpeedTestRequest, speedTest } from '@mastline/agent/modem-plane/health/speed-test';
import { openStatusPage } from '@mastline/agent/observe/status-page';
import { askSpeedTest, inWords, speedTestAction } from '@mastline/agent/speedtest-command';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { type Origin, startOrigin } from '../../../simulators/origin';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { Rig } from '../recovery/rig';

const test = suite('speed test');
let origin: Origin;
const servers: Server[] = [];
test.before(async () => {
  origin = await startOrigin({ host: '127.0.0.1', port: 0 });
});
test.after(async () => {
  await origin.close();
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

const request = (over: Partial<SpeedTestRequest> = {}): SpeedTestRequest => ({
  downUrl: `${origin.url}/bytes/{bytes}?id=speed`,
  upUrl: `${origin.url}/sink?id=speed`,
  maxBytes: 8_000_000,
  localAddress: '127.0.0.9',
  dnsServers: [],
  clock: systemClock,
  signal: new AbortController().signal,
  ...over,
});
async function serve(answer: (url: string) => { status: number; body: Buffer }): Promise<string> {
  const server = createServer((incoming, response) => {
    const { status, body } = answer(incoming.url ?? '');
    response.writeHead(status).end(body);
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const codeOfFailure = (work: Promise<unknown>) => work.then(() => 'none', codeOf);

test('measures both ways from the slot’s address, and costs no more than its budget', async () => {
  const result = await speedTest(request());
  const connections = origin.report('speed').connections;
  assert.ok(connections.length === 2 && connections.every(one => one.remoteAddress === '127.0.0.9'));
  const moved = connections.reduce((sum, one) => sum + one.bytesSent + one.bytesReceived, 0);
  assert.ok(moved <= 8_000_000, `${moved} bytes`);
  assert.ok(moved > 7_000_000, 'the budget is used');
  assert.ok(result.usedBytes >= moved - 2000 && result.usedBytes <= 8_000_000);
  assert.ok(result.down.bytes > (result.up?.bytes ?? 0));
  assert.ok(result.down.bitsPerSecond > 0 && (result.up?.bitsPerSecond ?? 0) > 0);
});

test('without a server for uploads all of the budget is the download’s', async () => {
  const result = await speedTest(request({ upUrl: undefined, maxBytes: 1_000_000 }));
  assert.is(result.up, null);
  assert.is(result.down.bytes, Math.floor(1_000_000 / 1.07));
  assert.match(
    inWords(3, result),
    /^Slot 3: first byte after \d+ ms\n {2}down .* Mbit\/s .*\n {2}up {4}not measured/,
  );
});

test('a server that gives more than it was asked for does not get at the SIM’s data', async () => {
  const url = await serve(() => ({ status: 200, body: Buffer.alloc(50_000_000) }));
  const result = await speedTest(request({ downUrl: `${url}/{bytes}`, upUrl: undefined, maxBytes: 500_000 }));
  assert.ok(result.down.bytes < 5_000_000, `${result.down.bytes} bytes`);
});

test('refusals and failures are told, and none of them hangs', async () => {
  const url = await serve(() => ({ status: 404, body: Buffer.from('no') }));
  assert.is(await codeOfFailure(speedTest(request({ downUrl: `${url}/{bytes}` }))), 'speedtest/bad-answer');
  assert.is(await codeOfFailure(speedTest(request({ upUrl: `${url}/` }))), 'speedtest/bad-answer');
  assert.is(await codeOfFailure(speedTest(request({ maxBytes: 10 }))), 'speedtest/budget');
  const dead = 'http://127.0.0.1:1/{bytes}';
  assert.is(await codeOfFailure(speedTest(request({ downUrl: dead }))), 'speedtest/failed');
  const gone = AbortSignal.abort();
  assert.is(await codeOfFailure(speedTest(request({ signal: gone }))), 'speedtest/failed');
});

test('the plane tests slots that are ready, one at a time; the action checks what it is told', async () => {
  const plain = await Rig.start();
  assert.is(await codeOfFailure(plain.plane.speedTest(1, 1_000_000)), 'speedtest/no-servers');
  await plain.close();
  const { downUrl, upUrl } = request();
  const rig = await Rig.start({ plane: { speedTest: { downUrl, upUrl } } });
  try {
    const first = rig.plane.speedTest(1, 1_000_000);
    assert.is(await codeOfFailure(rig.plane.speedTest(1, 1_000_000)), 'speedtest/busy');
    assert.ok((await first).down.bytes > 0);
    assert.is(await codeOfFailure(rig.plane.speedTest(9, 1_000_000)), 'speedtest/no-slot');
    const action = speedTestAction(rig.plane);
    assert.is(
      await codeOfFailure(action(new URLSearchParams({ slot: 'x', maxMb: '1' }))),
      'speedtest/no-slot',
    );
    for (const maxMb of ['', '0', '-1', 'x', '1e9'])
      assert.is(await codeOfFailure(action(new URLSearchParams({ slot: '1', maxMb }))), 'speedtest/budget');
    const dir = await tempDir('speed');
    const page = await openStatusPage(dir.path, () => ({}), {
      metrics: async () => [],
      actions: { speedtest: action },
    });
    assert.ok((await askSpeedTest(dir.path, 1, 1)).usedBytes <= 1_000_000);
    assert.is(await codeOfFailure(askSpeedTest(dir.path, 9, 1)), 'speedtest/no-slot');
    await page.close();
    await dir.remove();
    await rig.stick().carrier.hangUp();
    await rig.until(() => rig.report().state !== 'connected', 'down');
    assert.is(await codeOfFailure(rig.plane.speedTest(1, 1_000_000)), 'speedtest/not-ready');
  } finally {
    await rig.close();
  }
});

test.run();
