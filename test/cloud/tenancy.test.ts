/** Tenancy: through no procedure does one organization see another's rows, and the tenant store cannot be talked out of it. */
import assert from 'node:assert/strict';
import { keepEvents } from '@mastline/cloud/server/connections/keep-events';
import { scoped, withTenant } from '@mastline/cloud/server/db/tenant';
import { Turns } from '@mastline/cloud/server/db/turns';
import { modemReports } from '@mastline/cloud/server/fleet/node-reports';
import type { Viewer } from '@mastline/cloud/server/identity/viewer';
import { recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { appRouter, createCaller } from '@mastline/cloud/server/router';
import { codeOf } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { cloudWorld, type Tenant, usageRecord, type World } from '../support/cloud-world';
import { type TestDatabase, testDatabase } from '../support/postgres';
import { suite } from '../support/suite';

const test = suite('cloud: tenancy');
const T0 = Date.UTC(2026, 10, 23, 12);
const DAY_MS = 86_400_000;
let database: TestDatabase;
let world: World;

test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
  for (const tenant of [world.acme, world.rival]) await use(tenant);
});
test.after(async () => database.drop());

async function use(tenant: Tenant): Promise<void> {
  const identity = { nodeId: tenant.node.id, organizationId: tenant.host.active.id };
  await modemReports(world.services, new Turns(database.db.kind))(identity, [
    {
      slot: 0,
      usbPath: '1-1',
      interface: 'wwan0',
      sourceAddress: '192.168.8.101',
      state: 'connected',
      reason: '',
      exitAddress: `198.51.100.${tenant === world.acme ? 1 : 2}`,
      imei: `35000000000000${tenant === world.acme ? 1 : 2}`,
      model: 'E3372h',
      firmware: null,
      virtual: false,
    },
  ]);
  await recordBatch(
    database.db,
    {
      nodeId: tenant.node.id,
      hostOrganizationId: tenant.host.active.id,
      epoch: uuidv7(),
      records: [usageRecord(tenant, 1), usageRecord(tenant, 2, { credentialId: 'gone' })],
    },
    T0,
  );
  const of = {
    ...{ nodeId: tenant.node.id, hostOrganizationId: tenant.host.active.id, epoch: uuidv7() },
    ...{ first: 1, droppedEvents: 0 },
  };
  const { credentialId, endpointId } = tenant;
  const flow = { credentialId, endpointId, endedAt: T0, tookMs: 1, slot: 0, protocol: 'http', outcome: 'ok' };
  const carried = { upBytes: 1, downBytes: 2, host: `target-of-${tenant.customer.active.id}` };
  await keepEvents(database.db, { ...of, stream: 'flows', items: [{ ...flow, ...carried }] }, T0);
  const event = { at: T0, kind: 'private-target', severity: 'info' as const, credentialId };
  const detail = `seen by ${tenant.host.active.id}`;
  await keepEvents(database.db, { ...of, stream: 'events', items: [{ ...event, detail }] }, T0);
}

const callerOf = (viewer: Viewer | null) =>
  createCaller({ services: world.services, viewer, sessionId: null, requestId: 'test' });

/** Everything every procedure tells a viewer, as one text. */
async function everything(viewer: Viewer): Promise<string> {
  const api = callerOf(viewer);
  const range = { from: T0 - DAY_MS, to: T0 + DAY_MS };
  const answers = [
    await api.viewer.get(),
    await api.overview.get(),
    await api.endpoints.list(),
    await api.credentials.list(),
    await api.nodes.list(),
    ...(await Promise.all((await api.overview.get()).modems.map(({ slotId }) => api.modems.get({ slotId })))),
    await api.usage.query({ ...range, groupBy: 'hour' }),
    await api.usage.query({ ...range, groupBy: 'day' }),
    await api.usage.since({ from: T0 - 1000 }),
    await api.connections.list({}),
    await api.connections.export({}),
    await api.connections.settings(),
    ...(await Promise.all(
      [world.acme, world.rival].flatMap(({ node: { id: nodeId } }) => [
        api.connections.carried({ nodeId }),
        api.events.list({ nodeId }),
      ]),
    )),
  ];
  return JSON.stringify(answers);
}

const marksOf = (tenant: Tenant) => ({
  customer: [tenant.customer.active.id, tenant.customer.active.name, tenant.endpointId, tenant.credentialId],
  host: [tenant.host.active.id, tenant.host.active.name],
  node: [tenant.node.id],
});

test('every procedure is covered by this test', () => {
  const known = [
    'viewer.get',
    'viewer.switchOrganization',
    'overview.get',
    'endpoints.list',
    'credentials.list',
    'credentials.reveal',
    'credentials.setLimits',
    'credentials.setQuota',
    'endpoints.setProtocols',
    'endpoints.setOpenTo',
    'endpoints.setChain',
    'endpoints.shadowsocksAccess',
    'nodes.setSlotLimits',
    'nodes.setCertificate',
    'usage.query',
    'usage.since',
    'connections.list',
    'connections.export',
    'connections.carried',
    'connections.settings',
    'connections.setSettings',
    'connections.trace',
    'events.list',
    'nodes.list',
    'modems.get',
    'reconciliation.ofSlot',
    'rotations.start',
    'rotations.get',
    'rotations.setSchedule',
    'rotationLinks.list',
    'rotationLinks.create',
    'rotationLinks.revoke',
    'system.get',
    'system.nodes',
    'modems.recoveries',
    'profiles.list',
    'profiles.ship',
    'profiles.withdraw',
  ];
  assert.deepEqual(Object.keys(appRouter._def.procedures).sort(), known.sort());
});

test('a customer sees its own things and nothing of a rival', async () => {
  const seen = await everything(world.acme.customer);
  for (const own of marksOf(world.acme).customer) assert.ok(seen.includes(own), own);
  const rival = marksOf(world.rival);
  for (const foreign of [...rival.customer, ...rival.host, ...rival.node, 'Rival', '198.51.100.2'])
    assert.ok(!seen.includes(foreign), `saw ${foreign}`);
});

test('a host sees its node and its sums, and no names of customers', async () => {
  const seen = await everything(world.acme.host);
  assert.ok(seen.includes(world.acme.node.id));
  for (const foreign of [...marksOf(world.acme).customer, ...Object.values(marksOf(world.rival)).flat()])
    assert.ok(!seen.includes(foreign), `saw ${foreign}`);
  const usage = await callerOf(world.acme.host).usage.query({
    from: T0 - DAY_MS,
    to: T0 + DAY_MS,
    groupBy: 'day',
  });
  assert.deepEqual(usage.byCredential.map(each => each.credentialId).sort(), ['customers', 'unattributed']);
  assert.equal(usage.total.upBytes, 101 + 102);
});

test('a customer is not charged what could not be attributed', async () => {
  const usage = await callerOf(world.acme.customer).usage.query({
    from: T0 - DAY_MS,
    to: T0 + DAY_MS,
    groupBy: 'hour',
  });
  assert.deepEqual(usage.total, { upBytes: 101, downBytes: 1001, flows: 1 });
  assert.equal(usage.series.length, 48);
});

test('an operator sees all of it', async () => {
  const usage = await callerOf(world.operator).usage.query({
    from: T0 - DAY_MS,
    to: T0 + DAY_MS,
    groupBy: 'day',
  });
  assert.equal(usage.total.upBytes, 2 * (101 + 102));
  const overview = await callerOf(world.operator).overview.get();
  assert.equal(overview.nodes.total, 2);
  assert.equal(overview.modems.length, 2);
});

test('filters by another organization’s credential or slot give nothing', async () => {
  const range = { from: T0 - DAY_MS, to: T0 + DAY_MS, groupBy: 'day' as const };
  const rivalSlot = (await callerOf(world.rival.host).nodes.list())[0]?.slots[0]?.slotId;
  assert.ok(rivalSlot);
  const api = callerOf(world.acme.customer);
  assert.equal(
    (await api.usage.query({ ...range, credentialId: world.rival.credentialId })).total.upBytes,
    0,
  );
  assert.equal((await api.usage.query({ ...range, slotId: rivalSlot })).total.upBytes, 0);
});

test('another organization’s modem is neither shown, rotated, scheduled nor linked', async () => {
  const [foreign] = (await callerOf(world.rival.customer).overview.get()).modems;
  const slotId = foreign?.slotId ?? '';
  const link = await callerOf(world.rival.customer).rotationLinks.create({ slotId, name: 'own' });
  const rotation = await callerOf(world.rival.customer).rotations.start({ slotId, waitMs: 0 });
  assert.equal(rotation.reason, 'the node is not connected to the cloud');
  for (const who of [world.acme.customer, world.acme.host]) {
    const api = callerOf(who);
    const none = { code: 'NOT_FOUND' };
    await assert.rejects(api.modems.get({ slotId }), none);
    await assert.rejects(api.rotations.start({ slotId, waitMs: 0 }), none);
    await assert.rejects(api.rotations.get({ slotId, id: rotation.id, waitMs: 0 }), none);
    await assert.rejects(api.rotations.setSchedule({ slotId, schedule: { everyMinutes: 5 } }), none);
    await assert.rejects(api.rotationLinks.list({ slotId }), none);
    await assert.rejects(api.rotationLinks.create({ slotId, name: 'x' }), none);
    await assert.rejects(api.rotationLinks.revoke({ id: link.id }), none);
    // Nor by naming one's own modem beside it.
    const [own] = (await api.overview.get()).modems;
    await assert.rejects(api.rotations.get({ slotId: own?.slotId ?? '', id: rotation.id, waitMs: 0 }), none);
  }
  // Its host may rotate the same modem, but does not see the customer’s links.
  assert.deepEqual(await callerOf(world.rival.host).rotationLinks.list({ slotId }), []);
});

test('revealing another organization’s credential says there is none; one’s own is written into the audit log', async () => {
  const api = callerOf(world.acme.customer);
  await assert.rejects(api.credentials.reveal({ id: world.rival.credentialId }), { code: 'NOT_FOUND' });
  const revealed = await api.credentials.reveal({ id: world.acme.credentialId });
  assert.equal(revealed.secret, world.acme.secret);
  const entries = await database.db.prisma.auditEntry.findMany({ where: { action: 'credential.reveal' } });
  assert.equal(entries.length, 1);
  assert.equal(entries[0]?.subjectId, world.acme.credentialId);
  assert.ok(!JSON.stringify(entries).includes(world.acme.secret));
});

test('a viewer’s role may look but not reveal', async () => {
  const { customer } = world.acme;
  const api = callerOf({ ...customer, active: { ...customer.active, role: 'viewer' } });
  assert.equal((await api.credentials.list()).length, 1);
  await assert.rejects(api.credentials.reveal({ id: world.acme.credentialId }), { code: 'FORBIDDEN' });
});

test('nobody without a log-in gets past any procedure', async () => {
  const api = callerOf(null);
  const calls = [
    () => api.viewer.get(),
    () => api.viewer.switchOrganization({ id: world.acme.customer.active.id as never }),
    () => api.overview.get(),
    () => api.endpoints.list(),
    () => api.credentials.list(),
    () => api.credentials.reveal({ id: world.acme.credentialId as never }),
    () => api.usage.query({ from: 0, to: 1, groupBy: 'day' }),
    () => api.usage.since({ from: T0 }),
    () => api.connections.list({}),
    () => api.connections.export({}),
    () => api.connections.carried({ nodeId: world.acme.node.id }),
    () => api.connections.settings(),
    () => api.connections.setSettings({ connectionLogDays: 1, eventDays: 1, destinations: 'none' }),
    () => api.connections.trace({ address: '198.51.100.1', at: T0 }),
    () => api.events.list({ nodeId: world.acme.node.id }),
    () => api.nodes.list(),
    () => api.credentials.setLimits({ id: world.acme.credentialId, limits: {} }),
    () => api.credentials.setQuota({ id: world.acme.credentialId, quota: null }),
    () =>
      api.endpoints.setProtocols({ id: world.acme.endpointId, protocols: ['http'], method: null, tls: null }),
    () => api.endpoints.setOpenTo({ id: world.acme.endpointId, openTo: null }),
    () => api.endpoints.setChain({ id: world.acme.endpointId, hops: [] }),
    () =>
      api.endpoints.shadowsocksAccess({ id: world.acme.endpointId, credentialId: world.acme.credentialId }),
    () => api.nodes.setSlotLimits({ slotId: world.acme.endpointId, limits: {} }),
    () => api.nodes.setCertificate({ nodeId: world.acme.node.id, certificate: null }),
    () => api.modems.get({ slotId: uuidv7() }),
    () => api.reconciliation.ofSlot({ slotId: uuidv7() }),
    () => api.system.get(),
    () => api.system.nodes({}),
    () => api.modems.recoveries({ slotId: uuidv7() }),
    () => api.profiles.list(),
    () => api.profiles.ship({ profile: {} }),
    () => api.profiles.withdraw({ id: 'vendor/model' }),
    () => api.rotations.start({ slotId: uuidv7(), waitMs: 0 }),
    () => api.rotations.get({ slotId: uuidv7(), id: uuidv7(), waitMs: 0 }),
    () => api.rotations.setSchedule({ slotId: uuidv7(), schedule: null }),
    () => api.rotationLinks.list({ slotId: uuidv7() }),
    () => api.rotationLinks.create({ slotId: uuidv7(), name: 'x' }),
    () => api.rotationLinks.revoke({ id: uuidv7() }),
  ];
  assert.equal(calls.length, Object.keys(appRouter._def.procedures).length);
  for (const call of calls) await assert.rejects(call(), { code: 'UNAUTHORIZED' });
});

test('nobody switches to an organization they are not in', async () => {
  await assert.rejects(
    callerOf(world.acme.customer).viewer.switchOrganization({ id: world.rival.customer.active.id as never }),
    { code: 'FORBIDDEN' },
  );
});

test('a range that is too long or empty is refused with the bound', async () => {
  const api = callerOf(world.acme.customer);
  await assert.rejects(api.usage.query({ from: 0, to: 40 * DAY_MS, groupBy: 'hour' }), /at most 31 days/);
  await assert.rejects(api.usage.query({ from: T0, to: T0 - DAY_MS, groupBy: 'day' }), /must be after/);
});

test('the tenant store reads, writes and deletes only its organization’s rows, whatever it is asked', async () => {
  const acme = world.acme.customer.active.id;
  await withTenant(database.db, acme, async store => {
    const foreign = { id: world.rival.credentialId };
    assert.equal(await store.credential.findUnique({ where: foreign }), null);
    assert.equal(
      (await store.credential.findMany({ where: { OR: [foreign, { suspended: false }] } })).length,
      1,
    );
    assert.equal((await store.credential.updateMany({ where: foreign, data: { suspended: true } })).count, 0);
    assert.equal((await store.credential.deleteMany({ where: foreign })).count, 0);
    const [own, ...more] = await store.organization.findMany();
    assert.deepEqual([own?.id, more], [acme, []], 'of organizations its own row');
    const rival = { id: world.rival.customer.active.id };
    await assert.rejects(store.organization.findUnique({ where: rival }), /names another organization/);
  });
});

test('the tenant store refuses relations, other organizations by name, and operations it cannot bind', () => {
  for (const [operation, args] of [
    ['findMany', { include: { node: true } }],
    ['findMany', { select: { node: { select: { name: true } } } }],
    ['findFirst', { where: { organizationId: 'other' } }],
    ['create', { data: { organizationId: 'other' } }],
    ['createMany', { data: [{ organizationId: 'org' }, { organizationId: 'other' }] }],
    ['update', { where: { id: 'x' }, data: { organizationId: 'other' } }],
    ['somethingNew', {}],
  ] as const)
    assert.throws(
      () => scoped(operation, args, 'org'),
      error => codeOf(error) === 'db/outside-tenant',
    );
});

test.run();
