/** A modem's days in the portal, in a real browser: figures, alarms in words, in both looks and on a phone. */
import assert from 'node:assert/strict';
import type { Browser, Page } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { ORGANIZATIONS } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal: counted three ways', { needs: ['chromium'] });
const MODEM = 'modems/01900000-0000-7000-8000-000000000101';
/** Where to leave pictures for eyes, if at all. */
const PICTURES = process.env.PICTURES;
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(Date.UTC(2026, 10, 23, 14, 20)), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

async function asHost(page: Page): Promise<void> {
  await logIn(page, portal.url);
  for (const key of portal.cloud.sessions.keys()) portal.cloud.sessions.set(key, ORGANIZATIONS[1]!.id);
  await page.goto(`${portal.url}/${MODEM}`);
}

for (const colorScheme of ['light', 'dark'] as const)
  for (const width of [1280, 360])
    test(`${colorScheme}, ${width} px: fourteen days, the alarm and its cause, nothing beyond the edge`, async () => {
      const { page, complaints, close } = await visit(browser, {
        ...{ viewport: { width, height: 800 }, colorScheme, isMobile: width === 360 },
      });
      await asHost(page);
      const rows = page.locator('.reconciliation-days tbody tr');
      assert.equal(await rows.count(), 14);
      const alarm = page.locator('.reconciliation-alarm');
      assert.equal(await alarm.count(), 1);
      assert.match(
        (await alarm.textContent()) ?? '',
        /Wed 18 Nov: \+1\.15 GiB \(2\.\d\d %\)\. More went over the modem/,
      );
      const states = await rows.locator('.pill').allTextContents();
      assert.deepEqual(states.slice(0, 3), ['Under way', 'Records to come', 'Even']);
      assert.equal(states[5], 'Look at it');
      assert.match((await rows.nth(3).textContent()) ?? '', /6\.77 MiB/, 'what a crash left');
      const edge = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(edge <= 0, `${edge} px too wide`);
      if (PICTURES !== undefined) {
        await page.locator('#reconciliation-title').scrollIntoViewIfNeeded();
        await page.evaluate(() => document.querySelector('#reconciliation-title')?.scrollIntoView());
        await page.screenshot({ path: `${PICTURES}/days-${colorScheme}-${width}.png` });
      }
      assert.deepEqual(complaints, []);
      await close();
    });

test('a modem whose node has told nothing yet says so', async () => {
  const days = portal.cloud.slotDays;
  portal.cloud.slotDays = [];
  const { page, close } = await visit(browser);
  await asHost(page);
  await page.getByText('The node has not told any day yet.').waitFor();
  portal.cloud.slotDays = days;
  await close();
});

test.run();
