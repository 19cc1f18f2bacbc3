/**
 * What many nodes say in the same moment goes to the database together: each must end up as if it had come alone, in one
 * transaction for all, and what is wrong with one must not reach the others.
 */
import assert from 'node:assert/strict';
import { Turns } from '@mastline/cloud/server/db/turns';
import {
  type ApplyModemReport,
  modemReports,
  type NodeIdentity,
} from '@mastline/cloud/server/fleet/node-reports';
import { type IngestServices, ingestServices } from '@mastline/cloud/server/ingest/services';
import { loadSigner } from '@mastline/cloud/server/rollout/signing';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { PoolClient } from 'pg';
import { addCredential, addEndpoint, addNode, cloudWorld, type World } from '../../support/cloud-world';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/fleet: writes of many nodes together');
let database: TestDatabase;
let world: World;
let services: IngestServices;
let apply: ApplyModemReport;

test.before(async () => {
  database = await testDatabase();
});
test.beforeEach(async () => {
  world = await cloudWorld(database.db);
  const signer = await loadSigner(database.db, world.services.secrets, world.services.clock.now());
  services = ingestServices(world.services, signer);
  apply = modemReports(world.services, new Turns(database.db.kind));
});
test.after(async () => database.drop());

const slot = (number: number, over: Partial<SlotReport> = {}): SlotReport => ({
  ...{ slot: number, usbPath: `1-${number}`, interface: `wwan${number}`, sourceAddress: null, imei: null },
  ...{ model: 'E3372h', firmware: null, virtual: true, state: 'connected', reason: '' },
  exitAddress: `198.51.100.${number + 1}`,
  ...over,
});

/** Nodes of one host. */
async function nodesOf(host: World['operator'], count: number): Promise<NodeIdentity[]> {
  const nodes: NodeIdentity[] = [];
  for (let i = 0; i < count; i += 1) {
    const { id } = await addNode(world.services, host, `Box ${i}`);
    nodes.push({ nodeId: id, organizationId: host.active.id });
  }
  return nodes;
}

/** Transactions that were committed on the pool while `work` ran; statements by themselves are not counted. */
async function commitsOf(work: () => Promise<unknown>): Promise<number> {
  const { pool } = database.db;
  let commits = 0;
  const watched = new WeakSet<PoolClient>();
  const watch = (client: PoolClient) => {
    if (watched.has(client)) return;
    watched.add(client);
    const query = client.query.bind(client) as (...args: unknown[]) => unknown;
    client.query = ((...args: unknown[]) => {
      if (args[0] === 'COMMIT') commits += 1;
      return query(...args);
    }) as never;
  };
  pool.on('acquire', watch);
  try {
    await work();
  } finally {
    pool.off('acquire', watch);
  }
  return commits;
}

const slotsOf = (node: NodeIdentity) =>
  database.db.prisma.slot.findMany({
    where: { nodeId: node.nodeId },
    orderBy: { number: 'asc' },
    include: { modem: true },
  });

test('reports of many nodes are one transaction or two, and each node has its own slots and addresses', async () => {
  const nodes = await nodesOf(world.acme.host, 20);
  const commits = await commitsOf(() =>
    Promise.all(nodes.map((node, i) => apply(node, [slot(0), slot(1, { exitAddress: `192.0.2.${i}` })]))),
  );
  assert.ok(commits >= 1 && commits <= 2, `${commits} commits`);
  for (const [i, node] of nodes.entries()) {
    const slots = await slotsOf(node);
    assert.deepEqual(
      slots.map(each => [each.number, each.organizationId, each.exitAddress]),
      [
        [0, node.organizationId, '198.51.100.1'],
        [1, node.organizationId, `192.0.2.${i}`],
      ],
    );
    const addresses = await database.db.prisma.modemAddress.findMany({
      where: { slotId: { in: slots.map(each => each.id) } },
    });
    assert.equal(addresses.length, 2);
    assert.ok(addresses.every(each => each.until === null && each.organizationId === node.organizationId));
  }
});

test('a modem’s IPv6 address has a history of its own beside the other, which one that changes leaves alone', async () => {
  const [node] = await nodesOf(world.acme.host, 1);
  assert.ok(node);
  const history = async () => {
    const rows = await database.db.prisma.modemAddress.findMany({
      where: { slot: { nodeId: node.nodeId } },
      orderBy: { since: 'asc' },
    });
    return rows.map(row => `${row.address} ${row.until === null ? 'now' : 'past'}`).sort();
  };
  const of = (exitAddress6?: string | null) => apply(node, [slot(0, { exitAddress6 })]);
  await of('2001:db8:7:1::2');
  assert.deepEqual(await history(), ['198.51.100.1 now', '2001:db8:7:1::2 now']);
  await of('2001:db8:7:2::2');
  await of('2001:db8:7:2::2');
  assert.deepEqual(await history(), ['198.51.100.1 now', '2001:db8:7:1::2 past', '2001:db8:7:2::2 now']);
  assert.equal((await slotsOf(node))[0]?.exitAddress6, '2001:db8:7:2::2');
  // An agent of before knows of no such field.
  await of();
  assert.deepEqual(await history(), ['198.51.100.1 now', '2001:db8:7:1::2 past', '2001:db8:7:2::2 past']);
  await of('2001:db8:7:3::2');
  await apply(node, []);
  assert.ok((await history()).every(row => row.endsWith('past')));
  assert.equal((await slotsOf(node))[0]?.exitAddress6, null);
});

test('the same IMEI at two hosts is two modems, at two nodes of one host one', async () => {
  const [a, b] = await nodesOf(world.acme.host, 2);
  const [c] = await nodesOf(world.rival.host, 1);
  assert.ok(a && b && c);
  const imei = '350000000000017';
  await Promise.all([a, b, c].map(node => apply(node, [slot(0, { imei })])));
  const modems = (await Promise.all([a, b, c].map(slotsOf))).map(slots => slots[0]?.modem);
  assert.equal(modems[0]?.id, modems[1]?.id);
  assert.notEqual(modems[0]?.id, modems[2]?.id);
  assert.deepEqual(
    modems.map(each => each?.organizationId),
    [a, b, c].map(each => each.organizationId),
  );
});

test('slots that some nodes no longer name become absent, with their addresses ended, and no others', async () => {
  const [a, b] = await nodesOf(world.acme.host, 2);
  assert.ok(a && b);
  await Promise.all([a, b].map(node => apply(node, [slot(0), slot(1)])));
  await Promise.all([apply(a, [slot(0)]), apply(b, [slot(1), slot(0, { exitAddress: '192.0.2.77' })])]);
  assert.deepEqual(
    (await slotsOf(a)).map(each => [each.state, each.exitAddress]),
    [
      ['connected', '198.51.100.1'],
      ['absent', null],
    ],
  );
  assert.deepEqual(
    (await slotsOf(b)).map(each => [each.state, each.exitAddress]),
    [
      ['connected', '192.0.2.77'],
      ['connected', '198.51.100.2'],
    ],
  );
  const open = (node: NodeIdentity) =>
    database.db.prisma.modemAddress.count({ where: { slot: { nodeId: node.nodeId }, until: null } });
  assert.deepEqual([await open(a), await open(b)], [1, 2]);
});

test('of twin reports of one node in the same moment the later one stands', async () => {
  const [node] = await nodesOf(world.acme.host, 1);
  assert.ok(node);
  await Promise.all([
    apply(node, [slot(0, { reason: 'first' })]),
    apply(node, [slot(0, { reason: 'second' })]),
  ]);
  assert.deepEqual(
    (await slotsOf(node)).map(each => each.reason),
    ['second'],
  );
});

test('a report that the database cannot take fails alone', async () => {
  const nodes = await nodesOf(world.acme.host, 5);
  // Half of a surrogate pair: JSON text may name it, jsonb takes it not.
  const evidence = '\ud800';
  const recovery = {
    ...{ at: 1, cause: 'data-dead', outcome: 'mended' as const, tookMs: 1 },
    rungs: [{ rung: 'reconnect', outcome: 'mended' as const, tookMs: 1, evidence }],
  };
  const outcomes = await Promise.allSettled(
    nodes.map((node, i) => apply(node, [slot(0, i === 2 ? { recovery } : {})])),
  );
  assert.deepEqual(
    outcomes.map(each => each.status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  const written = await Promise.all(nodes.map(async node => (await slotsOf(node)).length));
  assert.deepEqual(written, [1, 1, 0, 1, 1]);
});

test('desired states of many nodes are made in one transaction or two; a second asking makes none', async () => {
  const nodes = await nodesOf(world.acme.host, 12);
  for (const [i, { nodeId }] of nodes.entries())
    await addEndpoint(world.services, world.acme.customer, nodeId, 2000 + i);
  const first = () => Promise.all(nodes.map(({ nodeId }) => services.newestState(nodeId)));
  let states: Awaited<ReturnType<typeof first>> = [];
  const commits = await commitsOf(async () => {
    states = await first();
  });
  assert.ok(commits >= 1 && commits <= 2, `${commits} commits`);
  for (const [i, state] of states.entries()) {
    const content = JSON.parse(state.payload);
    assert.deepEqual([state.revision, content.nodeId], [1, nodes[i]?.nodeId]);
    assert.deepEqual(
      content.endpoints.map((each: { listen: { port: number } }) => each.listen.port),
      [2000 + i],
    );
  }
  assert.deepEqual(
    (await first()).map(each => each.hash),
    states.map(each => each.hash),
  );
  assert.equal(await database.db.prisma.desiredState.count({ where: { nodeId: nodes[3]?.nodeId ?? '' } }), 1);
});

test('a node whose settings cannot be opened gets no state, and its neighbours get theirs', async () => {
  const [good, bad] = await nodesOf(world.acme.host, 2);
  assert.ok(good && bad);
  await addEndpoint(world.services, world.acme.customer, good.nodeId, 2100);
  // The rival's credential is sealed for another purpose, and its endpoint needs it opened.
  const { id } = await addCredential(world.services, world.rival.customer);
  await database.db.prisma.credential.update({ where: { id }, data: { secretSealed: 'v1:not:sealed' } });
  const endpoint = await addEndpoint(world.services, world.rival.customer, bad.nodeId, 2101);
  await database.db.prisma.endpoint.update({
    where: { id: endpoint },
    data: {
      protocols: ['shadowsocks'],
      shadowsocks: { method: 'chacha20-ietf-poly1305', serverKeySealed: null },
    },
  });
  const outcomes = await Promise.allSettled([good, bad].map(({ nodeId }) => services.newestState(nodeId)));
  assert.deepEqual(
    outcomes.map(each => each.status),
    ['fulfilled', 'rejected'],
  );
  assert.equal(await database.db.prisma.desiredState.count({ where: { nodeId: good.nodeId } }), 1);
  assert.equal(await database.db.prisma.desiredState.count({ where: { nodeId: bad.nodeId } }), 0);
});

test('words on revisions are written together, the last of each node, and only under its own host', async () => {
  const [a, b] = await nodesOf(world.acme.host, 2);
  assert.ok(a && b);
  const word = (node: NodeIdentity, revision: number) => ({
    node,
    report: {
      ...{ revision, outcome: 'applied' as const, running: { revision, hash: null } },
      problems: [{ code: 'a/b', message: `of ${revision}` }],
    },
  });
  const stranger = { nodeId: b.nodeId, organizationId: world.rival.host.active.id };
  await Promise.all(
    [word(a, 1), word(b, 5), word(a, 2), word(stranger, 9)].map(each => services.noteStateReport(each)),
  );
  const rows = await Promise.all(
    [a, b].map(({ nodeId }) => database.db.prisma.node.findUniqueOrThrow({ where: { id: nodeId } })),
  );
  assert.deepEqual(
    rows.map(row => [row.reportedRevision, row.runningRevision, row.reportedOutcome, row.reportedProblems]),
    [
      [2, 2, 'applied', [{ code: 'a/b', message: 'of 2', endpointId: null }]],
      [5, 5, 'applied', [{ code: 'a/b', message: 'of 5', endpointId: null }]],
    ],
  );
});

test.run();
