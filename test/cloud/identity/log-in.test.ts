/** Logging in: the right password, the wrong one, too many of them; sessions that end; requests from elsewhere. */
import assert from 'node:assert/strict';
import { isSameOrigin } from '@mastline/cloud/server/http/same-origin';
import {
  ATTEMPTS_PER_ACCOUNT,
  ATTEMPTS_PER_ADDRESS,
  LoginThrottle,
  THROTTLE_WINDOW_MS,
} from '@mastline/cloud/server/identity/login-throttle';
import { hashPassword } from '@mastline/cloud/server/identity/passwords';
import { fakeClock } from '../../support/clock';
import { viewer } from '../../support/cloud-world';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud/identity: log-in');
const PASSWORD = 'correct horse battery staple';
let cloud: TestCloud;
let email: string;
let organizations: { first: string; second: string };

test.before(async () => {
  cloud = await testCloud();
  const { prisma } = cloud.services.db;
  const first = await viewer(cloud.services as never, 'A first', 'customer');
  const second = await viewer(cloud.services as never, 'B second', 'host');
  email = first.user.email;
  organizations = { first: first.active.id, second: second.active.id };
  await prisma.user.update({ where: { email }, data: { passwordHash: await hashPassword(PASSWORD) } });
  await prisma.membership.create({
    data: { organizationId: second.active.id, userId: first.user.id, role: 'viewer' },
  });
});
test.after(async () => cloud.stop());

function logInOver(body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${cloud.url}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

async function cookieOf(response: Response): Promise<string> {
  const header = response.headers.get('set-cookie') ?? '';
  assert.match(header, /^mastline_session=[a-z0-9]{30,};/);
  assert.match(header, /HttpOnly/);
  assert.match(header, /SameSite=Lax/);
  return header.split(';', 1)[0] ?? '';
}

async function rpc(path: string, cookie: string, input?: unknown): Promise<{ status: number; data: never }> {
  const response = await fetch(`${cloud.url}/api/trpc/${path}`, {
    headers: { cookie, origin: cloud.url, 'content-type': 'application/json' },
    ...(input === undefined ? {} : { method: 'POST', body: JSON.stringify(input) }),
  });
  const json = (await response.json()) as { result?: { data: never } };
  return { status: response.status, data: json.result?.data as never };
}

test('the right password begins a session; the cookie alone then tells who asks', async () => {
  const response = await logInOver({ email: ` ${email.toUpperCase()} `, password: PASSWORD });
  assert.equal(response.status, 204);
  const cookie = await cookieOf(response);
  const { data } = await rpc('viewer.get', cookie);
  assert.equal((data as { user: { email: string } }).user.email, email);
  const token = cookie.split('=')[1] ?? '';
  const rows = await cloud.services.db.prisma.session.findMany();
  assert.ok(!JSON.stringify(rows).includes(token), 'the table does not hold what the cookie holds');
});

test('a wrong password and an unknown account get the same answer', async () => {
  const wrong = await logInOver({ email, password: 'wrong' });
  const unknown = await logInOver({ email: 'nobody@example.org', password: PASSWORD });
  assert.deepEqual([wrong.status, unknown.status], [401, 401]);
  assert.equal(await wrong.text(), await unknown.text());
  assert.equal(wrong.headers.get('set-cookie'), null);
});

test('switching the organization lasts for the session, and only where one is a member', async () => {
  const cookie = await cookieOf(await logInOver({ email, password: PASSWORD }));
  const switched = await rpc('viewer.switchOrganization', cookie, { id: organizations.second });
  assert.equal(switched.status, 200);
  const { data } = await rpc('viewer.get', cookie);
  const { active } = data as { active: { id: string; role: string } };
  assert.deepEqual([active.id, active.role], [organizations.second, 'viewer']);
});

test('an expired session and a made-up one are nobody', async () => {
  const cookie = await cookieOf(await logInOver({ email, password: PASSWORD }));
  await cloud.services.db.prisma.session.updateMany({ data: { expiresAt: new Date(Date.now() - 1000) } });
  assert.equal((await rpc('viewer.get', cookie)).status, 401);
  assert.equal(
    (await rpc('viewer.get', 'mastline_session=abcdefghijklmnopqrstuvwxyz0123456789abcd')).status,
    401,
  );
});

test('a request from another origin changes nothing, with or without a cookie', async () => {
  const cookie = await cookieOf(await logInOver({ email, password: PASSWORD }));
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { cookie },
  ] as Record<string, string>[])
    assert.equal(
      (await logInOver({ email, password: PASSWORD }, headers)).status,
      403,
      JSON.stringify(headers),
    );
  assert.equal((await logInOver({ email, password: PASSWORD }, { origin: cloud.url })).status, 204);
});

test('the origin is compared with the public address where one is set, else with the host', () => {
  const own = 'https://portal.example';
  assert.ok(isSameOrigin('GET', { origin: 'https://evil.example' }, own));
  assert.ok(isSameOrigin('POST', { origin: own, host: '10.0.0.1' }, own));
  assert.ok(!isSameOrigin('POST', { origin: 'http://portal.example', host: 'portal.example' }, own));
  assert.ok(isSameOrigin('POST', { origin: 'http://127.0.0.1:8480', host: '127.0.0.1:8480' }, null));
  assert.ok(!isSameOrigin('POST', { origin: 'http://127.0.0.1:9', host: '127.0.0.1:8480' }, null));
});

test('the live feed is for those who are logged in, and begins with the overview', async () => {
  assert.equal((await fetch(`${cloud.url}/api/live`)).status, 401);
  const cookie = await cookieOf(await logInOver({ email, password: PASSWORD }));
  const stop = new AbortController();
  const response = await fetch(`${cloud.url}/api/live`, { headers: { cookie }, signal: stop.signal });
  assert.match(response.headers.get('content-type') ?? '', /text\/event-stream/);
  let text = '';
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    if (/^data: .*\n\n/m.test(text)) break;
  }
  const line = text.split('\n').find(each => each.startsWith('data: ')) ?? '';
  assert.deepEqual(JSON.parse(line.slice(6)).nodes, { online: 0, total: 0 });
  stop.abort();
});

test('guesses at one account are stopped, whatever address they come from, and go on after the window', async () => {
  const clock = fakeClock();
  const throttle = new LoginThrottle(clock);
  for (let i = 0; i < ATTEMPTS_PER_ACCOUNT; i += 1)
    assert.equal(throttle.admit('a', `address ${i}`).is, 'admitted');
  const refused = throttle.admit('a', 'another');
  assert.deepEqual(refused, { is: 'throttled', retryAfterSeconds: THROTTLE_WINDOW_MS / 1000 });
  assert.equal(throttle.admit('b', 'another').is, 'admitted');
  await clock.advance(THROTTLE_WINDOW_MS);
  assert.equal(throttle.admit('a', 'another').is, 'admitted');
});

test('one address is stopped over many accounts; a success forgives the account, not the address', () => {
  const throttle = new LoginThrottle(fakeClock());
  for (let i = 0; i < ATTEMPTS_PER_ADDRESS; i += 1) {
    assert.equal(throttle.admit(`account ${i}`, 'one').is, 'admitted');
    throttle.succeeded(`account ${i}`);
  }
  assert.equal(throttle.admit('one more', 'one').is, 'throttled');
  assert.equal(throttle.admit('one more', 'two').is, 'admitted');
});

test('log-ins in parallel count like those one after the other', async () => {
  const outcomes = await Promise.all(
    Array.from({ length: ATTEMPTS_PER_ACCOUNT + 5 }, () =>
      logInOver({ email: 'flood@example.org', password: 'x' }),
    ),
  );
  assert.equal(outcomes.filter(each => each.status === 429).length, 5);
  const throttled = outcomes.find(each => each.status === 429);
  assert.ok(Number(throttled?.headers.get('retry-after')) > 0);
});

test.run();
