/** The System page in a real browser: who sees it, what it shows, how it stays fresh and says when it is not. */
import assert from 'node:assert/strict';
import { TRPCError } from '@trpc/server';
import type { Browser, Page } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { type FakePortal, fakePortal } from './fake-portal';
import { emptySystem } from './fake-system';

const test = suite('portal: the System page', { needs: ['chromium'] });
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

async function asOperator(page: Page): Promise<void> {
  await logIn(page, portal.url);
  await page.locator('.sidebar .menu summary').first().click();
  await page
    .locator('.sidebar')
    .getByRole('button', { name: /Mastline Operations/ })
    .click();
  await page.locator('.sidebar').getByRole('link', { name: 'System' }).click();
  await page.getByRole('heading', { level: 1, name: 'System' }).waitFor();
}

test('customers and hosts have no such page and no way to it', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  assert.equal(await page.getByRole('link', { name: 'System' }).count(), 0);
  assert.equal((await page.goto(`${portal.url}/system`))?.status(), 404);
  assert.equal((await page.request.get(`${portal.url}/system/figures`)).status(), 404);
  await page.context().clearCookies();
  assert.equal((await page.request.get(`${portal.url}/system/figures`)).status(), 401);
  await page.goto(`${portal.url}/system`);
  await page.waitForURL('**/login**');
  await close();
});

test(
  'operators see ingest, lag, back-pressure, jobs and sizes, and figures move by themselves',
  async () => {
    const { page, complaints, layoutShift, close } = await visit(browser);
    await asOperator(page);
    await live(page, 'live');
    assert.equal(await figure(page, 'rate').textContent(), '1,284');
    assert.match((await figure(page, 'connected').textContent()) ?? '', /^117 of 120$/);
    await page.getByText('18,434 records, since 3 h').waitFor();
    const worst = page.getByRole('row', { name: /attic-hamburg/ });
    await worst.getByText('3 h · 18,240 records').waitFor();
    await page.getByRole('cell', { name: 'ledger/gap', exact: true }).waitFor();
    await page.getByText('Failed, try 3').waitFor();
    await page.getByText('Overdue').waitFor();
    await page.getByText('19.2 GiB').waitFor();

    const { system } = portal.cloud;
    system.view.at += 3_000;
    system.view.ingest.recordsPerSecond = 50_123;
    system.nodes[0]!.behind = 17_000;
    await figure(page, 'rate').getByText('50,123').waitFor();
    await worst.getByText('17,000 records').waitFor();
    assert.ok((await layoutShift()) < 0.01, `layout shift ${await layoutShift()}`);
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test(
  'an answer that fails leaves the figures and says so; the next one that comes is live again',
  async () => {
    const { page, close } = await visit(browser);
    await asOperator(page);
    await live(page, 'live');
    portal.cloud.failures.set('system.get', new Error('the database is away'));
    await live(page, 'reconnecting');
    await page.getByRole('row', { name: /attic-hamburg/ }).waitFor();
    await live(page, 'live');
    // Whoever is no operator any more is told so by the page itself.
    portal.cloud.failures.set('system.get', new TRPCError({ code: 'NOT_FOUND' }));
    for (const session of portal.cloud.sessions.keys())
      portal.cloud.sessions.set(session, '01900000-0000-7000-8000-000000000001');
    await page.getByRole('heading', { level: 1, name: 'Not found' }).waitFor();
    await close();
  },
  { deadlineMs: 60_000 },
);

test(
  'nodes are found by name and host, and paged through, by keyboard',
  async () => {
    const { page, complaints, close } = await visit(browser);
    await asOperator(page);
    const rows = page.locator('section', { has: page.locator('#lags-title') }).locator('tbody tr');
    assert.equal(await rows.count(), 25);
    const next = page.getByRole('link', { name: 'Next' });
    await next.focus();
    await page.keyboard.press('Enter');
    await page.waitForURL('**after=25**');
    await page.getByRole('row', { name: /rooftop-025/ }).waitFor();
    for (const first of ['050', '075', '100']) {
      await page.getByRole('link', { name: 'Next' }).click();
      await page.getByRole('row', { name: `rooftop-${first}` }).waitFor();
    }
    await page.getByRole('row', { name: /rooftop-119/ }).waitFor();
    assert.equal(await rows.count(), 20);
    assert.equal(await page.getByRole('link', { name: 'Next' }).count(), 0);
    await page.getByRole('link', { name: 'First' }).click();
    await page.getByRole('row', { name: /attic-hamburg/ }).waitFor();

    await page.getByRole('searchbox', { name: /Find nodes/ }).focus();
    await page.keyboard.type('northern');
    await page.keyboard.press('Enter');
    await page.waitForURL('**q=northern**');
    await page.getByRole('row', { name: /rooftop-072/ }).waitFor();
    assert.equal(await page.getByRole('row', { name: /rooftop-001/ }).count(), 0);
    await page.getByRole('searchbox').fill('no such box');
    await page.keyboard.press('Enter');
    await page.getByText('No node, host or id with “no such box”.').waitFor();

    await page.goto(`${portal.url}/system`);
    await page.locator('.chart-bars').focus();
    await page.keyboard.press('End');
    assert.notEqual(await page.locator('[data-chart=label]').textContent(), 'Whole hour');
    assert.equal(await page.locator('[data-chart=stored]').textContent(), '31,000');
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test(
  'a first day, and a failure, are said; without a script it is a page all the same',
  async () => {
    const before = structuredClone(portal.cloud.system);
    emptySystem(portal.cloud.system);
    const { page, close } = await visit(browser);
    await asOperator(page);
    await page.getByText('No node is enrolled yet').waitFor();
    await page.getByText('No batch was refused.').waitFor();
    portal.cloud.system = before;
    portal.cloud.failures.set('system.get', new Error('broken on purpose'));
    assert.equal((await page.goto(`${portal.url}/system`))?.status(), 500);
    await page.getByRole('alert').waitFor();
    const html = await (await page.request.get(`${portal.url}/system?q=attic`)).text();
    assert.ok(html.includes('attic-hamburg') && html.includes('17,000'));
    await close();
  },
  { deadlineMs: 60_000 },
);

test.run();
