import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tcp } from './clients';
import { credential, memorySink, readAll, startOrigin, startRig } from './rig';
import {
  AEAD,
  clientStream,
  EDITION_2022,
  type MethodName,
  seal,
  shadowsocks,
  shadowsocksEndpoint,
} from './shadowsocks-client';

const test = suite('Shadowsocks endpoints');
const HOST = '127.0.0.1';

/** Resets are ends too. */
const closed = (socket: Socket) => new Promise(resolve => socket.once('close', resolve));

async function rigFor(method: MethodName, users?: Record<string, string>) {
  const sink = memorySink();
  const port = await freePort();
  const credentials = Object.keys(users ?? { c1: '' }).map(id => credential({ id, username: id }));
  const rig = await startRig({
    sink,
    plan: { endpoints: [shadowsocksEndpoint(port, method, users)], credentials },
  });
  const refusals = async () => (await rig.plane.metrics())[0]?.refusals ?? {};
  return { ...rig, sink, refusals };
}

for (const method of [...AEAD, ...EDITION_2022]) {
  test(`${method}: both directions whole, half-close kept, counted as plaintext`, async () => {
    const rig = await rigFor(method);
    const [up, down] = [randomBytes(700_001), randomBytes(900_003)];
    const heard: Buffer[] = [];
    const origin = await startOrigin(socket => {
      socket.on('data', chunk => heard.push(chunk));
      // Answers only after the client's end: its half-close must come through.
      socket.on('end', () => socket.end(down));
    });
    const client = await shadowsocks(rig.port, method, { host: HOST, port: origin.port });
    const answer = client.readAll();
    for (let at = 0; at < up.length; at += 50_000) client.send(up.subarray(at, at + 50_000));
    client.socket.end();
    assert.ok((await answer).equals(down));
    assert.ok(Buffer.concat(heard).equals(up));
    await rig.close();
    assert.equal(rig.sink.total(), { up: up.length, down: down.length, flows: 1 });
    await origin.close();
  });
}

test('a target that speaks first is heard before the client says anything more', async () => {
  const rig = await rigFor('aes-256-gcm');
  const origin = await startOrigin(socket => socket.end('220 ready\r\n'));
  const client = await shadowsocks(rig.port, 'aes-256-gcm', { host: 'localhost', port: origin.port });
  client.send(Buffer.alloc(0));
  assert.is((await client.readAll()).toString(), '220 ready\r\n');
  await rig.close();
  assert.equal(rig.sink.total(), { up: 0, down: 11, flows: 1 });
  await origin.close();
});

test('a client that sends single bytes is served', async () => {
  const rig = await rigFor('chacha20-ietf-poly1305');
  const origin = await startOrigin(socket => socket.on('data', chunk => socket.end(chunk)));
  const socket = await tcp(rig.port);
  const target = { host: HOST, port: origin.port };
  const stream = clientStream('chacha20-ietf-poly1305', target);
  for (const byte of seal(stream, Buffer.from('ping'))) {
    socket.write(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  const sealed = await readAll(socket);
  const out = Buffer.alloc(stream.opener.bound(sealed.length));
  assert.match(out.toString('latin1', 0, stream.opener.open(sealed, out)), /^p/);
  await rig.close();
  await origin.close();
});

test('usage goes to the credential whose key it was', async () => {
  for (const method of ['aes-128-gcm', '2022-blake3-aes-256-gcm'] as const) {
    const rig = await rigFor(method, { c1: 'first', c2: 'second' });
    const origin = await startOrigin(socket => socket.on('data', chunk => socket.end(chunk)));
    for (const name of ['first', 'second', 'second']) {
      const client = await shadowsocks(rig.port, method, { host: HOST, port: origin.port }, name);
      client.send(Buffer.from('x'));
      assert.is((await client.readAll()).toString(), 'x');
    }
    await rig.close();
    const flows: Record<string, number> = {};
    for (const delta of rig.sink.deltas)
      flows[delta.credentialId] = (flows[delta.credentialId] ?? 0) + delta.flows;
    assert.equal(flows, { c1: 1, c2: 2 });
    await origin.close();
  }
});

test('a reader that stops costs what it took, to the byte, and its origin is not read on', async () => {
  const rig = await rigFor('aes-256-gcm');
  let sent = 0;
  const origin = await startOrigin(socket => {
    const block = randomBytes(1 << 16);
    const push = () => {
      while (!socket.destroyed && socket.write(block)) sent += block.length;
      sent += block.length;
    };
    socket.on('drain', push);
    push();
  });
  const client = await shadowsocks(rig.port, 'aes-256-gcm', { host: HOST, port: origin.port });
  client.socket.pause();
  client.send(Buffer.alloc(0));
  // It stands still when the kernels' buffers on both ways are full: many looks in a row show the same.
  let [before, same] = [-1, 0];
  await eventually(() => {
    same = sent > 0 && sent === before ? same + 1 : 0;
    before = sent;
    return same === 40;
  });
  const whole: Buffer[] = [];
  const stream = client.readAll().catch(() => Buffer.alloc(0));
  client.socket.on('data', chunk => whole.push(chunk));
  client.socket.resume();
  await eventually(async () => whole.reduce((sum, chunk) => sum + chunk.length, 0) > 4_000_000);
  client.socket.destroy();
  await stream;
  await rig.close();
  const { down } = rig.sink.total();
  const sealed = whole.reduce((sum, chunk) => sum + chunk.length, 0);
  assert.ok(down <= sent, `${down} billed, ${sent} sent`);
  // 34 bytes a chunk are ours, and the rest is in the kernels.
  assert.ok(down > (sealed * 16_383) / 16_417 - 16_383, `${down} billed, ${sealed} sealed bytes read`);
  await origin.close();
});

test('strangers hear nothing, whatever they send, and are cut at the deadline of the handshake', async () => {
  const clock = fakeClock();
  const port = await freePort();
  const rig = await startRig({
    clock,
    plan: { endpoints: [shadowsocksEndpoint(port, 'aes-256-gcm')], credentials: [credential()] },
  });
  const probes = [
    Buffer.from([5, 1, 0]),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    randomBytes(31),
    randomBytes(50),
    randomBytes(5_000),
    seal(clientStream('aes-256-gcm', { host: HOST, port: 1 }, 'wrong'), Buffer.from('hello')),
  ];
  const sockets = await Promise.all(probes.map(() => tcp(port)));
  const heard: number[] = [];
  sockets.forEach((socket, at) => {
    socket.on('data', bytes => heard.push(bytes.length));
    socket.write(probes[at] ?? '');
  });
  const closes = sockets.map(socket => closed(socket));
  const lane = async () => (await rig.plane.metrics())[0];
  // 31 bytes and the SOCKS greeting are too short to be judged: they count as nothing at all.
  await eventually(async () => (await lane())?.refusals['bad-credentials'] === 3);
  assert.is((await lane())?.connections, probes.length);
  for (let tick = 0; tick < 10; tick += 1) await clock.advance(1_000);
  await Promise.all(closes);
  assert.equal(heard, []);
  assert.is((await lane())?.connections, 0);
  await rig.close();
});

for (const method of ['aes-128-gcm', '2022-blake3-aes-128-gcm'] as const)
  test(`${method}: a recorded request is not served again, not even through another endpoint's thread`, async () => {
    const rig = await rigFor(method);
    const origin = await startOrigin(socket => socket.on('data', () => socket.end('x')));
    const request = seal(clientStream(method, { host: HOST, port: origin.port }), Buffer.from('hello'));
    const first = await tcp(rig.port);
    first.write(request);
    assert.ok((await readAll(first)).length > 0);
    const second = await tcp(rig.port);
    second.write(request);
    await eventually(async () => (await rig.refusals()).replayed === 1);
    second.destroy();
    await rig.close();
    assert.is(rig.sink.total().flows, 1);
    await origin.close();
  });

test('a refusal by policy ends the connection without an answer', async () => {
  const rig = await rigFor('aes-256-gcm');
  for (const target of [
    { host: '169.254.169.254', port: 80 },
    { host: '10.0.0.1', port: 80 },
    { host: HOST, port: 1 },
  ]) {
    const client = await tcp(rig.port);
    const gone = closed(client);
    client.on('data', () => assert.unreachable('answered'));
    client.write(seal(clientStream('aes-256-gcm', target), Buffer.from('hello')));
    await gone;
  }
  assert.equal(await rig.refusals(), { 'private-target': 2, 'origin-refused': 1 });
  await rig.close();
});

test('bytes forged on the way cut the flow, and the target sees no clean end', async () => {
  const rig = await rigFor('aes-256-gcm');
  const ends: string[] = [];
  const origin = await startOrigin(socket => {
    socket.on('end', () => ends.push('end'));
    socket.on('error', () => ends.push('reset'));
    socket.resume();
  });
  const stream = clientStream('aes-256-gcm', { host: HOST, port: origin.port });
  const socket = await tcp(rig.port);
  socket.write(seal(stream, Buffer.from('good')));
  await eventually(async () => origin.sockets.size === 1);
  const forged = seal(stream, Buffer.from('evil'));
  forged[forged.length - 1] = (forged[forged.length - 1] ?? 0) ^ 1;
  const gone = closed(socket);
  socket.write(forged);
  await gone;
  await eventually(async () => origin.sockets.size === 0);
  assert.equal(ends, ['reset']);
  assert.is((await rig.refusals())['bad-request'], 1);
  await rig.close();
  assert.is(rig.sink.total().up, 4);
  await origin.close();
});

test('a stream that ends within a chunk is no end for the target', async () => {
  const rig = await rigFor('aes-256-gcm');
  const ends: string[] = [];
  const origin = await startOrigin(socket => {
    socket.on('end', () => ends.push('end'));
    socket.on('error', () => ends.push('reset'));
    socket.resume();
  });
  const stream = clientStream('aes-256-gcm', { host: HOST, port: origin.port });
  const socket = await tcp(rig.port);
  socket.write(seal(stream, Buffer.from('good')));
  await eventually(async () => origin.sockets.size === 1);
  const half = seal(stream, Buffer.from('cut short'));
  const gone = closed(socket);
  socket.end(half.subarray(0, half.length - 3));
  await gone;
  await eventually(async () => ends.length > 0);
  assert.equal(ends, ['reset']);
  await rig.close();
  await origin.close();
});

test('a key that the plan takes away cuts its flows and meets silence; another key goes on', async () => {
  const method = 'aes-256-gcm';
  const rig = await rigFor(method, { c1: 'first', c2: 'second' });
  const origin = await startOrigin(socket => socket.on('data', chunk => socket.write(chunk)));
  const target = { host: HOST, port: origin.port };
  const [first, second] = [
    await shadowsocks(rig.port, method, target, 'first'),
    await shadowsocks(rig.port, method, target, 'second'),
  ];
  for (const client of [first, second]) {
    client.send(Buffer.from('x'));
    await once(client.socket, 'data');
  }
  const cut = closed(first.socket);
  const endpoint = shadowsocksEndpoint(rig.port, method, { c2: 'second' });
  const [outcome] = await rig.plane.apply({ ...rig.plan, endpoints: [endpoint] });
  assert.ok(outcome?.listening);
  await cut;
  second.send(Buffer.from('y'));
  await once(second.socket, 'data');
  const late = await shadowsocks(rig.port, method, target, 'first');
  late.send(Buffer.from('z'));
  // One for the flow that was cut, one for the stranger.
  await eventually(async () => (await rig.refusals())['bad-credentials'] === 2);
  late.socket.destroy();
  second.socket.destroy();
  await rig.close();
  await origin.close();
});

test('what cannot be served is a problem of its endpoint, in a sentence, and of no other', async () => {
  const rig = await startRig();
  const port = await freePort();
  const good = shadowsocksEndpoint(port, 'aes-256-gcm');
  const bad: [Partial<typeof good>, string][] = [
    [{ protocols: ['shadowsocks', 'http'] }, 'listener/shared-port'],
    [{ shadowsocks: undefined }, 'listener/no-method'],
    [
      {
        shadowsocks: {
          method: 'aes-256-gcm',
          keys: [{ credentialId: 'c1', key: 'AAAAAAAAAAAAAAAAAAAAAA==' }],
        },
      },
      'shadowsocks/bad-users',
    ],
    [{ shadowsocks: { method: '2022-blake3-aes-128-gcm', keys: [] } }, 'shadowsocks/bad-users'],
  ];
  for (const [change, code] of bad) {
    const endpoint = { ...good, id: 'e2', ...change };
    const outcomes = await rig.plane.apply({ ...rig.plan, endpoints: [...rig.plan.endpoints, endpoint] });
    assert.is(outcomes[0]?.listening, true);
    assert.is(outcomes[1]?.listening, false);
    assert.is(outcomes[1]?.problem?.code, code);
    assert.ok((outcomes[1]?.problem?.message ?? '').length > 20);
  }
  const [, mended] = await rig.plane.apply({
    ...rig.plan,
    endpoints: [...rig.plan.endpoints, { ...good, id: 'e2' }],
  });
  assert.is(mended?.listening, true);
  await rig.close();
});

test('random bytes of any length never crash it and never get an answer', async () => {
  const rig = await rigFor('aes-128-gcm');
  const sockets = await Promise.all(
    fc.sample(fc.uint8Array({ minLength: 1, maxLength: 300 }), 200).map(async bytes => {
      const socket = await tcp(rig.port);
      socket.on('data', () => assert.unreachable('answered'));
      socket.write(bytes);
      return socket;
    }),
  );
  for (const socket of sockets) socket.destroy();
  await eventually(async () => (await rig.plane.metrics())[0]?.connections === 0);
  assert.is((await rig.plane.metrics())[0]?.handshakes, 0);
  await rig.close();
});

test.run();
