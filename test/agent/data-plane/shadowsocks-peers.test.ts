/** Shadowsocks endpoints judged by the clients that people use: ss-local and v2ray, with curl, a QUIC-like client and DNS queries behind them. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { decode, encode } from 'dns-packet';
import * as assert from 'uvu/assert';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { socks5Way } from './datagram-ways';
import { curl, digest, startPeers, webOrigin } from './peers';
import { openQuic, startQuicServer } from './quic-like';
import { credential, memorySink, SECRET, startRig } from './rig';
import { AEAD, type MethodName, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite('Shadowsocks endpoints, judged by real clients', { needs: ['curl', 'ss-local', 'v2ray'] });
const HOST = '127.0.0.1';
const peers = startPeers();
test.after(() => peers.stop());

async function rigFor(method: MethodName) {
  const sink = memorySink();
  const port = await freePort();
  const rig = await startRig({
    sink,
    plan: {
      endpoints: [shadowsocksEndpoint(port, method, { c0: 'another', c1: SECRET })],
      credentials: [credential({ id: 'c0', username: 'bob' }), credential()],
    },
  });
  return { ...rig, sink };
}

/** Downloads, by address and by name, and uploads, every byte compared. */
async function judgedByCurl(socksPort: number, web: Awaited<ReturnType<typeof webOrigin>>): Promise<void> {
  const proxy = ['-x', `socks5h://${HOST}:${socksPort}`];
  for (const host of [HOST, 'localhost']) {
    const got = await curl(...proxy, `http://${host}:${web.port}/`);
    assert.is(got.code, 0, got.err);
    assert.is(digest(got.out), digest(web.body));
  }
  const dir = await tempDir('upload');
  await writeFile(join(dir.path, 'body'), web.body);
  const sent = await curl(...proxy, '-T', join(dir.path, 'body'), `http://${HOST}:${web.port}/`);
  assert.is(sent.out, digest(web.body), sent.err);
  await dir.remove();
}

/** A DNS query through a local SOCKS5 port's UDP ASSOCIATE; the answer is what our name server said. */
async function judgedByDns(socksPort: number): Promise<void> {
  const server = dgram.createSocket('udp4');
  server.on('message', (query, from) => {
    const { id, questions } = decode(query);
    const answers = [{ type: 'A' as const, name: questions?.[0]?.name ?? '', data: '192.0.2.7' }];
    server.send(
      encode({ type: 'response', id: id ?? 0, questions: questions ?? [], answers }),
      from.port,
      from.address,
    );
  });
  server.bind(0, HOST);
  await once(server, 'listening');
  const control = connect(socksPort, HOST);
  control.write(Buffer.from([5, 1, 0]));
  await once(control, 'data');
  control.write(Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
  const [reply] = (await once(control, 'data')) as [Buffer];
  assert.is(reply[1], 0);
  const client = dgram.createSocket('udp4');
  const { port } = server.address();
  const question = encode({ type: 'query', id: 77, questions: [{ type: 'A', name: 'example.test' }] });
  client.send(
    Buffer.concat([Buffer.from([0, 0, 0, 1, 127, 0, 0, 1, port >> 8, port & 0xff]), question]),
    reply.readUInt16BE(8),
    HOST,
  );
  const [answer] = (await once(client, 'message')) as [Buffer];
  const { id, answers } = decode(answer.subarray(10));
  assert.is(id, 77);
  assert.is(answers?.[0]?.type === 'A' && answers[0].data, '192.0.2.7');
  control.destroy();
  client.close();
  server.close();
}

/** A QUIC-like connection through a local SOCKS5 port: every datagram there and back, whole. Answers what it carried. */
async function judgedByQuic(socksPort: number, atOnce: number): Promise<{ up: number; down: number }> {
  const [server, way] = [await startQuicServer(), await socks5Way(socksPort, null)];
  const client = await openQuic(way, server.port, 1);
  for (let sent = 0; sent < 320; sent += atOnce) await client.burst(atOnce);
  assert.equal([client.corrupt, server.corrupt], [0, 0]);
  assert.equal([client.saidBytes, client.heardBytes], [server.heardBytes, server.saidBytes]);
  await way.close();
  await server.close();
  return { up: server.heardBytes, down: server.saidBytes };
}

/** Datagrams alone, to the byte. */
const byUdp = async (rig: Awaited<ReturnType<typeof rigFor>>) => {
  const paths = (await rig.plane.metrics()).flatMap(lane => lane.paths);
  const udp = paths.filter(path => path.protocol === 'shadowsocks-udp');
  return {
    up: udp.reduce((sum, path) => sum + path.upBytes, 0),
    down: udp.reduce((sum, path) => sum + path.downBytes, 0),
  };
};

const V2RAY_NAMES: Record<string, string> = { 'chacha20-ietf-poly1305': 'chacha20-poly1305' };

for (const method of AEAD) {
  test(`${method}: ss-local`, async () => {
    const [rig, web, port] = [await rigFor(method), await webOrigin(), await freePort()];
    const args = [
      '-s',
      HOST,
      '-p',
      `${rig.port}`,
      '-b',
      HOST,
      '-l',
      `${port}`,
      '-u',
      '-k',
      SECRET,
      '-m',
      method,
    ];
    await peers.start('ss-local', args, /udprelay[\s\S]*listening at|listening at[\s\S]*udprelay/);
    await judgedByCurl(port, web);
    const carried = await judgedByQuic(port, 16);
    assert.equal(await byUdp(rig), carried);
    await judgedByDns(port);
    await rig.close();
    const { up, down, flows } = rig.sink.total();
    assert.is(flows, 5);
    assert.ok(up > web.body.length && down > 2 * web.body.length, `${up} up, ${down} down`);
    assert.equal([...new Set(rig.sink.deltas.map(delta => delta.credentialId))], ['c1']);
    await web.close();
  });

  test(`${method}: v2ray`, async () => {
    const [rig, web, port] = [await rigFor(method), await webOrigin(), await freePort()];
    const dir = await tempDir('v2ray');
    const server = { address: HOST, port: rig.port, method: V2RAY_NAMES[method] ?? method, password: SECRET };
    await writeFile(
      join(dir.path, 'config.json'),
      JSON.stringify({
        log: { loglevel: 'info' },
        inbounds: [{ listen: HOST, port, protocol: 'socks', settings: { udp: true, ip: HOST } }],
        outbounds: [{ protocol: 'shadowsocks', settings: { servers: [server] } }],
      }),
    );
    await peers.start('v2ray', ['-config', join(dir.path, 'config.json')], /V2Ray [\d.]+ started/);
    await judgedByCurl(port, web);
    // Of datagrams that come at once v2ray loses some on their way to any server, ss-server too.
    const carried = await judgedByQuic(port, 1);
    assert.equal(await byUdp(rig), carried);
    await judgedByDns(port);
    await rig.close();
    assert.is(rig.sink.total().flows, 5);
    await dir.remove();
    await web.close();
  });
}

test('a wrong password in ss-local meets silence until curl gives up', async () => {
  const [rig, web, port] = [await rigFor('aes-256-gcm'), await webOrigin(), await freePort()];
  const args = [
    '-s',
    HOST,
    '-p',
    `${rig.port}`,
    '-b',
    HOST,
    '-l',
    `${port}`,
    '-k',
    'wrong',
    '-m',
    'aes-256-gcm',
  ];
  await peers.start('ss-local', args, /listening at/);
  const failed = await curl(
    '--max-time',
    '1',
    '-x',
    `socks5h://${HOST}:${port}`,
    `http://${HOST}:${web.port}/`,
  );
  assert.is(failed.code, 28, failed.err);
  await eventually(async () => (await rig.plane.metrics())[0]?.refusals['bad-credentials'] === 1);
  await rig.close();
  assert.is(web.requests, 0);
  await web.close();
});

test.run();
