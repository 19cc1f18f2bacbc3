/** The salt store: exact, bounded, and one for all threads. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import {
  attachSaltStore,
  createSaltStore,
  SALT_CAPACITY,
  saltStoreBytes,
} from '@mastline/shared/protocols/shadowsocks/salt-store';
import { buildSync } from 'esbuild';
import fc from 'fast-check';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { holds } from '../property';

const test = suite('shadowsocks salt store');

const salt = (number: number, bytes = 32) => {
  const made = Buffer.alloc(bytes);
  made.writeUInt32BE(number, bytes - 4);
  return made;
};

test('a salt is new once', () => {
  const store = createSaltStore({ capacity: 100, keepMs: null, clock: fakeClock() });
  for (const bytes of [16, 32]) {
    assert.equal(store.remember(salt(1, bytes)), 'new');
    assert.equal(store.remember(salt(1, bytes)), 'seen');
    assert.equal(store.remember(salt(2, bytes)), 'new');
  }
  assert.equal(store.size, 4);
});

test('without a time the last `capacity` salts are known, whatever comes', () => {
  holds(
    fc.property(fc.array(fc.nat(40), { maxLength: 300 }), numbers => {
      const store = createSaltStore({ capacity: 8, keepMs: null, clock: fakeClock() });
      const news: number[] = [];
      for (const number of numbers) {
        const verdict = store.remember(salt(number));
        if (news.slice(-8).includes(number)) assert.equal(verdict, 'seen');
        if (!news.slice(-16).includes(number)) assert.equal(verdict, 'new');
        if (verdict === 'new') news.push(number);
      }
    }),
    200,
  );
});

test('with a time a salt is known at least that long, then forgotten', async () => {
  const clock = fakeClock();
  const store = createSaltStore({ capacity: 100, keepMs: 60_000, clock });
  assert.equal(store.remember(salt(1)), 'new');
  await clock.advance(59_000);
  assert.equal(store.remember(salt(2)), 'new');
  await clock.advance(59_999);
  assert.equal(store.remember(salt(2)), 'seen');
  assert.equal(store.remember(salt(3)), 'new');
  await clock.advance(60_000);
  assert.equal(store.remember(salt(4)), 'new');
  assert.equal(store.remember(salt(1)), 'new');
});

test('with a time a full store refuses, until the time is over', async () => {
  const clock = fakeClock();
  const store = createSaltStore({ capacity: 3, keepMs: 60_000, clock });
  assert.deepEqual(
    [1, 2, 3, 4].map(number => store.remember(salt(number))),
    ['new', 'new', 'new', 'full'],
  );
  assert.equal(store.remember(salt(2)), 'seen');
  await clock.advance(60_000);
  assert.equal(store.remember(salt(4)), 'new');
  assert.equal(store.remember(salt(2)), 'seen');
});

test('a full store of the usual size stays exact', () => {
  const store = createSaltStore({ capacity: SALT_CAPACITY, keepMs: null, clock: fakeClock() });
  for (let number = 0; number < SALT_CAPACITY; number += 1) assert.equal(store.remember(salt(number)), 'new');
  for (let number = 0; number < SALT_CAPACITY; number += 97)
    assert.equal(store.remember(salt(number)), 'seen');
  assert.ok(saltStoreBytes(SALT_CAPACITY) <= 5.5 * 2 ** 20, `${saltStoreBytes(SALT_CAPACITY)} bytes`);
});

test('two stores on one memory know the same', () => {
  const options = { capacity: 64, keepMs: null, clock: fakeClock() };
  const memory = new SharedArrayBuffer(saltStoreBytes(64));
  const [one, other] = [attachSaltStore(memory, options), attachSaltStore(memory, options)];
  assert.equal(one.remember(salt(1)), 'new');
  assert.equal(other.remember(salt(1)), 'seen');
  assert.throws(() => attachSaltStore(new SharedArrayBuffer(10), options), { code: 'shadowsocks/no-room' });
  assert.throws(() => createSaltStore({ ...options, capacity: 0 }), { code: 'shadowsocks/bad-capacity' });
});

test('a lock whose holder is gone is taken over', () => {
  const memory = new SharedArrayBuffer(saltStoreBytes(64));
  const store = attachSaltStore(memory, { capacity: 64, keepMs: null, clock: fakeClock() });
  new Int32Array(memory)[0] = 1;
  assert.equal(store.remember(salt(1)), 'new');
  assert.equal(store.remember(salt(1)), 'seen');
});

test('threads that race for the same salts: each salt is new for exactly one', async () => {
  const dir = await tempDir('salts');
  try {
    const root = join(import.meta.dirname, '../../../..');
    const bundle = join(dir.path, 'salt-store.mjs');
    const source = join(root, 'shared/src/protocols/shadowsocks/salt-store.ts');
    buildSync({ entryPoints: [source], outfile: bundle, bundle: true, platform: 'node', format: 'esm' });
    const memory = new SharedArrayBuffer(saltStoreBytes(20_000));
    const start = new Int32Array(new SharedArrayBuffer(4));
    const body = `
      import { parentPort, workerData } from 'node:worker_threads';
      import { attachSaltStore } from ${JSON.stringify(pathToFileURL(bundle).href)};
      const { memory, start, count } = workerData;
      const store = attachSaltStore(memory, { capacity: count, keepMs: null, clock: { now: () => 0 } });
      parentPort.postMessage('ready');
      Atomics.wait(start, 0, 0, 20000);
      const mine = new Uint8Array(count);
      const salt = Buffer.alloc(32);
      for (let number = 0; number < count; number += 1) {
        salt.writeUInt32BE(number, 28);
        mine[number] = store.remember(salt) === 'new' ? 1 : 0;
      }
      parentPort.postMessage(mine);`;
    const script = new URL(`data:text/javascript,${encodeURIComponent(body)}`);
    const workers = Array.from(
      { length: 4 },
      () => new Worker(script, { workerData: { memory, start, count: 20_000 } }),
    );
    const next = (worker: Worker) =>
      new Promise<Uint8Array | string>((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      );
    await Promise.all(workers.map(next));
    const results = Promise.all(workers.map(next));
    Atomics.store(start, 0, 1);
    Atomics.notify(start, 0);
    const taken = new Uint8Array(20_000);
    for (const mine of await results)
      (mine as Uint8Array).forEach((count, at) => {
        taken[at] = (taken[at] ?? 0) + count;
      });
    assert.ok(taken.every(count => count === 1));
    await Promise.all(workers.map(worker => worker.terminate()));
  } finally {
    await dir.remove();
  }
});

test.run();
