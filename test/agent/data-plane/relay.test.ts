import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { openTunnel, pipelinedSocks5, tcp } from './clients';
import { memorySink, readAll, readExactly, startOrigin, startRig, untilEnd } from './rig';

const test = suite('relay');

test('passes an end on and keeps the other direction open (half-close), both ways', async () => {
  const origin = await startOrigin(async socket => {
    const got = await readAll(socket);
    socket.end(`got ${got.length}`);
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await openTunnel(rig.port, origin.port);
  client.end(Buffer.alloc(300_000));
  assert.is((await readAll(client)).toString(), 'got 300000');
  const last = await startOrigin(socket => {
    socket.end('bye');
    socket.resume();
    void readAll(socket).then(bytes => last.server.emit('late', bytes.toString()));
  });
  const second = await openTunnel(rig.port, last.port);
  assert.is((await readAll(second)).toString(), 'bye');
  const late = once(last.server, 'late');
  second.end('still here');
  assert.equal(await late, ['still here']);
  await rig.close();
  assert.equal(sink.total(), { up: 300_010, down: 13, flows: 2 });
  await origin.close();
  await last.close();
});

test('loses nothing of what a client sends along with its request, and may end at once', async () => {
  const origin = await startOrigin(async socket => {
    socket.end(await readAll(socket));
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await tcp(rig.port);
  const early = randomBytes(100_000);
  client.end(Buffer.concat([pipelinedSocks5({ host: '127.0.0.1', port: origin.port }), early]));
  const got = await readAll(client);
  assert.is(got.subarray(0, 4).toString('hex'), '05020100');
  assert.is(got.subarray(4, 14).toString('hex'), '05000001000000000000');
  assert.ok(got.subarray(14).equals(early));
  await rig.close();
  assert.equal(sink.total(), { up: 100_000, down: 100_000, flows: 1 });
  await origin.close();
});

test('accepts a handshake that comes in single bytes', async () => {
  const origin = await startOrigin(socket => socket.end('ok'));
  const rig = await startRig();
  const client = await tcp(rig.port);
  for (const byte of pipelinedSocks5({ host: '127.0.0.1', port: origin.port })) {
    client.write(Buffer.from([byte]));
    await new Promise(resolve => setImmediate(resolve));
  }
  client.end();
  assert.is((await readAll(client)).subarray(14).toString(), 'ok');
  await rig.close();
  await origin.close();
});

/** Reads a socket to its end; the hash and the length of what came. */
async function digest(socket: Socket): Promise<{ hash: string; length: number }> {
  const hash = createHash('sha256');
  let length = 0;
  await untilEnd(socket, chunk => {
    hash.update(chunk);
    length += chunk.length;
  });
  return { hash: hash.digest('hex'), length };
}

const BLOCK = randomBytes(1 << 20);

/** Writes `megabytes` blocks with respect for back-pressure, then ends; gives the hash of all. */
async function pour(socket: Socket, megabytes: number): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < megabytes; at += 1) {
    hash.update(BLOCK);
    if (!socket.write(BLOCK)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

test(
  '200 MB down and 100 MB up at once arrive unchanged and are counted to the byte',
  async () => {
    let sent: Promise<string> = Promise.resolve('');
    let received: Promise<{ hash: string; length: number }> = Promise.resolve({ hash: '', length: 0 });
    const origin = await startOrigin(socket => {
      sent = pour(socket, 200);
      received = digest(socket);
    });
    const sink = memorySink();
    const rig = await startRig({ sink });
    const client = await openTunnel(rig.port, origin.port);
    const [uploaded, down] = await Promise.all([pour(client, 100), digest(client)]);
    const up = await received;
    assert.is(down.hash, await sent);
    assert.is(up.hash, uploaded);
    await rig.close();
    assert.equal(sink.total(), { up: 100 << 20, down: 200 << 20, flows: 1 });
    await origin.close();
  },
  { deadlineMs: 60_000 },
);

test('a reader that stops makes the sender stop, and gets everything when it reads again', async () => {
  let written = 0;
  const origin = await startOrigin(socket => {
    const more = () => {
      while (written < 64 && socket.write(BLOCK)) written += 1;
      if (written < 64)
        socket.once('drain', () => {
          written += 1;
          more();
        });
      else socket.end();
    };
    more();
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await openTunnel(rig.port, origin.port);
  // Stands still once two looks in a row see the same: kernel buffers are full, ours hold one read.
  let before = -1;
  while (before !== written) {
    before = written;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  assert.ok(written < 40, `the origin could write ${written} MiB into a proxy whose client does not read`);
  assert.is((await digest(client)).length, 64 << 20);
  await rig.close();
  assert.equal(sink.total().down, 64 << 20);
  await origin.close();
});

test('a flow that dies is billed for what the kernel took, never for what we still held', async () => {
  const origin = await startOrigin(socket => {
    socket.write(Buffer.alloc(32 << 20));
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await openTunnel(rig.port, origin.port);
  let got = (await readExactly(client, 1 << 20)).length;
  client.on('data', chunk => {
    got += chunk.length;
  });
  client.pause();
  await new Promise(resolve => setTimeout(resolve, 100));
  // Cutting by plan closes our side with data in flight; the client then drains what its kernel already has.
  client.resume();
  await rig.close();
  // A client that reads late may see what it has and then an end in place of the reset: its kernel decides.
  if (!client.destroyed && !client.readableEnded)
    await new Promise<void>(resolve => {
      client.once('end', resolve);
      client.once('close', () => resolve());
    });
  client.destroy();
  const { down } = sink.total();
  assert.ok(down >= got, `billed ${down}, the client got ${got}`);
  assert.ok(down <= 32 << 20);
  await origin.close();
});

test('a reset of the origin reaches the client as a reset, not as a clean end', async () => {
  const origin = await startOrigin(socket => {
    socket.write('half');
    socket.once('data', () => socket.resetAndDestroy());
  });
  const rig = await startRig();
  const client = await openTunnel(rig.port, origin.port);
  await readExactly(client, 4);
  const failed = new Promise(resolve => client.once('close', resolve));
  let error: (Error & { code?: string }) | undefined;
  client.on('error', cause => {
    error = cause;
  });
  client.write('x');
  client.resume();
  await failed;
  assert.is(error?.code, 'ECONNRESET');
  await rig.close();
  await origin.close();
});

test('a client that goes on sending to an origin that has ended and gone is not kept', async () => {
  const origin = await startOrigin(socket => {
    socket.end('bye');
    socket.once('data', () => socket.resetAndDestroy());
  });
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const client = await openTunnel(rig.port, origin.port);
  assert.is((await readAll(client)).toString(), 'bye');
  const gone = new Promise(resolve => client.once('close', resolve));
  const more = () => {
    while (!client.destroyed && client.write(BLOCK));
  };
  client.on('drain', more);
  more();
  // It has the time of a refused client to notice, not that of an idle flow.
  const flows = async () => (await rig.plane.figures())[0]?.openFlows;
  while ((await flows()) !== 0) await new Promise(setImmediate);
  await clock.advance(3_000);
  await gone;
  assert.is((await rig.plane.metrics())[0]?.connections, 0);
  await rig.close();
  await origin.close();
});

test('leaves the slot from its own address', async () => {
  const origin = await startOrigin(socket => void socket.end(String(socket.remoteAddress)));
  const egress = { dnsServers: [], ready: true, imei: null, guarded: [] };
  const rig = await startRig({
    plan: { egresses: [{ ...egress, slot: 1, sourceAddress: '127.77.0.1' }] },
  });
  const client = await openTunnel(rig.port, origin.port);
  assert.is((await readAll(client)).toString(), '127.77.0.1');
  client.destroy();
  await rig.close();
  await origin.close();
});

test.run();
