/** Quotas and what is kept of connections, set in a real browser: with and without a script, refusals, who may. */
import assert from 'node:assert/strict';
import type { Browser, Page } from 'playwright-core';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { ORGANIZATIONS } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal quotas and log settings', { needs: ['chromium'] });
const id = (n: number) => `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const GIB = 2 ** 30;
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

const lastCall = (path: string) => portal.cloud.calls.findLast(call => call.path === path)?.input;
const credential = (n: number) => portal.cloud.credentials.find(one => one.id === id(n))!;

function refusal(...issues: { path: (string | number)[]; message: string }[]): Error {
  const error = Object.assign(new Error('refused'), { name: 'TRPCError', code: 'BAD_REQUEST' });
  error.cause = Object.assign(new Error('input'), { issues });
  return error;
}

async function enter(page: Page, path: string, organization = 0): Promise<void> {
  if (page.url() === 'about:blank') await logIn(page, portal.url);
  for (const key of portal.cloud.sessions.keys())
    portal.cloud.sessions.set(key, ORGANIZATIONS[organization]!.id);
  await page.goto(`${portal.url}/${path}`);
}

const quotaCard = (page: Page) => page.getByRole('form', { name: 'Quota' });

for (const javaScriptEnabled of [true, false])
  test(
    `a quota is set, made larger and taken away ${javaScriptEnabled ? 'with' : 'without'} a script, and its end is seen`,
    async () => {
      const { page, complaints, close } = await visit(browser, { javaScriptEnabled });
      credential(301).quota = null;
      await enter(page, `credentials/${id(301)}`);
      const card = quotaCard(page);
      await card.getByText('No quota: it may use as much as it likes.').waitFor();
      assert.equal(await card.getByRole('button', { name: 'Remove quota' }).count(), 0);
      await card.getByLabel('Amount').fill('2,5');
      await card.getByLabel('Anew on day').fill('15');
      await card.getByRole('button', { name: 'Set quota' }).click();
      await page.waitForURL(/saved=quota/);
      await card.getByText('Saved. Connected nodes get it at once.').waitFor();
      assert.deepEqual(lastCall('credentials.setQuota'), {
        id: id(301),
        quota: { bytes: 2.5 * GIB, period: { kind: 'monthly', billingDay: 15 } },
      });
      assert.equal(await card.getByLabel('Amount').inputValue(), '2.5');

      Object.assign(credential(301).quota!, { used: 2.5 * GIB, periodEnd: Date.UTC(2026, 11, 15) });
      await page.goto(`${portal.url}/credentials`);
      const row = page.getByRole('row').filter({ hasText: 'Price crawler' });
      await row.getByText('Used up', { exact: true }).waitFor();
      await row.getByRole('link', { name: /all 2.50 GiB used/ }).click();
      await card.getByText('Used up', { exact: true }).waitFor();
      await card.getByText('or until the quota is made larger or removed').waitFor();

      await card.getByLabel('For', { exact: true }).selectOption('once, until it is used up');
      assert.ok(!(await card.getByLabel('Anew on day').isVisible()), 'what is for once has no day');
      await card.getByLabel('Amount').fill('3');
      await card.getByRole('button', { name: 'Save quota' }).click();
      await card.getByText('In use').waitFor();
      assert.deepEqual(lastCall('credentials.setQuota'), {
        id: id(301),
        quota: { bytes: 3 * GIB, period: { kind: 'total' } },
      });

      await card.getByRole('button', { name: 'Remove quota' }).click();
      await page.waitForURL(/saved=no-quota/);
      assert.deepEqual(lastCall('credentials.setQuota'), { id: id(301), quota: null });
      await card.getByText('No quota: it may use as much as it likes.').waitFor();
      assert.deepEqual(complaints, []);
      await close();
    },
    { deadlineMs: 60_000 },
  );

test('what a quota cannot be stands beside its field, keeps what was typed, and nothing is set', async () => {
  const { page, close } = await visit(browser);
  await enter(page, `credentials/${id(302)}`);
  const card = quotaCard(page);
  const before = structuredClone(credential(302).quota);
  for (const wrong of ['', 'much', '0', '-1', '2000']) {
    await card.getByLabel('Amount').fill(wrong);
    await card.getByLabel('Unit').selectOption('TiB');
    await card.getByRole('button', { name: 'Save quota' }).click();
    await card.getByText('Enter a number: 1 byte at least, 1.00 PiB at most.').waitFor();
    assert.equal(await card.getByLabel('Amount').inputValue(), wrong);
    await page.waitForFunction(() => document.activeElement?.id === 'amount');
    await page.goto(`${portal.url}/credentials/${id(302)}`);
  }
  await card.getByLabel('Anew on day').fill('31');
  portal.cloud.failures.set(
    'credentials.setQuota',
    refusal({ path: ['quota', 'period', 'billingDay'], message: 'must be a day from 1 to 28' }),
  );
  await card.getByRole('button', { name: 'Save quota' }).click();
  await card.getByText('Must be a day from 1 to 28.').waitFor();
  assert.equal(await card.getByLabel('Anew on day').getAttribute('aria-invalid'), 'true');
  assert.equal(await card.getByLabel('Amount').inputValue(), '50');
  assert.deepEqual(credential(302).quota, before);
  await close();
});

test('a quota that programs set to the byte is saved to the byte', async () => {
  const { page, close } = await visit(browser);
  const set = { bytes: 123_456_789_123, period: { kind: 'monthly', billingDay: 28 } } as const;
  credential(304).quota = { ...set, used: 0, lent: 0, periodStart: 0, periodEnd: Date.UTC(2026, 11, 28) };
  await enter(page, `credentials/${id(304)}`);
  await quotaCard(page).getByRole('button', { name: 'Save quota' }).click();
  await page.waitForURL(/saved=quota/);
  assert.deepEqual(lastCall('credentials.setQuota'), { id: id(304), quota: set });
  await close();
});

for (const javaScriptEnabled of [true, false])
  test(`a customer says what is kept of its connections ${javaScriptEnabled ? 'with' : 'without'} a script`, async () => {
    const { page, complaints, close } = await visit(browser, { javaScriptEnabled });
    portal.cloud.log.settings = { connectionLogDays: 30, eventDays: 90, destinations: 'host-and-port' };
    await enter(page, 'connections');
    await page.getByRole('link', { name: 'Kept for 30 days' }).click();
    await page.waitForURL(/\/settings$/);
    assert.equal(await page.getByLabel('Events kept for, days').count(), 0, 'events are a host’s');
    await page.getByLabel('Kept for, days').fill('7');
    await page.getByRole('radio', { name: /^Host only/ }).check();
    await page.getByRole('button', { name: 'Save settings' }).click();
    await page.getByText('Saved.').waitFor();
    assert.deepEqual(lastCall('connections.setSettings'), {
      connectionLogDays: 7,
      eventDays: 90,
      destinations: 'host',
    });
    assert.deepEqual(complaints, []);
    await close();
  });

test('a host says how long events are kept, and its customers’ settings are none of its', async () => {
  const { page, close } = await visit(browser);
  await enter(page, 'dashboard', 1);
  await page.getByRole('group').filter({ hasText: 'Rooftop Hosts' }).first().locator('summary').click();
  await page.getByRole('link', { name: 'Settings of Rooftop Hosts' }).click();
  await page.waitForURL(/\/settings$/);
  assert.equal(await page.getByRole('radio').count(), 0);
  const before = portal.cloud.log.settings;
  await page.getByLabel('Events kept for, days').fill('14');
  await page.getByRole('button', { name: 'Save settings' }).click();
  await eventually(() => portal.cloud.log.settings.eventDays === 14, 'saved');
  assert.deepEqual(portal.cloud.log.settings, { ...before, eventDays: 14 });
  await close();
});

test('days that cannot be are refused beside their field', async () => {
  const { page, close } = await visit(browser);
  await enter(page, 'settings');
  await page.getByLabel('Kept for, days').fill('soon');
  portal.cloud.failures.set(
    'connections.setSettings',
    refusal({ path: ['connectionLogDays'], message: 'must be a whole number of days from 1 to 365' }),
  );
  await page.getByRole('button', { name: 'Save settings' }).click();
  await page.getByText('Must be a whole number of days from 1 to 365.').waitFor();
  assert.equal(await page.getByLabel('Kept for, days').inputValue(), 'soon');
  await page.waitForFunction(() => document.activeElement?.id === 'connectionLogDays');
  await close();
});

test('who may only look sees the settings and cannot save', async () => {
  const { page, close } = await visit(browser);
  await enter(page, 'settings', 2);
  await page.getByText('Only owners and admins can change these settings.').waitFor();
  assert.ok(await page.getByLabel('Events kept for, days').isDisabled());
  assert.equal(await page.getByRole('button', { name: 'Save settings' }).count(), 0);
  await close();
});

test.run();
