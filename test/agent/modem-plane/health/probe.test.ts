/** One probe: who answers, who does not, and what it makes of services that are down. Real sockets. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ProbeRequest, probe } from '@mastline/agent/modem-plane/health/probe';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { type NameServer, startNameServer } from '../../../simulators/name-server';
import { suite } from '../../../support/suite';

const test = suite('a probe');
const servers: Server[] = [];
let dns: NameServer;
test.before(async () => {
  dns = await startNameServer({
    host: '127.0.0.2',
    port: 0,
    names: { 'echo.mastline.test': ['127.0.0.1'] },
    forward: async () => {
      throw new Error('no way to the root servers');
    },
  });
});
test.after(async () => {
  await dns.close();
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(body: string | null, status = 200): Promise<string> {
  const server = createServer((_, response) => {
    if (body === null) response.destroy();
    else response.writeHead(status, { 'content-type': 'text/plain' }).end(body);
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ip`;
}
const nobodyListens = 'http://127.0.0.1:1/ip';
/** From a loopback address no packet leaves for there: as dead as any. */
const noWay = 'http://192.0.2.1:80/ip';
const ask = (over: Partial<ProbeRequest>) =>
  probe({
    urls: [],
    localAddress: '127.0.0.3',
    dnsServers: [],
    clock: systemClock,
    signal: new AbortController().signal,
    ...over,
  });

test('tells the address, how long it took, and what it cost', async () => {
  const { outcome, connectMs, answerMs, wireBytes } = await ask({ urls: [await serve('198.51.100.7')] });
  assert.equal(outcome, { kind: 'carries', address: '198.51.100.7', problem: '' });
  assert.ok(connectMs !== null && answerMs !== null && connectMs <= answerMs);
  assert.ok(wireBytes > 500 && wireBytes < 2000);
});

test('a second service makes up for a first that says nothing of use', async () => {
  const { outcome } = await ask({ urls: [await serve(null), await serve('198.51.100.8')] });
  assert.equal(outcome, { kind: 'carries', address: '198.51.100.8', problem: '' });
});

test('one that refuses is down itself: its refusal came through the modem', async () => {
  const { outcome } = await ask({ urls: [nobodyListens] });
  assert.ok(outcome.kind === 'carries' && outcome.address === null);
  assert.match(outcome.problem, /ECONNREFUSED/);
});

test('when no service is reached but a name server answers, it is the services that are down', async () => {
  const dnsServers = [`${dns.address}:${dns.port}`];
  const { outcome } = await ask({ urls: [noWay], dnsServers });
  // This one answers, but only that it could not find out: it has reached nobody itself.
  assert.is(outcome.kind, 'silent');
  const named = await ask({ urls: ['http://gone.mastline.test/ip'], dnsServers });
  assert.ok(named.outcome.kind === 'carries' && named.outcome.address === null);
  assert.match(named.outcome.problem, /no echo service answers, but the name server does/);
});

test('when nobody answers at all, it is silent, and says what each did', async () => {
  const silent = await ask({ urls: [noWay] });
  assert.is(silent.outcome.kind, 'silent');
  const cut = await ask({ urls: [await serve(null)], dnsServers: [`${dns.address}:${dns.port}`] });
  // It was let through to the door and thrown out there: that is no dead service.
  assert.is(cut.outcome.kind, 'silent');
});

test('given up, it ends at once', async () => {
  const { outcome } = await ask({ urls: [await serve('198.51.100.9')], signal: AbortSignal.abort() });
  assert.is(outcome.kind, 'silent');
});

test.run();
