/** Closing with grace: the clocks here do not move by themselves, so whatever resolves has not waited. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { parseSocks5Datagram, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { basic, openTunnel, pipelinedSocks5, socks5, tcp } from './clients';
import { memorySink, type Rig, readAll, readExactly, startOrigin, startRig } from './rig';
import { a, type Reply, startNames } from './scripted-name-server';

const test = suite('graceful drain');
const GRACE_MS = 60_000;

const settled = async (promise: Promise<unknown>): Promise<boolean> => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  return Promise.race([promise.then(() => true), new Promise<boolean>(done => setImmediate(done, false))]);
};

/** Says `bytes` and waits until `text` has come. */
async function ask(client: Socket, bytes: string, text: string): Promise<void> {
  client.write(bytes);
  let got = '';
  while (!got.includes(text)) got += String((await once(client.resume(), 'data'))[0]);
  client.pause();
}

test('does not wait for kept HTTP connections that rest, and lets a request under way end', async () => {
  let held: ServerResponse | undefined;
  const origin = createServer((request, response) => {
    if (request.url === '/slow') held = response;
    else response.end('done');
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port } = origin.address() as AddressInfo;
  const get = (path: string) =>
    `GET http://127.0.0.1:${port}${path} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: ${basic()}\r\n\r\n`;
  const sink = memorySink();
  const rig = await startRig({ sink, clock: fakeClock() });
  const [resting, unasked, busy] = [await tcp(rig.port), await tcp(rig.port), await tcp(rig.port)];
  await ask(resting, get('/quick'), 'done');
  await ask(unasked, 'GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n', '407');
  const asked = once(origin, 'request');
  busy.write(get('/slow'));
  await asked;

  const closing = rig.plane.close(GRACE_MS);
  const left = await Promise.all([resting, unasked].map(readAll));
  assert.ok(left[0]?.length === 0, 'an end, not a reset, and nothing before it');
  assert.is(await settled(closing), false, 'the request under way has its grace');
  held?.end('late but whole');
  assert.match((await readAll(busy)).toString(), /^HTTP\/1\.1 200 [\s\S]*late but whole/);
  for (const client of [resting, unasked, busy]) client.end();
  await closing;
  assert.is(sink.total().flows, 2);
  origin.closeAllConnections();
  origin.close();
});

test('with nothing but resting connections and handshakes it is closed at once', async () => {
  const rig = await startRig({ clock: fakeClock() });
  const clients = [await tcp(rig.port), await tcp(rig.port)];
  await ask(clients[0]!, 'GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n', '407');
  await rig.plane.close(GRACE_MS);
  for (const client of clients) client.destroy();
});

test('what is being dialled was let in: it gets its target and its grace', async () => {
  const origin = await startOrigin(socket => socket.pipe(socket));
  let answer = (_: Reply) => {};
  const answered = new Promise<Reply>(resolve => {
    answer = resolve;
  });
  const names = await startNames(() => answered);
  const egress = {
    slot: 1,
    sourceAddress: '127.0.0.1',
    dnsServers: [names.server],
    ready: true,
    imei: null,
    guarded: [],
  };
  const rig = await startRig({ clock: fakeClock(), plan: { egresses: [egress] } });
  const opening = socks5(rig.port, { host: 'late.example', port: origin.port });
  await eventually(() => names.count('late.example') > 0, 'the name is asked for');
  const closing = rig.plane.close(GRACE_MS);
  assert.is(await settled(closing), false);
  answer({ answers: [a('late.example', '127.0.0.1', 60)] });
  const { socket } = await opening;
  if (!socket) throw new Error('refused');
  socket.write('in time');
  assert.is((await readExactly(socket, 7)).toString(), 'in time');
  socket.end();
  await closing;
  socket.destroy();
  await names.close();
  await origin.close();
});

test('a tunnel has its grace and is cut at its end', async () => {
  const clock = fakeClock();
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig({ clock });
  const client = await openTunnel(rig.port, origin.port);
  const closing = rig.plane.close(GRACE_MS);
  client.write('still here');
  assert.is((await readExactly(client, 10)).toString(), 'still here');
  assert.is(await settled(closing), false);
  const gone = new Promise(resolve => client.resume().once('close', resolve));
  await clock.advance(GRACE_MS);
  await Promise.all([closing, gone]);
  await origin.close();
});

/** An association, and a way to send one datagram through it and get it back. */
async function associate(rig: Rig) {
  const echo = dgram.createSocket('udp4');
  echo.on('message', (bytes, from) => echo.send(bytes, from.port, from.address));
  echo.bind(0, '127.0.0.1');
  const own = dgram.createSocket('udp4');
  own.bind(0, '127.0.0.1');
  await Promise.all([once(echo, 'listening'), once(own, 'listening')]);
  const control = await tcp(rig.port);
  control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
  const relay = (await readExactly(control, 14)).readUInt16BE(12);
  return {
    control,
    async echoed(text: string): Promise<void> {
      const answer = once(own, 'message');
      const target = { host: '127.0.0.1', port: echo.address().port };
      own.send(socks5Datagram(target, Buffer.from(text)), relay, '127.0.0.1');
      const datagram = parseSocks5Datagram((await answer)[0]);
      assert.is(datagram.kind === 'drop' ? '' : datagram.payload.toString(), text);
    },
    close() {
      echo.close();
      own.close();
      control.destroy();
    },
  };
}

test('does not wait for an association that rests; one that carries goes on until it rests', async () => {
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const [resting, busy] = [await associate(rig), await associate(rig)];
  await resting.echoed('once');
  await clock.advance(3_000);
  await busy.echoed('before');
  const closing = rig.plane.close(GRACE_MS);
  const ended = new Promise(resolve => resting.control.resume().once('end', resolve));
  await ended;
  assert.is(await settled(closing), false);
  await busy.echoed('meanwhile');
  await clock.advance(3_000);
  await closing;
  resting.close();
  busy.close();
});

test.run();
