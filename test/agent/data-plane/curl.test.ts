import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { memorySink, SECRET, startRig } from './rig';

const run = promisify(execFile);
const test = suite('data plane, judged by curl', { needs: ['curl'] });

/** Runs curl; the answer is its output, its exit code and its error text. */
async function curl(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  try {
    const { stdout, stderr } = await run('curl', ['-sS', '--max-time', '10', '--noproxy', '', ...args], {
      maxBuffer: 1 << 26,
    });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const failed = error as { code: number; stdout: string; stderr: string };
    return { code: failed.code, out: failed.stdout, err: failed.stderr };
  }
}

async function startHttp() {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      response.setHeader(
        'x-seen',
        `${request.method} ${request.url} ${request.headers['proxy-authorization'] ?? 'no-proxy-auth'}`,
      );
      if (request.url === '/chunked') {
        response.write('one');
        response.end('two');
      } else response.end(`${request.method} ${request.url} ${body.length}`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

for (const scheme of ['socks5', 'socks5h', 'http']) {
  test(`${scheme}: fetches through the proxy`, async () => {
    const origin = await startHttp();
    const rig = await startRig();
    const answer = await curl(
      '-x',
      `${scheme}://alice:${SECRET}@127.0.0.1:${rig.port}`,
      `${origin.url}/hello`,
    );
    assert.equal(answer, { code: 0, out: 'GET /hello 0', err: '' });
    await rig.close();
    await origin.close();
  });
  test(`${scheme}: resolves names, uploads, reads chunked bodies`, async () => {
    const origin = await startHttp();
    const rig = await startRig();
    const proxy = ['-x', `${scheme}://alice:${SECRET}@127.0.0.1:${rig.port}`];
    const named = `http://localhost:${origin.port}`;
    assert.is((await curl(...proxy, '-d', 'x'.repeat(100_000), `${named}/up`)).out, 'POST /up 100000');
    assert.is(
      (await curl(...proxy, '-H', 'Transfer-Encoding: chunked', '-d', 'x'.repeat(100_000), `${named}/up`))
        .out,
      'POST /up 100000',
    );
    assert.is((await curl(...proxy, `${named}/chunked`)).out, 'onetwo');
    await rig.close();
    await origin.close();
  });
  test(`${scheme}: refuses a wrong password, a private target and a dead port, each truthfully`, async () => {
    const origin = await startHttp();
    const rig = await startRig();
    const login = (secret: string) => ['-x', `${scheme}://alice:${secret}@127.0.0.1:${rig.port}`];
    const code = scheme === 'http' ? 0 : 97;
    const wrong = await curl(...login('wrong'), '-i', `${origin.url}/`);
    const dead = await curl(...login(SECRET), '-i', 'http://127.0.0.1:1/');
    const secret = await curl(...login(SECRET), '-i', 'http://169.254.169.254/');
    assert.is(wrong.code, code);
    assert.is(dead.code, code);
    assert.is(secret.code, code);
    if (scheme === 'http') {
      assert.match(wrong.out, 'Mastline-Error: leg=policy; code=bad-credentials');
      assert.match(dead.out, 'Mastline-Error: leg=origin; code=origin-refused');
      assert.match(secret.out, 'Mastline-Error: leg=policy; code=private-target');
    } else {
      assert.match(dead.err, /\(5\)/);
      assert.match(secret.err, /\(2\)/);
    }
    await rig.close();
    await origin.close();
  });
}

for (const scheme of ['socks4', 'socks4a'])
  test(`${scheme}: hears in its own words that it is not spoken here`, async () => {
    const origin = await startHttp();
    const rig = await startRig();
    const answer = await curl('-x', `${scheme}://alice@127.0.0.1:${rig.port}`, `${origin.url}/`);
    assert.is(answer.code, 97);
    // 91: request rejected or failed.
    assert.match(answer.err, /\(91\)/);
    assert.equal((await rig.plane.metrics())[0]?.refusals, { 'unsupported-protocol': 1 });
    await rig.close();
    await origin.close();
  });

test('http: CONNECT (-p) tunnels, and a kept connection serves several requests', async () => {
  const origin = await startHttp();
  const sink = memorySink();
  const rig = await startRig({ sink });
  const proxy = ['-x', `http://alice:${SECRET}@127.0.0.1:${rig.port}`];
  assert.is((await curl('-p', ...proxy, `${origin.url}/tunnel`)).out, 'GET /tunnel 0');
  const three = await curl('-v', ...proxy, `${origin.url}/1`, `${origin.url}/2`, `${origin.url}/3`);
  assert.is(three.out, 'GET /1 0GET /2 0GET /3 0');
  assert.match(three.err, 'Re-using existing connection');
  await rig.close();
  assert.is(sink.total().flows, 2, 'one flow for the tunnel, one for three requests');
  await origin.close();
});

test.run();
