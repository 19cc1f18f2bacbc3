import type { Socket } from 'node:net';
import type { UsageDelta } from '@mastline/agent/ports';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { openTunnel } from './clients';
import { memorySink, readExactly, startOrigin, startRig } from './rig';

const test = suite('metering');
const MIB = 1 << 20;

const settled = () => new Promise(resolve => setTimeout(resolve, 50));

/** Counts what `socket` receives. */
function counter(socket: Socket): { bytes: number; reached(bytes: number): Promise<void> } {
  let awaited = { bytes: Number.POSITIVE_INFINITY, resolve: () => {} };
  const state = {
    bytes: 0,
    async reached(bytes: number) {
      if (state.bytes < bytes)
        await new Promise<void>(resolve => {
          awaited = { bytes, resolve };
        });
    },
  };
  socket.on('data', chunk => {
    state.bytes += chunk.length;
    if (state.bytes >= awaited.bytes) awaited.resolve();
  });
  socket.resume();
  return state;
}

/** A sink whose commits wait to be answered by the test. */
function heldSink() {
  const waiting: { deltas: readonly UsageDelta[]; answer(error?: Error): void }[] = [];
  let arrived: () => void = () => undefined;
  return {
    waiting,
    async next() {
      while (waiting.length === 0)
        await new Promise<void>(resolve => {
          arrived = resolve;
        });
      return waiting.shift() as (typeof waiting)[0];
    },
    commit(deltas: readonly UsageDelta[]): Promise<void> {
      return new Promise((resolve, reject) => {
        waiting.push({
          deltas: structuredClone(deltas as UsageDelta[]),
          answer: error => (error ? reject(error) : resolve()),
        });
        arrived();
      });
    },
  };
}

/** The next commit, however many ticks pass before bytes for it have come. */
async function nextInTime(sink: ReturnType<typeof heldSink>, clock: FakeClock) {
  let batch: Awaited<ReturnType<typeof sink.next>> | undefined;
  void sink.next().then(next => {
    batch = next;
  });
  while (!batch) await clock.advance(1_000);
  return batch;
}

test('commits within a tick while anything moves, and not when nothing does', async () => {
  const clock = fakeClock();
  const sink = memorySink();
  const origin = await startOrigin(socket => socket.on('data', chunk => socket.write(chunk)));
  const rig = await startRig({ sink, clock });
  const client = await openTunnel(rig.port, origin.port);
  await clock.advance(1_000);
  assert.equal(sink.deltas, [
    { endpointId: 'e1', credentialId: 'c1', slot: 1, imei: null, upBytes: 0, downBytes: 0, flows: 1 },
  ]);
  await clock.advance(10_000);
  assert.is(sink.commits, 1);
  client.write('12345');
  await readExactly(client, 5);
  await clock.advance(1_000);
  assert.equal(sink.total(), { up: 5, down: 5, flows: 1 });
  client.destroy();
  await rig.close();
  await origin.close();
});

test('a slot never relays more than its window ahead of the disk, and goes on when the commit is done', async () => {
  const clock = fakeClock();
  const sink = heldSink();
  const origin = await startOrigin(socket => {
    socket.write(Buffer.alloc(40 * MIB));
  });
  const rig = await startRig({ sink, clock });
  const client = await openTunnel(rig.port, origin.port);
  const seen = counter(client);
  const first = await sink.next();
  await seen.reached(8 * MIB);
  await settled();
  assert.is(seen.bytes, 8 * MIB, 'exactly the window, whatever the size of a read');
  const committed = first.deltas.reduce((sum, delta) => sum + delta.downBytes, 0);
  assert.ok(committed >= 4 * MIB, `the commit began with ${committed} bytes`);
  first.answer();
  await seen.reached(8 * MIB + committed);
  await settled();
  assert.is(seen.bytes, 8 * MIB + committed);
  let total = committed;
  while (total < 40 * MIB) {
    // The tick brings what is below the early commit's mark.
    const batch = await nextInTime(sink, clock);
    total += batch.deltas.reduce((sum, delta) => sum + delta.downBytes, 0);
    batch.answer();
  }
  await seen.reached(40 * MIB);
  assert.is(total, 40 * MIB);
  client.destroy();
  await rig.close();
  await origin.close();
});

test('two flows of a slot share one window, another slot has its own', async () => {
  const sink = heldSink();
  const origin = await startOrigin(socket => {
    socket.write(Buffer.alloc(20 * MIB));
  });
  const rig = await startRig({ sink, clock: fakeClock() });
  const egress = { sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] };
  const clients = [await openTunnel(rig.port, origin.port), await openTunnel(rig.port, origin.port)];
  const seen = clients.map(counter);
  await sink.next();
  while ((seen[0]?.bytes ?? 0) + (seen[1]?.bytes ?? 0) < 8 * MIB) await settled();
  await settled();
  assert.is((seen[0]?.bytes ?? 0) + (seen[1]?.bytes ?? 0), 8 * MIB);
  await rig.plane.apply({
    ...rig.plan,
    endpoints: rig.plan.endpoints.map(one => ({ ...one, slots: [2, 1] })),
    egresses: [
      { ...egress, slot: 1 },
      { ...egress, slot: 2 },
    ],
  });
  const third = await openTunnel(rig.port, origin.port);
  const other = counter(third);
  await other.reached(8 * MIB);
  for (const client of [...clients, third]) client.destroy();
  const closing = rig.plane.close(0).catch(error => error.code);
  sink.commit = async () => undefined;
  assert.is(await Promise.race([closing, settled()]), undefined, 'waits for the commit under way');
  await origin.close();
});

test('a commit that fails is tried again with the same deltas: nothing lost, nothing doubled', async () => {
  const clock = fakeClock();
  const sink = heldSink();
  const origin = await startOrigin(socket => {
    socket.write(Buffer.alloc(12 * MIB));
  });
  const rig = await startRig({ sink, clock });
  const client = await openTunnel(rig.port, origin.port);
  const seen = counter(client);
  const first = await sink.next();
  await seen.reached(8 * MIB);
  for (let failures = 0; failures < 5; failures += 1) {
    (failures === 0 ? first : await sink.next()).answer(new Error('disk full'));
    await clock.advance(2_500);
    assert.equal(sink.waiting[0]?.deltas, first.deltas, 'the very same deltas');
    assert.is(seen.bytes, 8 * MIB, 'traffic stands still meanwhile');
  }
  const sums: number[] = [];
  while (sums.reduce((sum, bytes) => sum + bytes, 0) < 12 * MIB) {
    const batch = await nextInTime(sink, clock);
    sums.push(batch.deltas.reduce((sum, delta) => sum + delta.downBytes, 0));
    batch.answer();
  }
  await seen.reached(12 * MIB);
  assert.is(
    sums.reduce((sum, bytes) => sum + bytes, 0),
    12 * MIB,
  );
  client.destroy();
  await rig.close();
  await origin.close();
});

test('many stalled readers do not fill the window of their slot', async () => {
  const sink = memorySink();
  const origin = await startOrigin(socket => {
    socket.write(Buffer.alloc(12 * MIB));
    socket.on('data', chunk => socket.write(chunk));
  });
  const echo = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig({ sink });
  const stalled = await Promise.all(Array.from({ length: 40 }, () => openTunnel(rig.port, origin.port)));
  await new Promise(resolve => setTimeout(resolve, 1_500));
  const lively = await openTunnel(rig.port, echo.port);
  lively.write(Buffer.alloc(4 * MIB));
  await readExactly(lively, 1 * MIB);
  for (const client of [...stalled, lively]) client.destroy();
  await rig.close();
  await origin.close();
  await echo.close();
});

test('close commits everything, and says so when it cannot', async () => {
  const origin = await startOrigin(socket => socket.end('0123456789'));
  const sink = memorySink();
  const rig = await startRig({ sink, clock: fakeClock() });
  const client = await openTunnel(rig.port, origin.port);
  await readExactly(client, 10);
  await rig.plane.close(0);
  assert.equal(sink.total(), { up: 0, down: 10, flows: 1 });
  const clock = fakeClock();
  const broken = await startRig({ sink: { commit: () => Promise.reject(new Error('disk full')) }, clock });
  const second = await openTunnel(broken.port, origin.port);
  await readExactly(second, 10);
  const closing = broken.plane.close(0).then(
    () => 'closed',
    error => error.code,
  );
  await settled();
  await clock.advance(2_000);
  assert.is(await closing, 'usage/uncommitted');
  client.destroy();
  second.destroy();
  await origin.close();
});

test('live figures tell rates and open flows per slot', async () => {
  const clock = fakeClock();
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig({ clock });
  const client = await openTunnel(rig.port, origin.port);
  await rig.plane.figures();
  client.write(Buffer.alloc(10_000));
  await readExactly(client, 10_000);
  await clock.advance(2_000);
  assert.equal(await rig.plane.figures(), [
    { slot: 1, upBytesPerSecond: 5_000, downBytesPerSecond: 5_000, openFlows: 1 },
  ]);
  client.destroy();
  await rig.close();
  assert.is((await rig.plane.figures())[0]?.openFlows, 0);
  await origin.close();
});

test.run();
