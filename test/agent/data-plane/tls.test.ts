import { once } from 'node:events';
import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { EndpointProtocol } from '@mastline/shared/domain/endpoint';
import * as assert from 'uvu/assert';
import { type Certificates, canMakeCertificates, makeCertificates } from '../../support/certificates';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { basic, openTunnel, pipelinedSocks5, tcp } from './clients';
import { curl, digest, webOrigin } from './peers';
import { endpoint, memorySink, readAll, readExactly, SECRET, startOrigin, startRig } from './rig';

const test = suite('TLS-wrapped endpoints', { needs: ['curl', 'openssl'] });
const HOST = '127.0.0.1';

async function rigFor(options: { required?: boolean; protocols?: EndpointProtocol[] } = {}) {
  if (!canMakeCertificates()) throw new Error('openssl is missing');
  const dir = await tempDir('tls');
  const certificates = makeCertificates(dir.path);
  const tls = {
    certFile: join(dir.path, 'server.pem'),
    keyFile: join(dir.path, 'server.key'),
    required: options.required ?? false,
  };
  const [port, clock, sink] = [await freePort(), fakeClock(), memorySink()];
  const protocols = options.protocols ?? ['socks5', 'http'];
  const rig = await startRig({ sink, clock, plan: { endpoints: [endpoint(port, { tls, protocols })] } });
  return {
    ...rig,
    sink,
    clock,
    certificates,
    tls,
    folder: dir.path,
    close: async () => {
      await rig.close();
      await dir.remove();
    },
  };
}

async function secure(port: number, certificates: Certificates): Promise<TLSSocket> {
  // Node takes `allowHalfOpen` here and documents it; its types do not know it yet.
  const options = { port, host: HOST, ca: certificates.ca, servername: 'localhost', allowHalfOpen: true };
  const socket = connectTls(options);
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  return socket;
}

test('curl: an HTTPS proxy, absolute form and CONNECT, downloads and uploads whole', async () => {
  const [rig, web] = [await rigFor(), await webOrigin()];
  const proxy = [
    '-x',
    `https://alice:${SECRET}@localhost:${rig.port}`,
    '--proxy-cacert',
    rig.certificates.caPath,
  ];
  const url = `http://${HOST}:${web.port}/`;
  const plain = await curl(...proxy, url);
  assert.is(digest(plain.out), digest(web.body), plain.err);
  const tunnel = await curl('-p', ...proxy, url);
  assert.is(digest(tunnel.out), digest(web.body), tunnel.err);
  writeFileSync(join(rig.folder, 'body'), web.body);
  assert.is((await curl(...proxy, '-T', join(rig.folder, 'body'), url)).out, digest(web.body));
  const wrong = await curl(
    ...[
      '-x',
      `https://alice:wrong@localhost:${rig.port}`,
      '--proxy-cacert',
      rig.certificates.caPath,
      '-i',
      url,
    ],
  );
  assert.match(wrong.out, 'Mastline-Error: leg=policy; code=bad-credentials');
  const distrusted = await curl('-x', `https://alice:${SECRET}@localhost:${rig.port}`, url);
  assert.is(distrusted.code, 60, 'without the authority curl does not believe the certificate');
  await rig.close();
  await web.close();
});

test('SOCKS5 inside TLS: counts to the byte, half-close in both directions', async () => {
  const rig = await rigFor();
  const [up, down] = [Buffer.alloc(1_000_001, 'u'), Buffer.alloc(2_000_003, 'd')];
  let heard = 0;
  const origin = await startOrigin(socket => {
    socket.on('data', chunk => {
      heard += chunk.length;
    });
    socket.on('end', () => socket.end(down));
  });
  const client = await secure(rig.port, rig.certificates);
  client.write(pipelinedSocks5({ host: HOST, port: origin.port }));
  assert.equal([...(await readExactly(client, 14))].slice(0, 6), [5, 2, 1, 0, 5, 0]);
  const answer = readAll(client);
  client.end(up);
  assert.is((await answer).length, down.length);
  assert.is(heard, up.length);
  await rig.close();
  assert.equal(rig.sink.total(), { up: up.length, down: down.length, flows: 1 });
  await origin.close();
});

test('one port: the first byte decides between TLS, SOCKS5 and HTTP', async () => {
  const [rig, web] = [await rigFor(), await webOrigin(1_000)];
  const url = `http://${HOST}:${web.port}/`;
  for (const scheme of ['socks5', 'socks5h', 'http', 'https'])
    assert.is(
      digest(
        (
          await curl(
            ...[
              '-x',
              `${scheme}://alice:${SECRET}@localhost:${rig.port}`,
              '--proxy-cacert',
              rig.certificates.caPath,
            ],
            url,
          )
        ).out,
      ),
      digest(web.body),
      scheme,
    );
  const protocols = (await rig.plane.metrics()).flatMap(lane => lane.paths.map(path => path.protocol));
  assert.equal([...new Set(protocols)].sort(), ['http', 'http-tls', 'socks5']);
  await rig.close();
  await web.close();
});

test('where TLS is required, nothing is spoken without it', async () => {
  const [rig, web] = [await rigFor({ required: true }), await webOrigin(1_000)];
  const url = `http://${HOST}:${web.port}/`;
  const plain = await curl('-i', '-x', `http://alice:${SECRET}@localhost:${rig.port}`, url);
  assert.match(plain.out, 'Mastline-Error: leg=client; code=unsupported-protocol');
  assert.is((await curl('-x', `socks5://alice:${SECRET}@localhost:${rig.port}`, url)).code, 97);
  const within = await curl(
    ...[
      '-x',
      `https://alice:${SECRET}@localhost:${rig.port}`,
      '--proxy-cacert',
      rig.certificates.caPath,
      url,
    ],
  );
  assert.is(digest(within.out), digest(web.body));
  assert.is(web.requests, 1);
  await rig.close();
  await web.close();
});

test('a hello in single bytes, and credentials and request right behind the handshake', async () => {
  const [rig, origin] = [
    await rigFor(),
    await startOrigin(socket => socket.on('data', bytes => socket.end(bytes))),
  ];
  const raw = await tcp(rig.port);
  // TLS writes its hello to a wire that passes bytes on one at a time.
  const { Duplex } = await import('node:stream');
  const drip = new Duplex({
    read: () => undefined,
    write(bytes: Buffer, _encoding, done) {
      void (async () => {
        for (const byte of bytes) {
          raw.write(Buffer.of(byte));
          await new Promise(setImmediate);
        }
        done();
      })();
    },
  });
  raw.on('data', bytes => drip.push(bytes));
  const client = connectTls({ socket: drip, ca: rig.certificates.ca, servername: 'localhost' });
  await once(client, 'secureConnect');
  client.write(
    `CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic()}\r\n\r\nping`,
  );
  let got = '';
  client.on('data', bytes => {
    got += bytes;
  });
  await eventually(() => got.endsWith('\r\n\r\nping'));
  client.destroy();
  raw.destroy();
  await rig.close();
  await origin.close();
});

test('a replaced certificate is used for new connections; running flows go on', async () => {
  const rig = await rigFor();
  const origin = await startOrigin(socket => socket.on('data', bytes => socket.write(bytes)));
  const running = await secure(rig.port, rig.certificates);
  running.write(pipelinedSocks5({ host: HOST, port: origin.port }));
  await readExactly(running, 14);
  const before = running.getPeerCertificate().fingerprint256;
  const next = await tempDir('tls-next');
  const renewed = makeCertificates(next.path);
  // As certbot does: both files put in place by a rename.
  for (const [name, path] of [
    ['server.pem', rig.tls.certFile],
    ['server.key', rig.tls.keyFile],
  ] as const) {
    copyFileSync(join(next.path, name), `${path}.new`);
    renameSync(`${path}.new`, path);
  }
  await rig.clock.advance(6_000);
  let after: TLSSocket | null = null;
  await eventually(async () => {
    const socket = connectTls({ port: rig.port, host: HOST, ca: renewed.ca, servername: 'localhost' });
    socket.on('error', () => undefined);
    const believed = await Promise.race([
      once(socket, 'secureConnect').then(() => true),
      new Promise<boolean>(resolve => socket.once('close', () => resolve(false))),
    ]).catch(() => false);
    if (believed) after = socket;
    else socket.destroy();
    return believed;
  });
  const fresh = after as TLSSocket | null;
  assert.is.not(fresh?.getPeerCertificate().fingerprint256, before);
  fresh?.destroy();
  running.write('still here');
  assert.is((await readExactly(running, 10)).toString(), 'still here');
  running.destroy();
  await rig.close();
  await next.remove();
  await origin.close();
});

test('a certificate that turns bad leaves the last good one in use', async () => {
  const rig = await rigFor();
  writeFileSync(rig.tls.certFile, 'no certificate');
  await rig.clock.advance(11_000);
  const socket = await secure(rig.port, rig.certificates);
  assert.ok(socket.authorized);
  socket.destroy();
  await rig.close();
});

test('a certificate that is not there, or not for its key, is a problem of its endpoint', async () => {
  const [rig, other] = [await rigFor(), await tempDir('tls-other')];
  makeCertificates(other.path);
  const cases: [object, RegExp][] = [
    [{ certFile: '/nowhere.pem' }, /does not exist: put the certificate/],
    [{ keyFile: join(other.path, 'server.key') }, /does not belong to the certificate/],
    [{ certFile: join(rig.folder, 'server.ext') }, /cannot be used as certificate and key/],
  ];
  for (const [change, message] of cases) {
    const wrong = { ...endpoint(await freePort(), { tls: { ...rig.tls, ...change } }), id: 'e2' };
    const outcomes = await rig.plane.apply({ ...rig.plan, endpoints: [...rig.plan.endpoints, wrong] });
    assert.is(outcomes[0]?.listening, true);
    assert.is(outcomes[1]?.problem?.code, 'listener/bad-certificate');
    assert.match(outcomes[1]?.problem?.message ?? '', message);
  }
  await rig.close();
  await other.remove();
});

test('broken hellos, silence and ends within the handshake leave nothing behind', async () => {
  const rig = await rigFor();
  const probes = ['\x16', '\x16\x03\x01\x00\x05hello', `\x16\x03\x01\x40\x00${'x'.repeat(5_000)}`];
  const sockets = await Promise.all(probes.map(() => tcp(rig.port)));
  for (const [at, socket] of sockets.entries()) socket.write(probes[at] ?? '', 'latin1');
  const ended = await tcp(rig.port);
  ended.end('\x16\x03\x01', 'latin1');
  await rig.clock.advance(11_000);
  await eventually(async () => {
    const [lane] = await rig.plane.metrics();
    return lane?.connections === 0 && lane.handshakes === 0;
  });
  for (const socket of [...sockets, ended]) socket.destroy();
  // And it serves on.
  const origin = await startOrigin(socket => socket.end('x'));
  const tunnel = await openTunnel(rig.port, origin.port);
  assert.is((await readAll(tunnel)).toString(), 'x');
  tunnel.destroy();
  await rig.close();
  await origin.close();
});

test('a slow reader inside TLS stops its origin', async () => {
  const rig = await rigFor();
  let sent = 0;
  const origin = await startOrigin(socket => {
    const block = Buffer.alloc(1 << 16);
    const push = () => {
      while (!socket.destroyed && socket.write(block)) sent += block.length;
      sent += block.length;
    };
    socket.on('drain', push);
    push();
  });
  const client = await secure(rig.port, rig.certificates);
  client.write(pipelinedSocks5({ host: HOST, port: origin.port }));
  await readExactly(client, 14);
  let [before, same] = [-1, 0];
  await eventually(() => {
    same = sent > 0 && sent === before ? same + 1 : 0;
    before = sent;
    return same === 40;
  });
  client.destroy();
  await rig.close();
  assert.ok(rig.sink.total().down < sent);
  await origin.close();
});

test.run();
