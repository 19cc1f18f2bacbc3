/**
 * What the data plane itself moves through a slot, beside what it relays, against what the other ends saw: questions to
 * name servers, hops of chains, datagrams. Reconciliation takes it off what the interface carried.
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { DataPlane } from '@mastline/agent/ports';
import type { ChainHop } from '@mastline/shared/domain/endpoint';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import * as assert from 'uvu/assert';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { pipelinedSocks5, socks5, tcp } from './clients';
import { endpoint, readAll, readExactly, SECRET, startOrigin, startRig } from './rig';
import { a, startNames } from './scripted-name-server';
import { keyFor, type MethodName, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite('own traffic of the data plane');
const HOST = '127.0.0.1';
const BYTES = 300_000;

/** Everything one slot has moved: what was relayed, and what is the data plane's own. */
async function moved(plane: DataPlane) {
  const lanes = await plane.metrics();
  const relayed = { up: 0, down: 0 };
  for (const path of lanes.flatMap(lane => lane.paths)) {
    relayed.up += path.upBytes;
    relayed.down += path.downBytes;
  }
  const own = { up: 0, down: 0, upDatagrams: 0, downDatagrams: 0 };
  for (const one of lanes.flatMap(lane => lane.own)) {
    own.up += one.upBytes;
    own.down += one.downBytes;
    own.upDatagrams += one.upDatagrams;
    own.downDatagrams += one.downDatagrams;
  }
  return { relayed, own };
}

/** A wire to `port` whose bytes are counted. */
async function meter(port: number) {
  const wire = { up: 0, down: 0 };
  const server = createServer({ allowHalfOpen: true }, near => {
    const far = connect({ port, host: HOST, allowHalfOpen: true });
    near.on('data', bytes => {
      wire.up += bytes.length;
      far.write(bytes);
    });
    far.on('data', bytes => {
      wire.down += bytes.length;
      near.write(bytes);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('end', () => other.end());
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  return { wire, port: (server.address() as AddressInfo).port, close: () => server.close() };
}

/** Until the meter is there. */
const NOWHERE = { host: HOST, port: 1 };
const METHODS: MethodName[] = ['aes-256-gcm', '2022-blake3-aes-128-gcm'];
const hops: [what: string, plan: (port: number) => ReturnType<typeof endpoint>, hop: ChainHop][] = [
  ['SOCKS5', port => endpoint(port), { ...NOWHERE, protocol: 'socks5', username: 'alice', secret: SECRET }],
  [
    'HTTP CONNECT',
    port => endpoint(port),
    { ...NOWHERE, protocol: 'http', username: 'alice', secret: SECRET },
  ],
  ...METHODS.map((method): (typeof hops)[number] => [
    method,
    port => shadowsocksEndpoint(port, method),
    {
      ...NOWHERE,
      protocol: 'shadowsocks',
      method,
      secret: method.startsWith('2022')
        ? ['server', SECRET].map(name => keyFor(method, name).toString('base64')).join(':')
        : SECRET,
    },
  ]),
];

for (const [what, plan, hop] of hops)
  test(`through a ${what} hop: relayed and own bytes together are what went over the wire`, async () => {
    const origin = await startOrigin(socket => {
      let got = 0;
      socket.on('data', bytes => {
        got += bytes.length;
        socket.write(bytes);
        if (got === BYTES) socket.end();
      });
    });
    const far = await startRig({ plan: { endpoints: [plan(await freePort())] } });
    const between = await meter(far.port);
    const port = await freePort();
    const near = await startRig({
      plan: { endpoints: [endpoint(port, { chain: [{ ...hop, host: HOST, port: between.port }] })] },
    });
    try {
      const { socket } = await socks5(port, { host: HOST, port: origin.port });
      assert.ok(socket);
      const answer = readAll(socket);
      socket.write(Buffer.alloc(BYTES, 'o'));
      assert.is((await answer).length, BYTES);
      socket.destroy();
      const { relayed, own } = await moved(near.plane);
      assert.equal(relayed, { up: BYTES, down: BYTES });
      assert.ok(own.up > 0 && own.down > 0);
      assert.equal({ up: relayed.up + own.up, down: relayed.down + own.down }, between.wire);
    } finally {
      await near.close();
      between.close();
      await far.close();
      await origin.close();
    }
  });

test('questions for names and their answers are counted, as datagrams', async () => {
  const names = await startNames(({ name, type }) => ({ answers: type === 'A' ? [a(name, HOST)] : [] }));
  const origin = await startOrigin(socket => socket.end('x'));
  const rig = await startRig({
    plan: {
      egresses: [
        { slot: 1, sourceAddress: HOST, dnsServers: [names.server], ready: true, imei: null, guarded: [] },
      ],
    },
  });
  try {
    const { socket } = await socks5(rig.port, { host: 'a.example', port: origin.port });
    assert.ok(socket);
    await readAll(socket);
    socket.destroy();
    const { own } = await moved(rig.plane);
    const questions = names.asked.length;
    assert.ok(questions > 0);
    assert.equal([own.upDatagrams, own.downDatagrams], [questions, questions]);
    // A header of 12 bytes, the name, type and class at least; the answer repeats the question.
    assert.ok(own.up >= questions * (12 + 11 + 4) && own.up < questions * 512, `${own.up}`);
    assert.ok(own.down > own.up / 2 && own.down < questions * 512, `${own.down}`);
  } finally {
    await rig.close();
    await names.close();
    await origin.close();
  }
});

test('datagrams of customers are counted as such, and are none of our own bytes', async () => {
  const peer = dgram.createSocket('udp4');
  peer.on('message', (bytes, from) => peer.send(bytes, from.port, from.address));
  peer.bind(0, HOST);
  await once(peer, 'listening');
  const client = dgram.createSocket('udp4');
  client.bind(0, HOST);
  await once(client, 'listening');
  const rig = await startRig();
  const control = await tcp(rig.port);
  try {
    control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
    const relay = (await readExactly(control, 14)).subarray(4).readUInt16BE(8);
    let answers = 0;
    client.on('message', () => {
      answers += 1;
    });
    for (let at = 1; at <= 5; at += 1) {
      client.send(socks5Datagram({ host: HOST, port: peer.address().port }, Buffer.alloc(500)), relay, HOST);
      await eventually(() => answers === at, `answer ${at}`);
    }
    const { relayed, own } = await moved(rig.plane);
    assert.equal(relayed, { up: 2500, down: 2500 });
    assert.equal(own, { up: 0, down: 0, upDatagrams: 5, downDatagrams: 5 });
  } finally {
    control.destroy();
    await rig.close();
    client.close();
    peer.close();
  }
});

test.run();
