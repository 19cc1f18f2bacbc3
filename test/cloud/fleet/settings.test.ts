/** What people set on credentials, endpoints and nodes: who may, what is refused beside which field, what nodes get. */
import assert from 'node:assert/strict';
import type { Viewer } from '@mastline/cloud/server/identity/viewer';
import { bringUpToDate } from '@mastline/cloud/server/rollout/publish';
import { loadSigner, type StateSigner } from '@mastline/cloud/server/rollout/signing';
import { createCaller } from '@mastline/cloud/server/router';
import { DesiredState } from '@mastline/shared/domain/desired-state';
import { parseShadowsocksLink } from '@mastline/shared/protocols/shadowsocks/link';
import { addCredential, cloudWorld, type World } from '../../support/cloud-world';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/fleet: settings');
const HOP_SECRET = 'hush-hush-hop';
let database: TestDatabase;
let world: World;
let signer: StateSigner;

test.before(async () => {
  database = await testDatabase();
});
test.beforeEach(async () => {
  world = await cloudWorld(database.db);
  signer = await loadSigner(database.db, world.services.secrets, world.services.clock.now());
});
test.after(async () => database.drop());

const callerOf = (viewer: Viewer) =>
  createCaller({ services: world.services, viewer, sessionId: null, requestId: 'test' });
const api = () => callerOf(world.acme.customer);
const asRole = (viewer: Viewer, role: Viewer['active']['role']): Viewer => ({
  ...viewer,
  active: { ...viewer.active, role },
});

/** What the node would be sent now. */
async function desired(): Promise<DesiredState> {
  const { db, secrets, clock } = world.services;
  const state = await bringUpToDate(
    { db, secrets, signer },
    { nodeId: world.acme.node.id, now: clock.now() },
  );
  return DesiredState.parse(JSON.parse(state.payload));
}

const slotOf = async (viewer: Viewer) => (await callerOf(viewer).nodes.list())[0]?.slots[0];

async function addSlot(): Promise<string> {
  const { node, host } = world.acme;
  const at = new Date(world.services.clock.now());
  const row = await database.db.prisma.slot.create({
    data: {
      id: crypto.randomUUID(),
      organizationId: host.active.id,
      nodeId: node.id,
      number: 0,
      usbPath: '1-1',
      state: 'connected',
      stateSince: at,
      virtual: true,
      lastSeenAt: at,
    },
  });
  return row.id;
}

/** Issues of a refusal, as `path: message`. */
async function refusalOf(call: Promise<unknown>): Promise<string[]> {
  const error = await call.then(
    () => assert.fail('was accepted'),
    error => error,
  );
  assert.equal(error.code, 'BAD_REQUEST', error);
  const issues: { path: unknown[]; message: string }[] = error.cause.issues;
  return issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

const LIMITS = {
  flowsPerMinute: 600,
  concurrentFlows: 32,
  whenFull: 'close-oldest' as const,
  upBytesPerSecond: 250_000,
  downBytesPerSecond: 1_250_000,
  sourceAddresses: ['198.51.100.0/24'],
  ports: ['443', '8000-8999'],
  expiresAt: Date.UTC(2027, 0, 31),
};

test('limits of a credential go to its nodes, and taking them away leaves the state as it was', async () => {
  const before = await desired();
  const { credentialId: id } = world.acme;
  await api().credentials.setLimits({ id, limits: LIMITS });
  assert.deepEqual(world.changedNodes, [world.acme.node.id]);
  assert.deepEqual((await api().credentials.list())[0]?.limits, LIMITS);
  const after = await desired();
  assert.deepEqual(after.credentials[0]?.limits, LIMITS);
  assert.equal(after.revision, before.revision + 1);
  await api().credentials.setLimits({ id, limits: {} });
  assert.deepEqual((await desired()).credentials, before.credentials);
  const entries = await database.db.prisma.auditEntry.findMany({ where: { subjectId: id } });
  assert.deepEqual(
    entries.map(each => [each.action, each.details]),
    [
      ['credential.limits', LIMITS],
      ['credential.limits', {}],
    ],
  );
});

test('a limit that cannot be kept is refused beside its field', async () => {
  const { credentialId: id } = world.acme;
  const cases: [object, string][] = [
    [{ flowsPerMinute: 0 }, 'limits.flowsPerMinute: must be a whole number from 1 to 1000000'],
    [{ concurrentFlows: 1.5 }, 'limits.concurrentFlows: must be a whole number from 1 to 65535'],
    [{ whenFull: 'refuse' }, 'limits.concurrentFlows: is needed where'],
    [{ downBytesPerSecond: 5 }, 'limits.downBytesPerSecond: must be a whole number from 1000 to'],
    [{ sourceAddresses: ['everybody'] }, 'limits.sourceAddresses.0: must be an address or a range'],
    [{ ports: ['99999'] }, 'limits.ports.0: must be a port or a range'],
    [{ quota: { lease: 'a', bytes: 1 } }, 'limits: Unrecognized key'],
  ];
  for (const [limits, expected] of cases) {
    const [issue = ''] = await refusalOf(api().credentials.setLimits({ id, limits }));
    assert.ok(issue.startsWith(expected), `${issue} is not ${expected}`);
  }
  assert.deepEqual(world.changedNodes, []);
});

test('limits of a modem are its host’s and the operator’s to set, and nobody else’s', async () => {
  const slotId = await addSlot();
  const limits = { concurrentFlows: 200, downBytesPerSecond: 3_125_000 };
  for (const stranger of [world.acme.customer, world.rival.host])
    await assert.rejects(callerOf(stranger).nodes.setSlotLimits({ slotId, limits }), { code: 'NOT_FOUND' });
  for (const role of ['viewer', 'member', 'billing'] as const)
    await assert.rejects(callerOf(asRole(world.acme.host, role)).nodes.setSlotLimits({ slotId, limits }), {
      code: 'FORBIDDEN',
    });
  await callerOf(world.acme.host).nodes.setSlotLimits({ slotId, limits });
  assert.deepEqual((await desired()).slotLimits, [{ slot: 0, limits }]);
  assert.deepEqual((await slotOf(world.acme.host))?.limits, limits);
  await callerOf(asRole(world.operator, 'fleet')).nodes.setSlotLimits({ slotId, limits: {} });
  assert.equal((await desired()).slotLimits, undefined);
  assert.deepEqual(world.changedNodes, [world.acme.node.id, world.acme.node.id]);
});

test('what is another organization’s does not exist, and a role that reads does not write', async () => {
  const { endpointId: id, credentialId } = world.rival;
  const calls = [
    () => api().credentials.setLimits({ id: credentialId, limits: {} }),
    () => api().endpoints.setProtocols({ id, protocols: ['http'], method: null, tls: null }),
    () => api().endpoints.setOpenTo({ id, openTo: null }),
    () => api().endpoints.setChain({ id, hops: [] }),
    () => api().endpoints.shadowsocksAccess({ id, credentialId }),
    () => api().nodes.setCertificate({ nodeId: world.rival.node.id, certificate: null }),
  ];
  for (const call of calls) await assert.rejects(call(), { code: 'NOT_FOUND' });
  const viewer = callerOf(asRole(world.acme.customer, 'viewer'));
  const own = world.acme.endpointId;
  await assert.rejects(viewer.credentials.setLimits({ id: world.acme.credentialId, limits: {} }), {
    code: 'FORBIDDEN',
  });
  await assert.rejects(viewer.endpoints.setChain({ id: own, hops: [] }), { code: 'FORBIDDEN' });
  await assert.rejects(
    viewer.endpoints.shadowsocksAccess({ id: own, credentialId: world.acme.credentialId }),
    { code: 'FORBIDDEN' },
  );
  assert.deepEqual(world.changedNodes, []);
});

const hop = (more: object = {}) => ({
  id: null,
  protocol: 'socks5' as const,
  host: 'hop.example.net',
  port: 1080,
  username: 'acme',
  secret: HOP_SECRET,
  method: null,
  ...more,
});

test('a chain reaches the node with its secrets, which lie sealed and are never shown', async () => {
  const { endpointId: id } = world.acme;
  const plain = hop({ protocol: 'http', host: '203.0.113.5', port: 3128, username: null, secret: null });
  await api().endpoints.setChain({ id, hops: [hop(), plain] });
  assert.deepEqual(
    (await desired()).endpoints[0]?.chain?.map(({ host, secret, username }) => [host, username, secret]),
    [
      ['hop.example.net', 'acme', HOP_SECRET],
      ['203.0.113.5', null, null],
    ],
  );
  const shown = (await api().endpoints.list())[0]?.chain ?? [];
  assert.deepEqual(
    shown.map(each => each.hasSecret),
    [true, false],
  );
  assert.ok(!JSON.stringify(shown).includes(HOP_SECRET));
  // Sealed in the row, in the compiled state, and out of the audit log.
  for (const table of ['endpoints', 'desired_states', 'audit_entries']) {
    const { rows } = await database.db.pool.query(`SELECT row_to_json(t)::text AS text FROM ${table} t`);
    assert.ok(rows.length > 0);
    for (const { text } of rows) assert.ok(!text.includes(HOP_SECRET), `${table} holds the secret`);
  }
  assert.deepEqual(await desired(), await desired());
});

test('a hop keeps its secret while it stays where it was, and is asked for it again when it moves', async () => {
  const { endpointId: id } = world.acme;
  await api().endpoints.setChain({ id, hops: [hop()] });
  const [first] = (await api().endpoints.list())[0]?.chain ?? [];
  const kept = hop({ id: first?.id, secret: null });
  await api().endpoints.setChain({ id, hops: [{ ...kept, username: 'renamed' }] });
  assert.equal((await desired()).endpoints[0]?.chain?.[0]?.secret, HOP_SECRET);
  for (const moved of [{ host: 'thief.example.net' }, { port: 1081 }, { protocol: 'http' as const }])
    assert.deepEqual(await refusalOf(api().endpoints.setChain({ id, hops: [{ ...kept, ...moved }] })), [
      'hops.0.secret: Type the password again: the stored one was given for another address.',
    ]);
  await api().endpoints.setChain({ id, hops: [{ ...kept, username: null }] });
  assert.equal((await desired()).endpoints[0]?.chain?.[0]?.secret, null);
});

test('a chain that cannot work is refused beside hop and field', async () => {
  const { endpointId: id } = world.acme;
  const ss = { protocol: 'shadowsocks' as const, username: null };
  const cases: [object[], RegExp][] = [
    [[hop(), hop()], /^hops\.1\.host: .*circle/],
    [[hop({ host: '1.2.3' })], /^hops\.0\.host: .*neither an address nor a name/],
    [[hop({ port: 0 })], /^hops\.0\.port: must be a port/],
    [[hop({ host: '' })], /^hops\.0\.host: name the host/],
    [[hop({ secret: null })], /^hops\.0\.secret: user name and password belong together/],
    [[hop({ ...ss })], /^hops\.0\.method: Shadowsocks needs a method/],
    [[hop({ ...ss, method: '2022-blake3-aes-128-gcm' })], /^hops\.0\.secret: .*16 bytes in base64/],
    [[hop({ id: crypto.randomUUID() })], /^hops\.0\.protocol: This hop is gone/],
    [[1, 2, 3, 4, 5].map(at => hop({ port: at })), /^hops: a chain has at most 4 hops/],
  ];
  for (const [hops, expected] of cases) {
    const issues = await refusalOf(api().endpoints.setChain({ id, hops: hops as ReturnType<typeof hop>[] }));
    assert.match(issues[0] ?? '', expected);
    assert.ok(!issues.join().includes(HOP_SECRET));
  }
});

test('addresses without a login are set with the credential that pays, of the same organization', async () => {
  const { endpointId: id, credentialId } = world.acme;
  const openTo = { sourceAddresses: ['198.51.100.7', '2001:db8::/48'], credentialId };
  await api().endpoints.setOpenTo({ id, openTo });
  assert.deepEqual((await desired()).endpoints[0]?.openTo, openTo);
  assert.deepEqual((await api().endpoints.list())[0]?.openTo, openTo);
  const cases: [object, string][] = [
    [{ credentialId: world.rival.credentialId }, 'openTo.credentialId: Choose one of your credentials.'],
    [{ sourceAddresses: [] }, 'openTo.sourceAddresses: name at least one address'],
    [{ sourceAddresses: ['0.0.0.0/0'] }, 'openTo.sourceAddresses.0: would let in everybody'],
  ];
  for (const [more, expected] of cases) {
    const [issue = ''] = await refusalOf(api().endpoints.setOpenTo({ id, openTo: { ...openTo, ...more } }));
    assert.ok(issue.startsWith(expected), issue);
  }
  await api().endpoints.setOpenTo({ id, openTo: null });
  assert.equal((await desired()).endpoints[0]?.openTo, undefined);
});

test('an endpoint turned to Shadowsocks has a key for each credential, and the link opens it', async () => {
  const { endpointId: id, credentialId } = world.acme;
  const second = await addCredential(world.services, world.acme.customer);
  for (const method of ['2022-blake3-aes-256-gcm', 'chacha20-ietf-poly1305'] as const) {
    await api().endpoints.setProtocols({ id, protocols: ['shadowsocks'], method, tls: null });
    const service = (await desired()).endpoints[0]?.shadowsocks;
    assert.equal(service?.method, method);
    assert.deepEqual(
      service.keys.map(each => each.credentialId),
      [credentialId, second.id].sort(),
    );
    const access = await api().endpoints.shadowsocksAccess({ id, credentialId });
    const parsed = parseShadowsocksLink(access.link);
    assert.equal(parsed.kind === 'link' && parsed.link.password, access.password);
    assert.equal(parsed.kind === 'link' && parsed.link.port, 1080);
    assert.match(access.qrSvg, /^<svg/);
    const other = await api().endpoints.shadowsocksAccess({ id, credentialId: second.id });
    assert.notEqual(other.password, access.password);
    if (method === '2022-blake3-aes-256-gcm') {
      const [portKey, own] = access.password.split(':');
      assert.equal(portKey, service.serverKey);
      assert.equal(own, service.keys.find(each => each.credentialId === credentialId)?.key);
      // Saved again, the port keeps its key: links that were handed out go on.
      await api().endpoints.setProtocols({ id, protocols: ['shadowsocks'], method, tls: null });
      assert.equal((await desired()).endpoints[0]?.shadowsocks?.serverKey, portKey);
    }
    const { rows } = await database.db.pool.query('SELECT row_to_json(t)::text AS text FROM audit_entries t');
    for (const { text } of rows) assert.ok(!text.includes(access.password));
  }
  await api().endpoints.setProtocols({ id, protocols: ['socks5', 'http'], method: null, tls: null });
  assert.equal((await desired()).endpoints[0]?.shadowsocks, undefined);
  await refusalOf(api().endpoints.shadowsocksAccess({ id, credentialId }));
});

test('what a protocol cannot do is refused beside its field', async () => {
  const { endpointId: id, credentialId } = world.acme;
  const set = (more: object) =>
    refusalOf(
      api().endpoints.setProtocols({ id, protocols: ['shadowsocks'], method: null, tls: null, ...more }),
    );
  assert.deepEqual(await set({}), ['method: Choose a cipher.']);
  assert.match(
    (await set({ protocols: ['shadowsocks', 'http'] })).join(),
    /protocols: Shadowsocks cannot share/,
  );
  assert.match(
    (await set({ method: 'aes-256-gcm', tls: 'required' })).join(),
    /tls: Shadowsocks is encrypted/,
  );
  assert.match((await set({ protocols: [] })).join(), /protocols: choose at least one/);
  await api().endpoints.setOpenTo({ id, openTo: { sourceAddresses: ['10.0.0.1'], credentialId } });
  assert.match((await set({ method: 'aes-256-gcm' })).join(), /protocols: This endpoint serves addresses/);
});

test('a host says where its certificate lies, and customers whether they want TLS', async () => {
  const { endpointId: id, node, host } = world.acme;
  const certificate = { certFile: '/etc/ssl/proxy.pem', keyFile: '/etc/ssl/proxy.key' };
  const required = { id, protocols: ['socks5' as const], method: null, tls: 'required' as const };
  assert.match(
    (await refusalOf(api().endpoints.setProtocols(required))).join(),
    /tls: The node has no certificate/,
  );
  await callerOf(host).nodes.setCertificate({ nodeId: node.id, certificate });
  assert.deepEqual((await callerOf(host).nodes.list())[0]?.certificate, certificate);
  const [shown] = await api().endpoints.list();
  assert.equal(shown?.tlsPossible, true);
  // Where it lies is the host's business.
  assert.ok(!JSON.stringify(await api().endpoints.list()).includes('/etc/ssl'));
  await api().endpoints.setProtocols(required);
  assert.deepEqual((await desired()).endpoints[0]?.tls, { ...certificate, required: true });
  assert.match(
    (await refusalOf(callerOf(host).nodes.setCertificate({ nodeId: node.id, certificate: null }))).join(),
    /certificate\.certFile: Endpoints of customers speak TLS/,
  );
  assert.match(
    (
      await refusalOf(
        callerOf(host).nodes.setCertificate({
          nodeId: node.id,
          certificate: { ...certificate, certFile: 'proxy.pem' },
        }),
      )
    ).join(),
    /certificate\.certFile: must be a whole path/,
  );
  await api().endpoints.setProtocols({ ...required, tls: null });
  await callerOf(host).nodes.setCertificate({ nodeId: node.id, certificate: null });
  assert.equal((await desired()).endpoints[0]?.tls, undefined);
});

test('a state from before secrets were in it, lying open, is still sent as it was signed', async () => {
  const { revision } = await desired();
  const { db, secrets } = world.services;
  const nodeId = world.acme.node.id;
  const { rows } = await db.pool.query('SELECT payload FROM desired_states WHERE node_id = $1', [nodeId]);
  const payload = secrets.open(rows[0].payload, `desired-state:${nodeId}:${revision}`);
  await db.pool.query('UPDATE desired_states SET payload = $2 WHERE node_id = $1', [nodeId, payload]);
  const state = await bringUpToDate({ db, secrets, signer }, { nodeId, now: 0 });
  assert.deepEqual([state.revision, state.payload], [revision, payload]);
});

test.run();
