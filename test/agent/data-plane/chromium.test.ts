/**
 * The data plane judged by Chromium: a page of many parts over http, https and WebSocket, through an HTTP proxy and an
 * HTTPS proxy with credentials, and through SOCKS5, for which Chromium sends no password: there the client's address
 * is the login.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { type Browser, chromium, type LaunchOptions } from 'playwright-core';
import * as assert from 'uvu/assert';
import { WebSocketServer } from 'ws';
import { startNameServer } from '../../simulators/name-server';
import { makeCertificates } from '../../support/certificates';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { findTool } from '../../support/tools';
import { endpoint, memorySink, SECRET, startRig } from './rig';

const test = suite('data plane, judged by Chromium', { needs: ['chromium', 'openssl'] });
const HOST = '127.0.0.1';
const PARTS = 8;
const PART_BYTES = 300_000;
const POSTED_BYTES = 700_000;
/** Heads, scripts, TLS and WebSocket frames of one page are no more than this. */
const SLACK_BYTES = 200_000;
/** A browser on a loaded machine takes its time. */
const PAGE_MS = 40_000;
const LAUNCH_MS = 60_000;
const DEADLINE = { deadlineMs: 150_000 };

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** What the page's script finds out and leaves in its window. */
interface Found {
  parts: string[];
  posted: string;
  chunked: number;
  said: string;
}

const SCRIPT = `
const hex = async bytes => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))]
  .map(byte => byte.toString(16).padStart(2, '0')).join('');
const whole = async (path, init) => (await fetch(path, { cache: 'no-store', ...init })).arrayBuffer();
const said = () => new Promise((resolve, reject) => {
  const socket = new WebSocket(location.origin.replace('http', 'ws'));
  socket.onopen = () => socket.send('hello');
  socket.onmessage = event => { resolve(event.data); socket.close(); };
  socket.onerror = () => reject(new Error('no WebSocket'));
});
(async () => {
  const parts = await Promise.all(Array.from({ length: ${PARTS} }, async (_, at) => hex(await whole('/part/' + at))));
  const body = new Uint8Array(${POSTED_BYTES}).fill(7);
  const posted = new TextDecoder().decode(await whole('/post', { method: 'POST', body }));
  const chunked = (await whole('/chunked')).byteLength;
  window.found = { parts, posted, chunked, said: await said() };
})().catch(error => { window.failed = String(error); });
`;

interface Site {
  url: string;
  parts: string[];
  /** Field names that a proxy must not pass on, and came all the same. */
  leaked: string[];
  close(): Promise<void>;
}

async function startSite(secure: { cert: string; key: string } | null): Promise<Site> {
  const parts = Array.from({ length: PARTS }, () => randomBytes(PART_BYTES));
  const leaked: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    leaked.push(...Object.keys(request.headers).filter(name => name.startsWith('proxy-')));
    const part = /^\/part\/(\d+)$/.exec(request.url ?? '')?.[1];
    if (part !== undefined) return void response.end(parts[Number(part)]);
    if (request.url === '/style.css')
      return void response.setHeader('content-type', 'text/css').end('p{color:red}');
    if (request.url === '/script.js')
      return void response.setHeader('content-type', 'text/javascript').end(SCRIPT);
    if (request.url === '/chunked') {
      for (let at = 0; at < 20; at += 1) response.write(Buffer.alloc(5_000, 'c'));
      return void response.end();
    }
    if (request.method === 'POST') {
      const hash = createHash('sha256');
      return void request
        .on('data', chunk => hash.update(chunk))
        .on('end', () => response.end(hash.digest('hex')));
    }
    if (request.url !== '/') return void response.writeHead(404).end();
    response.setHeader('content-type', 'text/html');
    response.end(
      '<!doctype html><link rel=stylesheet href=/style.css><p>page</p><script src=/script.js></script>',
    );
  };
  const server: Server & { closeAllConnections(): void } = secure
    ? createSecureServer(secure, answer)
    : createServer(answer);
  const sockets = new WebSocketServer({ server: server as ReturnType<typeof createServer> });
  sockets.on('connection', socket => socket.on('message', bytes => socket.send(`${bytes}, too`)));
  server.listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    // A name, so that it is the proxy that resolves it.
    url: `${secure ? 'https' : 'http'}://localhost:${port}/`,
    parts: parts.map(sha256),
    leaked,
    async close() {
      for (const client of sockets.clients) client.terminate();
      sockets.close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

type Proxy = NonNullable<LaunchOptions['proxy']>;

function launch(proxy: Proxy): Promise<Browser> {
  return chromium.launch({
    executablePath: findTool('chromium') ?? 'chromium',
    timeout: LAUNCH_MS,
    // Loopback addresses are not asked of proxies unless this is said.
    proxy: { bypass: '<-loopback>', ...proxy },
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--ignore-certificate-errors',
    ],
  });
}

/** A rig whose modem has a name server that knows nothing: a browser asks for names of its own, and none leaves here. */
async function rigFor(overrides: Partial<Endpoint> = {}) {
  const [sink, port] = [memorySink(), await freePort()];
  const names = await startNameServer({
    host: HOST,
    port: 0,
    names: {},
    forward: () => Promise.reject(new Error('nothing is asked beyond this server')),
  });
  const egress = {
    slot: 1,
    sourceAddress: null,
    dnsServers: [`${names.address}:${names.port}`],
    ready: true,
    imei: null,
    guarded: [],
  };
  const rig = await startRig({ sink, plan: { endpoints: [endpoint(port, overrides)], egresses: [egress] } });
  const protocols = async () => [
    ...new Set((await rig.plane.metrics()).flatMap(lane => lane.paths.map(path => path.protocol))),
  ];
  return {
    ...rig,
    sink,
    protocols,
    /** Without the names that the browser looks for by itself. */
    async refusals(): Promise<Record<string, number>> {
      const { 'resolver-failed': own, ...rest } = (await rig.plane.metrics())[0]?.refusals ?? {};
      return rest;
    },
    async close() {
      await rig.close();
      await names.close();
    },
  };
}

/** Opens the page over http and https: every part whole, and billed to who pays. `before` looks before all closes. */
async function judge(
  rig: Awaited<ReturnType<typeof rigFor>>,
  { proxy, before }: { proxy: Proxy; before: () => Promise<void> },
): Promise<void> {
  const dir = await tempDir('chromium');
  const sites = [await startSite(null), await startSite(makeCertificates(dir.path))];
  const browser = await launch(proxy);
  try {
    const page = await browser.newPage();
    const failed: string[] = [];
    page.on('requestfailed', request =>
      failed.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`),
    );
    for (const site of sites) {
      await page.goto(site.url, { timeout: PAGE_MS });
      await page.waitForFunction('window.found || window.failed', undefined, { timeout: PAGE_MS });
      assert.is(await page.evaluate('window.failed'), undefined, `${site.url}: ${failed.join('; ')}`);
      const found = (await page.evaluate('window.found')) as Found;
      assert.equal(found.parts, site.parts, site.url);
      assert.is(found.posted, sha256(Buffer.alloc(POSTED_BYTES, 7)));
      assert.is(found.chunked, 100_000);
      assert.is(found.said, 'hello, too');
      assert.is(await page.evaluate('getComputedStyle(document.querySelector("p")).color'), 'rgb(255, 0, 0)');
      assert.equal(site.leaked, [], 'what is for the proxy stays there');
    }
  } finally {
    await browser.close();
  }
  await eventually(async () => (await rig.plane.metrics())[0]?.connections === 0, 'the browser to be gone');
  await before();
  await rig.close();
  const { up, down, flows } = rig.sink.total();
  const [posted, loaded] = [2 * POSTED_BYTES, 2 * (PARTS * PART_BYTES + 100_000)];
  assert.ok(up > posted && up < posted + SLACK_BYTES, `${up} bytes up, ${posted} of them posted`);
  assert.ok(down > loaded && down < loaded + SLACK_BYTES, `${down} bytes down, ${loaded} of them loaded`);
  assert.ok(flows >= 4, `${flows} flows: a WebSocket and at least one more for each site`);
  assert.equal([...new Set(rig.sink.deltas.map(delta => delta.credentialId))], ['c1']);
  for (const site of sites) await site.close();
  await dir.remove();
}

const login = { username: 'alice', password: SECRET };

test(
  'HTTP proxy with credentials: asked for once, then sent',
  async () => {
    const rig = await rigFor({ protocols: ['http'] });
    await judge(rig, {
      proxy: { server: `http://${HOST}:${rig.port}`, ...login },
      async before() {
        // Connections that Chromium opened before it knew were asked for the login; no login was wrong.
        assert.equal(Object.keys(await rig.refusals()), ['credentials-required']);
        assert.equal(await rig.protocols(), ['http']);
      },
    });
  },
  DEADLINE,
);

test(
  'HTTPS proxy with credentials',
  async () => {
    const dir = await tempDir('chromium-proxy');
    makeCertificates(dir.path);
    const tls = {
      certFile: join(dir.path, 'server.pem'),
      keyFile: join(dir.path, 'server.key'),
      required: true,
    };
    const rig = await rigFor({ protocols: ['http'], tls });
    await judge(rig, {
      proxy: { server: `https://localhost:${rig.port}`, ...login },
      async before() {
        assert.equal(Object.keys(await rig.refusals()), ['credentials-required']);
        assert.equal(await rig.protocols(), ['http-tls']);
      },
    });
    await dir.remove();
  },
  DEADLINE,
);

test(
  'SOCKS5 by source address, as Chromium sends no password',
  async () => {
    const openTo = { sourceAddresses: [HOST], credentialId: 'c1' };
    const rig = await rigFor({ protocols: ['socks5'], openTo });
    await judge(rig, {
      proxy: { server: `socks5://${HOST}:${rig.port}` },
      async before() {
        assert.equal(await rig.refusals(), {});
        assert.equal(await rig.protocols(), ['socks5']);
      },
    });
  },
  DEADLINE,
);

test(
  'a wrong password, a forbidden target and a dead one are errors that the browser names',
  async () => {
    const [rig, dead] = [await rigFor(), await freePort()];
    const wrong = await launch({
      server: `http://${HOST}:${rig.port}`,
      username: 'alice',
      password: 'wrong',
    });
    const right = await launch({ server: `http://${HOST}:${rig.port}`, ...login });
    try {
      const failure = async (browser: Browser, url: string) => {
        const page = await browser.newPage();
        const answer = await page.goto(url, { timeout: PAGE_MS }).catch((error: Error) => error);
        return answer instanceof Error
          ? answer.message
          : `${answer?.status()} ${await page.textContent('body')}`;
      };
      assert.match(await failure(wrong, `http://${HOST}:${dead}/`), /^407 User name or password is wrong/);
      assert.match(await failure(wrong, `https://${HOST}:${dead}/`), /net::ERR_/);
      // Plain HTTP shows our page, a tunnel only that there is none.
      assert.match(await failure(right, 'http://169.254.169.254/'), /^403 The target is a private/);
      assert.match(
        await failure(right, `http://${HOST}:9/`),
        /^502 The target refused the connection|ERR_UNSAFE_PORT/,
      );
      assert.match(await failure(right, 'https://169.254.169.254/'), /ERR_TUNNEL_CONNECTION_FAILED/);
      const refusals = await rig.refusals();
      assert.ok((refusals['bad-credentials'] ?? 0) >= 2 && (refusals['private-target'] ?? 0) >= 2);
    } finally {
      await wrong.close();
      await right.close();
      await rig.close();
    }
    assert.equal(rig.sink.total(), { up: 0, down: 0, flows: 0 });
  },
  DEADLINE,
);

test.run();
