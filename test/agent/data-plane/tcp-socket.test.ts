import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HoldMemory } from '@mastline/agent/data-plane/hold-memory';
import { ReadMemory } from '@mastline/agent/data-plane/read-memory';
import { ShortViews } from '@mastline/agent/data-plane/short-views';
import { connectTcp } from '@mastline/agent/data-plane/tcp-connect';
import { rawTcp } from '@mastline/agent/data-plane/tcp-handle';
import { TcpSocket } from '@mastline/agent/data-plane/tcp-socket';
import { closedWithin, enter, leave } from '@mastline/agent/data-plane/within-callback';
import * as assert from 'uvu/assert';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { openTunnel } from './clients';
import { memorySink, startOrigin, startRig } from './rig';

const test = suite('connections on bare handles');
const plain = process.env.MASTLINE_PLAIN_SOCKETS === '1';

const memory = Buffer.alloc(64 * 1024);
const connectTo = (port: number, take?: (bytes: Buffer) => boolean) =>
  new Promise<TcpSocket | string>(resolve => {
    const reader = { memory: () => memory, ...(take ? { take } : {}) };
    connectTcp({ address: '127.0.0.1', port, localAddress: '127.0.0.9' }, reader, resolve);
  });

if (!plain) {
  test('this Node has them: without, every figure of the data plane is another one', () => {
    assert.ok(rawTcp);
  });

  test('a refused connection is told by the code of the system', async () => {
    assert.is(await connectTo(await freePort()), 'ECONNREFUSED');
  });

  test('ends in both directions close it without an error, from the address it was bound to', async () => {
    let from: string | undefined;
    const origin = await startOrigin(socket => {
      from = socket.remoteAddress;
      socket.on('end', () => socket.end('bye'));
      socket.resume();
    });
    const socket = await connectTo(origin.port);
    if (!(socket instanceof TcpSocket)) throw new Error(socket);
    let heard = '';
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.toString();
    });
    const closed = new Promise<boolean>(resolve => socket.once('close', resolve));
    socket.resume();
    socket.end();
    assert.is(await closed, false);
    assert.is(heard, 'bye');
    assert.is(from, '127.0.0.9');
    assert.ok(socket.readableEnded && socket.destroyed);
    await origin.close();
  });

  test('a reset by the peer closes it with an error; a write after that calls back with one', async () => {
    const origin = await startOrigin(socket => {
      socket.once('data', () => socket.resetAndDestroy());
    });
    const socket = await connectTo(origin.port);
    if (!(socket instanceof TcpSocket)) throw new Error(socket);
    const closed = new Promise<boolean>(resolve => socket.once('close', resolve));
    socket.resume();
    await new Promise(resolve => socket.write(Buffer.from('x'), resolve));
    assert.is(await closed, true);
    const error = await new Promise<unknown>(resolve => socket.write(Buffer.from('x'), resolve));
    assert.instance(error, Error);
    await origin.close();
  });

  test('what comes before its owner wants to read waits, although the handle was watched for it', async () => {
    const origin = await startOrigin(socket => void socket.write('first'));
    let heard = '';
    const socket = await connectTo(origin.port, bytes => {
      heard += bytes.toString();
      return true;
    });
    if (!(socket instanceof TcpSocket)) throw new Error(socket);
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
    assert.is(heard, '');
    socket.resume();
    while (heard.length < 5) await new Promise(setImmediate);
    assert.is(heard, 'first');
    socket.destroy();
    await origin.close();
  });

  test('its owner is told of the end and of the close once each, and of no close that it was let go before', async () => {
    const origin = await startOrigin(socket => {
      socket.on('end', () => socket.end());
      socket.resume();
    });
    const told: string[] = [];
    const owner = {
      wireEnded: () => void told.push('ended'),
      wireClosed: (hadError: boolean) => void told.push(`closed ${hadError}`),
    };
    const socket = await connectTo(origin.port);
    const other = await connectTo(origin.port);
    if (!(socket instanceof TcpSocket && other instanceof TcpSocket)) throw new Error('not connected');
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.owner = owner;
    other.owner = owner;
    socket.resume();
    socket.end();
    await closed;
    assert.equal(told, ['ended', 'closed false']);
    other.owner = null;
    other.destroy();
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
    assert.equal(told, ['ended', 'closed false']);
    await origin.close();
  });

  test('who dies within a callback is told of at its end, whoever joins meanwhile too, and by libuv outside of any', () => {
    const told: string[] = [];
    const one = (name: string, also?: () => void) => ({
      closed: () => {
        told.push(name);
        also?.();
      },
    });
    assert.is(closedWithin(one('outside')), false);
    enter();
    enter();
    assert.ok(closedWithin(one('first', () => assert.ok(closedWithin(one('second'))))));
    leave();
    assert.equal(told, []);
    leave();
    assert.equal(told, ['first', 'second']);
    assert.is(closedWithin(one('outside')), false);
  });

  test('views of short reads show what is in the memory now, of the memory that was asked for', () => {
    const views = new ShortViews();
    const [one, other] = [Buffer.from('abcdef'), Buffer.from('uvwxyz')];
    const view = views.of(one, 3);
    assert.is(view.toString(), 'abc');
    one[0] = 0x41;
    assert.ok(views.of(one, 3) === view);
    assert.is(view.toString(), 'Abc');
    assert.is(views.of(other, 3).toString(), 'uvw');
    assert.is(views.of(one, 2).toString(), 'Ab');
    assert.is(views.of(memory, 2_000).length, 2_000);
  });

  test('a reader that says stop gets no more until resume', async () => {
    const origin = await startOrigin(socket => void socket.write(Buffer.alloc(1024 * 1024)));
    let reads = 0;
    let got = 0;
    const socket = await connectTo(origin.port, bytes => {
      reads += 1;
      got += bytes.length;
      return false;
    });
    if (!(socket instanceof TcpSocket)) throw new Error(socket);
    socket.resume();
    while (got < 1024 * 1024) {
      const before = reads;
      while (reads === before) await new Promise(setImmediate);
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
      assert.is(reads, before + 1);
      socket.resume();
    }
    assert.ok(got === 1024 * 1024);
    socket.destroy();
    await origin.close();
  });

  test('one that rests reads nothing, whatever its owner says meanwhile, and goes on as its owner last said', async () => {
    const origin = await startOrigin(socket => void socket.write('hello'));
    let heard = '';
    const socket = await connectTo(origin.port, bytes => {
      heard += bytes.toString();
      return true;
    });
    if (!(socket instanceof TcpSocket)) throw new Error(socket);
    socket.rest();
    socket.resume();
    socket.pause();
    socket.resume();
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
    assert.is(heard, '');
    socket.wake();
    while (heard.length < 5) await new Promise(setImmediate);
    socket.slot = 1;
    socket.rest();
    socket.pause();
    socket.slot = 2;
    assert.is(heard, 'hello');
    socket.destroy();
    socket.wake();
    await origin.close();
  });

  test('reads grow with what comes, and the memory is given back when the connection is over', async () => {
    const length = 8 * 1024 * 1024;
    const origin = await startOrigin(socket => void socket.end(Buffer.alloc(length)));
    const reads = new ReadMemory(256 * 1024, { heldBytes: 0 });
    let largest = 0;
    let got = 0;
    const outcome = await new Promise<TcpSocket | string>(resolve =>
      connectTcp(
        { address: '127.0.0.1', port: origin.port, localAddress: null },
        {
          memory: view => reads.view(view),
          views: reads,
          take: bytes => {
            largest = Math.max(largest, bytes.length);
            got += bytes.length;
            return true;
          },
        },
        resolve,
      ),
    );
    if (!(outcome instanceof TcpSocket)) throw new Error(outcome);
    const ended = new Promise(resolve => outcome.once('end', resolve));
    outcome.resume();
    await ended;
    outcome.destroy();
    assert.is(got, length);
    assert.ok(largest > 16 * 1024, `the largest read had ${largest} bytes`);
    await origin.close();
  });
}

test('bytes stay as they were when many flows stall and share what they are held in', async () => {
  const pattern = (at: number) => createHash('sha512').update(String(at)).digest();
  const length = 3 * 1024 * 1024;
  const origin = await startOrigin(socket => {
    socket.once('data', (first: Buffer) => {
      const seed = pattern(first[0] ?? 0);
      socket.end(Buffer.alloc(length, seed));
    });
    socket.on('error', () => undefined);
  });
  const sink = memorySink();
  const rig = await startRig({ sink, limits: { windowBytes: 128 * 1024, commitBytes: 32 * 1024 } });
  await Promise.all(
    Array.from({ length: 8 }, async (_, at) => {
      const socket = await openTunnel(rig.port, origin.port);
      const hash = createHash('sha256');
      let got = 0;
      socket.on('data', (bytes: Buffer) => {
        hash.update(bytes);
        got += bytes.length;
        socket.pause();
        setImmediate(() => socket.resume());
      });
      const ended = new Promise(resolve => socket.once('end', resolve));
      socket.write(Buffer.from([at]));
      socket.resume();
      await ended;
      assert.is(got, length);
      assert.is(
        hash.digest('hex'),
        createHash('sha256')
          .update(Buffer.alloc(length, pattern(at)))
          .digest('hex'),
      );
      socket.end();
    }),
  );
  await rig.close();
  assert.is(sink.total().down, 8 * length);
  await origin.close();
});

test('memory of held bytes is used again, and what lies idle is bounded', () => {
  const pool = new HoldMemory();
  const first = pool.take(5_000);
  assert.is(first.length, 8_192);
  pool.giveBack(first);
  assert.is(pool.take(8_000), first);
  const many = Array.from({ length: 100 }, () => pool.take(256 * 1024));
  for (const one of many) pool.giveBack(one);
  assert.is(pool.idleBytes, 4 * 1024 * 1024);
  assert.is(new Set(Array.from({ length: 16 }, () => pool.take(200_000))).size, 16);
});

if (!plain)
  test(
    'plain sockets serve the same where there are none',
    async () => {
      const env = { ...process.env, MASTLINE_PLAIN_SOCKETS: '1' };
      for (const name of ['tcp-socket', 'relay', 'metering', 'http']) {
        const file = join(import.meta.dirname, `${name}.test.ts`);
        await promisify(execFile)(process.execPath, ['--import', 'tsx', file], { env, timeout: 60_000 });
      }
    },
    { deadlineMs: 120_000 },
  );

test.run();
