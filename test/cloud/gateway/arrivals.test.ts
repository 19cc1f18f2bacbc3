/** Ten thousand nodes that come back at once: how many are let in, what the others are told, and that places are given back. */
import assert from 'node:assert/strict';
import { connect as dial } from 'node:net';
import { Gather } from '@mastline/cloud/server/db/gather';
import { Turns } from '@mastline/cloud/server/db/turns';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import {
  ARRIVALS_PER_SECOND,
  Arrivals,
  MAX_ARRIVING,
  MAX_ARRIVING_UPGRADES,
  spreadMs,
} from '@mastline/cloud/server/gateway/arrivals';
import { codeOf } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { authorizationFor, challenge, connect, deviceKey, enrol, openLink } from '../../support/cloud-agent';
import { viewer } from '../../support/cloud-world';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud/gateway: arrivals');
let cloud: TestCloud;
let node: { id: string; privateKey: ReturnType<typeof deviceKey>['privateKey'] };

test.before(async () => {
  cloud = await testCloud();
  const host = await viewer(cloud.services as never, 'Hosts', 'host');
  const { code } = await createClaim(cloud.services, {
    organizationId: host.active.id,
    nodeName: 'Box',
    createdById: null,
  });
  const key = deviceKey();
  const { body } = await enrol(cloud.url, key, code);
  node = { id: String(body.nodeId), privateKey: key.privateKey };
});
test.after(() => cloud.stop());

const ask = () =>
  fetch(`${cloud.url}/agent/challenge`, { method: 'POST', body: JSON.stringify({ nodeId: node.id }) });

/** Takes `places`, as so many upgrades that wait for the database would. */
function occupy(places: number): () => void {
  for (let i = 0; i < places; i += 1) assert.ok(cloud.gateway.arrivals.enter());
  return () => {
    for (let i = 0; i < places; i += 1) cloud.gateway.arrivals.leave();
  };
}

test('the more nodes there are, the longer they are spread, within bounds', () => {
  assert.equal(spreadMs(1), 5_000);
  assert.equal(spreadMs(10_000), (10_000 / ARRIVALS_PER_SECOND) * 1_000);
  assert.equal(spreadMs(10_000_000), 60_000);
  const seconds = new Arrivals({ expected: () => 10_000, random: () => 0.5 }).retryAfterSeconds();
  assert.equal(seconds, Math.ceil(10_000 / ARRIVALS_PER_SECOND / 2));
  assert.equal(new Arrivals({ expected: () => 0, random: () => 0 }).retryAfterSeconds(), 1);
});

test('an event loop that is late lets fewer in, and some always', () => {
  const arrivals = new Arrivals({ expected: () => 1 });
  const room = () => {
    let places = 0;
    while (arrivals.mayAsk() && arrivals.enter()) places += 1;
    for (let i = 0; i < places; i += 1) arrivals.leave();
    return places;
  };
  assert.equal(room(), MAX_ARRIVING);
  arrivals.noteLag(400);
  assert.equal(room(), MAX_ARRIVING / 4);
  arrivals.noteLag(60_000);
  assert.equal(room(), 16);
  arrivals.noteLag(-5);
  assert.equal(room(), MAX_ARRIVING);
});

test('while many are on their way new ones are told when to come; who has a challenge is let in first', async () => {
  const nonce = await challenge(cloud.url, node.id);
  const release = occupy(MAX_ARRIVING);
  const told = await ask();
  assert.equal(told.status, 503);
  assert.equal(((await told.json()) as { code: string }).code, 'link/busy');
  const seconds = Number(told.headers.get('retry-after'));
  assert.ok(seconds >= 1 && seconds <= 5, `Retry-After: ${seconds}`);
  const link = await openLink(cloud.url, authorizationFor(node.id, nonce, node.privateKey));
  link.close();
  await link.closed;
  release();
  assert.equal((await ask()).status, 200);
});

test('past the second bound upgrades are told as well', async () => {
  const nonce = await challenge(cloud.url, node.id);
  const release = occupy(MAX_ARRIVING_UPGRADES);
  const head = await new Promise<string>((resolve, reject) => {
    const { hostname, port } = new URL(cloud.url);
    const authorization = authorizationFor(node.id, nonce, node.privateKey);
    const socket = dial({ host: hostname, port: Number(port) }, () =>
      socket.write(
        `GET /agent HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
          `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: ${authorization}\r\n\r\n`,
      ),
    );
    let text = '';
    socket.setEncoding('latin1').on('data', chunk => {
      text += chunk;
    });
    socket.on('error', reject).on('close', () => resolve(text));
  });
  assert.match(head, /^HTTP\/1\.1 503 /);
  assert.match(head, /\r\nRetry-After: [1-5]\r\n/);
  assert.match(head, /"code":"link\/busy"/);
  release();
});

test('a place is given back by who is greeted, refused, gone before its hello, or speaks no WebSocket', async () => {
  const { arrivals } = cloud.gateway;
  assert.equal(arrivals.arriving, 0);
  const { link } = await connect(cloud.url, node, { epoch: uuidv7() });
  await eventually(() => arrivals.arriving === 0);
  link.close();
  await link.closed;
  const silent = await openLink(
    cloud.url,
    authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey),
  );
  assert.equal(arrivals.arriving, 1);
  silent.close();
  await silent.closed;
  const other = deviceKey();
  await assert.rejects(
    openLink(cloud.url, authorizationFor(node.id, await challenge(cloud.url, node.id), other.privateKey)),
    /401 link\/bad-signature/,
  );
  const authorization = authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey);
  const { hostname, port } = new URL(cloud.url);
  await new Promise<void>((resolve, reject) => {
    const socket = dial({ host: hostname, port: Number(port) }, () =>
      socket.end(
        `GET /agent HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: ${authorization}\r\n\r\n`,
      ),
    );
    socket.on('error', reject).on('close', () => resolve());
    socket.resume();
  });
  await eventually(() => arrivals.arriving === 0);
});

test('questions that come while one statement runs go into the next, in order, and are bounded', async () => {
  const groups: number[][] = [];
  const finish: (() => void)[] = [];
  const gather = new Gather<number, string>({
    most: 3,
    mostWaiting: 4,
    ask: async questions => {
      groups.push([...questions]);
      await new Promise<void>(resolve => finish.push(resolve));
      if (questions.includes(13)) throw new Error('the database is away');
      return questions.map(each => `answer ${each}`);
    },
  });
  const first = [gather.ask(1), gather.ask(2)];
  await eventually(() => groups.length === 1);
  const later = [gather.ask(3), gather.ask(4), gather.ask(5), gather.ask(13)];
  const fails = assert.rejects(later[3] ?? Promise.resolve(), /away/);
  await assert.rejects(gather.ask(6), error => codeOf(error) === 'db/busy');
  finish.shift()?.();
  assert.deepEqual(await Promise.all(first), ['answer 1', 'answer 2']);
  await eventually(() => groups.length === 2);
  finish.shift()?.();
  assert.deepEqual(await Promise.all(later.slice(0, 3)), ['answer 3', 'answer 4', 'answer 5']);
  await eventually(() => groups.length === 3);
  finish.shift()?.();
  await fails;
  const after = gather.ask(7);
  await eventually(() => groups.length === 4);
  finish.shift()?.();
  assert.equal(await after, 'answer 7');
  assert.deepEqual(groups, [[1, 2], [3, 4, 5], [13], [7]]);
});

test('what the database holds against one value fails for that one only; a fault of the database fails for all', async () => {
  const groups: number[][] = [];
  const gather = new Gather<number, number>({
    most: 8,
    mostWaiting: 8,
    ask: async questions => {
      groups.push([...questions]);
      if (questions.includes(13)) throw Object.assign(new Error('bad value'), { code: '22P02' });
      if (questions.includes(14)) throw Object.assign(new Error('going down'), { code: '57P01' });
      return questions;
    },
  });
  const outcomesOf = async (...questions: number[]) =>
    (await Promise.allSettled(questions.map(each => gather.ask(each)))).map(
      each => each.status === 'fulfilled',
    );
  assert.deepEqual(await outcomesOf(1, 13, 2), [true, false, true]);
  assert.deepEqual(groups, [[1, 13, 2], [1], [13], [2]]);
  assert.deepEqual(await outcomesOf(3, 14), [false, false]);
  assert.deepEqual(await outcomesOf(4), [true]);
});

test('turns are taken in order, so many at once, and a failure gives its place back', async () => {
  const turns = new Turns('embedded');
  const begun: number[] = [];
  const finish: (() => void)[] = [];
  const work = (which: number) =>
    turns.take(async () => {
      begun.push(which);
      await new Promise<void>(resolve => finish.push(resolve));
      if (which === 1) throw new Error('no');
      return which;
    });
  const all = [work(1), work(2), work(3)];
  const fails = assert.rejects(all[0] ?? Promise.resolve(), /no/);
  assert.deepEqual([begun, turns.waiting], [[1], 2]);
  finish.shift()?.();
  await fails;
  await eventually(() => begun.length === 2);
  finish.shift()?.();
  assert.equal(await all[1], 2);
  await eventually(() => begun.length === 3);
  finish.shift()?.();
  assert.equal(await all[2], 3);
  assert.equal(turns.waiting, 0);
});

test.run();
