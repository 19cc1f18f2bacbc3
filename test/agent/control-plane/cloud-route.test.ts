import dns from 'node:dns';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { askCloud } from '@mastline/agent/control-plane/cloud-request';
import { cloudRoute } from '@mastline/agent/control-plane/cloud-route';
import { systemClock } from '@mastline/shared/base/clock';
import type { CodedError } from '@mastline/shared/base/coded-error';
import { ChallengeReply } from '@mastline/shared/wire/enrolment';
import * as assert from 'uvu/assert';
import { FakeProxy } from '../../simulators/fake-proxy';
import { type Certificates, canMakeCertificates, makeCertificates } from '../../support/certificates';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { delta, totals } from '../spool/open-spool';
import { AgentRig, type RigOptions, withAgent } from './rig';

const test = suite('the way to the cloud');
const hasCertificates = canMakeCertificates();
let folder: Awaited<ReturnType<typeof tempDir>>;
let made: Certificates;
test.before(async () => {
  folder = await tempDir('route');
  if (hasCertificates) made = makeCertificates(folder.path);
});
test.after(() => folder.remove());

/** An agent whose only way out is a proxy. */
async function throughProxy(
  proxy: FakeProxy,
  options: RigOptions & { userinfo?: string },
  body: (rig: AgentRig) => Promise<void>,
): Promise<void> {
  await proxy.listen();
  const route = cloudRoute({ proxy: proxy.url(options.userinfo), caFile: options.tls && made.caPath });
  try {
    await withAgent(body, { ...options, route });
  } finally {
    await proxy.stop();
  }
}

/** Everything the agent says: challenge, upgrade, usage. */
async function carriesUsage(rig: AgentRig): Promise<void> {
  await rig.up();
  await rig.spool.commit([delta()]);
  assert.equal(await rig.plane.close(5_000), { flushed: true });
  assert.equal(totals(rig.cloud.ledger.records()), { up: 10, down: 100, flows: 1 });
}

test('goes through a proxy that wants nothing, with every connection', () => {
  const proxy = new FakeProxy();
  return throughProxy(proxy, {}, async rig => {
    await carriesUsage(rig);
    const place = new URL(rig.cloud.url).host;
    assert.equal(proxy.tunnels, [place, place, place], 'enrolment, challenge, link');
    assert.equal(proxy.authorizations, ['', '', '']);
  });
});

test('gives a proxy its credentials, decoded, and shows them nowhere', () => {
  const proxy = new FakeProxy();
  proxy.credentials = 'box é:p@ss:w/rd%';
  const userinfo = `${encodeURIComponent('box é')}:${encodeURIComponent('p@ss:w/rd%')}`;
  return throughProxy(proxy, { userinfo }, async rig => {
    await carriesUsage(rig);
    const said = JSON.stringify(rig.lines);
    assert.not.match(said, 'p@ss');
    assert.not.match(said, encodeURIComponent('p@ss:w/rd%'));
    assert.not.match(said, Buffer.from('box é:p@ss:w/rd%', 'utf8').toString('base64'));
  });
});

test('names the proxy and the remedy when it refuses, breaks off or talks nonsense, and dials again', () => {
  const proxy = new FakeProxy();
  return throughProxy(proxy, { userinfo: 'a:wrong-one' }, async rig => {
    await rig.up();
    const sees = async (problem: RegExp) => {
      [...rig.cloud.sessions][0]?.cut();
      await rig.until(() => problem.test(rig.plane.status().link.problem ?? ''));
      assert.not.match(rig.plane.status().link.problem ?? '', 'wrong-one');
    };
    proxy.credentials = 'a:b';
    await sees(/wants other credentials \(status 407\)/);
    proxy.credentials = undefined;
    await rig.up();
    for (const [answer, problem] of [
      ['HTTP/1.1 403 Forbidden\r\n\r\n', /does not connect to 127\.0\.0\.1:\d+ \(status 403\)/],
      ['HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy', /status 503/],
      ['SSH-2.0-OpenSSH_9\r\n', /cannot be used: Parse Error/],
      [`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, /cannot be used: Parse Error: Header overflow/],
      ['', /cannot be used: socket hang up/],
    ] as const) {
      proxy.rawAnswer = answer;
      await sees(problem);
      proxy.rawAnswer = undefined;
      await rig.up();
    }
    await carriesUsage(rig);
  });
});

test('gives a proxy that says nothing up at its deadline and leaves no socket', async () => {
  const clock = fakeClock();
  const proxy = new FakeProxy();
  await throughProxy(proxy, { clock }, async rig => {
    await rig.up();
    proxy.hangs = true;
    const from = rig.lines.length;
    [...rig.cloud.sessions][0]?.cut();
    await rig.said('the link is down', from);
    await clock.advance(1_000);
    while (proxy.authorizations.length < 4) await new Promise(resolve => setImmediate(resolve));
    const before = rig.lines.length;
    await clock.advance(10_000);
    await rig.said('the link is down', before);
    assert.match(rig.plane.status().link.problem ?? '', /no answer within 10000 ms/);
    // It may be dialling again by now; the socket of the first try is gone.
    while (proxy.open > 1) await new Promise(resolve => setImmediate(resolve));
  });
});

test('comes back after the proxy was restarted', () => {
  const proxy = new FakeProxy();
  return throughProxy(proxy, {}, async rig => {
    await rig.up();
    const { connections } = rig.cloud;
    proxy.cut();
    await rig.until(() => rig.cloud.connections > connections && rig.plane.status().link.phase === 'up');
  });
});

if (hasCertificates) {
  test('believes a cloud of a private authority only when it is told to', async () => {
    const rig = new AgentRig({ tls: made });
    try {
      await rig.start();
      assert.unreachable('enrolled with a stranger');
    } catch (error) {
      assert.is((error as CodedError).code, 'cloud/unreachable');
      assert.match((error as CodedError).message, /certificate/);
    } finally {
      await rig.cloud.stop();
    }
    await withAgent(carriesUsage, { tls: made, route: cloudRoute({ caFile: made.caPath }) });
  });

  test('does not believe a certificate for another name', async () => {
    const elsewhere = await tempDir('route');
    const other = makeCertificates(elsewhere.path, 'DNS:elsewhere.invalid,IP:127.0.0.9');
    const rig = new AgentRig({ tls: other, route: cloudRoute({ caFile: other.caPath }) });
    try {
      await rig.start();
      assert.unreachable('enrolled with a stranger');
    } catch (error) {
      assert.is((error as CodedError).code, 'cloud/unreachable');
      assert.match((error as CodedError).message, /IP: 127\.0\.0\.1 is not in the cert/);
    } finally {
      await rig.cloud.stop();
      await elsewhere.remove();
    }
  });

  test('speaks TLS to the cloud inside the tunnel, also when the proxy itself is spoken to in TLS', async () => {
    for (const proxy of [new FakeProxy(), new FakeProxy(made)])
      await throughProxy(proxy, { tls: made }, carriesUsage);
  });
} else test.skip('TLS to the cloud', 'openssl is missing');

test('refuses a certificate file that is none, by name and with the remedy', async () => {
  const write = async (name: string, text: string) => {
    await writeFile(join(folder.path, name), text);
    return join(folder.path, name);
  };
  const pem = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
  for (const [caFile, problem] of [
    [join(folder.path, 'nowhere.pem'), /cannot be read: ENOENT/],
    [await write('empty.pem', 'hello'), /holds no certificate/],
    [await write('broken.pem', pem('AAAA')), /holds a broken certificate \(number 1\)/],
  ] as const)
    try {
      cloudRoute({ caFile });
      assert.unreachable(caFile);
    } catch (error) {
      assert.is((error as CodedError).code, 'config/ca-file');
      assert.match((error as CodedError).userMessage, caFile);
      assert.match((error as CodedError).userMessage, problem);
    }
});

test('refuses credentials that are not percent-encoded without quoting them', () => {
  try {
    cloudRoute({ proxy: 'http://a:50%zz@127.0.0.1:3128' });
    assert.unreachable();
  } catch (error) {
    assert.is((error as CodedError).code, 'config/proxy');
    assert.not.match(String((error as CodedError).message + (error as CodedError).userMessage), '%zz');
  }
});

test('says so when nothing listens where the proxy should be', async () => {
  const proxy = new FakeProxy();
  await proxy.listen();
  const url = proxy.url();
  await proxy.stop();
  const rig = new AgentRig({ route: cloudRoute({ proxy: url }) });
  try {
    await rig.start();
    assert.unreachable();
  } catch (error) {
    assert.is((error as CodedError).code, 'proxy/unreachable');
    assert.match((error as CodedError).userMessage, /Check cloud\.proxy/);
  } finally {
    await rig.cloud.stop();
  }
});

test('asks for the cloud’s name anew with each connection: where the name has moved to is where it goes', async () => {
  const addresses = ['127.0.0.2', '127.0.0.3'];
  const servers: Server[] = [];
  let port = 0;
  for (const address of addresses) {
    const server = createServer((request, response) => {
      // As a balancer does: it would gladly be asked again over the same connection.
      response.writeHead(200, { 'content-type': 'application/json', connection: 'keep-alive' });
      request
        .resume()
        .on('end', () => response.end(JSON.stringify({ nonce: `from the cloud at ${address}` })));
    });
    servers.push(server);
    await new Promise<void>(resolve => server.listen(port, address, resolve));
    port = (server.address() as AddressInfo).port;
  }
  const lookup = dns.lookup;
  let moves = 0;
  // What net.connect asks, for a name that only this test knows.
  dns.lookup = ((name: string, _options: object, told: (error: null, found: object[]) => void) => {
    assert.is(name, 'cloud.test');
    told(null, [{ address: addresses[moves++], family: 4 }]);
  }) as unknown as typeof dns.lookup;
  try {
    for (const address of addresses)
      assert.equal(
        await askCloud({
          cloudUrl: `http://cloud.test:${port}`,
          path: '/agent/challenge',
          body: { nodeId: 'node' },
          answer: ChallengeReply,
          clock: systemClock,
        }),
        { is: 'ok', body: { nonce: `from the cloud at ${address}` } },
      );
  } finally {
    dns.lookup = lookup;
    for (const server of servers) {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    }
  }
});

test.run();
