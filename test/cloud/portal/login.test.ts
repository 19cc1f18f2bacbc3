/** Log-in and log-out in a real browser: errors, throttling, without a script, and the way back. */
import assert from 'node:assert/strict';
import type { Browser } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { EMAIL, PASSWORD } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal log-in', { needs: ['chromium'] });
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.beforeEach(() => {
  portal.cloud.wrongLogIns = 0;
  portal.cloud.sessions.clear();
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

test(
  'leads to the log-in and back to the page that was asked for',
  async () => {
    const { page, complaints, close } = await visit(browser);
    await page.goto(`${portal.url}/usage?range=30d`);
    assert.match(page.url(), /\/login\?to=/);
    assert.equal(await page.title(), 'Log in · Mastline');
    await page.getByLabel('E-mail').fill(EMAIL);
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/usage?range=30d');
    assert.deepEqual(complaints, []);
    await close();
  },
  { deadlineMs: 60_000 },
);

test('says what is wrong, keeps the e-mail address, and goes to the field to mend', async () => {
  const { page, close } = await visit(browser);
  await page.goto(`${portal.url}/login`);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('Enter your e-mail address.').waitFor();
  const email = page.getByLabel('E-mail');
  assert.equal(await email.getAttribute('aria-invalid'), 'true');
  assert.equal(await email.evaluate(field => field === document.activeElement), true);

  await email.fill(EMAIL);
  const password = page.getByLabel('Password', { exact: true });
  await password.fill('wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  const alert = page.getByRole('alert');
  await alert.waitFor();
  assert.match((await alert.textContent()) ?? '', /is wrong/);
  assert.equal(await email.inputValue(), EMAIL);
  assert.equal(await password.evaluate(field => field === document.activeElement), true);
  await close();
});

test('names the wait when it was tried too often', async () => {
  portal.cloud.wrongLogIns = 3;
  const { page, close } = await visit(browser);
  await page.goto(`${portal.url}/login`);
  await page.getByLabel('E-mail').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  assert.match(
    (await page.getByRole('alert').textContent()) ?? '',
    /Too many attempts\. Try again in 30 seconds\./,
  );
  await close();
});

test('is a form that password managers know', async () => {
  const { page, close } = await visit(browser);
  await page.goto(`${portal.url}/login`);
  assert.equal(await page.getByLabel('E-mail').getAttribute('autocomplete'), 'username');
  const password = page.getByLabel('Password', { exact: true });
  assert.equal(await password.getAttribute('autocomplete'), 'current-password');
  assert.equal(await password.getAttribute('type'), 'password');
  await page.getByRole('button', { name: 'Show password' }).click();
  assert.equal(await password.getAttribute('type'), 'text');
  await close();
});

test(
  'works without a script, through to every screen and out again',
  async () => {
    const { page, close } = await visit(browser, { javaScriptEnabled: false });
    await logIn(page, portal.url);
    for (const name of ['Endpoints', 'Credentials', 'Usage']) {
      await page.locator('.sidebar').getByRole('link', { name }).click();
      await page.getByRole('heading', { level: 1, name }).waitFor();
    }
    await page.locator('.sidebar .menu summary').last().click();
    await page.locator('.sidebar').getByRole('button', { name: 'Dark' }).click();
    assert.equal(await page.locator('html').getAttribute('data-look'), 'dark');
    await page.locator('.sidebar .menu summary').last().click();
    await page.locator('.sidebar').getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL('**/login');
    await page.goto(`${portal.url}/credentials`);
    assert.match(page.url(), /\/login\?to=%2Fcredentials/);
    await close();
  },
  { deadlineMs: 60_000 },
);

test('a session that ends elsewhere leads to the log-in with the next click', async () => {
  const { page, close } = await visit(browser);
  await logIn(page, portal.url);
  // By now the zone is told: nothing but the click asks the server for anything.
  await page.goto(`${portal.url}/endpoints`);
  portal.cloud.sessions.clear();
  await page.locator('.sidebar').getByRole('link', { name: 'Credentials' }).click();
  await page.waitForURL('**/login?to=%2Fcredentials');
  await close();
});

test('does not send anyone away from the portal after logging in', async () => {
  const { page, close } = await visit(browser);
  await page.goto(`${portal.url}/login?to=${encodeURIComponent('//evil.example/x')}`);
  await page.getByLabel('E-mail').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL(`${portal.url}/dashboard`);
  await close();
});

test.run();
