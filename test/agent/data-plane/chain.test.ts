/** Chains through real hops: socksv5's server, danted, tinyproxy, ss-server, and our own data plane. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { ChainHop } from '@mastline/shared/domain/endpoint';
import { REFUSALS } from '@mastline/shared/protocols/refusal';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { basic, openTunnel, socks5, tcp } from './clients';
import { curl, digest, startPeers, webOrigin } from './peers';
import {
  credential,
  endpoint,
  memorySink,
  type Rig,
  readAll,
  readExactly,
  SECRET,
  startOrigin,
  startRig,
} from './rig';
import { keyFor, shadowsocks, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite('chains', { needs: ['curl', 'danted', 'tinyproxy', 'ss-server'] });
const HOST = '127.0.0.1';
const peers = startPeers();
const servers: { close(): unknown }[] = [];
const dirs: { remove(): Promise<void> }[] = [];
test.after(async () => {
  await peers.stop();
  for (const server of servers) server.close();
  for (const dir of dirs) await dir.remove();
});

async function folder(): Promise<string> {
  const dir = await tempDir('chain');
  dirs.push(dir);
  return dir.path;
}

/** Resolves when something listens. */
async function listening(port: number): Promise<void> {
  await eventually(
    () =>
      new Promise<boolean>(resolve => {
        void tcp(port).then(
          socket => {
            socket.destroy();
            resolve(true);
          },
          () => resolve(false),
        );
      }),
    `port ${port}`,
  );
}

async function danted(): Promise<ChainHop> {
  const [port, dir] = [await freePort(), await folder()];
  const file = join(dir, 'danted.conf');
  writeFileSync(
    file,
    `logoutput: stderr
internal: ${HOST} port = ${port}
external: lo
clientmethod: none
socksmethod: none
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
`,
  );
  await peers.start('danted', ['-f', file, '-p', join(dir, 'pid')], /running/);
  return { protocol: 'socks5', host: HOST, port };
}

async function tinyproxy(login?: { username: string; secret: string }): Promise<ChainHop> {
  const [port, dir] = [await freePort(), await folder()];
  const file = join(dir, 'tinyproxy.conf');
  writeFileSync(
    file,
    `Port ${port}\nListen ${HOST}\nTimeout 60\nMaxClients 50\nAllow ${HOST}\nPidFile "${dir}/pid"\nLogFile "${dir}/log"\n${
      login ? `BasicAuth ${login.username} ${login.secret}\n` : ''
    }`,
  );
  const child = peers.start('tinyproxy', ['-d', '-c', file], /never said/);
  child.catch(() => undefined);
  await listening(port);
  return { protocol: 'http', host: HOST, port, ...login };
}

async function ssServer(method: 'aes-256-gcm' | 'chacha20-ietf-poly1305' = 'aes-256-gcm'): Promise<ChainHop> {
  const port = await freePort();
  const args = ['-s', HOST, '-p', `${port}`, '-k', 'hop password', '-m', method];
  await peers.start('ss-server', args, /listening at/);
  return { protocol: 'shadowsocks', host: HOST, port, method, secret: 'hop password' };
}

interface SocksV5 {
  createServer(accept: (info: object, accept: () => void) => void): Server & { useAuth(auth: object): void };
  auth: {
    UserPassword(check: (user: string, secret: string, done: (ok: boolean) => void) => void): object;
  };
}

async function socksv5(login: { username: string; secret: string }): Promise<ChainHop> {
  const library = createRequire(import.meta.url)('socksv5') as SocksV5;
  const server = library.createServer((_info, accept) => accept());
  server.useAuth(
    library.auth.UserPassword((user, secret, done) =>
      done(user === login.username && secret === login.secret),
    ),
  );
  server.listen(0, HOST);
  await once(server, 'listening');
  servers.push(server);
  return { protocol: 'socks5', host: HOST, port: (server.address() as { port: number }).port, ...login };
}

/** A hop that does what `serve` says. */
async function oddHop(protocol: ChainHop['protocol'], serve: (socket: Socket) => void): Promise<ChainHop> {
  const server = createServer(socket => {
    socket.on('error', () => undefined);
    serve(socket);
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  servers.push(server);
  const secret = protocol === 'shadowsocks' ? { secret: 'x', method: 'aes-256-gcm' as const } : {};
  return { protocol, host: HOST, port: (server.address() as { port: number }).port, ...secret };
}

/** A hop that is a data plane of ours, of the 2022 edition. */
async function ourHop(): Promise<ChainHop & { rig: Rig }> {
  const port = await freePort();
  const method = '2022-blake3-aes-256-gcm';
  const rig = await startRig({
    plan: { endpoints: [shadowsocksEndpoint(port, method)], credentials: [credential()] },
  });
  servers.push(rig);
  const secret = ['server', SECRET].map(name => keyFor(method, name).toString('base64')).join(':');
  return { protocol: 'shadowsocks', host: HOST, port, method, secret, rig };
}

async function rigFor(chain: ChainHop[]) {
  const [port, sink, clock] = [await freePort(), memorySink(), fakeClock()];
  clock.jumpTo(Date.now());
  const rig = await startRig({ sink, clock, plan: { endpoints: [endpoint(port, { chain })] } });
  return { ...rig, sink, clock };
}

/** What an HTTP client hears of a refusal. */
async function told(port: number, target: string): Promise<string> {
  const client = await tcp(port);
  client.end(
    `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nConnection: close\r\nProxy-Authorization: ${basic()}\r\n\r\n`,
  );
  const [head = '', body = ''] = (await readAll(client)).toString().split('\r\n\r\n');
  return `${head.split(' ')[1]} ${/Mastline-Error: (.*)/.exec(head)?.[1]?.trim()} ${body.trim()}`;
}

const LOGIN = { username: 'hopper', secret: 'hop-secret' };
const chains: [string, () => Promise<ChainHop[]>][] = [
  ['socksv5 with a password', async () => [await socksv5(LOGIN)]],
  ['danted', async () => [await danted()]],
  ['tinyproxy with a password', async () => [await tinyproxy(LOGIN)]],
  ['ss-server', async () => [await ssServer()]],
  ['our own, 2022 edition', async () => [await ourHop()]],
  ['danted, tinyproxy, ss-server', async () => [await danted(), await tinyproxy(), await ssServer()]],
  ['ss-server, danted', async () => [await ssServer('chacha20-ietf-poly1305'), await danted()]],
  [
    'ss-server inside ss-server, then tinyproxy, then socksv5',
    async () => [
      await ssServer(),
      await ssServer('chacha20-ietf-poly1305'),
      await tinyproxy(LOGIN),
      await socksv5(LOGIN),
    ],
  ],
  ['our own inside ss-server', async () => [await ssServer(), await ourHop()]],
];

for (const [name, hopsOf] of chains)
  test(`${name}: downloads and uploads whole, over every protocol, counted as plaintext`, async () => {
    const [rig, web] = [await rigFor(await hopsOf()), await webOrigin(1_000_000)];
    const dir = await folder();
    writeFileSync(join(dir, 'body'), web.body);
    for (const proxy of [
      ['-x', `socks5h://alice:${SECRET}@${HOST}:${rig.port}`],
      ['-x', `http://alice:${SECRET}@${HOST}:${rig.port}`],
    ])
      for (const host of [HOST, 'localhost']) {
        const got = await curl(...proxy, `http://${host}:${web.port}/`);
        assert.is(digest(got.out), digest(web.body), got.err);
        const sent = await curl(...proxy, '-T', join(dir, 'body'), `http://${host}:${web.port}/`);
        assert.is(sent.out, digest(web.body), sent.err);
      }
    await rig.close();
    const { up, down, flows } = rig.sink.total();
    assert.is(flows, 8);
    const [four, slack] = [4 * web.body.length, 10_000];
    assert.ok(up > four && up < four + slack && down > four && down < four + slack, `${up} up, ${down} down`);
    await web.close();
  });

test('exact counts through layers, half-close where the hops pass it on, a target that speaks first', async () => {
  const [outer, inner] = [await ourHop(), await ourHop()];
  const rig = await rigFor([outer, inner]);
  const [up, down] = [Buffer.alloc(500_001, 'u'), Buffer.alloc(700_003, 'd')];
  let heard = 0;
  const origin = await startOrigin(socket => {
    socket.write('hello');
    socket.on('data', chunk => {
      heard += chunk.length;
    });
    socket.on('end', () => socket.end(down));
  });
  const client = await openTunnel(rig.port, origin.port);
  assert.is((await readExactly(client, 5)).toString(), 'hello');
  const answer = readAll(client);
  client.end(up);
  assert.is((await answer).length, down.length);
  assert.is(heard, up.length);
  await rig.close();
  assert.equal(rig.sink.total(), { up: up.length, down: down.length + 5, flows: 1 });
  await origin.close();
});

test('a Shadowsocks client through a Shadowsocks hop', async () => {
  const hop = await ssServer();
  const [port, sink] = [await freePort(), memorySink()];
  const rig = await startRig({
    sink,
    plan: {
      endpoints: [{ ...shadowsocksEndpoint(port, 'aes-128-gcm'), chain: [hop] }],
      credentials: [credential()],
    },
  });
  const origin = await startOrigin(socket => {
    let got = 0;
    socket.on('data', bytes => {
      got += bytes.length;
      socket.write(bytes);
      if (got === 400_000) socket.end();
    });
  });
  const client = await shadowsocks(port, 'aes-128-gcm', { host: HOST, port: origin.port });
  const answer = client.readAll();
  client.send(Buffer.alloc(400_000, 'x'));
  assert.is((await answer).length, 400_000);
  client.socket.destroy();
  // Datagrams would go past the hops: none are carried.
  const datagram = dgram.createSocket('udp4');
  const { AeadPacketClient } = await import('@mastline/shared/protocols/shadowsocks/aead-packets');
  const { requireMethod } = await import('@mastline/shared/protocols/shadowsocks/methods');
  const { randomly } = await import('./shadowsocks-client');
  const codec = new AeadPacketClient(requireMethod('aes-128-gcm'), keyFor('aes-128-gcm'), randomly);
  const out = Buffer.alloc(1_000);
  datagram.send(out.subarray(0, codec.seal({ host: HOST, port: 53 }, Buffer.from('x'), out)), port, HOST);
  await eventually(async () => (await rig.plane.metrics())[0]?.refusals['command-not-supported'] === 1);
  datagram.close();
  await rig.close();
  assert.equal(sink.total(), { up: 400_000, down: 400_000, flows: 1 });
  await origin.close();
});

test('the failing hop is named, with what it did', async () => {
  const web = await webOrigin(10);
  const [good, dead] = [await danted(), await freePort()];
  const down: ChainHop = { protocol: 'http', host: HOST, port: dead };
  const target = `${HOST}:${web.port}`;
  const cases: [string, ChainHop[], RegExp][] = [
    [
      'first hop down',
      [down, good],
      /^502 leg=hop; code=hop-unreachable; hop=1 .*Hop 1 \(http, 127\.0\.0\.1:\d+\)/,
    ],
    ['second hop down', [good, down], /^502 leg=hop; code=hop-unreachable; hop=2 .*Hop 2 \(http.*says hop 1/],
    [
      'wrong password of socksv5',
      [await socksv5(LOGIN).then(hop => ({ ...hop, secret: 'wrong' }))],
      /code=hop-credentials; hop=1 .*socks5.*did not take user name and password/,
    ],
    [
      'wrong password of tinyproxy, behind danted',
      [good, await tinyproxy(LOGIN).then(hop => ({ ...hop, secret: 'wrong' }))],
      /code=hop-credentials; hop=2 .*http/,
    ],
    [
      'a name that does not exist',
      [{ ...down, host: 'no-such-hop.invalid' }],
      /code=hop-unreachable; hop=1 .*name of the target does not exist/,
    ],
    [
      'HTTP where SOCKS5 was expected',
      [await oddHop('socks5', socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))],
      /code=hop-protocol; hop=1 .*does not speak SOCKS5/,
    ],
    [
      'a hop that talks nonsense',
      [await oddHop('http', socket => socket.end('SSH-2.0-x\r\n\r\n'))],
      /code=hop-protocol; hop=1 .*does not speak HTTP/,
    ],
    [
      'a hop that hangs up',
      [await oddHop('socks5', socket => socket.end())],
      /code=hop-refused; hop=1 .*closed the connection/,
    ],
    [
      'bytes that a Shadowsocks password does not open',
      [await oddHop('shadowsocks', socket => socket.write(Buffer.alloc(200, 'x'))), good],
      /code=hop-protocol; hop=1 .*shadowsocks.*does not open/,
    ],
  ];
  for (const [name, chain, answer] of cases) {
    const rig = await rigFor(chain);
    assert.match(await told(rig.port, target), answer, name);
    assert.not.match(await told(rig.port, target), /hop-secret|hop password/);
    const { reply } = await socks5(rig.port, { host: HOST, port: web.port });
    assert.ok(reply > 0, name);
    await rig.close();
    assert.is(rig.sink.total().flows, 0, name);
  }
  assert.is(web.requests, 0);
  await web.close();
});

test('what the last hop says of the target is told as such', async () => {
  const cases: [ChainHop, RegExp][] = [
    [await danted(), /^502 leg=origin; code=origin-(refused|unreachable); hop=1 /],
    // It says 500 for everything, so that nobody can tell whose fault it was.
    [await tinyproxy(), /^502 leg=hop; code=hop-refused; hop=1 .*status 500/],
  ];
  for (const [hop, expected] of cases) {
    const rig = await rigFor([hop]);
    assert.match(await told(rig.port, `${HOST}:${await freePort()}`), expected, hop.protocol);
    await rig.close();
  }
});

test('a hop that never answers is given up at the deadline of the dial', async () => {
  const rig = await rigFor([await oddHop('socks5', socket => socket.resume())]);
  const answer = told(rig.port, `${HOST}:80`);
  await eventually(async () => {
    const [lane] = await rig.plane.metrics();
    return lane?.connections === 1 && lane.handshakes === 0;
  });
  await rig.clock.advance(16_000);
  assert.match(await answer, /^504 leg=hop; code=hop-timeout; hop=1 /);
  await rig.close();
});

test('chains that cannot work are problems of their endpoint', async () => {
  const rig = await startRig();
  const hop: ChainHop = { protocol: 'socks5', host: 'a.example', port: 1080 };
  const cases: [ChainHop[], RegExp][] = [
    [
      [hop, { ...hop, port: 1081 }, { ...hop, host: 'A.example.' }],
      /Hop 3 .* is hop 1 again: the chain runs in a circle/,
    ],
    [[1, 2, 3, 4, 5].map(at => ({ ...hop, port: at })), /at most 4 hops/],
    [[{ ...hop, protocol: 'shadowsocks' }], /Hop 1 .*Shadowsocks needs a method/],
    [
      [{ ...hop, protocol: 'shadowsocks', method: '2022-blake3-aes-128-gcm', secret: 'hush' }],
      /Hop 1 .*16 bytes in base64/,
    ],
    [[{ ...hop, username: 'u' }], /belong together/],
    [[{ ...hop, host: '1.2.3' }], /neither an address nor a name/],
  ];
  for (const [chain, message] of cases) {
    const wrong = { ...endpoint(await freePort(), { chain }), id: 'e2' };
    const outcomes = await rig.plane.apply({ ...rig.plan, endpoints: [...rig.plan.endpoints, wrong] });
    assert.is(outcomes[1]?.problem?.code, 'listener/bad-chain');
    assert.match(outcomes[1]?.problem?.message ?? '', message);
    assert.not.match(outcomes[1]?.problem?.message ?? '', /hush/);
  }
  await rig.close();
});

test('a chain that leads back to its own listener is refused; private hops need leave', async () => {
  const port = await freePort();
  const chain: ChainHop[] = [
    { protocol: 'socks5', host: 'localhost', port, username: 'alice', secret: SECRET },
  ];
  const rig = await startRig({ plan: { endpoints: [endpoint(port, { chain })] } });
  assert.match(await told(port, '192.0.2.1:80'), /private-target/);
  assert.match(await told(port, 'example.com:80'), /code=chain-invalid; hop=1 .*is this proxy itself/);
  await rig.plane.apply({ ...rig.plan, allowTargets: [] });
  assert.match(await told(port, 'example.com:80'), /code=chain-invalid; hop=1 .*private/);
  await rig.close();
});

test('running flows through a chain outlive a new plan', async () => {
  const hop = await danted();
  const rig = await rigFor([hop]);
  const origin = await startOrigin(socket => socket.on('data', bytes => socket.write(bytes)));
  const allowTargets = [`${HOST}:${hop.port}`, `${HOST}:${origin.port}`];
  await rig.plane.apply({ ...rig.plan, allowTargets });
  const client = await openTunnel(rig.port, origin.port);
  await rig.plane.apply({ ...rig.plan, allowTargets: [...allowTargets, '10.0.0.0/8'] });
  client.write('still');
  assert.is((await readExactly(client, 5)).toString(), 'still');
  client.destroy();
  await rig.close();
  await origin.close();
});

test('every reason of a hop has an answer in both protocols', () => {
  for (const [reason, answer] of Object.entries(REFUSALS))
    if (answer.leg === 'hop') assert.ok(answer.http >= 500 && answer.socks5 > 0, reason);
});

test.run();
