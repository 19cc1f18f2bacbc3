/** The data plane judged by programs that people use through proxies: proxychains, git, wget, a WebSocket client. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { WebSocket, WebSocketServer } from 'ws';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { basic } from './clients';
import { digest, webOrigin } from './peers';
import { memorySink, SECRET, startRig } from './rig';

const test = suite('data plane, judged by real clients', { needs: ['curl', 'proxychains4', 'git', 'wget'] });
const HOST = '127.0.0.1';
const run = promisify(execFile);
/** Settings of this machine's own must not lead around the proxy, nor to it. */
const ENV: NodeJS.ProcessEnv = {
  NODE_ENV: 'test',
  PATH: process.env.PATH ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  LC_ALL: 'C',
};

async function rigWithSink() {
  const sink = memorySink();
  return { ...(await startRig({ sink })), sink };
}

for (const type of ['socks5', 'http'])
  test(`proxychains4 over ${type}: curl that knows nothing of it downloads and uploads whole`, async () => {
    const [rig, web, dir] = [await rigWithSink(), await webOrigin(500_000), await tempDir('proxychains')];
    const file = join(dir.path, 'proxychains.conf');
    // proxy_dns sends names to the proxy as they are.
    writeFileSync(
      file,
      `strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\n${type} ${HOST} ${rig.port} alice ${SECRET}\n`,
    );
    writeFileSync(join(dir.path, 'body'), web.body);
    const through = (...args: string[]) =>
      run('proxychains4', ['-q', '-f', file, 'curl', '-sS', '--max-time', '15', ...args], {
        env: ENV,
        encoding: 'latin1',
        maxBuffer: 1e8,
      });
    for (const host of [HOST, 'localhost']) {
      const got = await through(`http://${host}:${web.port}/`);
      assert.is(digest(got.stdout), digest(web.body), got.stderr);
    }
    const sent = await through('-T', join(dir.path, 'body'), `http://${HOST}:${web.port}/`);
    assert.is(sent.stdout, digest(web.body));
    await rig.close();
    assert.ok(rig.sink.total().flows >= 2, `${rig.sink.total().flows} flows`);
    await dir.remove();
    await web.close();
  });

/** git's own HTTP server side, as a CGI program behind Node. */
async function gitServer(root: string): Promise<Server> {
  const backend = join((await run('git', ['--exec-path'])).stdout.trim(), 'git-http-backend');
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://x');
    const child = spawn(backend, [], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...ENV,
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: '1',
        PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method ?? '',
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
      },
    });
    request.pipe(child.stdin);
    const chunks: Buffer[] = [];
    child.stdout.on('data', chunk => chunks.push(chunk));
    child.on('close', () => {
      const all = Buffer.concat(chunks);
      const end = all.indexOf('\r\n\r\n');
      for (const line of all.subarray(0, end).toString().split('\r\n')) {
        const [name = '', ...value] = line.split(': ');
        if (name === 'Status') response.statusCode = Number.parseInt(value.join(': '), 10);
        else response.setHeader(name, value.join(': '));
      }
      response.end(all.subarray(end + 4));
    });
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  return server;
}

for (const scheme of ['http', 'socks5h'])
  test(`git clone and push over ${scheme}`, async () => {
    const [rig, dir] = [await rigWithSink(), await tempDir('git')];
    const git = (cwd: string, ...args: string[]) =>
      run(
        'git',
        ['-c', 'user.name=t', '-c', 'user.email=t@example', '-c', 'init.defaultBranch=main', ...args],
        {
          cwd,
          env: ENV,
        },
      );
    await git(dir.path, 'init', '-q', 'source');
    const source = join(dir.path, 'source');
    writeFileSync(
      join(source, 'large'),
      Buffer.alloc(2_000_000).map((_, at) => (at * at) >> 3),
    );
    await git(source, 'add', '.');
    await git(source, 'commit', '-qm', 'first');
    await git(dir.path, 'clone', '-q', '--bare', 'source', 'repo.git');
    await git(join(dir.path, 'repo.git'), 'config', 'http.receivepack', 'true');
    const server = await gitServer(dir.path);
    const { port } = server.address() as AddressInfo;
    const proxy = ['-c', `http.proxy=${scheme}://alice:${SECRET}@${HOST}:${rig.port}`];
    await git(dir.path, ...proxy, 'clone', '-q', `http://${HOST}:${port}/repo.git`, 'copy');
    const copy = join(dir.path, 'copy');
    assert.ok(readFileSync(join(copy, 'large')).equals(readFileSync(join(source, 'large'))));
    writeFileSync(join(copy, 'more'), 'more');
    await git(copy, 'add', '.');
    await git(copy, 'commit', '-qm', 'second');
    await git(copy, ...proxy, 'push', '-q', 'origin', 'HEAD:main');
    const pushed = await git(join(dir.path, 'repo.git'), 'log', '--format=%s', 'main');
    assert.is(pushed.stdout, 'second\nfirst\n');
    await rig.close();
    assert.ok(rig.sink.total().flows >= 2);
    server.closeAllConnections();
    server.close();
    await dir.remove();
  });

test('wget resumes a download that broke off', async () => {
  const [rig, web, dir] = [await rigWithSink(), await webOrigin(1_000_000), await tempDir('wget')];
  const file = join(dir.path, 'body');
  const env = { ...ENV, http_proxy: `http://${HOST}:${rig.port}` };
  const args = ['-q', '--proxy-user=alice', `--proxy-password=${SECRET}`, '-O', file, '-c'];
  const url = `http://${HOST}:${web.port}/body`;
  await run('wget', [...args, url], { env });
  truncateSync(file, 400_000);
  await run('wget', [...args, url], { env });
  assert.ok(readFileSync(file).equals(web.body));
  await rig.close();
  const { down } = rig.sink.total();
  assert.ok(down > 1_600_000 && down < 1_602_000, `${down} bytes: the second time only the rest came`);
  await dir.remove();
  await web.close();
});

test('a WebSocket through CONNECT, and by upgrade in absolute form: messages both ways, closed in order', async () => {
  const rig = await rigWithSink();
  const server = new WebSocketServer({ host: HOST, port: 0 });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.on('connection', socket => socket.on('message', (bytes, binary) => socket.send(bytes, { binary })));
  const authority = `${HOST}:${port}`;

  const talk = async (client: WebSocket) => {
    await once(client, 'open');
    for (const size of [0, 1, 125, 126, 70_000, 500_000]) {
      const sent = Buffer.alloc(size, 'x');
      client.send(sent);
      const [got] = (await once(client, 'message')) as [Buffer];
      assert.ok(got.equals(sent), `${size} bytes`);
    }
    client.close(1000, 'done');
    const [code] = (await once(client, 'close')) as [number];
    assert.is(code, 1000);
  };

  const way = connect(rig.port, HOST);
  way.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: ${basic()}\r\n\r\n`);
  const [answer] = (await once(way, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
  await talk(new WebSocket(`ws://${authority}/`, { createConnection: () => way }));

  // Some clients ask for the upgrade without a tunnel.
  const absolute = new WebSocket(`ws://${HOST}:${rig.port}/`, {
    headers: { 'Proxy-Authorization': basic(), Host: authority },
    finishRequest: (request: { path: string; end(): void }) => {
      request.path = `http://${authority}/`;
      request.end();
    },
  } as object);
  await talk(absolute);
  await rig.close();
  assert.is(rig.sink.total().flows, 2);
  for (const client of server.clients) client.terminate();
  server.close();
});

test.run();
