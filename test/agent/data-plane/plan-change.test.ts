import { once } from 'node:events';
import type { Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { openTunnel, socks5, tcp } from './clients';
import { credential, endpoint, memorySink, readAll, readExactly, startOrigin, startRig } from './rig';

const test = suite('plan changes');
const egress = { slot: 1, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] };

async function echoes(client: Socket): Promise<boolean> {
  if (client.destroyed) return false;
  client.write('ping');
  return readExactly(client, 4).then(
    bytes => bytes.toString() === 'ping',
    () => false,
  );
}

async function setup() {
  const origin = await startOrigin(socket => socket.pipe(socket));
  const [one, two] = [await freePort(), await freePort()];
  const sink = memorySink();
  const rig = await startRig({
    sink,
    plan: {
      endpoints: [endpoint(one, { id: 'e1' }), endpoint(two, { id: 'e2', slots: [2] })],
      credentials: [credential(), credential({ id: 'c2', username: 'bob' })],
      egresses: [egress, { ...egress, slot: 2, imei: '350000000000002' }],
    },
  });
  const bob = { username: 'bob', secret: 'correct-horse' };
  return {
    origin,
    one,
    two,
    sink,
    rig,
    alice: await openTunnel(one, origin.port),
    bob: await openTunnel(two, origin.port, bob),
    async close() {
      await rig.close();
      await origin.close();
    },
  };
}

test('an unchanged plan, and new credentials, leave listeners and flows alone', async () => {
  const at = await setup();
  const carol = credential({ id: 'c3', username: 'carol' });
  const outcomes = await at.rig.plane.apply({
    ...at.rig.plan,
    credentials: [...at.rig.plan.credentials, carol],
  });
  assert.equal(
    outcomes.map(one => one.listening),
    [true, true],
  );
  assert.ok(await echoes(at.alice));
  assert.ok(await echoes(at.bob));
  const { socket } = await socks5(
    at.one,
    { host: '127.0.0.1', port: at.origin.port },
    { username: 'carol', secret: 'correct-horse' },
  );
  assert.ok(await echoes(socket!));
  for (const client of [at.alice, at.bob, socket!]) client.destroy();
  await at.close();
});

const cuts: [string, (at: Awaited<ReturnType<typeof setup>>) => object][] = [
  [
    'its credential is suspended',
    at => ({ credentials: [credential({ suspended: true }), at.rig.plan.credentials[1]] }),
  ],
  ['its credential is gone', at => ({ credentials: [at.rig.plan.credentials[1]] })],
  [
    'its credential may not use the endpoint any more',
    at => ({ credentials: [credential({ endpointIds: ['e2'] }), at.rig.plan.credentials[1]] }),
  ],
  ['its endpoint is gone', at => ({ endpoints: [at.rig.plan.endpoints[1]] })],
  ['its slot is gone', at => ({ egresses: [at.rig.plan.egresses[1]] })],
  [
    'its slot guards the target now and nothing allows it',
    at => ({ allowTargets: [`127.0.0.1:${at.origin.port + 1}`] }),
  ],
];
for (const [what, change] of cuts)
  test(`a running flow is cut when ${what}`, async () => {
    const at = await setup();
    assert.ok(await echoes(at.alice));
    await at.rig.plane.apply({ ...at.rig.plan, ...change(at) });
    at.alice.resume();
    if (!at.alice.destroyed && !at.alice.readableEnded)
      await new Promise(resolve => at.alice.once('close', resolve).once('end', resolve));
    if (!what.includes('allows')) assert.ok(await echoes(at.bob), 'the other flow goes on');
    at.alice.destroy();
    at.bob.destroy();
    await at.close();
  });

test('a modem that is not ready keeps its flows and gets no new ones', async () => {
  const at = await setup();
  await at.rig.plane.apply({
    ...at.rig.plan,
    endpoints: at.rig.plan.endpoints.map(one => ({ ...one, slots: [1, 2] })),
    egresses: [{ ...egress, ready: false }, at.rig.plan.egresses[1]!],
  });
  assert.ok(await echoes(at.alice));
  const moved = await openTunnel(at.one, at.origin.port);
  assert.ok(await echoes(moved));
  for (const client of [at.alice, at.bob, moved]) client.destroy();
  await at.close();
  const bySlot = (slot: number, id: string) =>
    at.sink.deltas
      .filter(one => one.slot === slot && one.endpointId === id)
      .reduce((sum, one) => sum + one.flows, 0);
  assert.equal([bySlot(1, 'e1'), bySlot(2, 'e1'), bySlot(2, 'e2')], [1, 1, 1]);
  assert.is(at.sink.deltas.find(one => one.slot === 2)?.imei, '350000000000002');
});

test('endpoints may swap their ports in one plan', async () => {
  const at = await setup();
  const outcomes = await at.rig.plane.apply({
    ...at.rig.plan,
    endpoints: [endpoint(at.two, { id: 'e1' }), endpoint(at.one, { id: 'e2', slots: [2] })],
  });
  assert.equal(
    outcomes.map(one => one.listening),
    [true, true],
  );
  assert.ok(await echoes(at.alice), 'running flows go on');
  const client = await openTunnel(at.two, at.origin.port);
  assert.ok(await echoes(client));
  for (const one of [at.alice, at.bob, client]) one.destroy();
  await at.close();
  assert.is(
    at.sink.deltas.filter(one => one.endpointId === 'e1').reduce((sum, one) => sum + one.flows, 0),
    2,
  );
});

test('a taken port is an outcome, and is tried again with the next plan', async () => {
  const taken = await startOrigin(socket => socket.end());
  const port = await freePort();
  const rig = await startRig({ plan: { endpoints: [endpoint(port)] } });
  const plan = { ...rig.plan, endpoints: [endpoint(port), endpoint(taken.port, { id: 'e2' })] };
  const first = await rig.plane.apply(plan);
  assert.equal(
    first.map(one => [one.endpointId, one.listening, one.problem?.code ?? null]),
    [
      ['e1', true, null],
      ['e2', false, 'listener/port-taken'],
    ],
  );
  await taken.close();
  assert.equal(
    (await rig.plane.apply(plan)).map(one => one.listening),
    [true, true],
  );
  const odd = await rig.plane.apply({
    ...plan,
    endpoints: [endpoint(port, { id: 'e3', listen: { host: '203.0.113.9', port } })],
  });
  assert.is(odd[0]?.problem?.code, 'listener/no-such-address');
  await rig.close();
});

test('a drain lets running flows end, refuses new ones, and cuts at the end of the grace', async () => {
  const at = await setup();
  const idle = await tcp(at.one);
  const closing = at.rig.plane.close(60_000);
  idle.resume();
  if (!idle.destroyed) await new Promise(resolve => idle.once('close', resolve));
  assert.ok(await echoes(at.alice), 'a running flow goes on');
  assert.is(
    await tcp(at.one).then(
      () => 'accepted',
      error => error.code,
    ),
    'ECONNREFUSED',
  );
  at.alice.end();
  at.bob.end();
  await Promise.all([readAll(at.alice), readAll(at.bob)]);
  await closing;
  await at.origin.close();
  const second = await setup();
  const cut = once(second.alice.resume(), 'close').catch(() => undefined);
  second.bob.resume();
  await second.rig.plane.close(50);
  await cut;
  second.bob.destroy();
  await second.origin.close();
});

test.run();
