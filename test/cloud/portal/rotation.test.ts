/** The address of a modem in a real browser: changed with and without scripts, by schedule, by secret link. */
import assert from 'node:assert/strict';
import type { Browser, Page } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal: the address of a modem', { needs: ['chromium'] });
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

const calls = (path: string) => portal.cloud.calls.filter(call => call.path === path);

async function toTheModem(page: Page): Promise<void> {
  await logIn(page, portal.url);
  await page
    .getByRole('link', { name: /^Change address of .*slot 1$/ })
    .first()
    .click();
  await page.waitForURL('**/modems/*/address');
}

test('a click changes the address, and the outcome appears by itself', async () => {
  const { page, complaints, close } = await visit(browser);
  await toTheModem(page);
  await page.getByText('has not been changed yet').waitFor();
  // Both of its addresses are there.
  await page.getByText('By IPv6').waitFor();
  await page.getByText('2001:db8:7:101::2', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Change address now' }).click();
  await page.locator('[data-outcome=under-way]').waitFor();
  await page.locator('[data-outcome=rotated]').waitFor();
  await page
    .getByText('changed from 198.18.3.10 to 198.18.3.11 in 6.2 s, by a new data connection')
    .waitFor();
  await page.getByRole('row', { name: /Changed 198\.18\.3\.10 → 198\.18\.3\.11 A person 6\.2 s/ }).waitFor();
  await page.getByText('100 %').waitFor();
  assert.equal(calls('rotations.start').length, 1);
  assert.deepEqual(complaints, []);
  await close();
});

test('what did not work is said as it was', async () => {
  portal.cloud.rotations.next = { outcome: 'collision', newAddress: '198.18.3.10', reason: 'again' };
  const { page, close } = await visit(browser);
  await toTheModem(page);
  await page.getByRole('button', { name: 'Change address now' }).click();
  await page.locator('[data-outcome=collision]').waitFor();
  await page.getByText('The carrier gave the same address again (198.18.3.10)').waitFor();
  portal.cloud.rotations.next = { outcome: 'unavailable', reason: 'try again in 9 s', newAddress: null };
  await page.getByRole('button', { name: 'Change address now' }).click();
  await page.getByText('Nothing was tried: try again in 9 s.').waitFor();
  portal.cloud.rotations.next = {};
  await close();
});

test('without scripts the form waits for the end', async () => {
  const { page, close } = await visit(browser, { javaScriptEnabled: false });
  await logIn(page, portal.url);
  const slotId = portal.cloud.overview.modems[0]?.slotId;
  await page.goto(`${portal.url}/modems/${slotId}/address`);
  await page.getByRole('button', { name: 'Change address now' }).click();
  await page.waitForURL('**/address?rotation=*');
  assert.deepEqual(calls('rotations.start').at(-1)?.input, { slotId, waitMs: 25_000 });
  await close();
});

test('a schedule is saved, and what is wrong in it is named by its field', async () => {
  const { page, complaints, close } = await visit(browser);
  await toTheModem(page);
  await page.getByLabel('At times of the day').check();
  await page.getByLabel('Times of the day', { exact: true }).fill('4 o’clock');
  await page.getByLabel('Time zone of these').fill('Mars');
  await page.getByRole('button', { name: 'Save schedule' }).click();
  await page.getByText('Times such as 04:00, 16:30').waitFor();
  await page.getByText('such as Europe/Berlin').waitFor();
  assert.equal(calls('rotations.setSchedule').length, 0);
  await page.getByLabel('Times of the day', { exact: true }).fill('04:00 16:30');
  await page.getByLabel('Time zone of these').fill('Europe/Berlin');
  await page.getByRole('button', { name: 'Save schedule' }).click();
  await page.getByText('Daily at 04:00, 16:30 (Europe/Berlin)').waitFor();
  assert.deepEqual(portal.cloud.rotations.schedule, { at: ['04:00', '16:30'], timeZone: 'Europe/Berlin' });
  await page.getByLabel('Only when asked').check();
  await page.getByRole('button', { name: 'Save schedule' }).click();
  await page.getByText('Only when somebody asks').waitFor();
  assert.equal(portal.cloud.rotations.schedule, null);
  assert.deepEqual(complaints, []);
  await close();
});

test('a secret link is shown once, listed without its secret, and revoked', async () => {
  const { page, close } = await visit(browser);
  await toTheModem(page);
  await page.getByRole('button', { name: 'Make link' }).click();
  await page.getByText('A name of 1 to 80 characters').waitFor();
  await page.getByLabel('Name of a new link').fill('crawler');
  await page.getByRole('button', { name: 'Make link' }).click();
  await page.getByText(`${portal.url}/rotate/x7Qm2xVb9TfZr4LwNs8HdJ5cYp3`).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Revoke link crawler' }).waitFor();
  assert.ok(!(await page.content()).includes('x7Qm2xVb9'));
  await page.getByRole('button', { name: 'Revoke link crawler' }).click();
  await page.getByRole('button', { name: 'Revoke link crawler' }).waitFor({ state: 'detached' });
  assert.deepEqual(portal.cloud.rotations.links, []);
  await close();
});

test('whoever may only look sees no buttons', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  // The third organization, in which Ana is a viewer.
  const session = [...portal.cloud.sessions.keys()].at(-1) ?? '';
  portal.cloud.sessions.set(session, '01900000-0000-7000-8000-000000000003');
  const slotId = portal.cloud.overview.modems[0]?.slotId;
  await page.goto(`${portal.url}/modems/${slotId}/address`);
  await page.getByRole('heading', { name: 'Lately' }).waitFor();
  assert.equal(await page.getByRole('button', { name: /Change address|Save schedule|Make link/ }).count(), 0);
  await close();
});

test.run();
