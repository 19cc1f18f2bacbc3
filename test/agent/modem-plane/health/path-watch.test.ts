/** When a path is probed, what traffic proves or makes doubtful, and what a month of it costs. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { METERED_PACE, PACE, PathWatch } from '@mastline/agent/modem-plane/health/path-watch';
import { METERED_PROBE_BYTES_A_MONTH, MONTH_MS } from '@mastline/agent/modem-plane/health/probe-budget';
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { eventually } from '../../../support/eventually';
import { suite } from '../../../support/suite';

const test = suite('the path through a modem');
let server: Server;
let answer: () => { status: number; location?: string; body: string } | null;
let asked: number;
let clock: FakeClock;
let watch: PathWatch;
let mayProbe: boolean;

test.before(async () => {
  server = createServer((request, response) => {
    asked += 1;
    const said = answer();
    if (said === null) return void request.socket.resetAndDestroy();
    const { status, location, body } = said;
    response.writeHead(status, { 'content-type': 'text/plain', ...(location ? { location } : {}) }).end(body);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
});
test.after(() => {
  server.close();
  server.closeAllConnections();
});
test.afterEach(() => watch.shut());

const well = () => ({ status: 200, body: '198.51.100.7' });
const dead = () => null;
const path = { localAddress: '127.0.0.3', dnsServers: [] };

async function start(metered = false): Promise<void> {
  asked = 0;
  mayProbe = true;
  answer = well;
  clock = fakeClock();
  watch = new PathWatch({
    echoUrls: [`http://127.0.0.1:${(server.address() as AddressInfo).port}/ip`],
    metered,
    clock,
    log: quietLog,
    mayProbe: () => mayProbe,
    onChange: () => undefined,
  });
  watch.open(path);
  await probed(1);
}
/** Until so many probes have been made and taken in. */
async function probed(times: number): Promise<void> {
  await clock.advance(0);
  await eventually(() => asked >= times && !watch.isProbing());
}
/** Moves on to the next probe that is due within `ms`; true when there was one. */
async function passes(ms: number): Promise<number> {
  const before = asked;
  await clock.advance(ms);
  await eventually(() => !watch.isProbing());
  return asked - before;
}
const traffic = (upBytes: number, downBytes: number) =>
  watch.noteTraffic({ slot: 1, openFlows: 1, upBytes, downBytes });
const kind = () => watch.facts().proof.kind;

test('a quiet path is probed at its pace', async () => {
  await start();
  assert.is(kind(), 'carries');
  assert.is(await passes(PACE.quietMs - 1), 0);
  assert.is(await passes(2), 1);
});

test('traffic that comes back is proof: only the exit address is asked for, more seldom', async () => {
  await start();
  let down = 0;
  for (let at = 0; at < PACE.busyMs - 10_000; at += 5000) {
    down += 1000;
    traffic(100, down);
    assert.is(await passes(5000), 0);
  }
  for (let at = 0; at < 45_000; at += 5000) {
    down += 1000;
    traffic(100, down);
    await passes(5000);
  }
  assert.is(asked, 2);
});

test('traffic that goes out and never comes back is doubted at once, and found dead by two probes', async () => {
  await start();
  answer = dead;
  traffic(0, 500);
  for (let up = 1; up <= 3 && asked === 1; up += 1) {
    traffic(up * 1000, 500);
    await passes(1);
  }
  assert.is(kind(), 'silent');
  await passes(PACE.doubtMs);
  const { proof } = watch.facts();
  assert.ok(proof.kind === 'silent' && proof.failures === 2 && proof.carriedBefore);
});

test('a doubt is probed at once, also when traffic has proven the path a moment ago', async () => {
  await start();
  traffic(0, 500);
  traffic(0, 1000);
  watch.apiFailed();
  assert.is(watch.facts().provenSinceApiFailed, false);
  assert.is(await passes(1), 1);
  assert.is(watch.facts().provenSinceApiFailed, true);
});

test('a dead path is alive with the first byte that comes back, without a probe', async () => {
  await start();
  answer = dead;
  traffic(0, 0);
  watch.doubt();
  await passes(1);
  assert.is(kind(), 'silent');
  const before = asked;
  traffic(10, 10);
  assert.is(kind(), 'carries');
  assert.is(asked, before);
});

test('a carrier’s page is traffic, too, and proves nothing', async () => {
  await start();
  answer = () => ({ status: 302, location: 'http://shop.test/topup', body: '' });
  traffic(0, 0);
  watch.doubt();
  await passes(1);
  assert.is(kind(), 'captive');
  traffic(1000, 90_000);
  assert.is(kind(), 'captive');
  answer = well;
  await passes(PACE.captiveMs);
  assert.is(kind(), 'carries');
});

test('an API that fell silent leaves only what comes through', async () => {
  await start();
  watch.apiFailed();
  assert.is(watch.facts().provenSinceApiFailed, false);
  await passes(1);
  assert.is(watch.facts().provenSinceApiFailed, true);
});

test('where no byte may go, none goes', async () => {
  await start();
  mayProbe = false;
  watch.doubt();
  assert.is(await passes(10 * PACE.quietMs), 0);
});

test(
  'a metered month costs at most 1 MB, quiet or dead all the time',
  async () => {
    for (const says of [well, dead]) {
      await start(true);
      answer = says;
      for (let at = 0; at < MONTH_MS; at += METERED_PACE.doubtMs * 360)
        await passes(METERED_PACE.doubtMs * 360);
      const { wireBytes } = watch.figures();
      assert.ok(asked > 100, `${asked} probes`);
      assert.ok(wireBytes <= METERED_PROBE_BYTES_A_MONTH, `${wireBytes} bytes`);
      watch.shut();
    }
  },
  { deadlineMs: 60_000 },
);

test.run();
