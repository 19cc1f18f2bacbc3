/**
 * The codec against programs that others wrote: shadowsocks-libev's ss-local (with curl behind it) and ss-server,
 * and v2ray as client and as server. None of them that Debian 12 packages speaks the 2022 edition; that is tested
 * against messages derived from its specification, and here with its own client, which proves less.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '@mastline/shared/base/clock';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { keyFromPassword, keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { PacketClient2022 } from '@mastline/shared/protocols/shadowsocks/packet-client-2022';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksStream } from '@mastline/shared/protocols/shadowsocks/stream';
import { freePort } from '../../../support/free-port';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { methodOf, run } from './reference';
import { open, randomly, seal } from './support';
import { type TinyServer, tinyServer } from './tiny-server';

const test = suite('shadowsocks with real peers');
const curl = promisify(execFile);
const body = randomBytes(6_000_000);
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const children: ChildProcess[] = [];
const servers: TinyServer[] = [];
const MISSING = ['/usr/bin/ss-local', '/usr/bin/ss-server', '/usr/bin/v2ray', '/usr/bin/curl'].filter(
  path => !existsSync(path),
);

let origin: http.Server;
let echo: dgram.Socket;
let originPort = 0;
let echoPort = 0;

test.before(async () => {
  origin = http.createServer((request, response) => {
    if (request.method === 'GET') return void response.end(body);
    const hash = createHash('sha256');
    request.on('data', bytes => hash.update(bytes)).on('end', () => response.end(hash.digest('hex')));
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  originPort = (origin.address() as net.AddressInfo).port;
  echo = dgram.createSocket('udp4').on('message', (bytes, from) => echo.send(bytes, from.port, from.address));
  echo.bind(0, '127.0.0.1');
  await once(echo, 'listening');
  echoPort = echo.address().port;
});

test.after(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  for (const server of servers) await server.close();
  origin.closeAllConnections();
  await new Promise(resolve => origin.close(resolve));
  await new Promise<void>(resolve => echo.close(resolve));
});

/** Starts a program and waits until it says `ready`. */
async function start(command: string, args: string[], ready: RegExp): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    const take = (bytes: Buffer) => {
      said += bytes.toString('utf8');
      if (ready.test(said)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${command} ended with ${code}: ${said}`)));
  });
}

async function served(name: string, password: string): Promise<TinyServer> {
  const method = methodOf(name);
  const users = ['other', password].map(user => ({ user, key: keyFromPassword(user, method.keyBytes) }));
  const server = await tinyServer(method, { kind: 'keys', users });
  servers.push(server);
  return server;
}

/** Downloads and uploads through a SOCKS5 proxy, by address and by name, and compares every byte. */
async function curlThrough(socksPort: number): Promise<void> {
  const proxy = ['-sS', '--max-time', '20', '--noproxy', '', '-x', `socks5h://127.0.0.1:${socksPort}`];
  for (const host of ['127.0.0.1', 'localhost']) {
    const options = { encoding: 'buffer', maxBuffer: 1e8 } as const;
    const got = await curl('curl', [...proxy, `http://${host}:${originPort}/`], options);
    assert.equal(digest(got.stdout), digest(body));
  }
  const dir = await tempDir('upload');
  try {
    await writeFile(join(dir.path, 'body'), body);
    const url = `http://127.0.0.1:${originPort}/`;
    const sent = await curl('curl', [...proxy, '-X', 'PUT', '-T', join(dir.path, 'body'), url]);
    assert.equal(sent.stdout, digest(body));
  } finally {
    await dir.remove();
  }
}

/** One datagram there and back through a SOCKS5 proxy's UDP ASSOCIATE. */
async function datagramThrough(socksPort: number): Promise<void> {
  const control = net.connect(socksPort, '127.0.0.1');
  const socket = dgram.createSocket('udp4');
  try {
    control.write(Buffer.from([5, 1, 0]));
    await once(control, 'data');
    control.write(Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
    const [reply] = (await once(control, 'data')) as [Buffer];
    assert.equal(reply[1], 0);
    const header = Buffer.from([0, 0, 0, 1, 127, 0, 0, 1, echoPort >> 8, echoPort & 0xff]);
    const payload = randomBytes(1200);
    socket.send(Buffer.concat([header, payload]), reply.readUInt16BE(8), '127.0.0.1');
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.deepEqual(answer, Buffer.concat([header, payload]));
  } finally {
    control.destroy();
    socket.close();
  }
}

/** A GET through the client role against a Shadowsocks server, every byte compared. */
async function getThrough(port: number, stream: ShadowsocksStream): Promise<void> {
  const socket = net.connect(port, '127.0.0.1');
  try {
    const request = `GET / HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n`;
    socket.write(seal(stream.sealer, Buffer.from(request)));
    const got: Buffer[] = [];
    for await (const bytes of socket) {
      const opened = open(stream.opener, bytes as Buffer);
      assert.ok(opened, `stream broken: ${stream.opener.cause}`);
      got.push(opened);
    }
    const answer = Buffer.concat(got);
    assert.equal(digest(answer.subarray(answer.indexOf('\r\n\r\n') + 4)), digest(body));
  } finally {
    socket.destroy();
  }
}

/** One datagram there and back through the client role. */
async function echoThrough(port: number, client: AeadPacketClient | PacketClient2022): Promise<void> {
  const socket = dgram.createSocket('udp4');
  try {
    const out = Buffer.alloc(4096);
    const payload = randomBytes(1200);
    const bytes = client.seal({ host: '127.0.0.1', port: echoPort }, payload, out);
    socket.send(out.subarray(0, bytes), port, '127.0.0.1');
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.deepEqual(client.open(answer), { from: { host: '127.0.0.1', port: echoPort }, payload });
  } finally {
    socket.close();
  }
}

const V2RAY_NAMES: Record<string, string> = { 'chacha20-ietf-poly1305': 'chacha20-poly1305' };

/** Starts v2ray with one way in and one way out. */
async function v2ray(inbound: object, outbound: object): Promise<void> {
  const dir = await tempDir('v2ray');
  try {
    const config = join(dir.path, 'config.json');
    await writeFile(
      config,
      JSON.stringify({ log: { loglevel: 'info' }, inbounds: [inbound], outbounds: [outbound] }),
    );
    await start('/usr/bin/v2ray', ['-config', config], /V2Ray [\d.]+ started/);
  } finally {
    await dir.remove();
  }
}

for (const name of ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305']) {
  if (MISSING.length > 0) {
    test.skip(`${name} with ss-local, ss-server and v2ray`, `missing: ${MISSING.join(', ')}`);
    continue;
  }
  const method = methodOf(name);
  const password = 'correct horse';
  const key = keyFromPassword(password, method.keyBytes);

  test(`${name}: curl through ss-local reaches our server, TCP and UDP`, async () => {
    const server = await served(name, password);
    const port = await freePort();
    const args = ['-s', '127.0.0.1', '-p', `${server.port}`, '-b', '127.0.0.1', '-l', `${port}`, '-u'];
    await start('/usr/bin/ss-local', [...args, '-k', password, '-m', name], /listening at/);
    await curlThrough(port);
    await datagramThrough(port);
    assert.deepEqual(server.seen, Array(4).fill(password));
    assert.deepEqual(server.refused, []);
  });

  test(`${name}: a wrong password in ss-local meets silence`, async () => {
    const server = await served(name, password);
    const port = await freePort();
    const args = ['-s', '127.0.0.1', '-p', `${server.port}`, '-b', '127.0.0.1', '-l', `${port}`];
    await start('/usr/bin/ss-local', [...args, '-k', 'wrong', '-m', name], /listening at/);
    const failed = curl('curl', [
      '-sS',
      '--max-time',
      '1',
      '-x',
      `socks5h://127.0.0.1:${port}`,
      `http://127.0.0.1:${originPort}/`,
    ]);
    await assert.rejects(failed, /timed out/);
    assert.deepEqual(server.refused, ['unknown-user']);
  });

  test(`${name}: our client goes through ss-server, TCP and UDP`, async () => {
    const port = await freePort();
    const args = ['-s', '127.0.0.1', '-p', `${port}`, '-k', password, '-m', name, '-u'];
    await start('/usr/bin/ss-server', args, /udp server listening at|udprelay enabled[\s\S]*listening at/);
    const target = { host: '127.0.0.1', port: originPort };
    await getThrough(port, openAeadClient(method, { key, target }, randomly));
    await echoThrough(port, new AeadPacketClient(method, key, randomly));
  });

  test(`${name}: v2ray reaches our server, and our client goes through v2ray`, async () => {
    const server = await served(name, password);
    const cipher = V2RAY_NAMES[name] ?? name;
    const [socks, shadowsocks] = [await freePort(), await freePort()];
    await v2ray(
      { listen: '127.0.0.1', port: socks, protocol: 'socks', settings: { udp: true, ip: '127.0.0.1' } },
      {
        protocol: 'shadowsocks',
        settings: { servers: [{ address: '127.0.0.1', port: server.port, method: cipher, password }] },
      },
    );
    await curlThrough(socks);
    await datagramThrough(socks);
    assert.deepEqual(server.refused, []);
    await v2ray(
      {
        listen: '127.0.0.1',
        port: shadowsocks,
        protocol: 'shadowsocks',
        settings: { method: cipher, password, network: 'tcp,udp' },
      },
      { protocol: 'freedom' },
    );
    const target = { host: '127.0.0.1', port: originPort };
    await getThrough(shadowsocks, openAeadClient(method, { key, target }, randomly));
    await echoThrough(shadowsocks, new AeadPacketClient(method, key, randomly));
  });
}

for (const name of ['2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm'])
  test(`${name}: our client goes through our server over real sockets (no independent peer is packaged)`, async () => {
    const method = methodOf(name);
    const password = [run(1, method.keyBytes), run(9, method.keyBytes)]
      .map(part => part.toString('base64'))
      .join(':');
    const keys = keysFromPassword(password, method);
    const users = [{ user: 'one', key: keys[1] ?? Buffer.alloc(0) }];
    const server = await tinyServer(method, {
      kind: 'identified',
      serverKey: keys[0] ?? Buffer.alloc(0),
      users,
    });
    servers.push(server);
    const clock = systemClock;
    const salts = createSaltStore({ capacity: 16, keepMs: 60_000, clock });
    const target = { host: '127.0.0.1', port: originPort };
    await getThrough(
      server.port,
      openClient2022(method, { keys, target }, { clock, random: randomly, salts }),
    );
    await echoThrough(server.port, new PacketClient2022(method, keys, { clock, random: randomly }));
    assert.deepEqual([server.seen, server.refused], [['one', 'one'], []]);
  });

test.run();
