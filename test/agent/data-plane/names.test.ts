/** Names through the whole data plane: rebinding, two families, datagrams; with a name server that misbehaves. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import type { Limits } from '@mastline/agent/data-plane/limits';
import type { Egress, ServicePlan } from '@mastline/agent/ports';
import { parseSocks5Datagram, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { basic, pipelinedSocks5, socks5, tcp } from './clients';
import { startDeafOrigin } from './deaf-origin';
import { type Rig, readAll, readExactly, startOrigin, startRig } from './rig';
import { type Asked, a, aaaa, RCODE, type Reply, startNames } from './scripted-name-server';

const test = suite('names through the data plane');
const HOST = '127.0.0.1';
const SECOND = 1_000;
/** SOCKS5 replies, RFC 1928 section 6. */
const [NOT_ALLOWED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED, TIMED_OUT] = [2, 3, 4, 5, 6];

async function serve(
  script: (asked: Asked) => Reply | Promise<Reply>,
  options: { egress?: Partial<Egress>; plan?: Partial<ServicePlan>; limits?: Partial<Limits> } = {},
) {
  const clock = fakeClock();
  const names = await startNames(script);
  const egress: Egress = {
    slot: 1,
    sourceAddress: HOST,
    dnsServers: [names.server],
    ready: true,
    imei: null,
    guarded: [],
    ...options.egress,
  };
  const { limits = {}, plan } = options;
  const rig = await startRig({ clock, limits, plan: { egresses: [egress], ...plan } });
  return {
    clock,
    names,
    rig,
    refusals: async () => (await rig.plane.metrics())[0]?.refusals ?? {},
    async close() {
      await rig.close();
      await names.close();
    },
  };
}

const BOTH = { sourceAddress: HOST, sourceAddress6: '::1' };
const LOOPBACKS = ['127.0.0.0/8', '::1'];

/** Says `word` to who connects. */
const speaker = (word: string, port = 0) => startOrigin(socket => socket.end(word), port);

/** The same port of both loopback addresses. */
async function twins(words: { four: string | null; six: string | null }) {
  const four = await speaker(words.four ?? '', await freePort());
  const six: Server = createServer(socket => socket.on('error', () => undefined).end(words.six ?? ''));
  six.listen(four.port, '::1');
  await once(six, 'listening');
  const { port } = six.address() as AddressInfo;
  if (words.four === null) await four.close();
  if (words.six === null) await new Promise(resolve => six.close(resolve));
  return {
    port,
    async close() {
      if (words.four !== null) await four.close();
      if (words.six !== null) await new Promise(resolve => six.close(resolve));
    },
  };
}

async function heard(rig: Rig, target: { host: string; port: number }): Promise<string> {
  const { socket, reply } = await socks5(rig.port, target);
  if (!socket) throw new Error(`SOCKS5 reply ${reply}`);
  const said = (await readAll(socket)).toString();
  socket.destroy();
  return said;
}

test('a hundred flows to one name ask once, and again when its time is over', async () => {
  const origin = await speaker('x');
  const at = await serve(({ name, type }) => (type === 'A' ? { answers: [a(name, HOST, 30)] } : {}));
  const target = { host: 'many.test', port: origin.port };
  await Promise.all(Array.from({ length: 100 }, () => heard(at.rig, target)));
  assert.is(at.names.count('many.test'), 1);
  await at.clock.advance(30 * SECOND);
  await heard(at.rig, target);
  assert.is(at.names.count('many.test'), 2);
  await at.close();
  await origin.close();
});

test('a name that changes to a private address is refused, cached or not', async () => {
  const origin = await speaker('x');
  const allowTargets = [`127.0.0.1:${origin.port}`];
  const at = await serve(
    ({ name, before }) => ({ answers: [a(name, before === 0 ? HOST : '127.0.0.2', 0)] }),
    { plan: { allowTargets } },
  );
  const target = { host: 'rebind.test', port: origin.port };
  assert.is(await heard(at.rig, target), 'x');
  await at.clock.advance(SECOND);
  assert.is((await socks5(at.rig.port, target)).reply, NOT_ALLOWED);
  assert.is((await socks5(at.rig.port, target)).reply, NOT_ALLOWED);
  assert.is(at.names.count('rebind.test', 'A'), 2, 'the second refusal was of a kept answer');
  await at.close();
  await origin.close();
});

test('an answer that was kept is judged by the plan of the moment', async () => {
  const origin = await speaker('x');
  const at = await serve(({ name }) => ({ answers: [a(name, HOST, 3_600)] }));
  const target = { host: 'kept.test', port: origin.port };
  assert.is(await heard(at.rig, target), 'x');
  await at.rig.plane.apply({ ...at.rig.plan, allowTargets: [] });
  assert.is((await socks5(at.rig.port, target)).reply, NOT_ALLOWED);
  assert.is(at.names.count('kept.test'), 1);
  await at.close();
  await origin.close();
});

test('of a mixed answer only what may be reached is tried', async () => {
  const origin = await speaker('the allowed one');
  const mixed = ['10.0.0.1', '169.254.169.254', '192.168.8.1', HOST];
  const at = await serve(({ name }) => ({ answers: mixed.map(one => a(name, one)) }));
  assert.is(await heard(at.rig, { host: 'mixed.test', port: origin.port }), 'the allowed one');
  await at.close();
  await origin.close();
});

for (const [what, reply, code, reason] of [
  ['does not exist', { flags: RCODE.nxdomain }, HOST_UNREACHABLE, 'name-not-found'],
  [
    'has only private addresses',
    { answers: [a('n.test', '10.0.0.1'), a('n.test', '127.0.0.1')] },
    NOT_ALLOWED,
    'private-target',
  ],
  ['makes servers fail', { flags: RCODE.failure }, 1, 'resolver-failed'],
] as const)
  test(`a name that ${what}: ${reason}`, async () => {
    const at = await serve(() => ({ ...reply }) as Reply, { plan: { allowTargets: [] } });
    assert.is((await socks5(at.rig.port, { host: 'n.test', port: 80 })).reply, code);
    const client = await tcp(at.rig.port);
    client.end(`CONNECT n.test:80 HTTP/1.1\r\nHost: n.test\r\nProxy-Authorization: ${basic()}\r\n\r\n`);
    assert.match((await readAll(client)).toString(), `code=${reason}\r\n`);
    await at.close();
  });

test('name servers that say nothing: a time-out', async () => {
  const at = await serve(() => null);
  const asked = socks5(at.rig.port, { host: 'silent.test', port: 80 });
  await eventually(() => at.names.count('silent.test') === 1);
  for (const ms of [1_000, 2_000, 2_000, 3_000]) await at.clock.advance(ms);
  assert.is((await asked).reply, TIMED_OUT);
  await at.close();
});

test("the dial deadline ends the question, and the time-out is the name servers'", async () => {
  const at = await serve(() => null, { limits: { dialMs: 2_000 } });
  const client = await tcp(at.rig.port);
  client.end(`CONNECT n.test:80 HTTP/1.1\r\nHost: n.test\r\nProxy-Authorization: ${basic()}\r\n\r\n`);
  await eventually(() => at.names.count('n.test') === 1);
  await at.clock.advance(3_000);
  assert.match((await readAll(client)).toString(), 'code=resolver-timeout\r\n');
  await at.close();
});

test('with both families, IPv6 goes first; where it is refused, IPv4 carries the flow', async () => {
  const script = ({ name, type }: Asked): Reply => ({
    answers: type === 'A' ? [a(name, HOST)] : [aaaa(name, '::1')],
  });
  for (const [words, expected] of [
    [{ four: 'four', six: 'six' }, 'six'],
    [{ four: 'four', six: null }, 'four'],
    [{ four: null, six: 'six' }, 'six'],
  ] as const) {
    const at = await serve(script, { egress: BOTH, plan: { allowTargets: LOOPBACKS } });
    const origin = await twins(words);
    assert.is(await heard(at.rig, { host: 'both.test', port: origin.port }), expected);
    await origin.close();
    await at.close();
  }
});

/** Sockets of this machine that wait for a port of ::1 to answer. */
async function opening(port: number): Promise<number> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // State 02: SYN sent.
  const lines = (await readFile('/proc/net/tcp6', 'utf8')).split('\n');
  return lines.filter(line => line.includes(`01000000:${hex} 02 `)).length;
}

test('an IPv6 way that swallows everything costs 250 ms, and its attempt is closed', async () => {
  const deaf = await startDeafOrigin('::1');
  const four = createServer(socket => socket.on('error', () => undefined).end('four')).listen(
    deaf.port,
    HOST,
  );
  await once(four, 'listening');
  let answer = (_reply: Reply) => {};
  const held = new Promise<Reply>(resolve => {
    answer = resolve;
  });
  const at = await serve(({ name, type }) => (type === 'A' ? held : { answers: [aaaa(name, '::1')] }), {
    egress: BOTH,
    plan: { allowTargets: LOOPBACKS },
  });
  const before = await opening(deaf.port);
  let word: string | null = null;
  const asked = heard(at.rig, { host: 'both.test', port: deaf.port }).then(said => {
    word = said;
  });
  await eventually(async () => (await opening(deaf.port)) === before + 1, 'the attempt by IPv6');
  await at.clock.advance(249);
  answer({ answers: [a('both.test', HOST)] });
  // When the answer has come is not seen from here.
  while (word === null) await at.clock.advance(1);
  await asked;
  assert.is(word, 'four');
  await eventually(async () => (await opening(deaf.port)) === before, 'the attempt is closed');
  await at.close();
  await new Promise(resolve => four.close(resolve));
  await deaf.close();
});

test('nothing of either family can be reached: the reason is what a target said', async () => {
  const port = await freePort();
  const at = await serve(
    ({ name, type }) => ({ answers: type === 'A' ? [a(name, HOST)] : [aaaa(name, '2001:db8::1')] }),
    {
      egress: BOTH,
      plan: { allowTargets: LOOPBACKS },
    },
  );
  assert.is((await socks5(at.rig.port, { host: 'both.test', port })).reply, REFUSED);
  await at.close();
});

test('a slot without IPv6 does not ask for it, and says what is the matter', async () => {
  const origin = await speaker('x');
  const at = await serve(({ name, type }) => {
    if (name === 'six.test') return type === 'AAAA' ? { answers: [aaaa(name, '2606:4700::1111')] } : {};
    return { answers: [a(name, HOST)] };
  });
  assert.is(await heard(at.rig, { host: 'four.test', port: origin.port }), 'x');
  assert.is(at.names.count('four.test', 'AAAA'), 0);
  assert.is((await socks5(at.rig.port, { host: 'six.test', port: 80 })).reply, NETWORK_UNREACHABLE);
  assert.is((await socks5(at.rig.port, { host: '2606:4700::1111', port: 80 })).reply, NETWORK_UNREACHABLE);
  assert.is((await socks5(at.rig.port, { host: 'fd00::1', port: 80 })).reply, NOT_ALLOWED);
  await at.close();
  await origin.close();
});

interface Echo {
  port: number;
  heard: { text: string; from: string }[];
  close(): Promise<void>;
}

async function echo(address = HOST, port = 0): Promise<Echo> {
  const socket = dgram.createSocket('udp4');
  const said: Echo['heard'] = [];
  socket.on('message', (bytes, from) => {
    said.push({ text: bytes.toString(), from: from.address });
    socket.send(bytes, from.port, from.address);
  });
  socket.bind(port, address);
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    heard: said,
    close: () => new Promise<void>(resolve => socket.close(() => resolve())),
  };
}

async function association(rig: Rig) {
  const control = await tcp(rig.port);
  control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
  const relay = (await readExactly(control, 14)).readUInt16BE(12);
  const socket = dgram.createSocket('udp4');
  const answers: { text: string; host: string }[] = [];
  socket.on('message', bytes => {
    const read = parseSocks5Datagram(bytes);
    if (read.kind === 'datagram') answers.push({ text: read.payload.toString(), host: read.target.host });
  });
  return {
    answers,
    send: (host: string, port: number, text: string) =>
      socket.send(socks5Datagram({ host, port }, Buffer.from(text)), relay, HOST),
    async close() {
      control.destroy();
      await new Promise<void>(resolve => socket.close(() => resolve()));
    },
  };
}

test('datagrams and streams share what is known, and datagrams stay with an address while the name has it', async () => {
  const one = await echo('127.0.0.1');
  const two = await echo('127.0.0.2', one.port);
  // The same two addresses, in another order each time.
  const at = await serve(({ name, before }) => {
    const order = before % 2 === 0 ? ['127.0.0.1', '127.0.0.2'] : ['127.0.0.2', '127.0.0.1'];
    return { answers: before < 4 ? order.map(address => a(name, address, 5)) : [a(name, '127.0.0.2', 5)] };
  });
  const client = await association(at.rig);
  await socks5(at.rig.port, { host: 'turns.test', port: 1 });
  assert.is(at.names.count('turns.test'), 1);
  for (let nth = 1; nth <= 4; nth += 1) {
    client.send('turns.test', one.port, `${nth}`);
    await eventually(() => client.answers.length === nth);
    assert.is(client.answers.at(-1)?.host, '127.0.0.1');
    assert.is(at.names.count('turns.test'), nth);
    await at.clock.advance(5 * SECOND);
  }
  client.send('turns.test', one.port, 'moved');
  await eventually(() => client.answers.length === 5);
  assert.equal(client.answers[4], { text: 'moved', host: '127.0.0.2' });
  await client.close();
  await at.close();
  await one.close();
  await two.close();
});

test('datagrams do not follow a name into a private network, and take what is allowed of a mixed answer', async () => {
  const origin = await echo();
  const at = await serve(
    ({ name, before }) => {
      if (name === 'mixed.test') return { answers: [a(name, '10.0.0.1'), a(name, HOST)] };
      return { answers: [a(name, before === 0 ? HOST : '127.0.0.2', 0)] };
    },
    { plan: { allowTargets: [`127.0.0.1:${origin.port}`] } },
  );
  const client = await association(at.rig);
  client.send('rebind.test', origin.port, 'first');
  await eventually(() => client.answers.length === 1);
  await at.clock.advance(SECOND);
  client.send('rebind.test', origin.port, 'second');
  await eventually(async () => (await at.refusals())['private-target'] === 1);
  client.send('mixed.test', origin.port, 'third');
  await eventually(() => client.answers.length === 2);
  assert.equal(
    origin.heard.map(({ text }) => text),
    ['first', 'third'],
  );
  await client.close();
  await at.close();
  await origin.close();
});

test('datagrams for a name that is being asked for wait, and no more than eight of them', async () => {
  const origin = await echo();
  const held: (() => void)[] = [];
  const names = await startNames(
    ({ name }) => new Promise(resolve => held.push(() => resolve({ answers: [a(name, HOST)] }))),
  );
  const at = await serve(() => null, { egress: { dnsServers: [names.server] } });
  const client = await association(at.rig);
  for (let nth = 0; nth < 12; nth += 1) client.send('slow.test', origin.port, `${nth}`);
  // The relay reads in order: this one is judged behind the twelve.
  client.send('10.0.0.1', 1, 'x');
  await eventually(async () => (await at.refusals())['private-target'] === 1);
  await eventually(() => held.length === 1);
  held[0]!();
  await eventually(() => client.answers.length === 8);
  assert.equal(
    origin.heard.map(({ text }) => text),
    ['0', '1', '2', '3', '4', '5', '6', '7'],
  );
  await client.close();
  await at.close();
  await names.close();
  await origin.close();
});

test('datagrams follow the slot to its new address, and never leave by another when it has none', async () => {
  const origin = await echo();
  const at = await serve(() => null, { egress: { sourceAddress: '127.5.0.1' } });
  const client = await association(at.rig);
  client.send(HOST, origin.port, 'a');
  await eventually(() => client.answers.length === 1);
  const [egress] = at.rig.plan.egresses;
  const move = (sourceAddress: string) =>
    at.rig.plane.apply({ ...at.rig.plan, egresses: [{ ...egress!, sourceAddress }] });
  await move('127.5.0.2');
  client.send(HOST, origin.port, 'b');
  await eventually(() => client.answers.length === 2);
  await move('203.0.113.7');
  for (let times = 1; times <= 3; times += 1) {
    client.send(HOST, origin.port, 'lost');
    await eventually(async () => (await at.refusals())['modem-failed'] === times);
  }
  await move('127.5.0.3');
  client.send(HOST, origin.port, 'c');
  await eventually(() => client.answers.length === 3);
  assert.equal(
    origin.heard.map(({ text, from }) => `${text} ${from}`),
    ['a 127.5.0.1', 'b 127.5.0.2', 'c 127.5.0.3'],
  );
  await client.close();
  await at.close();
  await origin.close();
});

test.run();
