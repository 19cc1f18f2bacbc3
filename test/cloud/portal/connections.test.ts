/** The screen of connections and a node's events, in a real browser: filters, pages, a file, emptiness, narrowness. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Browser } from 'playwright-core';
import {
  formatDuration,
  logQuery,
  logQuestion,
  logView,
  outcomeWord,
  targetText,
} from '../../../cloud/app/connections-view';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal: connections', { needs: ['chromium'] });
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

const asked = (path: string) =>
  portal.cloud.calls.filter(call => call.path === path).at(-1)?.input as Record<string, unknown>;

test('an address is read with care and written back as it was', () => {
  const view = logView(
    new URLSearchParams(
      'range=7d&credential=01900000-0000-7000-8000-000000000302&outcome=no-modem&modem=nonsense&after=1-x',
    ),
  );
  assert.deepEqual(view, {
    range: '7d',
    credentialId: '01900000-0000-7000-8000-000000000302',
    outcome: 'no-modem',
  });
  assert.deepEqual(logView(new URLSearchParams(logQuery(view))), view);
  assert.deepEqual(logQuestion(view, 8 * 86_400_000).from, 86_400_000);
  assert.deepEqual(logQuestion({ range: 'all' }, 1), {});
  assert.ok(!logQuery({ ...view, after: '1-2' }, { range: '1h' }).includes('after'));
  assert.equal(logView(new URLSearchParams('range=year')).range, '24h');
});

test('durations, outcomes and targets are words that people read', () => {
  assert.deepEqual([5, 5_200, 200_000, 7_500_000].map(formatDuration), [
    '5 ms',
    '5.2 s',
    '3 min 20 s',
    '2 h 5 min',
  ]);
  assert.deepEqual(['ok', 'cut', 'origin-timeout'].map(outcomeWord), ['Done', 'Cut off', 'Origin timeout']);
  assert.equal(targetText({ host: '2001:db8::1', port: 443 }), '[2001:db8::1]:443');
  assert.equal(targetText({ host: 'a.example', port: null }), 'a.example');
  assert.equal(targetText({ host: null, port: null }), null);
});

test(
  'filters by credential, modem and outcome, pages by keyboard, and every line is told',
  async () => {
    const { page, complaints, close } = await visit(browser);
    await logIn(page, portal.url);
    await page.getByRole('link', { name: 'Connections' }).first().click();
    await page.waitForURL('**/connections');
    const rows = page.locator('.connection-rows tbody tr');
    await rows.nth(49).waitFor();
    assert.equal(await rows.count(), 50);
    const newest = await rows.first().textContent();
    const firstIs = (text: string | null, isSame: boolean) =>
      page.waitForFunction(
        ([was, same]) => (document.querySelector('.connection-rows tbody tr')?.textContent === was) === same,
        [text, isSame] as const,
      );
    await page.getByRole('link', { name: 'Older' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL('**after=*');
    await firstIs(newest, false);
    await page.getByRole('link', { name: 'Newest' }).click();
    await page.waitForURL(url => !url.search.includes('after'));
    await firstIs(newest, true);

    await page.getByRole('combobox', { name: 'Outcome' }).selectOption({ label: 'Refused' });
    await page.waitForURL('**outcome=refused*');
    await page.waitForFunction(
      () => !document.querySelector('.connection-rows')?.textContent?.includes('Done'),
    );
    await page.getByText('No modem × 12').first().waitFor();
    await page.getByRole('combobox', { name: 'Credential' }).selectOption({ label: 'Ad checks' });
    await page.waitForURL('**credential=*');
    await page.waitForFunction(() =>
      [...document.querySelectorAll('.connection-rows tbody tr')].every(row =>
        row.textContent?.includes('Ad checks'),
      ),
    );
    assert.equal(asked('connections.list').outcome, 'refused');
    assert.ok(asked('connections.list').credentialId);
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test('the file has what the filters let through', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/connections?range=all&outcome=refused`);
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'CSV' }).click(),
  ]);
  const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\r\n');
  const refused = portal.cloud.log.connections.filter(row => !['ok', 'cut'].includes(row.outcome));
  assert.equal(lines.length - 1, refused.length);
  assert.match(lines[0] ?? '', /^ended_at_utc,started_at_utc,credential_id,/);
  assert.match(download.suggestedFilename(), /^mastline-connections-\d{4}-\d\d-\d\d\.csv$/);
  await close();
});

test('nothing to show, and something that broke, are said', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  const { connections } = portal.cloud.log;
  portal.cloud.log.connections = [];
  await page.goto(`${portal.url}/connections`);
  await page.getByText('No connections in 24 h').waitFor();
  await page.goto(`${portal.url}/connections?outcome=cut`);
  await page.getByRole('link', { name: 'Clear filters' }).click();
  await page.waitForURL(url => !url.search.includes('outcome'));
  portal.cloud.log.connections = connections;
  portal.cloud.failures.set('connections.list', new Error('broken on purpose'));
  await page.goto(`${portal.url}/connections`);
  assert.ok((await page.locator('main').textContent())?.match(/wrong|try again/i));
  assert.ok(!(await page.content()).includes('broken on purpose'));
  await close();
});

test(
  'a host reads what happened on its node, at 360 px without sideways scrolling',
  async () => {
    const { page, complaints, close } = await visit(browser, { viewport: { width: 360, height: 780 } });
    await logIn(page, portal.url);
    await page.goto(`${portal.url}/connections?range=all`);
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    assert.equal(await wide(), false);
    await page.locator('.menu:visible > summary').first().click();
    await page.getByRole('button', { name: /Rooftop Hosts/ }).click();
    await page.waitForLoadState('networkidle');
    const node = portal.cloud.nodes.find(one => one.own);
    portal.cloud.log.dropped = { events: 3, flows: 1_200 };
    await page.goto(`${portal.url}/nodes/${node?.id}`);
    await page.getByText('failed: sim-out-of-credit, The SIM has no credit left').waitFor();
    await page.getByText('2001:db8:85a3::8a2e:370:7334').waitFor();
    await page.getByText('1,200').waitFor();
    assert.equal(await wide(), false);
    await page.getByRole('link', { name: 'Alarms' }).click();
    await page.waitForURL('**severity=alarm*');
    await page.waitForFunction(() => document.querySelectorAll('.events li').length === 1);
    assert.deepEqual(asked('events.list').severities, ['alarm']);
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test.run();
