/** The portal on the real cloud with its embedded database: the same screens, no fake between. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Browser, Page } from 'playwright-core';
import { buildPortal } from '../../../installer/local/build';
import { cloudBuilt } from '../../support/build-cloud';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { launch, visit } from './browser';

const test = suite('portal on the real cloud', { needs: ['chromium'] });
const STOP_DEADLINE_MS = 10_000;

interface Demo {
  login: { email: string; password: string };
  credentials: { name: string; username: string; secret: string }[];
}

let folder: Awaited<ReturnType<typeof tempDir>>;
let cloud: ChildProcess | undefined;
let stderr = '';
let browser: Browser | undefined;
let url = '';
let demo: Demo;

test.before(async () => {
  await cloudBuilt();
  if (process.env.MASTLINE_BUILT !== '1') await buildPortal();
  folder = await tempDir('portal');
  const output = join(folder.path, 'demo-answer.json');
  const request = join(folder.path, 'demo.json');
  const endpoint = {
    name: 'Slot 1 SOCKS5',
    protocols: ['socks5'],
    listen: { host: '127.0.0.1', port: 21_080 },
  };
  await writeFile(request, JSON.stringify({ output, endpoints: [{ ...endpoint, slots: [1] }] }));
  const main = join(import.meta.dirname, '../../../cloud/dist/main.js');
  const flags = ['--data-dir', join(folder.path, 'data'), '--port', '0', '--demo-seed', request];
  const { DATABASE_URL: _, ...env } = process.env;
  cloud = spawn(process.execPath, [main, ...flags], {
    env: { ...env, NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  cloud.stderr?.on('data', chunk => {
    stderr = `${stderr}${chunk}`.slice(-20_000);
  });
  url = await readyUrl(cloud);
  demo = JSON.parse(await readFile(output, 'utf8'));
  browser = await launch();
});

test.after(async () => {
  await browser?.close();
  if (cloud && cloud.exitCode === null) {
    const gone = once(cloud, 'exit');
    cloud.kill('SIGTERM');
    const timer = setTimeout(() => cloud?.kill('SIGKILL'), STOP_DEADLINE_MS);
    await gone;
    clearTimeout(timer);
  }
  await folder?.remove();
});

/** The address in the line that the cloud prints when it serves; an early end is the error that it wrote. */
function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('exit', code => reject(new Error(`the cloud ended with ${code}:\n${stderr}`)));
    if (!child.stdout) return reject(new Error('the cloud has no stdout'));
    createInterface({ input: child.stdout }).on('line', line => {
      const ready: { ready?: boolean; url?: string } = line.startsWith('{') ? JSON.parse(line) : {};
      if (ready.ready && ready.url) resolve(ready.url);
    });
  });
}

async function enter(page: Page, password: string): Promise<void> {
  await page.goto(`${url}/login`);
  await page.getByLabel('E-mail').fill(demo.login.email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

const opened = () => {
  assert.ok(browser, 'the browser did not start');
  return visit(browser, { permissions: ['clipboard-read', 'clipboard-write'] });
};

test(
  'refuses a wrong password, takes the right one, and is live',
  async () => {
    const { page, complaints, layoutShift, close } = await opened();
    await enter(page, 'wrong');
    assert.match((await page.getByRole('alert').textContent()) ?? '', /is wrong/);
    assert.deepEqual(
      complaints.filter(text => !/401/.test(text)),
      [],
    );
    complaints.length = 0;
    await enter(page, demo.login.password);
    await page.waitForURL('**/dashboard');
    await page.locator('[data-status=live]').waitFor();
    assert.ok((await layoutShift()) < 0.01);
    assert.deepEqual(complaints, [], stderr);
    await close();
  },
  { deadlineMs: 90_000 },
);

test(
  'every screen works under the real security policy, for each organization',
  async () => {
    const { page, complaints, close } = await opened();
    await enter(page, demo.login.password);
    await page.waitForURL('**/dashboard');
    for (const organization of ['Rooftop Hosts', 'Mastline Operations', 'Acme Crawl']) {
      await page.locator('.sidebar .menu summary').first().click();
      await page
        .locator('.sidebar')
        .getByRole('button', { name: new RegExp(organization) })
        .click();
      await page.locator('.sidebar .menu-boxed > summary', { hasText: organization }).waitFor();
      for (const name of ['Dashboard', 'Endpoints', 'Credentials', 'Usage']) {
        await page.locator('.sidebar').getByRole('link', { name, exact: true }).click();
        await page.getByRole('heading', { level: 1, name }).waitFor();
      }
    }
    assert.deepEqual(complaints, [], stderr);
    await close();
  },
  { deadlineMs: 90_000 },
);

test('hands out the secret that the seed made, to the clipboard and to the eye', async () => {
  const { page, complaints, close } = await opened();
  await enter(page, demo.login.password);
  await page.waitForURL('**/dashboard');
  await page.goto(`${url}/credentials`);
  const wanted = demo.credentials[0];
  assert.ok(wanted);
  assert.ok(!(await page.content()).includes(wanted.secret));
  await page.getByRole('button', { name: `Show secret of ${wanted.name}` }).click();
  await page.getByText(wanted.secret).waitFor();
  await page.getByRole('button', { name: `Copy secret of ${wanted.name}` }).click();
  await page.getByText('Copied', { exact: true }).waitFor({ state: 'attached' });
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), wanted.secret);
  assert.deepEqual(complaints, []);
  const csv = await page.request.get(`${url}/usage.csv?range=30d`);
  assert.match(await csv.text(), /^hour_utc,/);
  await close();
});

test('logs out for good: the old cookie opens nothing', async () => {
  const { page, context, close } = await opened();
  await enter(page, demo.login.password);
  await page.waitForURL('**/dashboard');
  const cookies = await context.cookies();
  assert.ok(
    cookies.some(cookie => cookie.httpOnly),
    'the session cookie is out of the reach of scripts',
  );
  await page.locator('.sidebar .menu summary').last().click();
  await page.locator('.sidebar').getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL('**/login');
  await context.addCookies(cookies);
  await page.goto(`${url}/credentials`);
  assert.match(page.url(), /\/login/);
  await close();
});

test.run();
