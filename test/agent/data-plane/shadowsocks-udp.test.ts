import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { ServicePlan } from '@mastline/agent/ports';
import type { Target } from '@mastline/shared/protocols/target';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { credential, memorySink, startRig } from './rig';
import { AEAD, EDITION_2022, type MethodName, packetCodec, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite('Shadowsocks endpoints over UDP');
const HOST = '127.0.0.1';

interface Echo {
  port: number;
  /** Datagrams that came: their bytes, and from where. */
  heard: { bytes: Buffer; address: string; port: number }[];
  /** Sends from the echo's socket, unasked. */
  send(bytes: Buffer, port: number): void;
  close(): Promise<void>;
}

async function startEcho(): Promise<Echo> {
  const socket = dgram.createSocket('udp4');
  const heard: Echo['heard'] = [];
  socket.on('message', (bytes, from) => {
    heard.push({ bytes, address: from.address, port: from.port });
    socket.send(bytes, from.port, from.address);
  });
  socket.bind(0, HOST);
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    heard,
    send: (bytes, port) => socket.send(bytes, port, HOST),
    close: () => new Promise<void>(resolve => socket.close(() => resolve())),
  };
}

/** A client of its own port, with what it got back. */
async function startClient(port: number, method: MethodName, codec = packetCodec(method)) {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, HOST);
  await once(socket, 'listening');
  const got: { from: Target; payload: Buffer }[] = [];
  socket.on('message', packet => {
    const opened = codec.open(packet);
    if (!opened) throw new Error('an answer that cannot be opened');
    got.push({ from: opened.from, payload: Buffer.from(opened.payload) });
  });
  return {
    got,
    sealed(target: Target, payload: Buffer) {
      const out = Buffer.alloc(payload.length + 1_000);
      return out.subarray(0, codec.seal(target, payload, out));
    },
    send(target: Target, payload: Buffer) {
      socket.send(this.sealed(target, payload), port, HOST);
    },
    raw: (bytes: Buffer) => socket.send(bytes, port, HOST),
    close: () => new Promise<void>(resolve => socket.close(() => resolve())),
  };
}

async function rigFor(method: MethodName, overrides: Partial<ServicePlan> = {}) {
  const sink = memorySink();
  const port = await freePort();
  const clock = fakeClock();
  const rig = await startRig({
    sink,
    clock,
    plan: { endpoints: [shadowsocksEndpoint(port, method)], credentials: [credential()], ...overrides },
  });
  const refusals = async () => (await rig.plane.metrics())[0]?.refusals ?? {};
  const open = async () => (await rig.plane.figures()).reduce((sum, slot) => sum + slot.openFlows, 0);
  return { ...rig, sink, clock, refusals, open };
}

for (const method of [...AEAD, ...EDITION_2022])
  test(`${method}: datagrams of many sizes go there and back, by address and by name, counted as payload`, async () => {
    // The 2022 edition looks at the clock.
    const rig = await rigFor(method);
    rig.clock.jumpTo(Date.now());
    const echo = await startEcho();
    const client = await startClient(rig.port, method);
    const sizes = [0, 1, 512, 1_400, 8_000];
    for (const [at, host] of [HOST, 'localhost'].entries())
      for (const [nth, size] of sizes.entries()) {
        const payload = randomBytes(size);
        client.send({ host, port: echo.port }, payload);
        await eventually(() => client.got.length === at * sizes.length + nth + 1);
        assert.equal(client.got.at(-1), { from: { host: HOST, port: echo.port }, payload });
      }
    const sum = 2 * sizes.reduce((all, size) => all + size, 0);
    await rig.close();
    assert.equal(rig.sink.total(), { up: sum, down: sum, flows: 1 });
    await client.close();
    await echo.close();
  });

test('datagrams leave from the address of the slot', async () => {
  const egress = {
    slot: 1,
    sourceAddress: '127.8.0.1',
    dnsServers: [],
    ready: true,
    imei: null,
    guarded: [],
  };
  const rig = await rigFor('aes-256-gcm', { egresses: [egress] });
  const echo = await startEcho();
  const client = await startClient(rig.port, 'aes-256-gcm');
  client.send({ host: HOST, port: echo.port }, Buffer.from('x'));
  await eventually(() => client.got.length === 1);
  assert.is(echo.heard[0]?.address, '127.8.0.1');
  await rig.close();
  await client.close();
  await echo.close();
});

test('two clients have two ways; who was not spoken to is not heard', async () => {
  const rig = await rigFor('aes-256-gcm');
  const echo = await startEcho();
  const [first, second] = [
    await startClient(rig.port, 'aes-256-gcm'),
    await startClient(rig.port, 'aes-256-gcm'),
  ];
  first.send({ host: HOST, port: echo.port }, Buffer.from('first'));
  second.send({ host: HOST, port: echo.port }, Buffer.from('second'));
  await eventually(() => first.got.length === 1 && second.got.length === 1);
  assert.is(first.got[0]?.payload.toString(), 'first');
  assert.is(second.got[0]?.payload.toString(), 'second');
  assert.not.equal(echo.heard[0]?.port, echo.heard[1]?.port);
  assert.is(await rig.open(), 2);
  // 127.0.0.9 was spoken to by nobody.
  const stranger = dgram.createSocket('udp4');
  stranger.bind(0, '127.0.0.9');
  await once(stranger, 'listening');
  stranger.send('unasked', echo.heard[0]?.port ?? 0, HOST);
  echo.send(Buffer.from('asked'), echo.heard[0]?.port ?? 0);
  await eventually(() => first.got.length === 2);
  assert.is(first.got[1]?.payload.toString(), 'asked');
  stranger.close();
  await rig.close();
  await first.close();
  await second.close();
  await echo.close();
});

test('an answer goes to where the client is now, in the 2022 edition', async () => {
  const method = '2022-blake3-aes-256-gcm';
  const rig = await rigFor(method);
  rig.clock.jumpTo(Date.now());
  const echo = await startEcho();
  const codec = packetCodec(method);
  const before = await startClient(rig.port, method, codec);
  const after = await startClient(rig.port, method, codec);
  before.send({ host: HOST, port: echo.port }, Buffer.from('one'));
  await eventually(() => before.got.length === 1);
  after.send({ host: HOST, port: echo.port }, Buffer.from('two'));
  await eventually(() => after.got.length === 1);
  assert.is(before.got.length, 1);
  assert.is(echo.heard[0]?.port, echo.heard[1]?.port, 'one session, one way');
  await rig.close();
  await before.close();
  await after.close();
  await echo.close();
});

test('what policy forbids is dropped and counted, resolved names included; so are strangers and replays', async () => {
  const rig = await rigFor('aes-256-gcm', { allowTargets: [] });
  const client = await startClient(rig.port, 'aes-256-gcm');
  const wrong = await startClient(rig.port, 'aes-256-gcm', packetCodec('aes-256-gcm', 'wrong'));
  client.send({ host: HOST, port: 53 }, Buffer.from('x'));
  client.send({ host: '10.0.0.1', port: 53 }, Buffer.from('x'));
  client.send({ host: 'localhost', port: 53 }, Buffer.from('x'));
  client.send({ host: '8.8.8.8', port: 25 }, Buffer.from('x'));
  wrong.send({ host: HOST, port: 53 }, Buffer.from('x'));
  wrong.raw(Buffer.from('short'));
  const packet = client.sealed({ host: HOST, port: 53 }, Buffer.from('x'));
  client.raw(packet);
  client.raw(packet);
  await eventually(async () => {
    const refusals = await rig.refusals();
    return (
      refusals['private-target'] === 4 &&
      refusals['port-denied'] === 1 &&
      refusals['bad-credentials'] === 2 &&
      refusals.replayed === 1
    );
  });
  await rig.close();
  assert.equal(rig.sink.total(), { up: 0, down: 0, flows: 1 });
  await client.close();
  await wrong.close();
});

test('an association that rests is closed, and opened again by its next datagram', async () => {
  const rig = await rigFor('aes-256-gcm');
  const echo = await startEcho();
  const client = await startClient(rig.port, 'aes-256-gcm');
  client.send({ host: HOST, port: echo.port }, Buffer.from('one'));
  await eventually(() => client.got.length === 1);
  await rig.clock.advance(59_000);
  assert.is(await rig.open(), 1);
  await rig.clock.advance(2_000);
  assert.is(await rig.open(), 0);
  client.send({ host: HOST, port: echo.port }, Buffer.from('two'));
  await eventually(() => client.got.length === 2);
  await rig.close();
  assert.equal(rig.sink.total(), { up: 6, down: 6, flows: 2 });
  await client.close();
  await echo.close();
});

test('a suspended credential is cut; a changed port moves', async () => {
  const rig = await rigFor('aes-256-gcm');
  const echo = await startEcho();
  const client = await startClient(rig.port, 'aes-256-gcm');
  client.send({ host: HOST, port: echo.port }, Buffer.from('one'));
  await eventually(() => client.got.length === 1);
  await rig.plane.apply({ ...rig.plan, credentials: [credential({ suspended: true })] });
  assert.is(await rig.open(), 0);
  client.send({ host: HOST, port: echo.port }, Buffer.from('two'));
  await eventually(async () => ((await rig.refusals()).suspended ?? 0) === 2);
  const port = await freePort();
  const [moved] = await rig.plane.apply({
    ...rig.plan,
    endpoints: [shadowsocksEndpoint(port, 'aes-256-gcm')],
  });
  assert.ok(moved?.listening);
  const again = await startClient(port, 'aes-256-gcm');
  again.send({ host: HOST, port: echo.port }, Buffer.from('three'));
  await eventually(() => again.got.length === 1);
  await rig.close();
  for (const one of [client, again, echo]) await one.close();
});

test('a UDP port that is taken is a problem of its endpoint', async () => {
  const rig = await startRig();
  const blocker = dgram.createSocket('udp4');
  // Free for TCP, so that only UDP is in the way.
  blocker.bind(await freePort(), HOST);
  await once(blocker, 'listening');
  const endpoint = { ...shadowsocksEndpoint(blocker.address().port, 'aes-256-gcm'), id: 'e2' };
  const [, outcome] = await rig.plane.apply({ ...rig.plan, endpoints: [...rig.plan.endpoints, endpoint] });
  assert.is(outcome?.problem?.code, 'listener/port-taken');
  assert.match(outcome?.problem?.message ?? '', /^UDP port/);
  blocker.close();
  await rig.close();
});

test.run();
