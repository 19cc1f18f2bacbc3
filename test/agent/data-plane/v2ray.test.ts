/**
 * SOCKS5 and HTTP endpoints judged by v2ray's own clients of them, which nobody wrote with us in mind: TCP with curl
 * in front, and UDP ASSOCIATE with a QUIC-like client behind v2ray's transparent UDP port.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { ALICE } from './clients';
import { plainWay } from './datagram-ways';
import { curl, digest, startPeers, webOrigin } from './peers';
import { openQuic, startQuicServer } from './quic-like';
import { memorySink, startRig } from './rig';

const test = suite('SOCKS5 and HTTP endpoints, judged by v2ray', { needs: ['curl', 'v2ray'] });
const HOST = '127.0.0.1';
const peers = startPeers();
test.after(() => peers.stop());

async function rigWithSink() {
  const sink = memorySink();
  return { ...(await startRig({ sink })), sink };
}

/** v2ray between `inbound` and our endpoint, which it takes for an upstream proxy of `protocol`. */
async function startV2ray(protocol: 'socks' | 'http', ourPort: number, inbound: object): Promise<void> {
  const dir = await tempDir('v2ray');
  const user = { user: ALICE.username, pass: ALICE.secret };
  const config = {
    log: { loglevel: 'info' },
    inbounds: [{ listen: HOST, ...inbound }],
    outbounds: [{ protocol, settings: { servers: [{ address: HOST, port: ourPort, users: [user] }] } }],
  };
  await writeFile(join(dir.path, 'config.json'), JSON.stringify(config));
  await peers.start('v2ray', ['-config', join(dir.path, 'config.json')], /V2Ray [\d.]+ started/);
  await dir.remove();
}

for (const protocol of ['socks', 'http'] as const)
  test(`v2ray as a client of ${protocol}: downloads by address and by name, and uploads, whole`, async () => {
    const [rig, web, port] = [await rigWithSink(), await webOrigin(1_000_000), await freePort()];
    await startV2ray(protocol, rig.port, { port, protocol: 'socks', settings: {} });
    const proxy = ['-x', `socks5h://${HOST}:${port}`];
    for (const host of [HOST, 'localhost']) {
      const got = await curl(...proxy, `http://${host}:${web.port}/`);
      assert.is(digest(got.out), digest(web.body), got.err);
    }
    const dir = await tempDir('upload');
    await writeFile(join(dir.path, 'body'), web.body);
    const sent = await curl(...proxy, '-T', join(dir.path, 'body'), `http://${HOST}:${web.port}/`);
    assert.is(sent.out, digest(web.body), sent.err);
    await dir.remove();
    await rig.close();
    const { up, down, flows } = rig.sink.total();
    assert.is(flows, 3);
    assert.ok(up > web.body.length && down > 2 * web.body.length, `${up} up, ${down} down`);
    await web.close();
  });

test('v2ray as a client of UDP ASSOCIATE: a QUIC-like connection, none lost, bent or miscounted', async () => {
  const [rig, server, port] = [await rigWithSink(), await startQuicServer(), await freePort()];
  await startV2ray('socks', rig.port, {
    port,
    protocol: 'dokodemo-door',
    settings: { address: HOST, port: server.port, network: 'udp' },
  });
  const way = await plainWay(port);
  const client = await openQuic(way, server.port, 1);
  // Of datagrams that come at once v2ray loses some by itself.
  for (let sent = 0; sent < 300; sent += 1) await client.burst(1);
  assert.equal([client.corrupt, server.corrupt], [0, 0]);
  await way.close();
  await rig.close();
  assert.equal(rig.sink.total(), { up: server.heardBytes, down: server.saidBytes, flows: 1 });
  assert.equal([client.saidBytes, client.heardBytes], [server.heardBytes, server.saidBytes]);
  await server.close();
});

test.run();
