import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { ServicePlan } from '@mastline/agent/ports';
import type { FlowLimits } from '@mastline/shared/domain/flow-limits';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { ALICE, basic, openTunnel, socks5, tcp } from './clients';
import {
  credential,
  memorySink,
  type Rig,
  readAll,
  readExactly,
  startOrigin,
  startRig,
  untilEnd,
} from './rig';

const test = suite('limits of customers and modems');
test.before(agentBuilt);

const egress = { slot: 1, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] };
const mine = (limits: FlowLimits): Partial<ServicePlan> => ({ credentials: [credential({ limits })] });
const modems = (limits: FlowLimits): Partial<ServicePlan> => ({ egresses: [{ ...egress, limits }] });
const NOT_ALLOWED = 2;
const GENERAL = 1;

const echo = () => startOrigin(socket => socket.pipe(socket));

async function echoes(client: Socket): Promise<boolean> {
  if (client.destroyed) return false;
  client.write('ping');
  return readExactly(client, 4).then(
    bytes => bytes.toString() === 'ping',
    () => false,
  );
}

/** Resolves when the proxy has cut it. A client that reads late sees an end in place of the reset: its kernel decides. */
async function gone(client: Socket): Promise<void> {
  if (!client.destroyed && !client.readableEnded)
    await new Promise(resolve => client.resume().once('close', resolve).once('end', resolve));
  client.destroy();
}

/** What CONNECT gets: the status, and the header of a refusal. */
async function connects(rig: Rig, port: number): Promise<string> {
  const client = await tcp(rig.port);
  client.write(
    `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1\r\nProxy-Authorization: ${basic()}\r\n\r\n`,
  );
  const answer = await new Promise<string>(resolve => client.once('data', bytes => resolve(String(bytes))));
  client.destroy();
  return `${answer.slice(9, 12)} ${/Mastline-Error: (.*)\r\n/.exec(answer)?.[1] ?? ''}`.trim();
}

const asks = (rig: Rig, port: number) => socks5(rig.port, { host: '127.0.0.1', port });

for (const [whose, plan, reply, header] of [
  ['a credential', mine, NOT_ALLOWED, '429 leg=policy; code=too-many-new-flows'],
  ['a modem', modems, GENERAL, '503 leg=modem; code=modem-busy'],
] as const)
  test(`new flows a minute of ${whose}: what is saved up at once, then one by one`, async () => {
    const origin = await echo();
    const clock = fakeClock();
    const rig = await startRig({ clock, plan: plan({ flowsPerMinute: 4 }) });
    for (let flow = 0; flow < 4; flow += 1) (await openTunnel(rig.port, origin.port)).destroy();
    assert.is((await asks(rig, origin.port)).reply, reply);
    assert.is(await connects(rig, origin.port), header);
    await clock.advance(15_000);
    (await openTunnel(rig.port, origin.port)).destroy();
    assert.is(
      (await asks(rig, origin.port)).reply,
      reply,
      'refused ones cost nothing, but there is no second',
    );
    await rig.close();
    await origin.close();
  });

for (const [whose, plan, reply, header] of [
  ['a credential', mine, NOT_ALLOWED, '429 leg=policy; code=too-many-flows'],
  ['a modem', modems, GENERAL, '503 leg=modem; code=modem-busy'],
] as const)
  test(`concurrent flows of ${whose}: one more is refused until one ends`, async () => {
    const origin = await echo();
    const rig = await startRig({ plan: plan({ concurrentFlows: 2 }) });
    const first = await openTunnel(rig.port, origin.port);
    const second = await openTunnel(rig.port, origin.port);
    assert.is((await asks(rig, origin.port)).reply, reply);
    assert.is(await connects(rig, origin.port), header);
    assert.is((await asks(rig, 1)).reply, reply, 'asked before anything is dialled');
    first.end();
    await readAll(first);
    const third = await openTunnel(rig.port, origin.port);
    assert.ok(await echoes(third));
    // A dial that fails gives its place back.
    third.end();
    await readAll(third);
    for (let at = 0; at < 3; at += 1) assert.is((await asks(rig, 1)).reply, 5);
    assert.ok(await echoes(second));
    second.destroy();
    await rig.close();
    await origin.close();
  });

test('with close-oldest the oldest flow makes room, and a lower limit closes the surplus', async () => {
  const origin = await echo();
  const rig = await startRig({ plan: mine({ concurrentFlows: 3, whenFull: 'close-oldest' }) });
  const flows: Socket[] = [];
  for (let at = 0; at < 5; at += 1) flows.push(await openTunnel(rig.port, origin.port));
  await Promise.all(flows.slice(0, 2).map(gone));
  for (const flow of flows.slice(2)) assert.ok(await echoes(flow));
  await rig.plane.apply({ ...rig.plan, ...mine({ concurrentFlows: 1, whenFull: 'close-oldest' }) });
  await Promise.all(flows.slice(2, 4).map(gone));
  assert.ok(await echoes(flows[4]!));
  flows[4]!.destroy();
  await rig.close();
  await origin.close();
});

test('a credential that loses its limit may do again what it likes', async () => {
  const origin = await echo();
  const rig = await startRig({ plan: mine({ concurrentFlows: 1 }) });
  const first = await openTunnel(rig.port, origin.port);
  assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED);
  await rig.plane.apply({ ...rig.plan, credentials: [credential()] });
  const second = await openTunnel(rig.port, origin.port);
  // Flows that began without a limit count once there is one.
  await rig.plane.apply({ ...rig.plan, ...mine({ concurrentFlows: 2 }) });
  assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED);
  for (const flow of [first, second]) {
    assert.ok(await echoes(flow));
    flow.destroy();
  }
  await rig.close();
  await origin.close();
});

const downBytes = async (rig: Rig) => (await rig.plane.metrics())[0]?.paths[0]?.downBytes ?? 0;
const upBytes = async (rig: Rig) => (await rig.plane.metrics())[0]?.paths[0]?.upBytes ?? 0;

for (const [what, plan, direction] of [
  ['a credential down', mine({ downBytesPerSecond: 1_000_000 }), 'down'],
  ['a modem down', modems({ downBytesPerSecond: 1_000_000 }), 'down'],
  ['a credential up', mine({ upBytesPerSecond: 1_000_000 }), 'up'],
  [
    'both, each with its own limit',
    { ...mine({ downBytesPerSecond: 1_500_000 }), ...modems({ downBytesPerSecond: 1_000_000 }) },
    'down',
  ],
] as const)
  test(`bandwidth of ${what}: never more than the rate, and every byte arrives`, async () => {
    const body = randomBytes(3_000_000);
    const hash = createHash('sha256');
    let received = 0;
    const take = (chunk: Buffer) => {
      hash.update(chunk);
      received += chunk.length;
    };
    let uploaded: Promise<void> = Promise.resolve();
    const origin = await startOrigin(socket => {
      if (direction === 'down') socket.end(body);
      else uploaded = untilEnd(socket, take).then(() => void socket.end());
    });
    const clock = fakeClock();
    const sink = memorySink();
    const rig = await startRig({ clock, sink, plan });
    const flows = await Promise.all([openTunnel(rig.port, origin.port), openTunnel(rig.port, origin.port)]);
    flows[1]?.destroy();
    const client = flows[0]!;
    const whole = direction === 'down' ? untilEnd(client, take) : readAll(client);
    if (direction === 'up') client.end(body);
    let over = false;
    void whole.then(() => {
      over = true;
    });
    // Time stands still but for these steps, however long the machine takes for each.
    for (let ms = 0; !over; ms += 20) {
      const carried = direction === 'down' ? await downBytes(rig) : await upBytes(rig);
      const allowed = 200_000 + ms * 1_000;
      assert.ok(carried <= allowed, `${carried} bytes after ${ms} ms`);
      await clock.advance(20);
    }
    await whole;
    await uploaded;
    if (direction === 'down') assert.ok(hash.digest().equals(createHash('sha256').update(body).digest()));
    else assert.is(received, body.length);
    client.destroy();
    await rig.close();
    await origin.close();
    if (direction === 'up') assert.is(sink.total().up, body.length);
  });

test('a limit of bandwidth that is lifted sets a running flow free', async () => {
  const size = 4_000_000;
  const origin = await startOrigin(socket => socket.end(Buffer.alloc(size)));
  const clock = fakeClock();
  const rig = await startRig({ clock, plan: mine({ downBytesPerSecond: 1_000 }) });
  const client = await openTunnel(rig.port, origin.port);
  const whole = readAll(client);
  await clock.advance(1_000);
  assert.ok((await downBytes(rig)) <= 16_384 + 1_000);
  await rig.plane.apply({ ...rig.plan, credentials: [credential()] });
  // One turn of the pacer; from then on nothing waits for the clock.
  await clock.advance(20);
  assert.is((await whole).length, size);
  client.destroy();
  await rig.close();
  await origin.close();
});

test('limited flows that do not move hold little memory each, and no timer', async () => {
  // One for all: what the origin holds is not what is measured.
  const bytes = Buffer.alloc(1 << 20);
  const origin = await startOrigin(socket => {
    socket.write(bytes);
  });
  const clock = fakeClock();
  const rig = await startRig({ clock, plan: mine({ downBytesPerSecond: 1_000 }) });
  const [before, standing] = [process.memoryUsage(), clock.pending()];
  const flows = await Promise.all(Array.from({ length: 200 }, () => openTunnel(rig.port, origin.port)));
  await clock.advance(40);
  const timers = clock.pending() - standing;
  const after = process.memoryUsage();
  // The one pacer for all.
  assert.ok(timers <= 1, `${timers} timers for 200 flows`);
  assert.ok(standing <= 2, `${standing} timers without one: the lane's tick and looks at the host are all`);
  const held = after.external + after.arrayBuffers - before.external - before.arrayBuffers;
  assert.ok(held < 200 * 2 * 64 * 1024, `${held} bytes held for 200 flows`);
  for (const flow of flows) flow.destroy();
  await rig.close();
  await origin.close();
});

for (const [whose, plan, reply, header] of [
  ['a credential', mine, NOT_ALLOWED, '403 leg=policy; code=quota-exhausted'],
  ['a modem', modems, GENERAL, '503 leg=modem; code=modem-quota-exhausted'],
] as const)
  test(`the quota of ${whose} ends at its last byte: flows are cut, new ones refused, a new lease serves again`, async () => {
    const origin = await startOrigin(socket => {
      socket.write(Buffer.alloc(1_000_000));
    });
    const still = await echo();
    const sink = memorySink();
    const rig = await startRig({ sink, plan: plan({ quota: { lease: 'one', bytes: 100_000 } }) });
    const idle = await openTunnel(rig.port, still.port);
    const client = await openTunnel(rig.port, origin.port);
    await Promise.all([gone(client), gone(idle)]);
    assert.is((await asks(rig, still.port)).reply, reply);
    assert.is(await connects(rig, still.port), header);
    // The same lease again changes nothing; a larger one adds the difference.
    await rig.plane.apply({ ...rig.plan, ...plan({ quota: { lease: 'one', bytes: 100_000 } }) });
    assert.is((await asks(rig, still.port)).reply, reply);
    await rig.plane.apply({ ...rig.plan, ...plan({ quota: { lease: 'one', bytes: 100_008 } }) });
    const more = await openTunnel(rig.port, still.port);
    assert.ok(await echoes(more), 'eight bytes: four up, four down');
    await gone(more);
    await rig.plane.apply({ ...rig.plan, ...plan({ quota: { lease: 'two', bytes: 50 } }) });
    const anew = await openTunnel(rig.port, still.port);
    assert.ok(await echoes(anew));
    // A quota that shrinks below what was used ends now.
    await rig.plane.apply({ ...rig.plan, ...plan({ quota: { lease: 'two', bytes: 5 } }) });
    await gone(anew);
    await rig.close();
    const { up, down } = sink.total();
    assert.is(up + down, 100_000 + 8 + 8);
    await origin.close();
    await still.close();
  });

for (const layout of [{ threads: 1 }, { threads: 3 }, { threads: 2, apart: true }])
  test(`a leased quota in ${layout.threads} threads${layout.apart ? ' apart' : ''}: at zero flows wait for more that is on its way, and are cut when it is not`, async () => {
    const origin = await startOrigin(socket => {
      socket.write(Buffer.alloc(1_000_000));
    });
    const sink = memorySink();
    const leased = mine({ quota: { lease: 'q', bytes: 0, leased: true } });
    const rig = await startRig({ sink, ...layout, plan: leased });
    const lend = (bytes: number, holds: boolean) =>
      rig.plane.lend([{ credentialId: 'c1', lease: 'one', bytes, holds }]);
    assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED, 'nothing before a loan');
    lend(100_000, true);
    const clients = await Promise.all([1, 2, 3].map(() => openTunnel(rig.port, origin.port)));
    const got = clients.map(() => 0);
    for (const [at, client] of clients.entries())
      client.on('data', (bytes: Buffer) => {
        got[at] = (got[at] ?? 0) + bytes.length;
      });
    for (const client of clients) client.resume();
    const moved = () => got.reduce((sum, bytes) => sum + bytes, 0);
    await eventually(async () => moved() === 100_000, 'the first loan is used');
    await eventually(async () => rig.plane.lent(['c1'])[0]?.isWaitedFor === true, 'they wait');
    assert.ok(clients.every(client => !client.destroyed && !client.readableEnded));
    // Another plan forgets nothing of it.
    await rig.plane.apply({ ...rig.plan, ...leased });
    assert.equal(rig.plane.lent(['c1', 'nobody']), [{ left: 0, isWaitedFor: true }, null]);
    lend(250_000, true);
    await eventually(async () => moved() === 250_000, 'and go on by themselves');
    lend(250_000, false);
    await Promise.all(clients.map(gone));
    assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED);
    await rig.close();
    assert.is(sink.total().down, 250_000);
    await origin.close();
  });

test('source addresses, ports and expiry: who is outside is refused, and cut when the plan changes', async () => {
  const origin = await echo();
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const refused: [FlowLimits, string][] = [
    [{ sourceAddresses: ['10.0.0.0/8', '::1'] }, '403 leg=policy; code=source-not-allowed'],
    [{ ports: ['443', '1-3'] }, '403 leg=policy; code=port-denied'],
    [{ expiresAt: clock.now() }, '403 leg=policy; code=expired'],
  ];
  for (const [limits, header] of refused) {
    await rig.plane.apply(rig.plan);
    const flow = await openTunnel(rig.port, origin.port);
    await rig.plane.apply({ ...rig.plan, ...mine(limits) });
    await gone(flow);
    assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED);
    assert.is(await connects(rig, origin.port), header);
  }
  await rig.plane.apply({
    ...rig.plan,
    ...mine({
      sourceAddresses: ['127.0.0.0/8'],
      ports: [`${origin.port - 1}-${origin.port}`],
      expiresAt: clock.now() + 60_000,
    }),
  });
  const flow = await openTunnel(rig.port, origin.port);
  assert.ok(await echoes(flow));
  await clock.advance(59_000);
  assert.ok(await echoes(flow));
  await clock.advance(2_000);
  await gone(flow);
  assert.is(await connects(rig, origin.port), '403 leg=policy; code=expired');
  await rig.close();
  await origin.close();
});

test('limits of one credential leave another alone', async () => {
  const origin = await echo();
  const bob = { username: 'bob', secret: ALICE.secret };
  const rig = await startRig({
    plan: {
      credentials: [
        credential({ limits: { concurrentFlows: 1 } }),
        credential({ id: 'c2', username: 'bob' }),
      ],
    },
  });
  const alices = await openTunnel(rig.port, origin.port);
  const bobs = await Promise.all([1, 2, 3].map(() => openTunnel(rig.port, origin.port, bob)));
  for (const flow of [alices, ...bobs]) {
    assert.ok(await echoes(flow));
    flow.destroy();
  }
  await rig.close();
  await origin.close();
});

test('a limit that cannot be read is refused with its plan, and names itself', async () => {
  const rig = await startRig();
  const error = await rig.plane
    .apply({ ...rig.plan, ...mine({ sourceAddresses: ['somewhere'] }) })
    .catch(cause => cause);
  assert.is(error.code, 'plan/invalid');
  assert.match(error.userMessage, 'somewhere');
  await rig.close();
});

/** Opens flows one by one until at least two threads hold several: flows in one thread only prove nothing. */
async function spread(rig: Rig, originPort: number): Promise<Socket[]> {
  const open: Socket[] = [];
  while (open.length < 200) {
    open.push(await openTunnel(rig.port, originPort));
    const held = (await rig.plane.metrics()).map(lane => lane.paths[0]?.openFlows ?? 0);
    if (held.filter(flows => flows >= 3).length >= 2) return open;
  }
  throw new Error('one thread took all');
}

for (const apart of [false, true])
  test(
    `three threads${apart ? ' apart' : ''} keep one limit between them: places, the oldest flow, and the last byte of a quota`,
    async () => {
      const origin = await echo();
      const sink = memorySink();
      const rig = await startRig({ sink, threads: 3, apart });
      const open = await spread(rig, origin.port);
      const max = open.length + 7;
      await rig.plane.apply({ ...rig.plan, ...mine({ concurrentFlows: max }) });
      const tries = await Promise.all(Array.from({ length: 40 }, () => asks(rig, origin.port)));
      open.push(...tries.flatMap(one => one.socket ?? []));
      assert.is(open.length, max);

      // The oldest in all threads, in the order in which they came; those of the burst came at once.
      await rig.plane.apply({ ...rig.plan, ...mine({ concurrentFlows: max, whenFull: 'close-oldest' }) });
      const old = max - 7;
      for (let at = 0; at < old; at += 1) {
        open.push(await openTunnel(rig.port, origin.port));
        await gone(open[at]!);
      }
      const left = open.slice(old);
      assert.is(left.length, max);
      for (const flow of left) assert.ok(await echoes(flow));

      await rig.plane.apply({ ...rig.plan, ...mine({ quota: { lease: 'q', bytes: 1_000_000 } }) });
      for (const flow of left) {
        flow.write(Buffer.alloc(400_000));
        flow.resume();
      }
      await Promise.all(left.map(gone));
      assert.is((await asks(rig, origin.port)).reply, NOT_ALLOWED);
      await rig.close();
      const { up, down } = sink.total();
      assert.is(up + down, 1_000_000 + left.length * 8);
      await origin.close();
    },
    { deadlineMs: 60_000 },
  );

test.run();
