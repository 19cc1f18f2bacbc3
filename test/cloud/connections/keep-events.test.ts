/** What nodes remember: kept once whatever comes twice, each node's own only, as long as each organization wants. */
import assert from 'node:assert/strict';
import {
  EVENTS_PER_SECOND,
  EventRate,
  MAX_EVENT_WRITES,
  MAX_INSISTENCE,
  NODE_EVENTS_BURST,
  NODE_EVENTS_PER_SECOND,
} from '@mastline/cloud/server/connections/event-rate';
import { MAX_EVENT_EPOCHS_PER_DAY } from '@mastline/cloud/server/connections/event-sql';
import { keepEvents, MAX_EVENT_AGE_MS } from '@mastline/cloud/server/connections/keep-events';
import { forgetConnections } from '@mastline/cloud/server/connections/retention';
import { ensurePartitions } from '@mastline/cloud/server/ledger/partitions';
import { createCaller } from '@mastline/cloud/server/router';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { FlowSummary } from '@mastline/shared/domain/flow-summary';
import type { NodeEvent } from '@mastline/shared/domain/node-event';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { fakeClock } from '../../support/clock';
import { cloudWorld, type Tenant, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/connections');
const T0 = Date.UTC(2026, 10, 23, 12);
const DAY_MS = 86_400_000;

type Names = Pick<Tenant, 'credentialId' | 'endpointId'>;
const flow = ({ credentialId, endpointId }: Names, over: Partial<FlowSummary> = {}): FlowSummary => ({
  endedAt: T0 - 60_000,
  tookMs: 1_000,
  credentialId,
  endpointId,
  slot: 0,
  protocol: 'socks5',
  outcome: 'ok',
  upBytes: 10,
  downBytes: 20,
  host: 'example.org',
  address: '203.0.113.9',
  port: 443,
  ...over,
});
const event = (over: Partial<NodeEvent> = {}): NodeEvent => ({
  at: T0,
  kind: 'modem-state',
  severity: 'alarm',
  slot: 0,
  detail: 'failed: SIM out of credit',
  ...over,
});

for (const kind of await databaseKinds()) {
  let database: TestDatabase;
  let world: World;

  test(`${kind}: opens`, async () => {
    database = await testDatabase(kind);
    world = await cloudWorld(database.db, T0);
    await ensurePartitions(database.db, T0);
  });

  const of = (tenant: Tenant, epoch: string, first: number) => ({
    nodeId: tenant.node.id,
    hostOrganizationId: tenant.host.active.id,
    epoch,
    first,
    droppedEvents: 0,
  });
  const flows = (tenant: Tenant, epoch: string, first: number, items: FlowSummary[]) =>
    keepEvents(database.db, { ...of(tenant, epoch, first), stream: 'flows', items }, T0);
  const events = (tenant: Tenant, epoch: string, first: number, items: NodeEvent[]) =>
    keepEvents(database.db, { ...of(tenant, epoch, first), stream: 'events', items }, T0);
  const api = (viewer: World['operator']) =>
    createCaller({ services: world.services, viewer, sessionId: null, requestId: 'test' });
  const countOf = async (tenant: Tenant) => (await api(tenant.customer).connections.export({})).rows.length;

  test(`${kind}: a batch that comes twice is kept once, and one that overlaps in its new part`, async () => {
    const epoch = uuidv7();
    const three = [1, 2, 3].map(port => flow(world.acme, { port }));
    assert.deepEqual(await flows(world.acme, epoch, 1, three), {
      is: 'kept',
      mark: 3,
      kept: 3,
      duplicates: 0,
      foreign: 0,
      stale: 0,
    });
    const again = await flows(world.acme, epoch, 1, three);
    assert.ok(again.is === 'kept' && again.kept === 0 && again.duplicates === 3 && again.mark === 3);
    const more = await flows(world.acme, epoch, 3, [flow(world.acme), flow(world.acme, { port: 4 })]);
    assert.ok(more.is === 'kept' && more.kept === 1 && more.duplicates === 1 && more.mark === 4);
    assert.equal(await countOf(world.acme), 4);
  });

  test(`${kind}: the same batch at the same time is kept once`, async () => {
    const epoch = uuidv7();
    const before = await countOf(world.acme);
    await Promise.all([1, 2, 3, 4].map(() => flows(world.acme, epoch, 1, [flow(world.acme)])));
    assert.equal(await countOf(world.acme), before + 1);
  });

  test(`${kind}: a gap is what the node dropped; what is late behind a higher number is a duplicate`, async () => {
    const epoch = uuidv7();
    const gap = await flows(world.acme, epoch, 100, [flow(world.acme)]);
    assert.ok(gap.is === 'kept' && gap.mark === 100);
    const late = await flows(world.acme, epoch, 50, [flow(world.acme)]);
    assert.ok(late.is === 'kept' && late.kept === 0 && late.mark === 100);
    const other = await events(world.acme, epoch, 1, [event()]);
    assert.ok(other.is === 'kept' && other.kept === 1, 'each stream has numbers of its own');
  });

  test(`${kind}: a node that lies about others' endpoints, credentials and modems writes nothing of theirs`, async () => {
    const { acme, rival } = world;
    const before = await countOf(rival);
    const outcome = await flows(acme, uuidv7(), 1, [
      flow(rival),
      flow({ credentialId: rival.credentialId, endpointId: acme.endpointId }),
      flow({ credentialId: acme.credentialId, endpointId: rival.endpointId }),
      flow({ credentialId: 'not an id', endpointId: uuidv7() }),
      flow(acme),
    ]);
    assert.ok(outcome.is === 'kept' && outcome.kept === 1 && outcome.foreign === 4);
    assert.equal(await countOf(rival), before);
    const told = await events(acme, uuidv7(), 1, [
      event({ kind: 'private-target', credentialId: rival.credentialId }),
      event({ kind: 'private-target', credentialId: acme.credentialId }),
    ]);
    assert.ok(told.is === 'kept' && told.kept === 2 && told.foreign === 1);
    const { rows } = await database.db.pool.query(
      `SELECT credential_key IS NULL AS nobody FROM node_events WHERE kind = 'private-target' ORDER BY id`,
    );
    assert.deepEqual(
      rows.map(row => row.nobody),
      [true, false],
    );
    assert.equal((await api(rival.host).events.list({ nodeId: acme.node.id })).rows.length, 0);
  });

  test(`${kind}: what is too old is not kept, what lies ahead is of now, odd text is harmless`, async () => {
    const outcome = await flows(world.acme, uuidv7(), 1, [
      flow(world.acme, { endedAt: T0 - MAX_EVENT_AGE_MS - 1 }),
      flow(world.acme, { endedAt: T0 + 10 * DAY_MS, host: '\ud800\u0000"\\', outcome: 'future' }),
    ]);
    assert.ok(outcome.is === 'kept' && outcome.kept === 1 && outcome.stale === 1);
    const { rows } = await api(world.acme.customer).connections.list({ outcome: 'future' });
    assert.equal(rows[0]?.endedAt, T0);
    const huge = await flows(world.acme, uuidv7(), Number.MAX_SAFE_INTEGER, [
      flow(world.acme),
      flow(world.acme),
    ]);
    assert.ok(huge.is === 'refused' && huge.code === 'events/implausible');
  });

  test(`${kind}: pages follow each other without a gap or a double while new ones come in`, async () => {
    const epoch = uuidv7();
    // All at one instant: the number decides.
    await flows(
      world.rival,
      epoch,
      1,
      Array.from({ length: 120 }, (_, at) => flow(world.rival, { port: at + 1 })),
    );
    const caller = api(world.rival.customer);
    const seen: (number | null)[] = [];
    let after: string | undefined;
    for (let page = 0; page < 5; page += 1) {
      const { rows, next } = await caller.connections.list({ ...(after ? { after } : {}) });
      seen.push(...rows.map(row => row.port));
      await flows(world.rival, uuidv7(), 1, [flow(world.rival, { endedAt: T0, port: 9_999 })]);
      if (next === null) break;
      after = next;
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 120 }, (_, at) => 120 - at),
    );
  });

  test(`${kind}: a customer finds by credential, outcome and time, and sees nobody else's`, async () => {
    const { acme } = world;
    await flows(acme, uuidv7(), 1, [
      flow(acme, { outcome: 'no-modem', times: 7, endedAt: T0 - 3_600_000, upBytes: 0, downBytes: 0 }),
    ]);
    const caller = api(acme.customer).connections;
    const refused = await caller.list({ outcome: 'refused' });
    assert.ok(refused.rows.some(row => row.outcome === 'no-modem' && row.times === 7));
    assert.ok(refused.rows.every(row => row.outcome !== 'ok'));
    const range = await caller.list({ from: T0 - 3_600_000, to: T0 - 3_599_999 });
    assert.equal(range.rows.length, 1);
    assert.equal(range.rows[0]?.credentialName, 'Acme Crawl credential');
    assert.equal((await caller.list({ credentialId: world.rival.credentialId })).rows.length, 0);
    assert.equal((await caller.list({ slotId: uuidv7() })).rows.length, 0);
  });

  test(`${kind}: a host sees what its node carried, neither whose nor where to; others see nothing`, async () => {
    const { acme, rival } = world;
    const own = await api(acme.host).connections.carried({ nodeId: acme.node.id });
    assert.ok(own.rows.length > 0);
    assert.deepEqual(Object.keys(own.rows[0] ?? {}).sort(), [
      'cursor',
      'downBytes',
      'endedAt',
      'outcome',
      'protocol',
      'slot',
      'times',
      'tookMs',
      'upBytes',
    ]);
    for (const stranger of [rival.host, acme.customer])
      assert.equal((await api(stranger).connections.carried({ nodeId: acme.node.id })).rows.length, 0);
    const { rows } = await api(acme.host).events.list({ nodeId: acme.node.id, severities: ['alarm'] });
    assert.ok(rows.length > 0 && rows[0]?.detail.includes('SIM out of credit'));
  });

  test(`${kind}: from exit address and time to the credential, for operators, and it is written down`, async () => {
    const { acme, operator } = world;
    const { prisma } = database.db;
    const slotId = uuidv7();
    await prisma.slot.create({
      data: {
        ...{ id: slotId, organizationId: acme.host.active.id, nodeId: acme.node.id, number: 5 },
        ...{
          usbPath: '1-1',
          state: 'connected',
          reason: '',
          virtual: true,
          stateSince: new Date(T0),
          lastSeenAt: new Date(T0),
        },
      },
    });
    await prisma.modemAddress.create({
      data: {
        ...{ id: uuidv7(), organizationId: acme.host.active.id, slotId, address: '198.51.100.77' },
        ...{ since: new Date(T0 - DAY_MS), until: new Date(T0 - 3_600_000) },
      },
    });
    await prisma.modemAddress.create({
      data: {
        ...{ id: uuidv7(), organizationId: acme.host.active.id, slotId, address: '2001:db8:7::2' },
        ...{ since: new Date(T0 - DAY_MS), until: new Date(T0 - 3_600_000) },
      },
    });
    const at = T0 - 2 * 3_600_000;
    await flows(acme, uuidv7(), 1, [
      flow(acme, { slot: 5, endedAt: at + 600_000, tookMs: 900_000, host: 'ran-then.example' }),
      flow(acme, { slot: 5, endedAt: at + 600_000, tookMs: 1_000, host: 'ran-later.example' }),
      flow(acme, { slot: 6, endedAt: at, host: 'other-modem.example' }),
    ]);
    const ask = { address: '198.51.100.77', at };
    const { rows, cut } = await api(operator).connections.trace(ask);
    assert.deepEqual(
      rows.map(row => [row.host, row.credentialId, row.organizationName]),
      [['ran-then.example', acme.credentialId, 'Acme Crawl']],
    );
    assert.equal(cut, false);
    const six = { ...ask, address: '2001:0DB8:0007:0:0:0:0:2' };
    assert.deepEqual((await api(operator).connections.trace(six)).rows, rows, 'however it is spelled');
    assert.equal(
      (await api(operator).connections.trace({ ...ask, host: 'elsewhere.example' })).rows.length,
      0,
    );
    assert.equal(
      (await api(operator).connections.trace({ ...ask, address: '198.51.100.78' })).rows.length,
      0,
    );
    assert.equal(
      (await api(operator).connections.trace({ ...ask, at: T0 })).rows.length,
      0,
      'not its any more',
    );
    assert.equal(await prisma.auditEntry.count({ where: { action: 'connection.trace' } }), 5);
    await assert.rejects(api(acme.customer).connections.trace(ask), /Only operators/);
  });

  test(`${kind}: a page that cannot be is refused as input, not as a fault of ours`, async () => {
    const { acme } = world;
    for (const after of ['9999999999999999-1', '1-9999999999999999999', '1', 'x-1']) {
      await assert.rejects(api(acme.customer).connections.list({ after }), { code: 'BAD_REQUEST' });
      await assert.rejects(api(acme.host).events.list({ nodeId: acme.node.id, after }), {
        code: 'BAD_REQUEST',
      });
    }
    const last = `8640000000000000-${2n ** 63n - 1n}`;
    assert.ok((await api(acme.customer).connections.list({ after: last })).rows.length > 0);
  });

  test(`${kind}: each organization keeps its own as long as it wants, and weeks that nobody keeps go whole`, async () => {
    const { acme, rival } = world;
    await api(acme.customer).connections.setSettings({
      connectionLogDays: 2,
      eventDays: 1,
      destinations: 'host',
    });
    assert.deepEqual(world.changedNodes, [acme.node.id], 'its nodes are told what they may say');
    assert.equal((await api(acme.customer).connections.settings()).destinations, 'host');
    for (const days of [0, 366])
      await assert.rejects(
        api(acme.customer).connections.setSettings({
          connectionLogDays: days,
          eventDays: 1,
          destinations: 'none',
        }),
        error => codeOf((error as { cause?: unknown }).cause) !== null,
      );
    for (const tenant of [acme, rival])
      for (const days of [1, 10, 60])
        await flows(tenant, uuidv7(), 1, [
          flow(tenant, { endedAt: T0 - days * DAY_MS, outcome: `age-${days}` }),
        ]);
    await events(acme, uuidv7(), 1, [event({ at: T0 - 89 * DAY_MS }), event({ at: T0 - 91 * DAY_MS })]);
    const forgotten = await forgetConnections(database.db, T0);
    assert.ok(forgotten.logs >= 3 && forgotten.events === 1, JSON.stringify(forgotten));
    const ages = async (tenant: Tenant) =>
      (await api(tenant.customer).connections.export({})).rows
        .map(row => row.outcome)
        .filter(outcome => outcome.startsWith('age-'));
    assert.deepEqual(await ages(acme), ['age-1']);
    assert.deepEqual(await ages(rival), ['age-1', 'age-10']);
    assert.deepEqual((await forgetConnections(database.db, T0)).logs, 0);
    const later = await forgetConnections(database.db, T0 + 60 * DAY_MS);
    assert.ok(later.partitions.includes('connection_logs_2026_11_23'));
    assert.equal(await countOf(rival), 0);
  });

  test(`${kind}: an agent that starts without end is refused`, async () => {
    for (let starts = 0; starts < MAX_EVENT_EPOCHS_PER_DAY; starts += 1)
      await events(world.rival, uuidv7(), 1, []);
    const refused = await events(world.rival, uuidv7(), 1, [event()]);
    assert.ok(refused.is === 'refused' && refused.code === 'events/too-many-epochs');
  });

  test(`${kind}: closes`, async () => database.drop());
}

test('a million events of one node: a burst is taken, the rest at a rate, refused with a time to come back', async () => {
  const clock = fakeClock();
  const rate = new EventRate(clock, () => 0);
  const session = {};
  let taken = 0;
  let refusals = 0;
  let spentMs = 0;
  for (let sent = 0; sent < 1_000_000; sent += 500) {
    const admission = rate.admit(session, 500);
    if (admission.is === 'admitted') {
      taken += 500;
      admission.done();
      continue;
    }
    assert.equal(admission.is === 'refused' && admission.code, 'events/too-many');
    if (admission.is !== 'refused') break;
    refusals += 1;
    spentMs += admission.retryAfterMs;
    await clock.advance(admission.retryAfterMs);
  }
  assert.ok(taken <= NODE_EVENTS_BURST + (spentMs / 1_000) * NODE_EVENTS_PER_SECOND);
  assert.ok(taken > 400_000 && refusals > 400);
});

test('who insists although it was refused is told so, and then its session ends', () => {
  const clock = fakeClock();
  const rate = new EventRate(clock, () => 0);
  const session = {};
  for (let taken = 0; taken < NODE_EVENTS_BURST; taken += 500) {
    const admission = rate.admit(session, 500);
    assert.equal(admission.is, 'admitted');
    if (admission.is === 'admitted') admission.done();
  }
  const answers = Array.from({ length: MAX_INSISTENCE + 1 }, () => rate.admit(session, 500).is);
  assert.deepEqual(new Set(answers.slice(0, -1)), new Set(['refused']));
  assert.equal(answers.at(-1), 'insisting');
  assert.equal(rate.admit({}, 500).is, 'admitted', 'a neighbour is served');
});

test('few transactions of events at once, and a bound for all nodes together', async () => {
  const clock = fakeClock();
  const rate = new EventRate(clock, () => 0);
  const open = Array.from({ length: MAX_EVENT_WRITES }, () => rate.admit({}, 1));
  const busy = rate.admit({}, 1);
  assert.ok(busy.is === 'refused' && busy.code === 'events/busy' && busy.retryAfterMs > 0);
  for (const one of open) if (one.is === 'admitted') one.done();
  let taken = 0;
  for (;;) {
    const admission = rate.admit({}, 500);
    if (admission.is !== 'admitted') break;
    admission.done();
    taken += 500;
  }
  await clock.advance(1_000);
  let next = 0;
  for (;;) {
    const admission = rate.admit({}, 500);
    if (admission.is !== 'admitted') break;
    admission.done();
    next += 500;
  }
  assert.ok(taken > next && next <= EVENTS_PER_SECOND && next >= EVENTS_PER_SECOND - 500);
});

test.run();
