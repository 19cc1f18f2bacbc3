import dgram from 'node:dgram';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { ServicePlan } from '@mastline/agent/ports';
import type { FlowLimits } from '@mastline/shared/domain/flow-limits';
import { parseSocks5Datagram, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { ALICE, basic, pipelinedSocks5, tcp } from './clients';
import {
  credential,
  endpoint,
  memorySink,
  type Rig,
  readAll,
  readExactly,
  startOrigin,
  startRig,
} from './rig';

const test = suite('SOCKS5 UDP ASSOCIATE');
const HOST = '127.0.0.1';
const ANY = { host: '0.0.0.0', port: 0 };
const egress = { slot: 1, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] };
const mine = (limits: FlowLimits): Partial<ServicePlan> => ({ credentials: [credential({ limits })] });

interface Peer {
  socket: dgram.Socket;
  port: number;
  heard: { bytes: Buffer; address: string; port: number }[];
  close(): Promise<void>;
}

async function peer(
  address = HOST,
  hear?: (socket: dgram.Socket) => (bytes: Buffer, from: dgram.RemoteInfo) => void,
) {
  const socket = dgram.createSocket('udp4');
  const heard: Peer['heard'] = [];
  socket.on('message', (bytes, from) => {
    heard.push({ bytes, address: from.address, port: from.port });
    hear?.(socket)(bytes, from);
  });
  socket.bind(0, address);
  await once(socket, 'listening');
  const close = () => new Promise<void>(resolve => socket.close(() => resolve()));
  return { socket, port: socket.address().port, heard, close } satisfies Peer;
}

const echo = () => peer(HOST, socket => (bytes, from) => socket.send(bytes, from.port, from.address));

interface Client extends Peer {
  control: Socket;
  relay: number;
  send(target: { host: string; port: number }, text: string): void;
  answer(at?: number): Promise<{ host: string; port: number; text: string }>;
}

/** The reply to UDP ASSOCIATE, and the connection that keeps the association. */
async function associate(rig: Rig, login = ALICE): Promise<{ control: Socket; reply: Buffer }> {
  const control = await tcp(rig.port);
  control.write(pipelinedSocks5(ANY, 3, login));
  const reply = (await readExactly(control, 14)).subarray(4);
  return { control, reply };
}

async function open(rig: Rig): Promise<Client> {
  const { control, reply } = await associate(rig);
  assert.is(reply.subarray(0, 8).toString('hex'), '050000017f000001');
  const relay = reply.readUInt16BE(8);
  const own = await peer();
  return {
    ...own,
    control,
    relay,
    send: (target, text) => own.socket.send(socks5Datagram(target, Buffer.from(text)), relay, HOST),
    async answer(at = 0) {
      await eventually(() => own.heard.length > at, 'an answer');
      const read = parseSocks5Datagram(own.heard[at]!.bytes);
      if (read.kind !== 'datagram') throw new Error(read.cause);
      return { ...read.target, text: read.payload.toString() };
    },
    async close() {
      control.destroy();
      await own.close();
    },
  };
}

const refusals = async (rig: Rig) => (await rig.plane.metrics())[0]?.refusals ?? {};
const counted = (rig: Rig, reason: string, times = 1) =>
  eventually(async () => (await refusals(rig))[reason] === times, `${times} × ${reason}`);
const openFlows = async (rig: Rig) =>
  (await rig.plane.metrics())[0]?.paths.reduce((sum, path) => sum + path.openFlows, 0) ?? 0;

async function gone(client: Socket): Promise<void> {
  if (!client.destroyed && !client.readableEnded)
    await new Promise(resolve => client.resume().once('close', resolve).once('end', resolve));
  client.destroy();
}

test('datagrams go through the slot and back, to several targets, and are billed by their payload', async () => {
  const [one, two] = [await echo(), await echo()];
  const sink = memorySink();
  const rig = await startRig({ sink, plan: { egresses: [{ ...egress, sourceAddress: '127.77.0.1' }] } });
  const client = await open(rig);
  client.send({ host: HOST, port: one.port }, 'first');
  assert.equal(await client.answer(), { host: HOST, port: one.port, text: 'first' });
  client.send({ host: HOST, port: two.port }, '');
  assert.equal(await client.answer(1), { host: HOST, port: two.port, text: '' });
  client.send({ host: 'localhost', port: two.port }, 'by name');
  assert.equal(await client.answer(2), { host: HOST, port: two.port, text: 'by name' });
  assert.is(one.heard[0]?.address, '127.77.0.1');
  assert.is(one.heard[0]?.bytes.toString(), 'first');
  await client.close();
  await rig.close();
  assert.equal(sink.total(), { up: 12, down: 12, flows: 1 });
  await one.close();
  await two.close();
});

test('fragments, malformed datagrams, other ports and other hosts are dropped', async () => {
  const origin = await echo();
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await open(rig);
  const whole = socks5Datagram({ host: HOST, port: origin.port }, Buffer.from('x'));
  const fragment = Buffer.from(whole);
  fragment[2] = 1;
  client.socket.send(fragment, client.relay, HOST);
  await counted(rig, 'command-not-supported');
  client.socket.send(whole.subarray(0, 9), client.relay, HOST);
  await counted(rig, 'bad-request');
  const elsewhere = await peer('127.0.0.2');
  elsewhere.socket.send(whole, client.relay, HOST);
  await counted(rig, 'source-not-allowed');
  client.send({ host: HOST, port: origin.port }, 'mine');
  assert.is((await client.answer()).text, 'mine');
  const other = await peer();
  other.socket.send(whole, client.relay, HOST);
  await counted(rig, 'source-not-allowed', 2);
  await client.close();
  await rig.close();
  assert.is(origin.heard.length, 1);
  assert.equal(sink.total(), { up: 4, down: 4, flows: 1 });
  for (const one of [elsewhere, other, origin]) await one.close();
});

test('who was not spoken to cannot send through', async () => {
  const origin = await peer();
  const stranger = await peer('127.0.0.3');
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await open(rig);
  client.send({ host: HOST, port: origin.port }, 'hello');
  await eventually(() => origin.heard.length === 1);
  const { port } = origin.heard[0]!;
  // Both arrive at one socket, in this order.
  await new Promise(resolve => stranger.socket.send('unasked', port, HOST, resolve));
  await new Promise(resolve => origin.socket.send('asked', port, HOST, resolve));
  assert.is((await client.answer()).text, 'asked');
  await client.close();
  await rig.close();
  assert.equal([client.heard.length, sink.total().down], [1, 5]);
  await origin.close();
  await stranger.close();
});

test('targets are judged like those of TCP, also behind a name, and for each datagram anew', async () => {
  const origin = await echo();
  const rig = await startRig({ plan: { allowTargets: [`127.0.0.1:${origin.port}`] } });
  const client = await open(rig);
  client.send({ host: HOST, port: origin.port + 1 }, 'x');
  await counted(rig, 'private-target');
  client.send({ host: 'localhost', port: origin.port + 1 }, 'x');
  await counted(rig, 'private-target', 2);
  client.send({ host: '169.254.169.254', port: 53 }, 'x');
  await counted(rig, 'private-target', 3);
  client.send({ host: '8.8.8.8', port: 25 }, 'x');
  await counted(rig, 'port-denied');
  client.send({ host: 'no-such-name.invalid', port: 53 }, 'x');
  await counted(rig, 'name-not-found');
  client.send({ host: HOST, port: origin.port }, 'allowed');
  assert.is((await client.answer()).text, 'allowed');
  await rig.plane.apply({ ...rig.plan, allowTargets: [] });
  client.send({ host: HOST, port: origin.port }, 'no more');
  await counted(rig, 'private-target', 4);
  assert.is(origin.heard.length, 1);
  await client.close();
  await rig.close();
  await origin.close();
});

test('a slot whose address is gone sends nothing by another, and says so for each datagram', async () => {
  const origin = await echo();
  const sink = memorySink();
  const rig = await startRig({ sink, plan: { egresses: [{ ...egress, sourceAddress: '203.0.113.7' }] } });
  const client = await open(rig);
  for (const times of [1, 2, 3]) {
    client.send({ host: HOST, port: origin.port }, 'x');
    await counted(rig, 'modem-failed', times);
  }
  // It comes back within the association's life.
  await rig.plane.apply({ ...rig.plan, egresses: [{ ...egress, sourceAddress: '127.77.0.2' }] });
  client.send({ host: HOST, port: origin.port }, 'again');
  assert.is((await client.answer()).text, 'again');
  await client.close();
  await rig.close();
  assert.equal(
    origin.heard.map(one => [one.bytes.toString(), one.address]),
    [['again', '127.77.0.2']],
  );
  assert.equal(sink.total(), { up: 5, down: 5, flows: 1 });
  await origin.close();
});

test('the association ends with its connection', async () => {
  const origin = await echo();
  const rig = await startRig();
  const client = await open(rig);
  client.send({ host: HOST, port: origin.port }, 'x');
  await client.answer();
  assert.is(await openFlows(rig), 1);
  client.control.destroy();
  await eventually(async () => (await openFlows(rig)) === 0);
  await client.close();
  await rig.close();
  await origin.close();
});

test('an idle association ends, and its connection with it; a busy one does not', async () => {
  const origin = await echo();
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const [idle, busy] = [await open(rig), await open(rig)];
  for (let times = 0; times < 3; times += 1) {
    await clock.advance(25_000);
    busy.send({ host: HOST, port: origin.port }, 'x');
    await busy.answer(times);
  }
  await gone(idle.control);
  assert.is(busy.control.destroyed, false);
  assert.is(await openFlows(rig), 1);
  await idle.close();
  await busy.close();
  await rig.close();
  await origin.close();
});

test('limits hold: the place is asked for before the answer, ports for each datagram, the quota to its last byte', async () => {
  const origin = await echo();
  const sink = memorySink();
  const rig = await startRig({ sink, plan: mine({ concurrentFlows: 1 }) });
  const first = await open(rig);
  const second = await associate(rig);
  assert.is(second.reply[1], 2);
  await gone(second.control);
  await rig.plane.apply({ ...rig.plan, ...mine({ ports: ['1'] }) });
  first.send({ host: HOST, port: origin.port }, 'x');
  await counted(rig, 'port-denied');
  await rig.plane.apply({ ...rig.plan, ...mine({ quota: { lease: 'a', bytes: 25 } }) });
  first.send({ host: HOST, port: origin.port }, '0123456789');
  assert.is((await first.answer()).text, '0123456789');
  // Five bytes are left: this datagram does not fit, the next one does, and its answer does not.
  first.send({ host: HOST, port: origin.port }, '012345');
  first.send({ host: HOST, port: origin.port }, '01234');
  await gone(first.control);
  await first.close();
  const third = await associate(rig);
  assert.is(third.reply[1], 2);
  await gone(third.control);
  await rig.close();
  assert.equal(
    origin.heard.map(one => one.bytes.length),
    [10, 5],
  );
  assert.equal(sink.total(), { up: 15, down: 10, flows: 1 });
  await origin.close();
});

test('bandwidth is kept by dropping', async () => {
  const origin = await peer();
  const clock = fakeClock();
  const sink = memorySink();
  const rig = await startRig({ clock, sink, plan: mine({ upBytesPerSecond: 10_000 }) });
  const client = await open(rig);
  const block = 'x'.repeat(1_000);
  const offer = async (times: number) => {
    for (let at = 0; at < times; at += 1) client.send({ host: HOST, port: origin.port }, block);
    // The relay reads in order: when the last one, which policy refuses, is counted, all before it were judged.
    const before = (await refusals(rig))['private-target'] ?? 0;
    client.send({ host: '10.0.0.1', port: 1 }, 'x');
    await counted(rig, 'private-target', before + 1);
  };
  await offer(40);
  await clock.advance(1_000);
  await offer(40);
  await eventually(() => origin.heard.length === 26);
  await client.close();
  await rig.close();
  assert.is(sink.total().up, 26_000, '16 KiB at once, then 10 kB a second');
  assert.is(origin.heard.length, 26);
  await origin.close();
});

test('a plan that suspends the credential ends its associations', async () => {
  const rig = await startRig();
  const client = await open(rig);
  await rig.plane.apply({ ...rig.plan, credentials: [credential({ suspended: true })] });
  await gone(client.control);
  assert.is(await openFlows(rig), 0);
  await client.close();
  await rig.close();
});

test('without a modem the request is refused, and BIND always, with the right codes', async () => {
  const rig = await startRig({ plan: { egresses: [] } });
  const { control, reply } = await associate(rig);
  assert.is(reply.toString('hex'), '05010001000000000000');
  await gone(control);
  const bind = await tcp(rig.port);
  bind.end(pipelinedSocks5({ host: HOST, port: 80 }, 2));
  assert.is((await readAll(bind)).toString('hex'), '0502010005070001000000000000');
  await rig.close();
});

test('a drain lets associations be until the end of the grace', async () => {
  const origin = await echo();
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const client = await open(rig);
  client.send({ host: HOST, port: origin.port }, 'x');
  await client.answer();
  const closing = rig.plane.close(3_000);
  await clock.advance(1_000);
  assert.is(client.control.destroyed, false);
  await clock.advance(3_000);
  await closing;
  await gone(client.control);
  await client.close();
  await origin.close();
});

test('an endpoint that is open to an address serves it without a login, in both protocols, and bills who pays', async () => {
  const origin = await startOrigin(socket => void socket.end('HTTP/1.0 200 OK\r\n\r\nhello'));
  const port = await freePort();
  const sink = memorySink();
  const openTo = { sourceAddresses: ['127.0.0.0/30'], credentialId: 'c1' };
  const rig = await startRig({ sink, plan: { endpoints: [endpoint(port, { openTo })] } });
  const socks = await tcp(port);
  socks.write(Buffer.from([5, 2, 0, 1]));
  assert.is((await readExactly(socks, 2)).toString('hex'), '0500');
  const request = Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, 0, 0]);
  request.writeUInt16BE(origin.port, 8);
  socks.write(request);
  assert.is((await readExactly(socks, 10))[1], 0);
  assert.match((await readAll(socks)).toString(), 'hello');
  socks.end();
  const http = await tcp(port);
  const get = (more = '') =>
    `GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${more}\r\n`;
  http.end(get());
  assert.match((await readAll(http)).toString(), 'hello');
  // A login that is wrong is not forgiven.
  const wrong = await tcp(port);
  wrong.end(get(`Proxy-Authorization: ${basic({ username: 'alice', secret: 'no' })}\r\n`));
  assert.match((await readAll(wrong)).toString(), 'code=bad-credentials');
  // Nor is anybody let in when the plan's addresses are others, or the payer is suspended.
  const elsewhere = { sourceAddresses: ['10.0.0.0/8'], credentialId: 'c1' };
  await rig.plane.apply({ ...rig.plan, endpoints: [endpoint(port, { openTo: elsewhere })] });
  const outside = await tcp(port);
  outside.end(Buffer.from([5, 1, 0]));
  assert.is((await readAll(outside)).toString('hex'), '05ff');
  const outsideHttp = await tcp(port);
  outsideHttp.end(get());
  assert.match((await readAll(outsideHttp)).toString(), 'code=credentials-required');
  await rig.plane.apply({ ...rig.plan, credentials: [credential({ suspended: true })] });
  const suspended = await tcp(port);
  suspended.end(get());
  assert.match((await readAll(suspended)).toString(), 'code=suspended');
  await rig.close();
  assert.is(sink.total().flows, 2);
  assert.ok(sink.deltas.every(delta => delta.credentialId === 'c1'));
  await origin.close();
});

test.run();
