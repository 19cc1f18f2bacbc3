/**
 * Two and three clouds on one database and a real NATS server: what one holds the others reach, the newest session wins,
 * NATS goes and comes back. Nodes' ends are played by the test; whole processes behind a balancer are
 * system/two-clouds.test.ts, loss and silence cluster.test.ts.
 */
import assert from 'node:assert/strict';
import type { Cloud } from '@mastline/cloud/server/cloud';
import { MAX_MESSAGE_BYTES } from '@mastline/cloud/server/cluster/bus';
import { type Body, Codec } from '@mastline/cloud/server/cluster/messages';
import { natsOptions } from '@mastline/cloud/server/cluster/nats-bus';
import { LiveFeed } from '@mastline/cloud/server/insight/live-feed';
import type { OverviewView } from '@mastline/cloud/server/insight/views';
import { createCaller } from '@mastline/cloud/server/router';
import { systemClock } from '@mastline/shared/base/clock';
import { DesiredState } from '@mastline/shared/domain/desired-state';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { connect as connectNats } from 'nats';
import { authorizationFor, challenge, connect, openLink, type TestLink } from '../../support/cloud-agent';
import { addEndpoint, cloudWorld, usageRecord, type World } from '../../support/cloud-world';
import { CLUSTER_KEY, oneOfMany } from '../../support/clouds';
import { eventually } from '../../support/eventually';
import { type OwnNats, startOwnNats } from '../../support/own-nats';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/cluster: several clouds', { needs: ['nats-server'] });
const TAKES = ['rotate', 'rotations-noted', 'quota-call'];
const DEADLINE = { deadlineMs: 60_000 };

let database: TestDatabase;
let nats: OwnNats;
let world: World;
let one: Cloud;
let other: Cloud;
const links = new Set<TestLink>();

test.before(async () => {
  database = await testDatabase('server');
  nats = await startOwnNats();
  world = await cloudWorld(database.db);
  one = await oneOfMany(database, nats.url);
  other = await oneOfMany(database, nats.url);
  await eventually(() => figuresOf(one).peers === 1 && figuresOf(other).peers === 1, 'they have met');
});
test.afterEach(async () => {
  for (const link of links) link.close();
  links.clear();
  const nodes = [world.acme.node.id, world.rival.node.id];
  await eventually(
    () => nodes.every(id => !one.services.presence.isOnline(id) && !other.services.presence.isOnline(id)),
    'all nodes have left',
  );
});
test.after(async () => {
  await one?.close();
  await other?.close();
  await nats?.kill();
  await database?.drop();
});

const figuresOf = (cloud: Cloud) => cloud.services.cluster.figures();
const people = (cloud: Cloud) =>
  createCaller({ services: cloud.services, viewer: world.acme.host, sessionId: null, requestId: 'test' });

async function join(
  cloud: Cloud,
  node = world.acme.node,
  epoch = uuidv7(),
): Promise<{ link: TestLink; epoch: string }> {
  const { link } = await connect(cloud.url, node, { epoch, takes: TAKES });
  links.add(link);
  return { link, epoch };
}

async function reportModem(link: TestLink): Promise<void> {
  link.send('modem-report', {
    at: Date.now(),
    slots: [
      {
        ...{ slot: 0, usbPath: '1-1', interface: 'wwan0', sourceAddress: '192.168.8.100' },
        ...{ state: 'connected', reason: '', exitAddress: '198.18.1.10' },
        ...{ imei: '867000000000001', model: 'E3372', firmware: '1', virtual: true },
      },
    ],
  });
  link.send('ping', { at: 1 });
  await link.next('pong');
}

const sees = (cloud: Cloud, nodeId: string) =>
  eventually(() => cloud.services.presence.isOnline(nodeId), 'the other cloud knows that the node is there');

test('each knows which nodes the others hold, also one that starts later, and that they left', async () => {
  const { link } = await join(one);
  await sees(other, world.acme.node.id);
  assert.equal(other.services.presence.size, 0, 'it is not connected there');
  const late = await oneOfMany(database, nats.url);
  try {
    await sees(late, world.acme.node.id);
    link.close();
    for (const cloud of [one, other, late])
      await eventually(() => !cloud.services.presence.isOnline(world.acme.node.id), 'all know that it left');
  } finally {
    await late.close();
  }
  await eventually(() => figuresOf(one).peers === 1, 'who says good-bye is forgotten at once');
});

test('a challenge of one cloud is answered at the other, once', async () => {
  const { id, privateKey } = world.acme.node;
  const authorization = authorizationFor(id, await challenge(one.url, id), privateKey);
  links.add(await openLink(other.url, authorization));
  for (const { url } of [one, other])
    await assert.rejects(openLink(url, authorization), /HTTP 401 link\/nonce-replayed/);
});

test('a rotation asked for at one cloud goes to the node at the other, and its end comes back', async () => {
  const { link } = await join(one);
  await reportModem(link);
  await sees(other, world.acme.node.id);
  const [modem] = (await people(other).overview.get()).modems;
  const slotId = modem?.slotId ?? '';
  const begun = await people(other).rotations.start({ slotId, waitMs: 0 });
  assert.equal(begun.outcome, null);
  const asked = await link.next('rotate');
  assert.equal(asked.id, begun.id);
  // Longer than any test may take: only word of its end is an end.
  const ended = other.services.rotations.ended(asked.id, 3_600_000);
  const record: RotationRecord = {
    ...{ id: asked.id, slot: 0, askedFor: 'user', endedAt: Date.now(), reason: '' },
    outcome: 'rotated',
    ...{ method: 'data-switch', oldAddress: '198.18.1.10', newAddress: '198.18.1.11', tookMs: 6200 },
    ...{ attempts: 1, carrier: null, connected: true, retryAfterMs: null },
  };
  link.send('rotation-report', { rotations: [record] });
  await ended;
  assert.equal((await people(other).rotations.get({ slotId, id: asked.id, waitMs: 0 })).outcome, 'rotated');
});

test('an agent that is too old, and a node that is nowhere, are told from each other', async () => {
  const { link } = await connect(one.url, world.acme.node, { epoch: uuidv7() });
  links.add(link);
  await sees(other, world.acme.node.id);
  const ask = (nodeId: string) =>
    other.services.rotations.send(nodeId, { id: uuidv7(), slot: 0, askedFor: 'user' });
  assert.equal(await ask(world.acme.node.id), 'unsupported');
  assert.equal(await ask(world.rival.node.id), 'offline');
});

test('calls for leased bytes reach a node at the other cloud', async () => {
  const { link } = await join(one);
  await sees(other, world.acme.node.id);
  other.services.quotas.changed(world.acme.credentialId, [world.acme.node.id]);
  assert.deepEqual((await link.next('quota-call')).credentialIds, [world.acme.credentialId]);
});

test('what is set at one cloud is sent to the node at the other', async () => {
  const { link } = await join(one);
  const before = DesiredState.parse(JSON.parse((await link.next('desired-state')).payload));
  const endpointId = await addEndpoint(world.services, world.acme.customer, world.acme.node.id, 1_999);
  await other.services.settingsChanged([world.acme.node.id]);
  const after = DesiredState.parse(JSON.parse((await link.next('desired-state')).payload));
  assert.ok(!before.endpoints.some(each => each.id === endpointId));
  assert.ok(after.endpoints.some(each => each.id === endpointId));
});

test('whoever looks at one cloud sees the figures and changes of nodes at the other', async () => {
  const { link } = await join(one);
  await reportModem(link);
  await sees(other, world.acme.node.id);
  const views: OverviewView[] = [];
  const feed = new LiveFeed(other.services, { clock: systemClock });
  const leave = feed.subscribe(world.acme.host.active, view => views.push(view));
  try {
    await eventually(() => {
      // As an agent does: again and again.
      const slots = [{ slot: 0, upBytesPerSecond: 7, downBytesPerSecond: 11, openFlows: 2 }];
      link.send('live-report', { at: Date.now(), slots });
      return views.at(-1)?.throughput.downBytesPerSecond === 11;
    }, 'figures arrive');
    assert.deepEqual(views.at(-1)?.nodes, { online: 1, total: 1 });
    assert.equal(views.at(-1)?.modems[0]?.openFlows, 2);
  } finally {
    leave?.();
    feed.close();
  }
});

test('the newest session of a node wins, wherever the older one is', async () => {
  const first = await join(one);
  await sees(other, world.acme.node.id);
  const second = await join(other);
  assert.equal((await first.link.closed).code, CLOSE.replaced);
  const third = await join(one);
  assert.equal((await second.link.closed).code, CLOSE.replaced);
  await eventually(() => other.services.presence.size === 0);
  await eventually(
    async () =>
      (await other.services.rotations.send(world.acme.node.id, {
        id: uuidv7(),
        slot: 0,
        askedFor: 'user',
      })) === 'sent',
    'orders go to the newest',
  );
  assert.ok((await third.link.next('rotate')).id);
});

test(
  'two sessions of one node at once, at clouds that cannot hear each other, count each record once',
  async () => {
    await nats.kill();
    await eventually(() => [one, other].every(cloud => figuresOf(cloud).bus === 'away'));
    const epoch = uuidv7();
    const before = await ledgerBytes();
    const here = (await join(one, world.acme.node, epoch)).link;
    const there = (await join(other, world.acme.node, epoch)).link;
    const at = Date.now();
    const batchOf = (from: number) => ({
      epoch,
      records: [0, 1, 2, 3].map(n => usageRecord(world.acme, from + n, { at })),
    });
    // Each sends all, half a batch apart: what one was first with is a duplicate of the other.
    for (let from = 1; from <= 100; from += 2)
      for (const link of from % 4 === 1 ? [here, there] : [there, here])
        link.send('usage-batch', batchOf(from));
    const marks = async (link: TestLink) => {
      let mark = 0;
      while (mark < 102) mark = (await link.next('usage-ack')).mark;
    };
    await Promise.all([marks(here), marks(there)]);
    const numbers = Array.from({ length: 102 }, (_, n) => n + 1);
    const expected = numbers.reduce((sum, n) => sum + (100 + n) + (1000 + n), 0);
    assert.equal((await ledgerBytes()) - before, expected);
    const { rows } = await database.db.pool.query(
      `SELECT count(*) AS records, count(DISTINCT sequence) AS numbers FROM usage_records r
         JOIN usage_marks m ON m.key = r.mark_key WHERE m.epoch = $1`,
      [epoch],
    );
    assert.deepEqual([rows[0]?.records, rows[0]?.numbers], ['102', '102']);
    // When they hear each other again, one of the two sessions is left: the newer.
    await nats.start();
    assert.equal((await here.closed).code, CLOSE.replaced);
    there.send('ping', { at: 5 });
    assert.equal((await there.next('pong')).at, 5);
  },
  DEADLINE,
);

async function ledgerBytes(): Promise<number> {
  const { rows } = await database.db.pool.query(
    'SELECT coalesce(sum(up_bytes + down_bytes), 0) AS bytes FROM usage_rollups',
  );
  return Number(rows[0]?.bytes);
}

test(
  'while NATS is away each cloud goes on and says so; afterwards all is known and told again',
  async () => {
    const { link, epoch } = await join(one);
    await link.next('desired-state');
    await sees(other, world.acme.node.id);
    const ready = async () => (await fetch(`${other.url}/readyz`)).text();
    assert.match(await ready(), /^ready\nother processes: 1\n/);
    await nats.kill();
    await eventually(() => [one, other].every(cloud => figuresOf(cloud).bus === 'away'));
    const response = await fetch(`${other.url}/readyz`);
    assert.equal(response.status, 200, 'a balancer must not take it out');
    assert.match(await response.text(), /^ready\nNATS is away for \d+ s: this process goes on by itself\n/);
    // Its own nodes are served.
    const record = usageRecord(world.acme, 1, { at: Date.now() });
    link.send('usage-batch', { epoch, records: [record] });
    assert.equal((await link.next('usage-ack')).mark, 1);
    assert.equal(
      await other.services.rotations.send(world.acme.node.id, { id: uuidv7(), slot: 0, askedFor: 'user' }),
      'unreachable',
    );
    const endpointId = await addEndpoint(world.services, world.acme.customer, world.acme.node.id, 2_999);
    await other.services.settingsChanged([world.acme.node.id]);
    const { link: newcomer } = await join(one, world.rival.node);
    await nats.start();
    const state = DesiredState.parse(JSON.parse((await link.next('desired-state')).payload));
    assert.ok(
      state.endpoints.some(each => each.id === endpointId),
      'settings of meanwhile arrive',
    );
    await sees(other, world.rival.node.id);
    newcomer.close();
  },
  DEADLINE,
);

test('forged, garbled, oversized and repeated messages are counted and do nothing', async () => {
  await join(one);
  await sees(other, world.acme.node.id);
  const codec = new Codec(CLUSTER_KEY);
  const stranger = await connectNats(natsOptions(nats.url));
  try {
    const from = uuidv7();
    let serial = 0;
    const write = (by: Codec, body: unknown) => {
      serial += 1;
      return by.write(codec.toAll, { from, serial, body: body as Body });
    };
    const phantom = { is: 'moves', came: [[world.rival.node.id, 1_000_000]], left: [] };
    const before = { ...figuresOf(other).refused };
    const bad: [string, Uint8Array][] = [
      ['forged', write(new Codec(Buffer.alloc(32, 1)), phantom)],
      ['forged', codec.write(codec.to(from), { from, serial: 1, body: phantom as Body })],
      ['forged', Buffer.from([1])],
      ['version', Buffer.from('hello')],
      ['version', new Uint8Array()],
      ['malformed', write(codec, { ...phantom, came: [['not a node', 1]] })],
      ['malformed', write(codec, { ...phantom, is: 'no such kind' })],
      ['malformed', write(codec, { ...phantom, came: Array(501).fill([world.rival.node.id, 1]) })],
      ['too-long', Buffer.alloc(MAX_MESSAGE_BYTES + 1, write(codec, phantom))],
    ];
    for (const [, bytes] of bad) stranger.publish(codec.toAll, bytes);
    await stranger.flush();
    const count = (why: string) => (figuresOf(other).refused[why] ?? 0) - (before[why] ?? 0);
    for (const why of ['forged', 'version', 'malformed', 'too-long'])
      await eventually(
        () => count(why) === bad.filter(([reason]) => reason === why).length,
        `${why}: ${count(why)}`,
      );
    assert.ok(!other.services.presence.isOnline(world.rival.node.id));
    assert.ok(other.services.presence.isOnline(world.acme.node.id));

    // Whoever records what is said and says it again is not heard.
    const heard = write(codec, { is: 'changed' });
    for (let times = 0; times < 3; times += 1) stranger.publish(codec.toAll, heard);
    await stranger.flush();
    await eventually(() => count('repeated') === 2, `repeated: ${count('repeated')}`);
  } finally {
    await stranger.close();
  }
});

if (!(await databaseKinds()).includes('server'))
  test.skip('all of the above', 'no PostgreSQL answers at 127.0.0.1:5432');
test.run();
