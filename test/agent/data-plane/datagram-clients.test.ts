/** Programs that live on UDP, through SOCKS5's UDP ASSOCIATE and Shadowsocks: a QUIC-like client and a resolver. */
import dgram from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { type Answer, decode, encode } from 'dns-packet';
import * as assert from 'uvu/assert';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { type DatagramWay, shadowsocksWay, socks5Way } from './datagram-ways';
import { openQuic, startQuicServer } from './quic-like';
import { credential, endpoint, memorySink, startRig } from './rig';
import { AEAD, EDITION_2022, type MethodName, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite('programs that live on UDP');
const HOST = '127.0.0.1';
/** Leaves room in the smallest receive buffer on the way, so that nothing is lost and every byte can be compared. */
const BURST = 16;

async function rigFor(served: (port: number) => Endpoint) {
  const [sink, port] = [memorySink(), await freePort()];
  const rig = await startRig({ sink, plan: { endpoints: [served(port)], credentials: [credential()] } });
  const refusals = async () => (await rig.plane.metrics())[0]?.refusals ?? {};
  return { ...rig, sink, refusals };
}

const ways: [string, (port: number) => Endpoint, (port: number) => Promise<DatagramWay>][] = [
  ['SOCKS5', port => endpoint(port), port => socks5Way(port)],
  ...[...AEAD, ...EDITION_2022].map(
    (method): [string, (port: number) => Endpoint, (port: number) => Promise<DatagramWay>] => [
      method,
      port => shadowsocksEndpoint(port, method),
      port => shadowsocksWay(port, method),
    ],
  ),
];

for (const [name, served, open] of ways) {
  test(`${name}: 4,000 datagrams of two QUIC-like connections, out of order: none lost, bent or miscounted`, async () => {
    const rig = await rigFor(served);
    const servers = [await startQuicServer(), await startQuicServer()];
    const way = await open(rig.port);
    const clients = [];
    for (const [at, server] of servers.entries()) clients.push(await openQuic(way, server.port, at + 1));
    await Promise.all(
      clients.map(async client => {
        for (let burst = 0; burst < 1_000 / BURST; burst += 1) await client.burst(BURST);
      }),
    );
    for (const [at, client] of clients.entries()) {
      const server = servers[at];
      assert.equal([client.corrupt, server?.corrupt], [0, 0]);
      assert.equal([client.saidBytes, client.heardBytes], [server?.heardBytes, server?.saidBytes]);
      assert.is(server?.paths(client.id).length, 1, 'one way, one address to the server');
    }
    await way.close();
    await rig.close();
    assert.equal(rig.sink.total(), {
      up: clients[0]!.saidBytes + clients[1]!.saidBytes,
      down: clients[0]!.heardBytes + clients[1]!.heardBytes,
      flows: 1,
    });
    for (const server of servers) await server.close();
  });

  test(`${name}: a server may answer from another port of its address, as one with a preferred address does`, async () => {
    const [rig, server] = [await rigFor(served), await startQuicServer()];
    const way = await open(rig.port);
    const client = await openQuic(way, server.port, 1);
    const other = await server.answerFromAnotherPort();
    await client.burst(BURST);
    assert.equal([...client.ports], [server.port, other]);
    await way.close();
    await rig.close();
    await server.close();
  });
}

test('SOCKS5: a client that moves to another port is refused there, and goes on from its first', async () => {
  const [rig, server] = [await rigFor(port => endpoint(port)), await startQuicServer()];
  const way = await socks5Way(rig.port);
  const client = await openQuic(way, server.port, 1);
  await client.burst(BURST);
  await way.move();
  for (let at = 0; at < 3; at += 1)
    way.send({ host: HOST, port: server.port }, Buffer.from('from elsewhere'));
  await eventually(async () => (await rig.refusals())['source-not-allowed'] === 3);
  way.moveBack();
  await client.burst(BURST);
  assert.is(server.paths(client.id).length, 1);
  assert.is(server.heardBytes, client.saidBytes, 'what came from elsewhere went nowhere');
  await way.close();
  await rig.close();
  await server.close();
});

for (const [method, paths] of [
  // Sessions are the client's address there: another way, and the server validates the new path.
  ['aes-256-gcm', 2],
  // The session says who it is: the server notices nothing.
  ['2022-blake3-aes-256-gcm', 1],
] satisfies [MethodName, number][])
  test(`${method}: a client that moves to another port goes on; the server sees ${paths} of its paths`, async () => {
    const rig = await rigFor(port => shadowsocksEndpoint(port, method));
    const server = await startQuicServer();
    const way = await shadowsocksWay(rig.port, method);
    const client = await openQuic(way, server.port, 1);
    await client.burst(BURST);
    await way.move();
    await client.burst(BURST);
    assert.is(server.paths(client.id).length, paths);
    assert.equal([client.saidBytes, client.heardBytes], [server.heardBytes, server.saidBytes]);
    await way.close();
    await rig.close();
    assert.equal(rig.sink.total(), { up: client.saidBytes, down: client.heardBytes, flows: paths });
    await server.close();
  });

/** A UDP port behind which the way to `target` lies: for programs that know nothing of proxies. */
async function forward(open: () => Promise<DatagramWay>, target: { host: string; port: number }) {
  const socket = dgram.createSocket('udp4');
  const ways = new Map<number, Promise<DatagramWay>>();
  const wayFor = (asker: number) => {
    const known = ways.get(asker);
    if (known) return known;
    const way = open().then(opened => {
      opened.heard(({ payload }) => socket.send(payload, asker, HOST));
      return opened;
    });
    ways.set(asker, way);
    return way;
  };
  socket.on('message', (query, from) => void wayFor(from.port).then(way => way.send(target, query)));
  socket.bind(0, HOST);
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    async close() {
      for (const way of ways.values()) await (await way).close();
      await new Promise<void>(done => socket.close(done));
    },
  };
}

const ZONE: Record<string, Answer> = {
  'A a.example': { type: 'A', name: 'a.example', data: '192.0.2.7' },
  'AAAA a.example': { type: 'AAAA', name: 'a.example', data: '2001:db8::7' },
  'MX a.example': { type: 'MX', name: 'a.example', data: { preference: 10, exchange: 'mail.example' } },
  'TXT a.example': { type: 'TXT', name: 'a.example', data: ['x'.repeat(200), 'y'.repeat(180)] },
};
const NXDOMAIN = 3;

async function startZone() {
  const socket = dgram.createSocket('udp4');
  let asked = 0;
  socket.on('message', (query, from) => {
    asked += 1;
    const { id = 0, questions = [] } = decode(query);
    const answer = ZONE[`${questions[0]?.type} ${questions[0]?.name}`];
    const response = answer ? { answers: [answer] } : { flags: NXDOMAIN };
    socket.send(encode({ type: 'response', id, questions, ...response }), from.port, from.address);
  });
  socket.bind(0, HOST);
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    asked: () => asked,
    close: () => new Promise<void>(done => socket.close(done)),
  };
}

for (const [name, served, open] of ways)
  test(`${name}: the system's resolver (c-ares) gets every kind of answer, many at once`, async () => {
    const [rig, zone] = [await rigFor(served), await startZone()];
    const gate = await forward(() => open(rig.port), { host: HOST, port: zone.port });
    const resolver = new Resolver({ timeout: 10_000, tries: 1 });
    resolver.setServers([`${HOST}:${gate.port}`]);
    assert.equal(await resolver.resolve4('a.example'), ['192.0.2.7']);
    assert.equal(await resolver.resolve6('a.example'), ['2001:db8::7']);
    assert.equal(await resolver.resolveMx('a.example'), [{ priority: 10, exchange: 'mail.example' }]);
    assert.equal(await resolver.resolveTxt('a.example'), [['x'.repeat(200), 'y'.repeat(180)]]);
    const missing = await resolver.resolve4('no.example').catch(error => error);
    assert.is(missing.code, 'ENOTFOUND');
    const many = await Promise.all(Array.from({ length: 40 }, () => resolver.resolve4('a.example')));
    assert.ok(many.every(([address]) => address === '192.0.2.7'));
    await gate.close();
    await rig.close();
    const { up, down } = rig.sink.total();
    assert.ok(zone.asked() >= 45 && up > 0 && down > up, `${zone.asked()} queries, ${up} up, ${down} down`);
    await zone.close();
  });

test.run();
