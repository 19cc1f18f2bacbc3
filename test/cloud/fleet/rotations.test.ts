/**
 * Rotations in a whole cloud, with a node's end of the wire played by the test: by link, by people, by schedule; who may,
 * how often, and that what is answered is what the node said.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { UNANSWERED_AFTER_MS } from '@mastline/cloud/server/fleet/rotation-orders';
import { tidyRotations } from '@mastline/cloud/server/fleet/rotations';
import type { Viewer } from '@mastline/cloud/server/identity/viewer';
import { createCaller } from '@mastline/cloud/server/router';
import { DesiredState } from '@mastline/shared/domain/desired-state';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { connect, type TestLink } from '../../support/cloud-agent';
import { addEndpoint, addNode, viewer } from '../../support/cloud-world';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud/fleet: rotations');
let cloud: TestCloud;
let host: Viewer;
let customer: Viewer;
let rival: Viewer;
let node: Awaited<ReturnType<typeof addNode>>;
let link: TestLink;
let slotId: string;
/** Each test has its own link, since calls of one are counted. */
let token: string;
let linkId: string;

const TAKES = ['rotate', 'rotations-noted'];
const people = (who: Viewer) =>
  createCaller({ services: cloud.services, viewer: who, sessionId: null, requestId: 'test' });
const call = (path: string, init: RequestInit = {}) =>
  fetch(`${cloud.url}${path}`, { signal: AbortSignal.timeout(20_000), ...init });

async function online(takes: string[] | undefined = TAKES): Promise<void> {
  ({ link } = await connect(cloud.url, node, { epoch: uuidv7(), ...(takes ? { takes } : {}) }));
  link.send('modem-report', {
    at: Date.now(),
    slots: [
      {
        ...{ slot: 1, usbPath: '1-1', interface: 'wwan0', sourceAddress: '192.168.8.100' },
        ...{ state: 'connected', reason: '', exitAddress: '198.18.1.10' },
        ...{ imei: '867000000000001', model: 'E3372', firmware: '1', virtual: true },
      },
    ],
  });
  // A pong after the report: it has been dealt with.
  link.send('ping', { at: 1 });
  await link.next('pong');
}

function record(id: string, over: Partial<RotationRecord> = {}): RotationRecord {
  return {
    id,
    ...{
      slot: 1,
      askedFor: 'link',
      endedAt: Date.now(),
      outcome: 'rotated',
      reason: '',
      method: 'data-switch',
    },
    ...{
      oldAddress: '198.18.1.10',
      newAddress: '198.18.1.11',
      tookMs: 6200,
      attempts: 1,
      carrier: 'Example',
    },
    ...{ connected: true, retryAfterMs: null },
    ...over,
  };
}

/** Answers the next request as a node would. */
async function nodeAnswers(over: Partial<RotationRecord> = {}): Promise<RotationRecord> {
  const asked = await link.next('rotate');
  const answer = record(asked.id, { askedFor: asked.askedFor, ...over });
  link.send('rotation-report', { rotations: [answer] });
  assert.ok((await link.next('rotations-noted')).ids.includes(asked.id));
  return answer;
}

test.before(async () => {
  cloud = await testCloud();
  const services = cloud.services as never;
  host = await viewer(services, 'Hosts', 'host');
  customer = await viewer(services, 'Customer', 'customer');
  rival = await viewer(services, 'Rival', 'customer');
  node = await addNode(services, host, 'Box');
  const endpointId = await addEndpoint(services, customer, node.id, 1080);
  await cloud.services.db.prisma.endpoint.update({ where: { id: endpointId }, data: { slotNumbers: [1] } });
  await online();
  const [modem] = (await people(customer).overview.get()).modems;
  slotId = modem?.slotId ?? '';
});
test.beforeEach(async () => {
  ({ token, id: linkId } = await people(customer).rotationLinks.create({ slotId, name: 'crawler' }));
});
test.after(async () => {
  link.close();
  await cloud.stop();
});

test('a link rotates the modem and answers with both addresses, without cookie, from any origin', async () => {
  const answered = nodeAnswers();
  const response = await call(`/rotate/${token}`, {
    method: 'POST',
    headers: { origin: 'https://elsewhere.example' },
  });
  const told = await answered;
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('set-cookie'), null);
  assert.equal(response.headers.get('cache-control'), 'no-store');
  const body = await response.json();
  assert.deepEqual(
    [body.code, body.outcome, body.oldAddress, body.newAddress, body.tookMs, body.id],
    ['rotate/rotated', 'rotated', '198.18.1.10', '198.18.1.11', 6200, told.id],
  );
  const [shown] = await people(customer).rotationLinks.list({ slotId });
  assert.equal(shown?.id, linkId);
  assert.ok((shown?.lastUsedAt ?? 0) > 0);
});

test('of a token only its hash is kept', async () => {
  const row = await cloud.services.db.prisma.rotationLink.findUniqueOrThrow({ where: { id: linkId } });
  assert.equal(row.tokenHash, createHash('sha256').update(token).digest('hex'));
  assert.ok(Buffer.from(token, 'base64url').length === 20);
  assert.ok(!JSON.stringify(row).includes(token));
});

test('what did not work is never called success, and says when to ask again', async () => {
  const cases: [Partial<RotationRecord>, number, RegExp][] = [
    [{ outcome: 'collision', reason: 'the carrier gave 198.18.1.10 again' }, 409, /same: the carrier gave/],
    [{ outcome: 'failed', reason: 'no address was seen after reset' }, 502, /no address was seen/],
    [{ outcome: 'unavailable', reason: 'try again in 9 s', retryAfterMs: 8400 }, 429, /try again in 9 s/],
    [{ outcome: 'unavailable', reason: 'the modem is failed (no SIM)' }, 503, /no SIM/],
  ];
  for (const [over, status, message] of cases) {
    const [response] = await Promise.all([
      call(`/rotate/${token}`, { headers: { accept: 'text/html' } }),
      nodeAnswers(over),
    ]);
    assert.equal(response.status, status);
    assert.match(response.headers.get('content-type') ?? '', /text\/plain/);
    assert.match(await response.text(), message);
    assert.equal(response.headers.get('retry-after'), over.retryAfterMs ? '9' : null);
  }
});

test('what takes long is answered 202 with an address to ask, and a second call joins the first', async () => {
  const begun = await call(`/rotate/${token}?wait=0`);
  assert.equal(begun.status, 202);
  const poll = begun.headers.get('location') ?? '';
  const { id } = await begun.json();
  assert.equal(poll, `/rotate/${token}/${id}`);
  assert.equal((await (await call(`/rotate/${token}?wait=0`)).json()).id, id);
  assert.equal((await call(`${poll}?wait=0`)).status, 202);
  const [late] = await Promise.all([call(poll), nodeAnswers()]);
  assert.equal(late.status, 200);
  assert.equal((await (await call(poll)).json()).outcome, 'rotated');
  const other = await people(host).rotationLinks.create({ slotId, name: 'the host’s own' });
  // Whoever may rotate the modem may know what came of it.
  assert.equal((await call(`/rotate/${other.token}/${id}`)).status, 200);
  assert.equal((await call(`/rotate/${token}/${uuidv7()}`)).status, 404);
  assert.equal((await call(`/rotate/${token}/nonsense`)).status, 404);
});

test('calls that come at the same moment are one rotation, asked of the node once', async () => {
  const calls = Array.from({ length: 5 }, () => call(`/rotate/${token}?wait=0`));
  const ids = await Promise.all(calls.map(async each => ((await (await each).json()) as { id: string }).id));
  assert.equal(new Set(ids).size, 1, ids.join(' '));
  const answer = await nodeAnswers();
  assert.equal(answer.id, ids[0]);
  // The next question is another one, not the rest of these.
  const next = call(`/rotate/${token}`);
  assert.notEqual((await nodeAnswers()).id, ids[0]);
  assert.equal((await next).status, 200);
});

test('HEAD, prefetch and unknown tokens rotate nothing; a revoked link is unknown', async () => {
  assert.equal((await call(`/rotate/${token}`, { method: 'HEAD' })).status, 405);
  assert.equal((await call(`/rotate/${token}`, { headers: { 'sec-purpose': 'prefetch' } })).status, 503);
  assert.equal((await call('/rotate/AAAAAAAAAAAAAAAAAAAAAAAAAAA')).status, 404);
  assert.equal((await call('/rotate/short')).status, 404);
  assert.equal((await call('/rotate')).status, 404);
  await people(customer).rotationLinks.revoke({ id: linkId });
  const revoked = await call(`/rotate/${token}`);
  assert.equal(revoked.status, 404);
  assert.equal((await revoked.json()).code, 'rotate/no-such-link');
  await assert.rejects(people(customer).rotationLinks.revoke({ id: linkId }), /revoked already/);
});

test('a link that is hammered is told to wait', async () => {
  const first = await call(`/rotate/${token}?wait=0`);
  const answers = await Promise.all(Array.from({ length: 15 }, () => call(`/rotate/${token}?wait=0`)));
  const refused = answers.filter(each => each.status === 429);
  assert.equal(refused.length, 4);
  assert.ok(Number(refused[0]?.headers.get('retry-after')) > 0);
  // All the others are the one rotation, which the node was asked for once.
  const ids = new Set(
    await Promise.all(answers.filter(each => each.status === 202).map(async each => (await each.json()).id)),
  );
  assert.equal(ids.size, 1);
  await nodeAnswers();
  assert.equal(first.status, 202);
});

test('people who may rotate do, others do not, and strangers see no such modem', async () => {
  const [done] = await Promise.all([
    people(customer).rotations.start({ slotId, waitMs: 10_000 }),
    nodeAnswers(),
  ]);
  assert.equal(done.outcome, 'rotated');
  assert.equal(done.askedFor, 'user');
  const looker: Viewer = { ...customer, active: { ...customer.active, role: 'viewer' } };
  await assert.rejects(people(looker).rotations.start({ slotId, waitMs: 0 }), /role .* does not allow/);
  await assert.rejects(people(looker).rotationLinks.create({ slotId, name: 'x' }), /does not allow/);
  assert.equal((await people(looker).modems.get({ slotId })).rotations[0]?.id, done.id);
  await assert.rejects(people(rival).rotations.start({ slotId, waitMs: 0 }), /no such modem/);
  await assert.rejects(people(rival).modems.get({ slotId }), /no such modem/);
  await assert.rejects(people(rival).rotations.get({ slotId, id: done.id, waitMs: 0 }), /no such modem/);
  await assert.rejects(people(rival).rotationLinks.revoke({ id: linkId }), /no such link/);
  const audit = await cloud.services.db.prisma.auditEntry.findMany({ where: { action: 'modem.rotate' } });
  assert.equal(audit.at(-1)?.subjectId, slotId);
});

test('a link is good only as long as its owner may see the modem', async () => {
  const { prisma } = cloud.services.db;
  await prisma.endpoint.updateMany({
    where: { organizationId: customer.active.id },
    data: { slotNumbers: [9] },
  });
  assert.equal((await call(`/rotate/${token}`)).status, 404);
  await prisma.endpoint.updateMany({
    where: { organizationId: customer.active.id },
    data: { slotNumbers: [1] },
  });
  const [good] = await Promise.all([call(`/rotate/${token}`), nodeAnswers()]);
  assert.equal(good.status, 200);
});

test('what a node does by itself is in the history and the figures; told twice it counts once', async () => {
  const before = (await people(host).modems.get({ slotId })).methods.find(one => one.method === 'reset');
  assert.equal(before, undefined);
  const own = [
    record(uuidv7(), { askedFor: 'schedule', method: 'reset', tookMs: 60_000 }),
    record(uuidv7(), {
      askedFor: `credential ${uuidv7()}`,
      method: 'reset',
      outcome: 'collision',
      reason: 'again',
    }),
    record(uuidv7(), { outcome: 'unavailable', reason: 'nobody asked' }),
  ];
  for (let i = 0; i < 2; i += 1) {
    link.send('rotation-report', { rotations: own });
    assert.deepEqual(
      (await link.next('rotations-noted')).ids,
      own.map(one => one.id),
    );
  }
  const { rotations, methods } = await people(host).modems.get({ slotId });
  assert.deepEqual(
    rotations
      .filter(one => own.some(each => each.id === one.id))
      .map(one => one.askedFor)
      .sort(),
    ['credential', 'schedule'],
  );
  assert.deepEqual(
    methods.find(one => one.method === 'reset'),
    {
      method: 'reset',
      carrier: 'Example',
      tries: 2,
      rotated: 1,
      collisions: 1,
      p50Ms: 60_000,
      p95Ms: 60_000,
    },
  );
});

test('a node cannot speak for another one, and no number of its breaks a column', async () => {
  const begun = await people(customer).rotations.start({ slotId, waitMs: 0 });
  const other = await addNode(cloud.services as never, host, 'Other box');
  const { link: liar } = await connect(cloud.url, other, { epoch: uuidv7(), takes: TAKES });
  liar.send('rotation-report', {
    rotations: [
      record(begun.id),
      record(uuidv7(), { tookMs: Number.MAX_SAFE_INTEGER, endedAt: Number.MAX_SAFE_INTEGER }),
    ],
  });
  await liar.next('rotations-noted');
  assert.equal((await people(customer).rotations.get({ slotId, id: begun.id, waitMs: 0 })).outcome, null);
  liar.close();
  await nodeAnswers({ outcome: 'failed', reason: 'really' });
  assert.equal((await people(customer).rotations.get({ slotId, id: begun.id, waitMs: 0 })).reason, 'really');
});

test('a node that never says is "unanswered"; its late word is the last one', async () => {
  const begun = await people(customer).rotations.start({ slotId, waitMs: 0 });
  const { id } = await link.next('rotate');
  const { prisma } = cloud.services.db;
  const past = new Date(Date.now() - 1000);
  await prisma.rotation.update({ where: { id }, data: { deadlineAt: past } });
  const lost = await call(`/rotate/${token}/${begun.id}?wait=0`);
  assert.equal(lost.status, 504);
  assert.match((await lost.json()).message, /did not say/);
  assert.deepEqual(await tidyRotations(cloud.services.db, Date.now()), { forgotten: 0, unanswered: 1 });
  assert.equal((await prisma.rotation.findUniqueOrThrow({ where: { id } })).outcome, 'unanswered');
  link.send('rotation-report', { rotations: [record(id)] });
  await link.next('rotations-noted');
  assert.equal((await call(`/rotate/${token}/${begun.id}`)).status, 200);
  assert.ok(UNANSWERED_AFTER_MS > 480_000, 'longer than all deadlines of a node together');
});

test('old rotations are forgotten, refused ones after a day', async () => {
  const { prisma } = cloud.services.db;
  const before = await prisma.rotation.count();
  const refused = await prisma.rotation.count({ where: { outcome: 'unavailable' } });
  assert.ok(refused > 0 && refused < before);
  const day = 86_400_000;
  assert.equal((await tidyRotations(cloud.services.db, Date.now() + 2 * day)).forgotten, refused);
  assert.equal((await tidyRotations(cloud.services.db, Date.now() + 91 * day)).forgotten, before - refused);
});

test('a schedule is part of the signed state, sent at once, and gone when it is taken away', async () => {
  const schedule = { everyMinutes: 30, jitterMinutes: 5 };
  await people(customer).rotations.setSchedule({ slotId, schedule });
  const stateWith = async (wanted: boolean) => {
    for (;;) {
      const state = DesiredState.parse(JSON.parse((await link.next('desired-state')).payload));
      if ((state.rotations !== undefined) === wanted) return state;
    }
  };
  assert.deepEqual((await stateWith(true)).rotations, [{ slot: 1, schedule }]);
  assert.deepEqual((await people(host).modems.get({ slotId })).schedule, schedule);
  await people(host).rotations.setSchedule({ slotId, schedule: null });
  await stateWith(false);
  assert.equal((await people(host).modems.get({ slotId })).schedule, null);
  await assert.rejects(people(host).rotations.setSchedule({ slotId, schedule: {} }), /everyMinutes/);
});

test('says so when the node is away, or its agent too old', async () => {
  link.close();
  await link.closed;
  const away = await call(`/rotate/${token}`);
  assert.equal(away.status, 503);
  assert.match((await away.json()).message, /not connected/);
  await online([]);
  const old = await call(`/rotate/${token}`);
  assert.equal(old.status, 501);
  assert.match((await old.json()).message, /too old/);
});

test('/echo tells the address a request came from, or that it cannot know', async () => {
  const good = await call('/echo');
  assert.equal(await good.text(), '127.0.0.1\n');
  const behind = await call('/echo', { headers: { 'x-forwarded-for': '203.0.113.9' } });
  assert.equal(behind.status, 421);
});

// Last, since the tests all come from one address.
test('whoever guesses tokens is shut out for a while, by address', async () => {
  let status = 0;
  for (let i = 0; i < 31; i += 1) status = (await call(`/rotate/${'B'.repeat(25)}${i + 10}`)).status;
  assert.equal(status, 429);
  assert.equal((await call(`/rotate/${token}`)).status, 429, 'a good one from there, too');
});

test.run();
