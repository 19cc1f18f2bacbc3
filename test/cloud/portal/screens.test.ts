/** The signed-in screens in a real browser: live figures, copying, secrets, filters, errors, organizations. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Browser, Page } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { SECRET } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal screens', { needs: ['chromium'] });
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

const figure = (page: Page, name: string) => page.locator(`[data-figure=${name}]`);
const live = (page: Page, status: string) => page.locator(`[data-status=${status}]`).waitFor();
const pasted = (page: Page) => page.evaluate(() => navigator.clipboard.readText());

test(
  'shows live figures, says when they stop being live, and comes back',
  async () => {
    const { page, complaints, layoutShift, close } = await visit(browser);
    await logIn(page, portal.url);
    await live(page, 'live');
    portal.cloud.publish(overview => {
      overview.throughput = { downBytesPerSecond: 125_000_000, upBytesPerSecond: 1 };
      overview.today = { downBytes: 5 * 1024 ** 4, upBytes: 0, flows: 1 };
      overview.modems[0]!.state = 'rotating';
      overview.modems[0]!.exitAddress = '198.51.100.200';
    });
    await figure(page, 'down').getByText('1.0 Gbit/s').waitFor();
    await figure(page, 'today').getByText('5.00 TiB').waitFor();
    await page.getByText('Changing address').waitFor();
    await page.getByText('198.51.100.200').waitFor();

    portal.refuseLive = true;
    portal.cutLive();
    await live(page, 'reconnecting');
    portal.refuseLive = false;
    await live(page, 'live');
    assert.ok((await layoutShift()) < 0.01, `layout shift ${await layoutShift()}`);
    // The refusal itself is written to the console by the browser; nothing else may be.
    assert.deepEqual(
      complaints.filter(text => !/503/.test(text)),
      [],
    );
    await close();
  },
  { deadlineMs: 60_000 },
);

test('the live screen leads to the log-in when the session ends', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await live(page, 'live');
  portal.cloud.sessions.clear();
  portal.cutLive();
  await page.waitForURL('**/login**');
  await close();
});

test('copies an address, and a command with the secret that the page itself never held', async () => {
  const { page, complaints, close } = await visit(browser, {
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/endpoints`);
  await page.getByRole('button', { name: 'Copy address of Berlin 1', exact: true }).click();
  await page.getByText('Copied', { exact: true }).first().waitFor({ state: 'attached' });
  assert.equal(await pasted(page), '198.51.100.7:1081');

  await page.getByLabel('Commands for').selectOption({ label: 'Ad checks' });
  await page.waitForURL('**/endpoints?credential=*');
  await page.getByText('acme-ad-checks:••••••••').first().waitFor();
  await page.getByRole('button', { name: /curl command of Berlin 1 web over HTTP/ }).click();
  await page.locator('.command [data-on=true]', { hasText: 'Copied' }).waitFor();
  assert.equal(
    await pasted(page),
    `curl --proxy http://198.51.100.7:8081 --proxy-user acme-ad-checks:${SECRET} https://api.ipify.org`,
  );
  assert.ok(!(await page.content()).includes(SECRET));
  assert.deepEqual(complaints, []);
  await close();
});

test('a secret is fetched when asked for, shown, hidden, and not in the page before', async () => {
  const { page, close, complaints } = await visit(browser, {
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  await logIn(page, portal.url);
  const first = await page.goto(`${portal.url}/credentials`);
  assert.ok(!(await first!.text()).includes(SECRET));
  assert.equal(portal.cloud.calls.filter(call => call.path === 'credentials.reveal').length > 0, true);
  const before = portal.cloud.calls.length;
  const box = page.getByRole('row', { name: /Price crawler/ });
  await box.getByRole('button', { name: 'Show secret of Price crawler' }).click();
  await box.getByText(SECRET).waitFor();
  assert.equal(portal.cloud.calls.slice(before).filter(call => call.path === 'credentials.reveal').length, 1);
  await box.getByRole('button', { name: 'Hide secret of Price crawler' }).click();
  assert.ok(!(await page.content()).includes(SECRET));
  await box.getByRole('button', { name: 'Copy secret of Price crawler' }).click();
  await box.getByText('Copied', { exact: true }).waitFor({ state: 'attached' });
  assert.equal(await pasted(page), SECRET);
  assert.deepEqual(complaints, []);
  await close();
});

test('a role without the right to secrets is told so, and a refusal is said aloud', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/credentials`);
  const { TRPCError } = await import('@trpc/server');
  portal.cloud.failures.set('credentials.reveal', new TRPCError({ code: 'FORBIDDEN' }));
  await page.getByRole('button', { name: 'Show secret of Ad checks' }).click();
  await page.getByText(/Your role in this organization does not allow this/).waitFor();
  const asked = await page.request.get(`${portal.url}/credentials/x/reveal`);
  assert.equal(asked.status(), 405);
  await close();
});

test(
  'filters usage, keeps the figures together, and pages through the table',
  async () => {
    const { page, complaints, layoutShift, close } = await visit(browser);
    await logIn(page, portal.url);
    await page.goto(`${portal.url}/usage`);
    const total = page.locator('#chart-title .number');
    const all = await total.textContent();
    await page.getByRole('combobox', { name: 'Credential' }).selectOption({ label: 'Ad checks' });
    await page.waitForURL('**credential=*');
    await page.waitForFunction(
      was => document.querySelector('#chart-title .number')?.textContent !== was,
      all,
    );
    const asked = portal.cloud.calls.findLast(
      call =>
        call.path === 'usage.query' && (call.input as { credentialId?: string }).credentialId !== undefined,
    );
    assert.ok(asked, 'the filter reached the server');
    for (const row of await page.locator('.usage-rows tbody tr').allTextContents())
      assert.match(row, /Ad checks/);

    await page.getByRole('link', { name: 'By hour' }).click();
    await page.waitForURL('**by=hour*');
    assert.match(page.url(), /credential=/);
    await page.getByRole('link', { name: '30 days' }).click();
    await page.waitForURL('**range=30d*');
    await page.getByRole('link', { name: 'Older' }).click();
    await page.getByText(/Page 2 of/).waitFor();
    assert.ok((await layoutShift()) < 0.02, `layout shift ${await layoutShift()}`);
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test('the chart says under the pointer and the arrow keys what the table says', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/usage?range=today`);
  const chart = page.getByRole('slider');
  await chart.focus();
  await page.keyboard.press('End');
  const down = (await page.locator('[data-chart=down]').textContent()) ?? '';
  assert.match((await page.locator('[data-chart=label]').textContent()) ?? '', /\d\d:00 – \d\d:00/);
  assert.ok((await chart.getAttribute('aria-valuetext'))?.includes(down));
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('[data-chart=label]').textContent(), 'Whole range');
  await chart.hover({ position: { x: 5, y: 60 } });
  assert.match((await page.locator('[data-chart=label]').textContent()) ?? '', /00:00 – 01:00/);
  await close();
});

test('the CSV holds every row with exact bytes', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/usage?range=30d`);
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'CSV' }).click(),
  ]);
  const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\r\n');
  const inRange = portal.cloud.usage.filter(row =>
    lines.some(line => line.startsWith(new Date(row.hour).toISOString())),
  );
  assert.ok(inRange.length > 2000, 'more rows than one answer holds, so that the ranges are joined');
  assert.equal(lines.length - 1, inRange.length);
  const sum = lines.slice(1).reduce((total, line) => total + Number(line.split(',')[7]), 0);
  assert.equal(
    sum,
    inRange.reduce((total, row) => total + row.downBytes, 0),
  );
  assert.match(download.suggestedFilename(), /^mastline-usage-\d{4}-\d\d-\d\d-to-\d{4}-\d\d-\d\d\.csv$/);
  await close();
});

test('switching the organization changes whose figures are shown, and explains empty screens', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await live(page, 'live');
  await page.locator('.sidebar .menu summary').first().click();
  await page
    .locator('.sidebar')
    .getByRole('button', { name: /Rooftop Hosts/ })
    .click();
  await page.getByText('No modem has reported yet').waitFor();
  for (const [screen, words] of [
    ['endpoints', 'No endpoints in this organization'],
    ['credentials', 'No credentials in this organization'],
    ['usage', 'Nothing used in 7 days'],
  ]) {
    await page.goto(`${portal.url}/${screen}`);
    await page.getByText(words!).waitFor();
  }
  await close();
});

test('an error of the server gives the request id, keeps the menu, and hides the insides', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  portal.cloud.failures.set('endpoints.list', new Error('secret insides of the database'));
  const answer = await page.goto(`${portal.url}/endpoints`);
  assert.equal(answer?.status(), 500);
  await page.getByRole('heading', { name: 'This screen could not be shown' }).waitFor();
  assert.match((await page.locator('.request-id').textContent()) ?? '', /req-[0-9a-f]{8}/);
  assert.ok(!(await page.content()).includes('insides'));
  assert.equal(await page.title(), 'Problem · Mastline');
  assert.ok(portal.cloud.logged.some(error => error instanceof Error && /insides/.test(error.message)));
  await page.getByRole('link', { name: 'Try again' }).click();
  await page.getByRole('heading', { level: 1, name: 'Endpoints' }).waitFor();

  const missing = await page.goto(`${portal.url}/nowhere`);
  assert.equal(missing?.status(), 404);
  await page.getByRole('heading', { name: 'Not found' }).waitFor();
  await page.locator('.sidebar').getByRole('link', { name: 'Usage' }).click();
  await page.getByRole('heading', { level: 1, name: 'Usage' }).waitFor();
  await close();
});

test('a server that is away is named as such, and the screen comes back', async () => {
  const { page, context, close } = await visit(browser);
  await logIn(page, portal.url);
  const go = (name: string) => page.locator('.sidebar').getByRole('link', { name, exact: true }).click();
  await go('Endpoints');
  await page.getByRole('heading', { level: 1, name: 'Endpoints' }).waitFor();
  await go('Usage');
  await page.getByRole('heading', { level: 1, name: 'Usage' }).waitFor();
  assert.equal(await page.locator('#announcer').textContent(), 'Usage · Mastline');
  await context.setOffline(true);
  await go('Endpoints');
  await page.getByRole('heading', { name: 'Mastline cannot be reached' }).waitFor();
  await context.setOffline(false);
  await page.getByRole('link', { name: 'Try again' }).click();
  await page.getByRole('heading', { level: 1, name: 'Endpoints' }).waitFor();
  await close();
});

test('no cache keeps what a page shows, neither the page nor its data', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  for (const path of ['/credentials', '/credentials.data', '/usage.csv'])
    assert.equal(
      (await page.request.get(`${portal.url}${path}`)).headers()['cache-control'],
      'no-store',
      path,
    );
  await close();
});

test.run();
