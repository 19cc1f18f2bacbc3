/** The agent's way in, against a whole cloud: claim, challenge, link, usage, desired state, replaced sessions. */
import assert from 'node:assert/strict';
import { verify } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import { publicKeyFromRaw } from '@mastline/cloud/server/rollout/signing';
import { createCaller } from '@mastline/cloud/server/router';
import { DesiredState } from '@mastline/shared/domain/desired-state';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { MAX_FRAME_BYTES } from '@mastline/shared/wire/limits';
import { PROTOCOL_VERSION } from '@mastline/shared/wire/version';
import {
  authorizationFor,
  challenge,
  connect,
  deviceKey,
  enrol,
  openLink,
  post,
} from '../../support/cloud-agent';
import { addCredential, addEndpoint, usageRecord, viewer } from '../../support/cloud-world';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const GOLDEN = join(import.meta.dirname, '../../contract/golden/v1');
const test = suite('cloud/gateway: the link');
let cloud: TestCloud;
let host: Awaited<ReturnType<typeof viewer>>;
let customer: Awaited<ReturnType<typeof viewer>>;

test.before(async () => {
  cloud = await testCloud();
  host = await viewer(cloud.services as never, 'Hosts', 'host');
  customer = await viewer(cloud.services as never, 'Customer', 'customer');
});
test.after(async () => cloud.stop());

const newClaim = async (lifetimeMs?: number) =>
  (
    await createClaim(cloud.services, {
      organizationId: host.active.id,
      nodeName: 'Box',
      createdById: null,
      ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
    })
  ).code;

async function newNode() {
  const key = deviceKey();
  const { body } = await enrol(cloud.url, key, await newClaim());
  const stateKeys = body.stateKeys as { keyId: string; publicKey: string }[];
  return { id: String(body.nodeId), privateKey: key.privateKey, stateKeys };
}

test('a claim code makes a node of its host, with the consent on record', async () => {
  const { status, body } = await enrol(
    cloud.url,
    deviceKey(),
    (await newClaim()).toLowerCase().replaceAll('-', ' '),
  );
  assert.equal(status, 200);
  const node = await cloud.services.db.prisma.node.findUniqueOrThrow({ where: { id: String(body.nodeId) } });
  assert.equal(node.organizationId, host.active.id);
  assert.equal(node.consentAcceptedBy, 'a test');
  const audit = await cloud.services.db.prisma.auditEntry.findMany({ where: { subjectId: node.id } });
  assert.deepEqual(
    audit.map(entry => entry.action),
    ['node.enrol'],
  );
});

test('a claim code works once; the same box is answered again, another is refused', async () => {
  const code = await newClaim();
  const key = deviceKey();
  const first = await enrol(cloud.url, key, code);
  const again = await enrol(cloud.url, key, code);
  assert.deepEqual([again.status, again.body.nodeId], [200, first.body.nodeId]);
  const other = await enrol(cloud.url, deviceKey(), code);
  assert.deepEqual([other.status, other.body.code], [409, 'enrol/claim-used']);
});

test('of ten boxes that use one code at once, one gets in', async () => {
  const code = await newClaim();
  const answers = await Promise.all(Array.from({ length: 10 }, () => enrol(cloud.url, deviceKey(), code)));
  assert.equal(answers.filter(each => each.status === 200).length, 1);
  assert.equal(answers.filter(each => each.body.code === 'enrol/claim-used').length, 9);
});

test('an expired, an unknown and a malformed claim, and consent to an old text, are refused by name', async () => {
  const expired = await enrol(cloud.url, deviceKey(), await newClaim(-1));
  assert.deepEqual([expired.status, expired.body.code], [410, 'enrol/claim-expired']);
  const unknown = await enrol(cloud.url, deviceKey(), 'AAAAA-AAAAA-AAAAA-AAAAA');
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'enrol/claim-unknown']);
  const malformed = await post(`${cloud.url}/agent/enrol`, { claimCode: 'x' });
  assert.equal(malformed.status, 400);
  assert.match(String(malformed.body.message), /publicKey/);
  const code = await newClaim();
  const old = await enrol(cloud.url, deviceKey(), code, '2001-01-01');
  assert.deepEqual([old.status, old.body.code], [409, 'enrol/consent-outdated']);
  assert.equal((await enrol(cloud.url, deviceKey(), code)).status, 200, 'a refusal does not spend the code');
});

test('a node that is not known, or was retired, is told so before it connects', async () => {
  for (const nodeId of [uuidv7(), 'no-uuid']) {
    const { status, body } = await post(`${cloud.url}/agent/challenge`, { nodeId });
    assert.deepEqual([status, body.code], [404, 'link/node-unknown']);
  }
  const node = await newNode();
  await cloud.services.db.prisma.node.update({ where: { id: node.id }, data: { retiredAt: new Date() } });
  const { status, body } = await post(`${cloud.url}/agent/challenge`, { nodeId: node.id });
  assert.deepEqual([status, body.code], [410, 'link/node-retired']);
});

test('without a proof, with a forged one, or with another node’s key, there is no socket', async () => {
  const node = await newNode();
  const other = await newNode();
  await assert.rejects(openLink(cloud.url, 'Bearer x'), /401 link\/no-proof/);
  const nonce = await challenge(cloud.url, node.id);
  await assert.rejects(
    openLink(cloud.url, authorizationFor(node.id, nonce, other.privateKey)),
    /401 link\/bad-signature/,
  );
  await assert.rejects(
    openLink(cloud.url, authorizationFor(node.id, await challenge(cloud.url, other.id), node.privateKey)),
    /401 link\/nonce-forged/,
  );
  await assert.rejects(
    openLink(cloud.url, authorizationFor(node.id, `${nonce.slice(0, -4)}AAAA`, node.privateKey)),
    /401 link\/nonce-forged/,
  );
});

test('a proof opens one socket: replayed, it opens none', async () => {
  const node = await newNode();
  const authorization = authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey);
  const link = await openLink(cloud.url, authorization);
  await assert.rejects(openLink(cloud.url, authorization), /401 link\/nonce-replayed/);
  link.close();
  await link.closed;
});

test('the newest session wins, and the old one is told why it ends', async () => {
  const node = await newNode();
  const first = await connect(cloud.url, node, { epoch: uuidv7() });
  const second = await connect(cloud.url, node, { epoch: uuidv7() });
  assert.equal((await first.link.closed).code, CLOSE.replaced);
  assert.ok(
    cloud.services.presence.isOnline(node.id),
    'the end of the old session does not take the new one offline',
  );
  second.link.send('ping', { at: 5 });
  assert.equal((await second.link.next('pong')).at, 5);
  second.link.close();
  await second.link.closed;
});

test('usage is acknowledged by mark, gaps are asked for, and the mark is there after a reconnect', async () => {
  const node = await newNode();
  const of = {
    endpointId: await addEndpoint(cloud.services as never, customer, node.id, 1081),
    credentialId: (await addCredential(cloud.services as never, customer)).id,
  };
  const epoch = uuidv7();
  const at = Date.now();
  const { link, welcome } = await connect(cloud.url, node, { epoch });
  assert.equal(welcome.mark, 0);
  const records = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => usageRecord(of, from + i, { at }));
  link.send('usage-batch', { epoch, records: records(1, 3) });
  link.send('usage-batch', { epoch, records: records(2, 6) });
  link.send('usage-batch', { epoch, records: records(9, 9) });
  assert.equal((await link.next('usage-ack')).mark, 3);
  assert.equal((await link.next('usage-ack')).mark, 6);
  assert.equal((await link.next('usage-refused')).expected, 7);
  link.close();
  await link.closed;
  const again = await connect(cloud.url, node, { epoch, lastSequence: 9 });
  assert.equal(again.welcome.mark, 6);
  again.link.close();
  await again.link.closed;
});

test('a node gets its signed desired state, none when it runs it, and the next revision when something changed', async () => {
  const node = await newNode();
  const endpointId = await addEndpoint(cloud.services as never, customer, node.id, 1082);
  const first = await connect(cloud.url, node, { epoch: uuidv7() });
  const signed = await first.link.next('desired-state');
  const key = node.stateKeys.find(each => each.keyId === signed.keyId);
  assert.ok(key, 'signed with a key that was pinned at enrolment');
  const publicKey = publicKeyFromRaw(Buffer.from(key.publicKey, 'base64'));
  assert.ok(verify(null, Buffer.from(signed.payload), publicKey, Buffer.from(signed.signature, 'base64')));
  const state = DesiredState.parse(JSON.parse(signed.payload));
  assert.deepEqual([state.revision, state.nodeId], [1, node.id]);
  assert.deepEqual(
    state.endpoints.map(each => each.id),
    [endpointId],
  );
  assert.ok(state.credentials.length > 0);
  for (const credential of state.credentials) assert.deepEqual(credential.endpointIds, [endpointId]);
  first.link.send('state-report', {
    revision: 1,
    outcome: 'applied',
    problems: [{ code: 'listener/port-taken', message: 'half a pair: \ud800', endpointId }],
    running: { revision: 1, hash: signed.hash },
  });
  await addEndpoint(cloud.services as never, customer, node.id, 1083);
  await cloud.pushDesiredState(node.id);
  const next = await first.link.next('desired-state');
  assert.equal(next.revision, 2);
  first.link.send('ping', { at: 1 });
  await first.link.next('pong');
  const row = await cloud.services.db.prisma.node.findUniqueOrThrow({ where: { id: node.id } });
  assert.deepEqual([row.runningRevision, row.runningHash, row.reportedOutcome], [1, signed.hash, 'applied']);
  const api = createCaller({
    services: cloud.services,
    viewer: customer,
    sessionId: null,
    requestId: 'test',
  });
  const shown = (await api.endpoints.list()).find(each => each.id === endpointId);
  assert.deepEqual([shown?.nodeOnline, shown?.problem], [true, 'half a pair: \ufffd']);
  const second = await connect(cloud.url, node, {
    epoch: uuidv7(),
    running: { revision: 2, hash: next.hash },
  });
  second.link.send('ping', { at: 2 });
  await second.link.next('pong');
  await cloud.pushDesiredState(node.id);
  assert.equal(
    (await second.link.next('desired-state')).revision,
    2,
    'the only one it gets is the one pushed',
  );
  second.link.close();
  await second.link.closed;
});

test('what is not the protocol ends the session with a code, and harms no neighbour', async () => {
  const neighbour = await connect(cloud.url, await newNode(), { epoch: uuidv7() });
  const cases: [frame: string | Buffer, code: number][] = [
    ['not json', CLOSE.protocol],
    ['{"v":1,"kind":"usage-batch","body":{}}', CLOSE.protocol],
    [`${'['.repeat(20_000)}`, CLOSE.protocol],
    [Buffer.from([1, 2, 3]), CLOSE.protocol],
    ['x'.repeat(MAX_FRAME_BYTES + 1), 1009],
    ['{"v":1,"kind":"hello","body":{}}', CLOSE.protocol],
    ['{"v":1,"kind":"state-report","body":{"revision":1,"outcome":"a\\u0000"}}', CLOSE.protocol],
  ];
  for (const [frame, code] of cases) {
    const { link } = await connect(cloud.url, await newNode(), { epoch: uuidv7() });
    link.sendRaw(frame);
    assert.equal((await link.closed).code, code, String(frame).slice(0, 40));
  }
  neighbour.link.sendRaw('{"v":1,"kind":"of-tomorrow","body":{}}');
  neighbour.link.send('ping', { at: 3 });
  assert.equal((await neighbour.link.next('pong')).at, 3);
  neighbour.link.close();
  await neighbour.link.closed;
});

test('the first message must be hello, in a version that is served', async () => {
  for (const [frame, code] of [
    ['{"v":1,"kind":"ping","body":{"at":1}}', CLOSE.protocol],
    [
      `{"v":9,"kind":"hello","body":${JSON.stringify({ agentVersion: '9', bootId: 'b', now: 1, epoch: uuidv7(), lastSequence: 0, running: { revision: 0, hash: null } })}}`,
      CLOSE.version,
    ],
  ] as const) {
    const node = await newNode();
    const link = await openLink(
      cloud.url,
      authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey),
    );
    link.sendRaw(frame);
    assert.equal((await link.closed).code, code);
  }
});

test('modem reports keep slots by number, modems by IMEI and the history of exit addresses', async () => {
  const node = await newNode();
  const { link } = await connect(cloud.url, node, { epoch: uuidv7() });
  const report = (exitAddress: string | null, imei: string) => ({
    at: Date.now(),
    slots: [
      {
        slot: 4,
        usbPath: '1-4',
        interface: 'wwan4',
        sourceAddress: '192.168.8.104',
        state: 'connected' as const,
        reason: '',
        exitAddress,
        imei,
        model: 'E3372h',
        firmware: '1',
        virtual: true,
      },
    ],
  });
  for (const [address, imei] of [
    ['198.51.100.7', '490154203237518'],
    ['198.51.100.7', '490154203237518'],
    ['198.51.100.8', '490154203237518'],
    [null, '490154203237518'],
    ['198.51.100.7', '353879234252633'],
  ] as const)
    link.send('modem-report', report(address, imei));
  link.send('modem-report', { at: Date.now(), slots: [] });
  link.send('ping', { at: 1 });
  await link.next('pong');
  const { prisma } = cloud.services.db;
  const slots = await prisma.slot.findMany({ where: { nodeId: node.id } });
  assert.deepEqual(
    slots.map(each => [each.number, each.state]),
    [[4, 'absent']],
  );
  const history = await prisma.modemAddress.findMany({
    where: { slotId: slots[0]?.id ?? '' },
    orderBy: [{ since: 'asc' }, { id: 'asc' }],
    include: { modem: true },
  });
  assert.deepEqual(
    history.map(each => [each.address, each.modem?.imei]),
    [
      ['198.51.100.7', '490154203237518'],
      ['198.51.100.8', '490154203237518'],
      ['198.51.100.7', '353879234252633'],
    ],
  );
  assert.ok(
    history.every(each => each.until !== null),
    'a slot that is gone has no present address',
  );
  assert.equal(await prisma.modem.count({ where: { organizationId: host.active.id } }), 2);
  link.close();
  await link.closed;
});

test('an agent of the next protocol is served: all that today’s says, with fields and kinds of tomorrow', async () => {
  const goldens = readdirSync(GOLDEN)
    .filter(name => name.startsWith('uplink-'))
    .map(name => JSON.parse(readFileSync(join(GOLDEN, name), 'utf8')).frame)
    // The hello is another one below, and the golden batch has more bytes than a minute can hold.
    .filter(frame => frame.kind !== 'hello' && frame.kind !== 'usage-batch');
  assert.ok(goldens.length >= 6, `${goldens.length} golden messages`);
  const node = await newNode();
  const link = await openLink(
    cloud.url,
    authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey),
  );
  const next = (kind: string, body: object) =>
    link.sendRaw(JSON.stringify({ v: PROTOCOL_VERSION + 1, kind, body: { ...body, tomorrow: [{ a: 1 }] } }));
  const epoch = uuidv7();
  const running = { revision: 0, hash: null };
  next('hello', {
    agentVersion: '9',
    bootId: 'b',
    now: 1,
    epoch,
    lastSequence: 1,
    running,
    takes: ['flying'],
  });
  assert.equal((await link.next('welcome')).mark, 0);
  for (const { kind, body } of goldens) next(kind, body);
  next('of-tomorrow', {});
  next('usage-batch', {
    epoch,
    records: [usageRecord({ endpointId: uuidv7(), credentialId: uuidv7() }, 1, { at: Date.now() })],
  });
  for (let ack = await link.next('usage-ack'); ack.epoch !== epoch; ack = await link.next('usage-ack'));
  link.close();
  assert.equal((await link.closed).code, 1005);
});

test.run();
