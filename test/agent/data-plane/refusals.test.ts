import { once } from 'node:events';
import { connect } from 'node:net';
import type { ServicePlan } from '@mastline/agent/ports';
import { REFUSALS, type RefusalReason } from '@mastline/shared/protocols/refusal';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { ALICE, basic, type Login, pipelinedSocks5, socks5, tcp } from './clients';
import { startDeafOrigin } from './deaf-origin';
import { credential, endpoint, memorySink, planFor, type Rig, readAll, startOrigin, startRig } from './rig';

const test = suite('refusals');

/** What an HTTP client gets for CONNECT and for an absolute-form request: status line and reason header. */
async function http(port: number, target: { host: string; port: number }, login: Login | null = ALICE) {
  const authority = target.host.includes(':')
    ? `[${target.host}]:${target.port}`
    : `${target.host}:${target.port}`;
  const authorization = login ? `Proxy-Authorization: ${basic(login)}\r\n` : '';
  const answers: string[] = [];
  for (const head of [`CONNECT ${authority}`, `GET http://${authority}/`]) {
    const client = await tcp(port);
    client.end(`${head} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n${authorization}\r\n`);
    answers.push((await readAll(client)).toString());
  }
  return answers.map(answer => {
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1];
    const header = /\r\nMastline-Error: (.*)\r\n/.exec(answer)?.[1];
    return `${status} ${header}`;
  });
}

/** Both protocols refuse `target` with the answers that the table gives for `reason`. */
async function refuses(
  rig: Rig,
  target: { host: string; port: number },
  reason: RefusalReason,
  login: Login = ALICE,
) {
  const { leg, http: status, socks5: reply } = REFUSALS[reason];
  assert.is((await socks5(rig.port, target, login)).reply, reply, `SOCKS5 ${reason}`);
  const answer = `${status} leg=${leg}; code=${reason}`;
  assert.equal(await http(rig.port, target, login), [answer, answer], `HTTP ${reason}`);
}

const egress = { slot: 1, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] };

const cases: [RefusalReason, string, { host: string; port: number }, Partial<ServicePlan>][] = [
  ['private-target', 'a loopback target', { host: '127.0.0.1', port: 80 }, { allowTargets: [] }],
  [
    'private-target',
    'a name that resolves to loopback',
    { host: 'localhost', port: 80 },
    { allowTargets: [] },
  ],
  ['private-target', 'a mapped private address', { host: '::ffff:10.0.0.1', port: 80 }, {}],
  ['private-target', 'the metadata service', { host: '169.254.169.254', port: 80 }, {}],
  [
    'private-target',
    'an allowed address on another port',
    { host: '127.0.0.1', port: 80 },
    { allowTargets: ['127.0.0.1:8000'] },
  ],
  [
    'private-target',
    'a public address that the slot guards',
    { host: '8.8.8.8', port: 80 },
    { egresses: [{ ...egress, guarded: ['8.8.8.0/24'] }] },
  ],
  ['port-denied', 'port 25 of a public address', { host: '8.8.8.8', port: 25 }, {}],
  ['port-denied', 'port 25 of a name', { host: 'mail.example', port: 25 }, {}],
  [
    'no-modem',
    'a target while no modem is ready',
    { host: '127.0.0.1', port: 80 },
    { egresses: [{ ...egress, ready: false }] },
  ],
  ['no-modem', 'a target while the slot is gone', { host: '127.0.0.1', port: 80 }, { egresses: [] }],
  ['name-not-found', 'a name that does not exist', { host: 'no-such-name.invalid', port: 80 }, {}],
  ['origin-refused', 'a port that nobody listens on', { host: '127.0.0.1', port: 1 }, {}],
  [
    'network-unreachable',
    'an address of a family that the slot lacks',
    { host: '2606:4700::1111', port: 80 },
    { egresses: [{ ...egress, sourceAddress: '127.0.0.1' }] },
  ],
  [
    'modem-failed',
    'a flow from an address that is gone',
    { host: '8.8.8.8', port: 80 },
    { egresses: [{ ...egress, sourceAddress: '203.0.113.7' }] },
  ],
  [
    'suspended',
    'a suspended credential',
    { host: '127.0.0.1', port: 80 },
    { credentials: [credential({ suspended: true })] },
  ],
  [
    'endpoint-not-allowed',
    'a credential of another endpoint',
    { host: '127.0.0.1', port: 80 },
    { credentials: [credential({ endpointIds: ['e2'] })] },
  ],
];
for (const [reason, what, target, plan] of cases)
  test(`refuses ${what}: ${reason}`, async () => {
    const sink = memorySink();
    const rig = await startRig({ sink, plan });
    await refuses(rig, target, reason);
    await rig.close();
    assert.equal(sink.total(), { up: 0, down: 0, flows: 0 }, 'refusals are not billed');
  });

test('an unknown user and a wrong password get the same answer', async () => {
  const rig = await startRig();
  const target = { host: '127.0.0.1', port: 80 };
  for (const login of [
    { username: 'nobody', secret: ALICE.secret },
    { username: 'alice', secret: 'wrong' },
  ]) {
    const client = await tcp(rig.port);
    client.end(pipelinedSocks5(target, 1, login));
    assert.is((await readAll(client)).toString('hex'), '05020101');
    const answer = '407 leg=policy; code=bad-credentials';
    assert.equal(await http(rig.port, target, login), [answer, answer]);
  }
  const none = '407 leg=client; code=credentials-required';
  assert.equal(await http(rig.port, target, null), [none, none]);
  await rig.close();
});

test('allowTargets opens exactly what it names, also port 25 by its number', async () => {
  const origin = await startOrigin(socket => socket.end('hello'));
  const rig = await startRig({ plan: { allowTargets: [`127.0.0.1:${origin.port}`, '127.0.0.0/8:25'] } });
  const { socket } = await socks5(rig.port, { host: 'localhost', port: origin.port });
  assert.is((await readAll(socket!)).toString(), 'hello');
  await refuses(rig, { host: '127.0.0.1', port: origin.port + 1 }, 'private-target');
  await refuses(rig, { host: '127.0.0.1', port: 25 }, 'origin-refused');
  await rig.close();
  await origin.close();
});

test('BIND is answered as not offered, an unknown command as well', async () => {
  const rig = await startRig();
  for (const command of [2, 9]) {
    const client = await tcp(rig.port);
    client.end(pipelinedSocks5({ host: '127.0.0.1', port: 80 }, command));
    assert.is((await readAll(client)).toString('hex'), '0502010005070001000000000000');
  }
  await rig.close();
});

test('a port answers a protocol that it does not speak', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const rig = await startRig({
    plan: {
      endpoints: [
        endpoint(one, { id: 's', protocols: ['socks5'] }),
        endpoint(two, { id: 'h', protocols: ['http'] }),
      ],
    },
  });
  const asked = async (port: number, bytes: string | Buffer) => {
    const client = await tcp(port);
    client.end(bytes);
    return (await readAll(client).catch(() => Buffer.from('(reset)'))).toString('latin1');
  };
  assert.match(await asked(one, 'GET / HTTP/1.1\r\n\r\n'), 'code=unsupported-protocol');
  assert.is(await asked(two, pipelinedSocks5({ host: '127.0.0.1', port: 1 })), '(reset)');
  assert.is(await asked(one, Buffer.from('04010050010101010000', 'hex')), '\0[\0\0\0\0\0\0');
  await rig.close();
});

const heads: [string, string, string][] = [
  [
    'a malformed request',
    'GET http://a.example/ HTTP/1.1\r\nHost : a\r\n\r\n',
    '400 leg=client; code=bad-request',
  ],
  [
    'an ambiguous length',
    'POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    '400 leg=client; code=bad-framing',
  ],
  [
    'a request for a page of ours',
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    '400 leg=client; code=not-a-proxy-request',
  ],
  [
    'an endless head',
    `GET http://a.example/ HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`,
    '431 leg=client; code=head-too-large',
  ],
  [
    'another version',
    'GET http://a.example/ HTTP/3.0\r\nHost: a\r\n\r\n',
    '505 leg=client; code=unsupported-version',
  ],
];
for (const [what, text, expected] of heads)
  test(`HTTP: refuses ${what}`, async () => {
    const rig = await startRig();
    const client = await tcp(rig.port);
    client.write(text);
    const answer = (await readAll(client)).toString();
    const seen = /^HTTP\/1\.1 (\d{3})[\s\S]*\r\nMastline-Error: (.*)\r\n/.exec(answer);
    assert.is(`${seen?.[1]} ${seen?.[2]}`, expected);
    client.destroy();
    await rig.close();
  });

test('a handshake that does not come, or not to its end, is cut at its deadline', async () => {
  const clock = fakeClock();
  const rig = await startRig({ clock });
  const silent = await tcp(rig.port);
  const halfSocks = await tcp(rig.port);
  halfSocks.write(Buffer.from([5, 1]));
  const halfHttp = await tcp(rig.port);
  halfHttp.write('GET http://a.example/ HT');
  const closed = [silent, halfSocks].map(
    client => new Promise<void>(resolve => client.once('close', () => resolve())),
  );
  const answer = readAll(halfHttp);
  for (const client of [silent, halfSocks]) client.resume();
  // All three are accepted and their bytes read once a fourth connection has had its answer.
  const probe = await tcp(rig.port);
  probe.end('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await readAll(probe);
  await clock.advance(9_000);
  assert.is(silent.destroyed, false);
  await clock.advance(2_000);
  await Promise.all(closed);
  assert.match((await answer).toString(), '408 ');
  halfHttp.destroy();
  await rig.close();
});

test('a dial has a deadline, and says whose fault it was', async () => {
  const origin = await startDeafOrigin();
  const clock = fakeClock();
  // Nothing but the dial deadline may end these connections.
  const hour = 3_600_000;
  const rig = await startRig({ clock, limits: { lingerMs: hour, handshakeMs: hour } });
  const target = { host: '127.0.0.1', port: origin.port };
  const asked = refuses(rig, target, 'origin-timeout').then(
    () => 'refused',
    error => error,
  );
  let outcome: unknown = null;
  while (outcome === null) {
    await clock.advance(1_000);
    outcome = await Promise.race([asked, new Promise(resolve => setImmediate(resolve, null))]);
  }
  assert.is(outcome, 'refused');
  await rig.close();
  await origin.close();
});

test('an idle flow is cut, a busy one is not', async () => {
  const clock = fakeClock();
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig({ clock, limits: { idleMs: 60_000 } });
  const [idle, busy] = [
    (await socks5(rig.port, { host: '127.0.0.1', port: origin.port })).socket!,
    (await socks5(rig.port, { host: '127.0.0.1', port: origin.port })).socket!,
  ];
  for (let minute = 0; minute < 3; minute += 1) {
    await clock.advance(30_000);
    const echoed = once(busy, 'data');
    busy.write('x');
    busy.resume();
    await echoed;
  }
  if (!idle.destroyed) await new Promise(resolve => idle.resume().once('close', resolve));
  assert.is(busy.destroyed, false);
  busy.destroy();
  await rig.close();
  await origin.close();
});

test('at the cap of open handshakes a newcomer takes the place of the oldest that says nothing, of the busiest source', async () => {
  const rig = await startRig({ limits: { openHandshakes: 4 } });
  const from = (localAddress: string) => {
    const socket = connect({ port: rig.port, host: '127.0.0.1', localAddress }).on('error', () => undefined);
    return once(socket, 'connect').then(() => socket.resume());
  };
  const lone = await from('127.0.0.5');
  const speaking = await from('127.0.0.6');
  speaking.write(Buffer.from([5, 1, 2]));
  await once(speaking, 'data');
  const busy = [await from('127.0.0.6'), await from('127.0.0.6')];
  const handshakes = async () => (await rig.plane.metrics())[0]?.handshakes;
  while ((await handshakes()) !== 4) await new Promise(setImmediate);
  const gone = new Promise(resolve => busy[0]?.once('close', resolve));
  const { reply } = await socks5(rig.port, { host: '127.0.0.1', port: 1 });
  assert.is(reply, 5, 'the newcomer is served');
  await gone;
  assert.equal(
    [lone, speaking, busy[1]].map(socket => socket?.destroyed),
    [false, false, false],
  );
  assert.is((await rig.plane.metrics())[0]?.refusals['handshake-evicted'], 1);
  for (const client of [lone, speaking, ...busy]) client.destroy();
  await rig.close();
});

test('one source has its share of handshakes; beyond it is closed at accept, while others come in', async () => {
  const rig = await startRig({ limits: { sourceHandshakes: 2 } });
  const silent = [await tcp(rig.port), await tcp(rig.port)];
  const third = connect({ port: rig.port, host: '127.0.0.1' }).on('error', () => undefined);
  await new Promise(resolve => third.once('close', resolve));
  assert.is((await rig.plane.metrics())[0]?.refusals['source-flood'], 1);
  const other = connect({ port: rig.port, host: '127.0.0.1', localAddress: '127.0.0.9' });
  other.end('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.match((await readAll(other)).toString(), /^HTTP\/1\.1 4/);
  for (const client of [...silent, other]) client.destroy();
  await rig.close();
});

test('a browser farm behind one address opens hundreds of flows at once, again and again', async () => {
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig();
  for (let round = 0; round < 4; round += 1) {
    const flows = await Promise.all(
      Array.from({ length: 400 }, () => socks5(rig.port, { host: '127.0.0.1', port: origin.port })),
    );
    assert.equal(
      flows.map(({ reply }) => reply),
      flows.map(() => 0),
    );
    for (const { socket } of flows) socket?.destroy();
  }
  await rig.close();
  await origin.close();
});

test('a plan with a range that cannot be read is refused whole', async () => {
  const rig = await startRig();
  const error = await rig.plane.apply(planFor(rig.port, { allowTargets: ['everything'] })).then(
    () => null,
    cause => cause,
  );
  assert.is(error?.code, 'plan/invalid');
  await rig.close();
});

test.run();
