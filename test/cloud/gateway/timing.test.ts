/** What depends on time: nonces that expire, sockets that never greet, agents that fall silent, stops that ask to move. */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect as dial, type Socket } from 'node:net';
import { sharedAdmissions } from '@mastline/cloud/server/gateway/admissions';
import { Gateway } from '@mastline/cloud/server/gateway/gateway';
import { nodeFinder } from '@mastline/cloud/server/gateway/node-finder';
import { Nonces } from '@mastline/cloud/server/gateway/nonces';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { MAX_FRAGMENTS, NONCE_LIFETIME_MS, SILENCE_LIMIT_MS } from '@mastline/shared/wire/limits';
import { fakeClock } from '../../support/clock';
import { authorizationFor, openLink, type TestLink } from '../../support/cloud-agent';
import { cloudWorld, type World } from '../../support/cloud-world';
import { eventually } from '../../support/eventually';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/gateway: time');
let database: TestDatabase;
let world: World;

test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
});
test.after(async () => database.drop());

test('a nonce is fresh until its lifetime ends, for its own node only', async () => {
  const clock = fakeClock();
  const nonces = new Nonces(clock);
  const nonce = nonces.issue('node');
  assert.equal(nonces.check('node', nonce), 'fresh');
  assert.equal(nonces.check('other', nonce), 'forged');
  assert.equal(new Nonces(clock).check('node', nonce), 'forged');
  for (let i = 0; i < nonce.length; i += 1) {
    const letter = nonce[i] === 'A' ? 'B' : 'A';
    const bent = `${nonce.slice(0, i)}${letter}${nonce.slice(i + 1)}`;
    if (Buffer.from(bent, 'base64url').equals(Buffer.from(nonce, 'base64url'))) continue;
    assert.equal(nonces.check('node', bent), 'forged', `letter ${i}`);
  }
  await clock.advance(NONCE_LIFETIME_MS);
  assert.equal(nonces.check('node', nonce), 'fresh');
  await clock.advance(1);
  assert.equal(nonces.check('node', nonce), 'expired');
});

test('a spent nonce, and those given out before it, are replays; later ones are not', () => {
  const nonces = new Nonces(fakeClock());
  const [older, spent, newer] = [nonces.issue('n'), nonces.issue('n'), nonces.issue('n')];
  nonces.spend('n', spent);
  assert.equal(nonces.check('n', older), 'replayed');
  assert.equal(nonces.check('n', spent), 'replayed');
  assert.equal(nonces.check('n', newer), 'fresh');
});

test('with a shared key a challenge of one process is fresh at another, whose clock may be off by its lifetime', async () => {
  const key = Buffer.alloc(32, 5);
  const [here, there] = [fakeClock(), fakeClock()];
  const nonce = new Nonces(here, key).issue('node');
  const other = new Nonces(there, key);
  assert.equal(other.check('node', nonce), 'fresh');
  assert.equal(other.check('neighbour', nonce), 'forged');
  assert.equal(new Nonces(there, Buffer.alloc(32, 6)).check('node', nonce), 'forged');
  for (const [offMs, verdict] of [
    [-NONCE_LIFETIME_MS, 'fresh'],
    [-NONCE_LIFETIME_MS - 1, 'expired'],
    [NONCE_LIFETIME_MS, 'fresh'],
    [NONCE_LIFETIME_MS + 1, 'expired'],
  ] as const) {
    there.jumpTo(here.now() + offMs);
    assert.equal(other.check('node', nonce), verdict, `${offMs} ms`);
  }
});

test('an answered challenge is taken down once, whichever process asks, and admissions have an order', async () => {
  const [one, other] = [sharedAdmissions(database.db), sharedAdmissions(database.db)];
  const tries = await Promise.all([one.admit('a'), other.admit('a'), one.admit('a'), other.admit('a')]);
  assert.equal(tries.filter(place => place !== null).length, 1);
  const [first] = tries.filter(place => place !== null);
  const next = await other.admit('b');
  assert.ok(next !== null && first !== undefined && next > (first ?? 0));
});

test('of two answers to one challenge at the same time one is admitted', () => {
  const nonces = new Nonces(fakeClock());
  const nonce = nonces.issue('n');
  assert.equal(nonces.check('n', nonce), 'fresh');
  assert.equal(nonces.spend('n', nonce), true);
  assert.equal(nonces.spend('n', nonce), false);
});

interface Rig {
  clock: ReturnType<typeof fakeClock>;
  gateway: Gateway;
  link: TestLink;
  /** Pings that were handled. */
  handled(): number;
  /** A socket of the same node past its upgrade, for frames that no library sends; it replaces the link. */
  raw(): Promise<Socket>;
  stop(): Promise<void>;
}

/** `pongs`: how many a ping is answered with. */
async function rig(pongs = 1): Promise<Rig> {
  const clock = fakeClock();
  const nonces = new Nonces(clock);
  let handled = 0;
  const gateway = new Gateway({
    findNode: nodeFinder(database.db),
    nonces,
    presence: world.services.presence,
    clock,
    log: world.services.log,
    random: () => 0.5,
    onMessage: async (session, message) => {
      if (message.kind !== 'ping') return;
      handled += 1;
      for (let i = 0; i < pongs; i += 1) session.send('pong', { at: message.body.at, now: 0 });
    },
  });
  const server: Server = createServer();
  server.on('upgrade', (request, socket, head) => void gateway.upgrade(request, socket, head));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { id, privateKey } = world.acme.node;
  const link = await openLink(url, authorizationFor(id, nonces.issue(id), privateKey));
  return {
    clock,
    gateway,
    link,
    handled: () => handled,
    raw: () => upgraded(url, authorizationFor(id, nonces.issue(id), privateKey)),
    stop: async () => {
      link.close();
      await link.closed;
      const closing = gateway.close(100);
      await clock.advance(200);
      await closing;
      await new Promise(resolve => server.close(resolve));
    },
  };
}

function upgraded(url: string, authorization: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = dial({ host: hostname, port: Number(port) }, () =>
      socket.write(
        'GET /agent HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
          `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: ${authorization}\r\n\r\n`,
      ),
    );
    socket.on('error', reject);
    socket.once('data', head => {
      if (head.toString().startsWith('HTTP/1.1 101 ')) resolve(socket.off('error', reject));
      else reject(new Error(head.toString()));
    });
  });
}

/** A frame as clients send them, masked with zeros (RFC 6455 section 5.2). */
function frame(opcode: number, text: string, { fin = true } = {}): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(body.length < 126 ? 6 : 8);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = 0x80 | Math.min(126, body.length);
  if (body.length >= 126) head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

/** The code of the close frame that comes, and that nothing comes after the socket's end. */
function closeCode(socket: Socket): Promise<number> {
  const chunks: Buffer[] = [];
  return new Promise(resolve => {
    socket.on('error', () => undefined);
    socket.on('data', chunk => chunks.push(chunk));
    socket.on('close', () => {
      const all = Buffer.concat(chunks);
      const at = all.indexOf(0x88);
      resolve(at < 0 ? 1006 : all.readUInt16BE(at + 2));
    });
  });
}

const hello = {
  agentVersion: '0.1.0',
  bootId: 'b',
  now: 0,
  epoch: uuidv7(),
  lastSequence: 0,
  running: { revision: 0, hash: null },
};

test('a socket that never greets is closed', async () => {
  const { clock, link, stop } = await rig();
  await clock.advance(10_000);
  assert.deepEqual(await link.closed, { code: CLOSE.protocol, reason: 'no hello within its deadline' });
  await stop();
});

test('a silent agent is closed after its limit, one that pings is not', async () => {
  const { clock, gateway, link, stop } = await rig();
  link.send('hello', hello);
  for (let spent = 0; spent < 2 * SILENCE_LIMIT_MS; spent += SILENCE_LIMIT_MS / 2) {
    link.send('ping', { at: spent });
    assert.equal((await link.next('pong')).at, spent);
    await clock.advance(SILENCE_LIMIT_MS / 2);
  }
  assert.equal(gateway.size, 1);
  await clock.advance(SILENCE_LIMIT_MS);
  assert.equal((await link.closed).code, CLOSE.silent);
  await stop();
});

test('a frame that drips in byte by byte is silence, however regularly a byte comes', async () => {
  const { clock, gateway, raw, stop } = await rig();
  const socket = await raw();
  const closed = closeCode(socket);
  socket.write(frame(1, JSON.stringify({ v: 1, kind: 'hello', body: hello })));
  await eventually(() => gateway.session(world.acme.node.id) !== undefined);
  const endless = frame(1, 'x'.repeat(60_000));
  for (let at = 0; at <= SILENCE_LIMIT_MS / 1_000 + 1; at += 1) {
    socket.write(endless.subarray(at, at + 1));
    await new Promise(resolve => setImmediate(resolve));
    await clock.advance(1_000);
  }
  // It does not answer the close either, and is cut by the next sweeps.
  await clock.advance(3_000);
  assert.equal(await closed, CLOSE.silent);
  await stop();
});

test('a message in more crumbs than any has, frames without a mask and compressed ones end the session', async () => {
  const crumbs = [frame(1, '{', { fin: false }), ...Array(MAX_FRAGMENTS).fill(frame(0, ' ', { fin: false }))];
  const unmasked = Buffer.from([0x81, 0x02, 0x7b, 0x7d]);
  const compressed = Buffer.from([0xc1, 0x80, 0, 0, 0, 0]);
  for (const [bytes, code] of [
    [Buffer.concat(crumbs), 1008],
    [unmasked, 1002],
    [compressed, 1002],
  ] as const) {
    const { gateway, raw, stop } = await rig();
    const socket = await raw();
    const closed = closeCode(socket);
    socket.write(bytes);
    assert.equal(await closed, code);
    await eventually(() => gateway.arrivals.arriving === 0);
    await stop();
  }
});

test('an agent that does not read its answers is not read either: what waits for it is bounded', async () => {
  const pings = 2_000;
  const { clock, gateway, link, handled, stop } = await rig(200);
  link.send('hello', hello);
  link.pause();
  for (let i = 0; i < pings; i += 1) link.send('ping', { at: i });
  await eventually(() => gateway.figures().pausedSockets === 1);
  assert.ok(handled() < pings / 2, `${handled()} pings were answered`);
  // It reads again: nothing is lost, and the next sweeps go on.
  link.resume();
  await eventually(async () => {
    if (gateway.figures().unreadBytes === 0) await clock.advance(1_000);
    return handled() === pings;
  });
  link.pause();
  for (let i = 0; i < pings; i += 1) link.send('ping', { at: i });
  await eventually(() => gateway.figures().pausedSockets === 1);
  for (let spent = 0; spent <= SILENCE_LIMIT_MS + 3_000; spent += 1_000) await clock.advance(1_000);
  await eventually(() => gateway.size === 0);
  link.resume();
  await stop();
});

test('a stop asks to move, spread over time, and closes with the code for it', async () => {
  const { clock, gateway, link, stop } = await rig();
  link.send('hello', hello);
  link.send('ping', { at: 1 });
  await link.next('pong');
  const closing = gateway.close(1_000);
  assert.equal((await link.next('move-away')).afterMs, 3_500);
  assert.equal((await link.closed).code, CLOSE.moveAway);
  await clock.advance(1_000);
  await closing;
  assert.equal(gateway.size, 0);
  await stop();
});

test.run();
