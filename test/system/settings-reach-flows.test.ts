/**
 * What a person sets in the portal, on a real cloud with a real agent: a browser types it, and flows that run on the
 * node feel it. Both programs run as `npm start` runs them, with virtual modems.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { systemClock } from '@mastline/shared/base/clock';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { parseShadowsocksLink } from '@mastline/shared/protocols/shadowsocks/link';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { Browser, Page } from 'playwright-core';
import { agentStatus } from '../../installer/local/agent-client';
import { buildAll } from '../../installer/local/build';
import { type DataDir, type Demo, openDataDir, readDemo } from '../../installer/local/demo';
import { freePorts } from '../../installer/local/ports';
import type { Program } from '../../installer/local/processes';
import { type Simulators, startAgent, startCloud, startSimulators } from '../../installer/local/product';
import { socks5, tcp } from '../agent/data-plane/clients';
import { readAll } from '../agent/data-plane/rig';
import { randomly } from '../agent/data-plane/shadowsocks-client';
import { launch, visit } from '../cloud/portal/browser';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('settings reach running flows', { needs: ['chromium'] });
const MINUTE = 60_000;
/** 8 Mbit/s, as it is typed below. */
const LIMIT_BYTES_PER_SECOND = 1_000_000;
const WINDOW_MS = 1_000;

let folder: Awaited<ReturnType<typeof tempDir>>;
let dataDir: DataDir;
let simulators: Simulators;
let cloud: Program;
let agent: { program: Program; statusSocket: string };
let browser: Browser;
let page: Page;
let demo: Demo;
let cloudUrl: string;
let endpointPorts: number[];
let endpointPort: number;

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('settings');
  dataDir = openDataDir(folder.path);
  const [port = 0, ...others] = await freePorts(3);
  endpointPorts = others;
  cloudUrl = `http://127.0.0.1:${port}`;
  endpointPort = endpointPorts[0] ?? 0;
  simulators = await startSimulators({ dataDir, kind: 'rootless', modems: 1 });
  cloud = await startCloud({ dataDir, port, endpointPorts, slots: simulators.slots });
  demo = readDemo(dataDir.at('demo.json'));
  agent = await startAgent({ dataDir, cloudUrl, simulators, allowTargets: [], claimCode: demo.claimCode });
  await eventually(async () => {
    const { listeners, slots } = await agentStatus(agent.statusSocket);
    return listeners.filter(one => one.listening).length === 2 && slots[0]?.state === 'connected';
  }, 'the node serves');
  browser = await launch();
  ({ page } = await visit(browser, { permissions: ['clipboard-read', 'clipboard-write'] }));
  await page.goto(`${cloudUrl}/login`);
  await page.getByLabel('E-mail').fill(demo.login.email);
  await page.getByLabel('Password', { exact: true }).fill(demo.login.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL('**/dashboard');
});

test.after(async () => {
  await browser?.close();
  await agent?.program.stop(5_000);
  await cloud?.stop(5_000);
  await simulators?.program.stop(5_000);
  dataDir?.release();
  await folder?.remove();
});

const login = () => {
  const { username, secret, name } = demo.credentials[0] ?? assert.fail('the demo has no credential');
  return { username, secret, name };
};

/** A download that never ends, and the bytes that came so far. */
async function endlessDownload(): Promise<{ socket: Socket; carried(): number }> {
  const { host, port } = simulators.origin;
  const { socket } = await socks5(endpointPort, { host, port }, login());
  assert.ok(socket, 'the proxy let the flow through');
  let bytes = 0;
  socket.on('data', chunk => {
    bytes += chunk.length;
  });
  socket.write(`GET /bytes/${2 ** 40} HTTP/1.1\r\nHost: origin\r\n\r\n`);
  socket.resume();
  return { socket, carried: () => bytes };
}

/** Bytes that come in a window of time. */
async function inWindow(carried: () => number): Promise<number> {
  const before = carried();
  await wait(WINDOW_MS);
  return carried() - before;
}

async function switchTo(organization: string): Promise<void> {
  await page.goto(`${cloudUrl}/dashboard`);
  await page.locator('.sidebar .menu summary').first().click();
  const choice = page.locator('.sidebar').getByRole('button', { name: new RegExp(organization) });
  await choice.click();
  await page.locator('.sidebar .menu-boxed > summary', { hasText: organization }).waitFor();
}

/** Types one limit of the credential and saves it. */
async function setLimit(label: string, value: string): Promise<void> {
  await page.goto(`${cloudUrl}/credentials`);
  await page.getByRole('link', { name: new RegExp(`^Limits of ${login().name}`) }).click();
  await page.getByLabel(label).fill(value);
  await page.getByRole('button', { name: 'Save limits' }).click();
  await page.waitForURL(/saved/);
}

test(
  'a running download is slowed down, let go again, and ended by the credential’s end',
  async () => {
    const { socket, carried } = await endlessDownload();
    await eventually(() => carried() > 20_000_000, 'the download runs');
    await setLimit('Download, Mbit/s', '8');
    await eventually(async () => {
      // What the kernels held when the limit came is through; the bucket may have been full once.
      const bytes = await inWindow(carried);
      return bytes > 0 && bytes <= 3 * LIMIT_BYTES_PER_SECOND;
    }, 'the download is slow');
    await setLimit('Download, Mbit/s', '');
    await eventually(
      async () => (await inWindow(carried)) > 4 * LIMIT_BYTES_PER_SECOND,
      'the download is fast again',
    );
    await setLimit('Ends at', '2026-01-01T00:00');
    await eventually(() => {
      // Asked of the kernel: what it was told last may still wait in the stream.
      if (!socket.destroyed) socket.write('\n');
      return socket.destroyed;
    }, 'the download is cut');
    const { reply } = await socks5(endpointPort, simulators.origin, login());
    assert.notEqual(reply, 0, 'and no other begins');
    await setLimit('Ends at', '');
    await eventually(async () => {
      const next = await socks5(endpointPort, simulators.origin, login());
      next.socket?.destroy();
      return next.reply === 0;
    }, 'the credential is served again');
  },
  { deadlineMs: 2 * MINUTE },
);

test(
  'a host’s limit of its modem holds for whoever uses it',
  async () => {
    await switchTo('Rooftop Hosts');
    await page.getByRole('link', { name: /^Limits of / }).click();
    await page.getByLabel('Flows at one time').fill('1');
    await page.getByRole('button', { name: 'Save limits' }).click();
    await page.waitForURL(/saved/);
    const { socket: held } = await socks5(endpointPort, simulators.origin, login());
    assert.ok(held, 'one flow is served');
    await eventually(async () => {
      const next = await socks5(endpointPort, simulators.origin, login());
      next.socket?.destroy();
      return next.reply !== 0;
    }, 'a second flow is refused');
    held.destroy();
    await page.getByLabel('Flows at one time').fill('');
    await page.getByRole('button', { name: 'Save limits' }).click();
    await switchTo('Acme Crawl');
  },
  { deadlineMs: MINUTE },
);

test(
  'an endpoint turned to Shadowsocks serves whoever has the link that the portal shows',
  async () => {
    await page.goto(`${cloudUrl}/endpoints`);
    await page.getByRole('link', { name: 'Settings of Modem 1 SOCKS5' }).click();
    await page.getByLabel('Speaks').selectOption('Shadowsocks');
    await page.getByRole('button', { name: 'Save protocols' }).click();
    await page.waitForURL(/saved=protocols/);
    await page.goto(`${cloudUrl}/endpoints`);
    await page.getByRole('button', { name: 'Copy link: Shadowsocks link of Modem 1 SOCKS5' }).click();
    await page.locator('.command [data-on=true]', { hasText: 'Copied' }).waitFor();
    const parsed = parseShadowsocksLink(await page.evaluate(() => navigator.clipboard.readText()));
    assert.equal(parsed.kind, 'link');
    const { link } = parsed as typeof parsed & { kind: 'link' };
    assert.equal(link.port, endpointPort);
    const method = requireMethod(link.method);
    const keys = keysFromPassword(link.password, method);
    const ask = async (): Promise<string> => {
      const salts = createSaltStore({ capacity: 8, keepMs: null, clock: systemClock });
      const stream = openClient2022(
        method,
        { keys, target: simulators.origin },
        { clock: systemClock, random: randomly, salts },
      );
      const socket = await tcp(link.port);
      const request = Buffer.from('GET /ip HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n');
      const sealed = Buffer.alloc(stream.sealer.bound(request.length));
      socket.write(sealed.subarray(0, stream.sealer.seal(request, sealed)));
      const answer = await readAll(socket).catch(() => Buffer.alloc(0));
      socket.destroy();
      if (answer.length === 0) return '';
      const plain = Buffer.alloc(stream.opener.bound(answer.length));
      return plain.toString('latin1', 0, stream.opener.open(answer, plain));
    };
    let answer = '';
    await eventually(async () => {
      answer = await ask();
      return answer !== '';
    }, 'the endpoint speaks Shadowsocks');
    assert.match(answer, /^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\n127\.\d+\.\d+\.\d+\n$/);
  },
  { deadlineMs: MINUTE },
);

test(
  'what was set is still there after the cloud was started again, with its demo',
  async () => {
    const port = Number(new URL(cloudUrl).port);
    await cloud.stop(5_000);
    const { listeners } = await agentStatus(agent.statusSocket);
    assert.ok(
      listeners.every(one => one.listening),
      'the node serves on',
    );
    cloud = await startCloud({ dataDir, port, endpointPorts, slots: simulators.slots });
    await page.goto(`${cloudUrl}/endpoints`);
    await page.getByRole('button', { name: 'Copy link: Shadowsocks link of Modem 1 SOCKS5' }).waitFor();
  },
  { deadlineMs: MINUTE },
);

test.run();
