/** The parts of chaos that decide: the plan follows from seed and number, the judge notices a byte, the link does what it says. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import WebSocket, { WebSocketServer } from 'ws';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { judgeNumbers, judgeRound, type RoundCounts } from './judge';
import { FAULTS, planRound } from './plan';
import { startWickedLink } from './wicked-link';

const test = suite('parts of chaos');

const fair = (over: Partial<RoundCounts> = {}): RoundCounts => ({
  charged: { up: 100, down: 200 },
  client: { sent: 100, received: 200, broken: 0 },
  origin: { sent: 200, received: 100 },
  agentDeaths: 0,
  boundPerDeath: 10,
  ...over,
});

test('the same seed and number are the same round, whatever was played before; others are not', () => {
  assert.equal(planRound(7, 17, FAULTS), planRound(7, 17, FAULTS));
  assert.not.equal(planRound(7, 17, FAULTS).misfortunes, planRound(7, 18, FAULTS).misfortunes);
  assert.not.equal(planRound(7, 17, FAULTS).misfortunes, planRound(8, 17, FAULTS).misfortunes);
});

test('half as many rounds as there are faults have had each fault', () => {
  for (const seed of [1, 2, 999]) {
    const rounds = Array.from({ length: Math.ceil(FAULTS.length / 2) }, (_, n) =>
      planRound(seed, n + 1, FAULTS),
    );
    const met = new Set(rounds.flatMap(plan => plan.misfortunes.map(each => each.fault)));
    assert.is(met.size, FAULTS.length);
  }
});

test('exact counts are found good', () => assert.equal(judgeRound(fair()), []));

test('one byte too many or too few is found, in either direction', () => {
  for (const charged of [
    { up: 101, down: 200 },
    { up: 99, down: 200 },
    { up: 100, down: 201 },
    { up: 100, down: 199 },
  ])
    assert.ok(judgeRound(fair({ charged })).length > 0, JSON.stringify(charged));
});

test('a broken flow is found when nothing killed the agent', () => {
  const client = { sent: 100, received: 200, broken: 1 };
  assert.is(judgeRound(fair({ client })).length, 1);
  assert.equal(judgeRound(fair({ client, agentDeaths: 1 })), []);
});

test('a death of the agent allows its bound and not a byte more, and never a charge for nothing', () => {
  assert.equal(judgeRound(fair({ agentDeaths: 1, charged: { up: 95, down: 195 } })), []);
  assert.is(judgeRound(fair({ agentDeaths: 1, charged: { up: 95, down: 194 } })).length, 1);
  assert.is(judgeRound(fair({ agentDeaths: 1, charged: { up: 101, down: 195 } })).length, 1);
});

test('a number that is missing, doubled or beyond the mark is found', () => {
  const good = { epoch: 'e', mark: 3, records: 3, numbers: 3, lowest: 1, highest: 3 };
  assert.equal(judgeNumbers([good, { ...good, mark: 0, records: 0, numbers: 0, lowest: 0, highest: 0 }]), []);
  assert.is(judgeNumbers([{ ...good, records: 4 }]).length, 1);
  assert.is(judgeNumbers([{ ...good, records: 2, numbers: 2 }]).length, 1);
  assert.is(judgeNumbers([{ ...good, highest: 4, records: 4, numbers: 4 }]).length, 1);
});

const batch = (from: number, to: number) =>
  JSON.stringify({
    v: 1,
    kind: 'usage-batch',
    body: {
      epoch: 'e',
      records: Array.from({ length: to - from + 1 }, (_, n) => ({ sequence: from + n, pad: 'x'.repeat(90) })),
    },
  });

/** A WebSocket through the link; what the far end heard, as ranges of numbers, and how it closed. */
async function throughLink(random = () => 0) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise(resolve => server.once('listening', resolve));
  const heard: string[] = [];
  const closes: number[] = [];
  server.on('connection', socket => {
    socket.on('error', () => undefined);
    socket.on('close', code => closes.push(code));
    socket.on('message', data => {
      const message = JSON.parse(data.toString());
      const { records } = message.body;
      heard.push(
        message.kind === 'usage-batch' ? `${records[0].sequence}-${records.at(-1).sequence}` : message.kind,
      );
    });
  });
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  const link = await startWickedLink([address.port], random);
  const client = new WebSocket(`ws://127.0.0.1:${link.port}/agent`, { perMessageDeflate: false });
  client.on('error', () => undefined);
  await new Promise(resolve => client.once('open', resolve));
  return {
    link,
    client,
    heard,
    closes,
    async close() {
      client.terminate();
      await link.close();
      for (const socket of server.clients) socket.terminate();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

test('the wall clock of a program and of its threads jumps as told, the monotonic one does not', async () => {
  const folder = await tempDir('clock');
  const file = join(folder.path, 'clock');
  const dayMs = 86_400_000;
  writeFileSync(file, `${3 * dayMs}\n`);
  const script = join(folder.path, 'ask.mjs');
  writeFileSync(
    script,
    `import { isMainThread, parentPort, Worker } from 'node:worker_threads';
     const told = [Date.now(), new Date().getTime(), process.hrtime()[0]];
     if (!isMainThread) parentPort.postMessage(told);
     else new Worker(new URL(import.meta.url)).once('message', thread => console.log(JSON.stringify([...told, ...thread])));`,
  );
  const out = execFileSync(process.execPath, [script], {
    encoding: 'utf8',
    env: {
      ...process.env,
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'jumping-clock.mjs')}`,
      CHAOS_CLOCK: file,
    },
    timeout: 25_000,
  });
  const [now = 0, date = 0, monotonic = 0, threadNow = 0, threadDate = 0, threadMonotonic = 0] =
    JSON.parse(out);
  for (const told of [now, date, threadNow, threadDate])
    assert.ok(Math.abs(told - Date.now() - 3 * dayMs) < dayMs, `told ${told}`);
  for (const told of [monotonic, threadMonotonic])
    assert.ok(Math.abs(told - process.hrtime()[0]) < 3_600, `monotonic ${told}`);
  await folder.remove();
});

test('without a trick all passes as it came, frames of every length form', async () => {
  const way = await throughLink();
  for (const text of ['short', 'middle', 'long'])
    way.client.send(
      JSON.stringify({
        v: 1,
        kind: text,
        body: { pad: 'x'.repeat({ short: 1, middle: 9_000, long: 70_000 }[text] ?? 0) },
      }),
    );
  way.client.send(batch(1, 4));
  await eventually(() => way.heard.length === 4);
  assert.equal(way.heard, ['short', 'middle', 'long', '1-4']);
  await way.close();
});

test('batches are doubled, shortened and put out of order; other messages never', async () => {
  const way = await throughLink();
  way.link.tricks.add('double');
  way.client.send(batch(1, 2));
  way.client.send(JSON.stringify({ v: 1, kind: 'ping', body: {} }));
  await eventually(() => way.heard.length === 3);
  way.link.tricks.clear();
  way.link.tricks.add('truncate');
  way.client.send(batch(3, 6));
  await eventually(() => way.heard.length === 4);
  way.link.tricks.clear();
  way.link.tricks.add('reorder');
  way.client.send(batch(7, 8));
  way.client.send(batch(9, 9));
  await eventually(() => way.heard.length === 6);
  assert.equal(way.heard, ['1-2', '1-2', 'ping', '3-4', '9-9', '7-8']);
  assert.is(way.link.played.double, 1);
  assert.is(way.link.played.truncate, 1);
  assert.is(way.link.played.reorder, 1);
  await way.close();
});

test('a frame that is broken off ends the connection at both ends and is not heard', async () => {
  const way = await throughLink();
  way.link.tricks.add('break');
  const closed = new Promise(resolve => way.client.once('close', resolve));
  way.client.send(batch(1, 400));
  await closed;
  await eventually(() => way.closes.length === 1);
  assert.equal(way.heard, []);
  assert.is(way.link.played.break, 1);
  await way.close();
});

test('half-open: one side is reset, the other hears nothing until it is mended', async () => {
  const way = await throughLink();
  const closed = new Promise(resolve => way.client.once('close', resolve));
  way.link.halfOpen('agent');
  await closed;
  assert.equal(way.closes, []);
  way.link.heal();
  await eventually(() => way.closes.length === 1);
  await way.close();
});

test('a stall delays and loses nothing', async () => {
  const way = await throughLink();
  way.link.stall();
  await new Promise(resolve => way.client.send(batch(1, 2), resolve));
  // Many times what it takes to be heard otherwise.
  for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
  assert.equal(way.heard, []);
  way.link.heal();
  await eventually(() => way.heard.length === 1);
  await way.close();
});

test.run();
