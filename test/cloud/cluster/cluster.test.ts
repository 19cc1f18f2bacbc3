/** Loss, silence and size, by a bus that fails on command and a clock that is moved. With a real NATS: clouds.test.ts. */
import assert from 'node:assert/strict';
import { MAX_MESSAGE_BYTES } from '@mastline/cloud/server/cluster/bus';
import { BEAT_MS, BELIEVED_MS, Cluster, SILENT_MS } from '@mastline/cloud/server/cluster/cluster';
import { Codec, type NodeOrder } from '@mastline/cloud/server/cluster/messages';
import { Presence } from '@mastline/cloud/server/fleet/presence';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { type FakeClock, fakeClock } from '../../support/clock';
import { type FakeBus, FakeExchange } from '../../support/fake-bus';
import { suite } from '../../support/suite';

const test = suite('cloud/cluster: loss and silence');
const log = pino({ level: 'silent' });
const key = Buffer.alloc(32, 3);

interface Member {
  cluster: Cluster;
  presence: Presence;
  bus: FakeBus;
  delivered: string[];
  replaced: [string, number][];
}

function member(exchange: FakeExchange, clock: FakeClock): Member {
  const presence = new Presence(clock);
  const bus = exchange.bus(clock);
  const delivered: string[] = [];
  const replaced: [string, number][] = [];
  const cluster = new Cluster({
    id: uuidv7(),
    bus,
    codec: new Codec(key),
    clock,
    log,
    ports: {
      presence,
      deliver: nodeId => {
        if (presence.said(nodeId) === undefined) return 'offline';
        delivered.push(nodeId);
        return 'sent';
      },
      replaced: (nodeId, order) => {
        if (presence.said(nodeId) !== undefined) replaced.push([nodeId, order]);
      },
      push: () => undefined,
      catchUp: () => undefined,
      told: () => undefined,
    },
  });
  cluster.start();
  return { cluster, presence, bus, delivered, replaced };
}

function two(): { clock: FakeClock; exchange: FakeExchange; here: Member; there: Member; node: string } {
  const clock = fakeClock();
  const exchange = new FakeExchange();
  return { clock, exchange, here: member(exchange, clock), there: member(exchange, clock), node: uuidv7() };
}

const rotate: NodeOrder = {
  kind: 'rotate',
  body: { id: uuidv7(), slot: 0, askedFor: 'user', deadlineMs: 1_000 },
};

test('a process that is silent is believed until its time is over, then its nodes are offline', async () => {
  const { clock, here, there, node } = two();
  there.presence.connected(node, 1);
  await clock.advance(BEAT_MS);
  assert.equal(here.presence.isOnline(node), true);
  there.bus.die();
  await clock.advance(SILENT_MS - BEAT_MS);
  assert.equal(here.presence.isOnline(node), true);
  await clock.advance(2 * BEAT_MS);
  assert.equal(here.presence.isOnline(node), false);
  assert.equal(here.cluster.figures().peers, 0);
});

test('figures of many nodes with one slot each reach who looks, however large the figures are', async () => {
  const { clock, exchange, here, there } = two();
  const nodes = Array.from({ length: 450 }, () => uuidv7());
  for (const [at, node] of nodes.entries()) there.presence.connected(node, at + 1);
  await clock.advance(BEAT_MS);
  const most = Number.MAX_SAFE_INTEGER;
  const slots = [{ slot: 65_535, upBytesPerSecond: most, downBytesPerSecond: most, openFlows: most }];
  // Somebody here asks for figures of nodes that are there: that is how looking begins.
  for (const node of nodes) here.presence.figures(node, 65_535);
  await clock.advance(BEAT_MS);
  exchange.largest = 0;
  for (const node of nodes) {
    there.presence.reportsEvery(node, most);
    there.presence.report(node, slots);
  }
  await clock.advance(BEAT_MS);
  const seen = nodes.filter(node => here.presence.figures(node, 65_535)?.openFlows === most);
  assert.equal(seen.length, nodes.length);
  assert.ok(exchange.largest <= MAX_MESSAGE_BYTES, `${exchange.largest} bytes`);
});

test('whatever is lost is known again with the next beat that is heard', async () => {
  const { clock, exchange, here, there, node } = two();
  there.presence.connected(node, 1);
  exchange.loses = () => true;
  await clock.advance(BEAT_MS - 1);
  assert.equal(here.presence.isOnline(node), false);
  exchange.loses = () => false;
  await clock.advance(BEAT_MS);
  assert.equal(here.presence.isOnline(node), true, 'a move that was lost');
  exchange.loses = () => true;
  there.presence.disconnected(node);
  await clock.advance(BEAT_MS - 1);
  exchange.loses = () => false;
  await clock.advance(BEAT_MS);
  assert.equal(here.presence.isOnline(node), false, 'a leave that was lost');
});

test('a part of a whole that is lost leaves no half: the whole is asked for again', async () => {
  const { clock, exchange, here, there } = two();
  const nodes = Array.from({ length: 1_200 }, () => uuidv7());
  exchange.loses = () => true;
  for (const [order, nodeId] of nodes.entries()) there.presence.connected(nodeId, order);
  await clock.advance(BEAT_MS);
  // Of the three parts of the first whole that is asked for, the second is lost.
  let whole = 0;
  exchange.loses = bytes => {
    if (!Buffer.from(bytes).includes('"holds"')) return false;
    whole += 1;
    return whole === 2;
  };
  await clock.advance(BEAT_MS);
  assert.ok(whole >= 3, `${whole} parts`);
  await clock.advance(BEAT_MS);
  assert.equal(here.cluster.figures().nodesElsewhere, nodes.length);
  assert.ok(
    nodes.every(nodeId => here.presence.isOnline(nodeId)),
    'all are online',
  );
});

test('while the bus is away what was known holds for a minute, not longer; back, all is known again', async () => {
  const { clock, here, there, node } = two();
  there.presence.connected(node, 1);
  await clock.advance(BEAT_MS);
  here.bus.setAway(true);
  assert.equal(await here.cluster.send(node, rotate), 'unreachable');
  await clock.advance(BELIEVED_MS - BEAT_MS);
  assert.equal(here.presence.isOnline(node), true);
  await clock.advance(2 * BEAT_MS);
  assert.equal(here.presence.isOnline(node), false);
  here.bus.setAway(false);
  assert.equal(here.presence.isOnline(node), true);
  assert.equal(await here.cluster.send(node, rotate), 'sent');
  assert.deepEqual(there.delivered, [node]);
});

test('an order that nobody hears forgets who should have; one without an answer counts as sent', async () => {
  const { clock, exchange, here, there, node } = two();
  there.presence.connected(node, 1);
  await clock.advance(BEAT_MS);
  exchange.reply = { is: 'late' };
  assert.equal(await here.cluster.send(node, rotate), 'sent');
  exchange.reply = undefined;
  there.bus.die();
  assert.equal(await here.cluster.send(node, rotate), 'offline');
  assert.equal(here.presence.isOnline(node), false);
});

test('whoever holds the older session of a node hears of the newer one, also by a whole', async () => {
  const { clock, exchange, here, there, node } = two();
  exchange.loses = () => true;
  here.presence.connected(node, 5);
  there.presence.connected(node, 6);
  await clock.advance(BEAT_MS);
  exchange.loses = () => false;
  await clock.advance(2 * BEAT_MS);
  assert.deepEqual(here.replaced.at(0), [node, 6]);
});

test('ten thousand nodes with four modems fit into messages of bounded size, words of their own left out', async () => {
  const { clock, exchange, here, there } = two();
  const nodes = Array.from({ length: 10_000 }, () => uuidv7());
  for (const [order, nodeId] of nodes.entries()) there.presence.connected(nodeId, order);
  await clock.advance(BEAT_MS);
  assert.equal(here.cluster.figures().nodesElsewhere, 10_000);
  // Somebody looks, and it is heard.
  const [first = ''] = nodes;
  here.presence.figures(first, 0);
  await clock.advance(2 * BEAT_MS);
  const slots = [0, 1, 2, 3].map(slot => ({
    ...{ slot, upBytesPerSecond: 1e12, downBytesPerSecond: 1e12, openFlows: 1e6 },
    chatter: 'x'.repeat(500),
  }));
  for (const nodeId of nodes) there.presence.report(nodeId, slots);
  const before = exchange.messages;
  await clock.advance(1_000);
  assert.equal(here.presence.figures(first, 3)?.openFlows, 1e6);
  assert.ok(exchange.messages - before < 30, `${exchange.messages - before} messages in a second`);
  assert.ok(exchange.largest <= MAX_MESSAGE_BYTES, `${exchange.largest} bytes`);
});

test('figures and signs of change are told only while somebody looks', async () => {
  const { clock, exchange, there, node } = two();
  there.presence.connected(node, 1);
  await clock.advance(2 * BEAT_MS);
  const told: string[] = [];
  exchange.loses = bytes => {
    told.push(/"is":"(\w+)"/.exec(Buffer.from(bytes).toString('latin1'))?.[1] ?? '');
    return false;
  };
  for (let seconds = 0; seconds < 10; seconds += 1) {
    there.presence.report(node, [{ slot: 0, upBytesPerSecond: 1, downBytesPerSecond: 1, openFlows: 1 }]);
    await clock.advance(1_000);
  }
  assert.deepEqual([...new Set(told)], ['beat']);
});

test.run();
