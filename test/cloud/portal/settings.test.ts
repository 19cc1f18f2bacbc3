/** What people set in the portal, in a real browser: forms with and without a script, errors beside fields, secrets. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { ORGANIZATIONS } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal settings', { needs: ['chromium'] });
const id = (n: number) => `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

/** The input of the last call of a procedure. */
const lastCall = (path: string) => portal.cloud.calls.findLast(call => call.path === path)?.input;

/** Waits until the last call of a procedure had this input. */
const called = (path: string, input: unknown) =>
  eventually(
    () => isDeepStrictEqual(lastCall(path), input),
    `${path} with ${JSON.stringify(input)}, not ${JSON.stringify(lastCall(path))}`,
  );

/** A refusal as the server's input check makes it. */
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

const saved = (page: Page) => page.getByText('Saved. Connected nodes get it at once.').first().waitFor();

for (const javaScriptEnabled of [true, false])
  test(
    `limits of a credential are shown, changed and taken away ${javaScriptEnabled ? 'with' : 'without'} a script`,
    async () => {
      const { page, complaints, close } = await visit(browser, {
        javaScriptEnabled,
        timezoneId: 'Europe/Berlin',
      });
      await enter(page, `credentials/${id(301)}`);
      await page.getByLabel('Download, Mbit/s').fill('12.5');
      await page.getByLabel('New flows a minute').fill('120');
      await page.getByLabel('Flows at one time').fill('8');
      await page.getByLabel('One flow too many').selectOption('closes the oldest');
      await page.getByLabel('Client addresses').fill('203.0.113.7\n198.51.100.0/24, 2001:db8::/48');
      await page.getByLabel('Target ports').fill('443 8000-8999');
      await page.getByLabel('Ends at').fill('2027-07-01T12:00');
      await page.getByRole('button', { name: 'Save limits' }).click();
      await saved(page);
      const limits = {
        downBytesPerSecond: 1_562_500,
        flowsPerMinute: 120,
        concurrentFlows: 8,
        whenFull: 'close-oldest',
        sourceAddresses: ['203.0.113.7', '198.51.100.0/24', '2001:db8::/48'],
        ports: ['443', '8000-8999'],
        // The zone of the browser, as far as a page without a script knows it.
        expiresAt: Date.UTC(2027, 6, 1, javaScriptEnabled ? 10 : 12),
      };
      assert.deepEqual(lastCall('credentials.setLimits'), { id: id(301), limits });
      await page.goto(`${portal.url}/credentials/${id(301)}`);
      assert.equal(await page.getByLabel('Download, Mbit/s').inputValue(), '12.5');
      assert.equal(await page.getByLabel('Ends at').inputValue(), '2027-07-01T12:00');
      await page.goto(`${portal.url}/credentials`);
      await page.getByRole('link', { name: 'Limits of Price crawler: 12.5 Mbit/s down · 8 flows' }).click();
      for (const label of ['Download, Mbit/s', 'New flows a minute', 'Flows at one time', 'Ends at'])
        await page.getByLabel(label).fill('');
      for (const label of ['Client addresses', 'Target ports']) await page.getByLabel(label).fill('');
      await page.getByRole('button', { name: 'Save limits' }).click();
      await saved(page);
      assert.deepEqual(lastCall('credentials.setLimits'), { id: id(301), limits: {} });
      assert.deepEqual(complaints, []);
      await close();
    },
    { deadlineMs: 60_000 },
  );

test('what is wrong stands beside its field, keeps what was typed, and has the focus', async () => {
  const { page, close } = await visit(browser);
  await enter(page, `credentials/${id(304)}`);
  await page.getByLabel('Upload, Mbit/s').fill('fast');
  await page.getByLabel('Target ports').fill('443 99999');
  await page.getByRole('button', { name: 'Save limits' }).click();
  await page.getByText('Enter 0.008 to 10000 Mbit/s.').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'upBytesPerSecond');
  assert.equal(await page.getByLabel('Upload, Mbit/s').inputValue(), 'fast');
  await page.getByLabel('Upload, Mbit/s').fill('1');
  portal.cloud.failures.set(
    'credentials.setLimits',
    refusal({ path: ['limits', 'ports', 1], message: 'must be a port or a range of ports' }),
  );
  await page.getByRole('button', { name: 'Save limits' }).click();
  await page.getByText('“99999” must be a port or a range of ports.').waitFor();
  assert.equal(await page.getByLabel('Target ports').getAttribute('aria-invalid'), 'true');
  assert.deepEqual(portal.cloud.credentials.find(one => one.id === id(304))?.limits, {});
  await close();
});

for (const javaScriptEnabled of [true, false])
  test(
    `a chain is built, kept and taken apart ${javaScriptEnabled ? 'with' : 'without'} a script, its passwords unseen`,
    async () => {
      const { page, complaints, close } = await visit(browser, { javaScriptEnabled });
      await enter(page, `endpoints/${id(202)}`);
      const hop = (name: string) => page.getByRole('group', { name, exact: true });
      const save = page.getByRole('button', { name: 'Save chain' });
      await hop('Add a hop').getByLabel('Host').fill('one.example.net');
      await hop('Add a hop').getByLabel('Port').fill('1080');
      await hop('Add a hop').getByLabel('User name').fill('acme');
      await hop('Add a hop').getByLabel('Password').fill('hush-hush');
      await save.click();
      await hop('Hop 1').waitFor();
      const first = { id: null, protocol: 'socks5', host: 'one.example.net', port: 1080, username: 'acme' };
      assert.deepEqual(lastCall('endpoints.setChain'), {
        id: id(202),
        hops: [{ ...first, secret: 'hush-hush', method: null }],
      });
      assert.ok(!(await page.content()).includes('hush-hush'));
      const added = hop('Add a hop');
      await added.getByLabel('Protocol').selectOption('Shadowsocks');
      assert.ok(!(await added.getByLabel('User name').isVisible()), 'Shadowsocks has no user name');
      await added.getByLabel('Cipher').selectOption('aes-256-gcm');
      await added.getByLabel('Host').fill('two.example.net');
      await added.getByLabel('Port').fill('8388');
      portal.cloud.failures.set(
        'endpoints.setChain',
        refusal({ path: ['hops', 1, 'secret'], message: 'Shadowsocks needs a password' }),
      );
      await save.click();
      await page.getByText('Shadowsocks needs a password.').waitFor();
      await page.getByRole('group', { name: 'Add a hop' }).getByLabel('Password').fill('second');
      await save.click();
      await hop('Hop 2').waitFor();
      const kept = { ...first, id: id(900), secret: null, method: null };
      assert.deepEqual((lastCall('endpoints.setChain') as { hops: unknown[] }).hops, [
        kept,
        {
          id: null,
          protocol: 'shadowsocks',
          host: 'two.example.net',
          port: 8388,
          username: null,
          secret: 'second',
          method: 'aes-256-gcm',
        },
      ]);
      for (const name of ['Hop 1', 'Hop 2']) await hop(name).getByLabel('Remove this hop').check();
      await save.click();
      await hop('Hop 1').waitFor({ state: 'detached' });
      assert.deepEqual(lastCall('endpoints.setChain'), { id: id(202), hops: [] });
      // The browser itself complains about the refusal.
      assert.deepEqual(
        complaints.filter(text => !/400/.test(text)),
        [],
      );
      await close();
    },
    { deadlineMs: 60_000 },
  );

test('an endpoint is opened to addresses, turned to Shadowsocks, and its link handed out', async () => {
  const { page, complaints, close } = await visit(browser, {
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  await enter(page, `endpoints/${id(201)}`);
  await page.getByLabel('Addresses').fill('203.0.113.7');
  await page.getByLabel('Served as').selectOption('Ad checks');
  await page.getByRole('button', { name: 'Save addresses' }).click();
  await called('endpoints.setOpenTo', {
    id: id(201),
    openTo: { sourceAddresses: ['203.0.113.7'], credentialId: id(302) },
  });
  // The form is made anew with what was saved.
  await page.waitForURL(/saved=open-to/);
  await saved(page);
  await page.getByLabel('Addresses').fill('');
  await page.getByRole('button', { name: 'Save addresses' }).click();
  await called('endpoints.setOpenTo', { id: id(201), openTo: null });

  await page.getByLabel('Speaks').selectOption('Shadowsocks');
  await page.getByLabel('Cipher').first().selectOption('chacha20-ietf-poly1305');
  assert.ok(!(await page.getByLabel('TLS').isVisible()), 'Shadowsocks has no TLS');
  await page.getByRole('button', { name: 'Save protocols' }).click();
  await called('endpoints.setProtocols', {
    id: id(201),
    protocols: ['shadowsocks'],
    method: 'chacha20-ietf-poly1305',
    tls: null,
  });
  await page.waitForURL(/saved=protocols/);
  await page.goto(`${portal.url}/endpoints?credential=${id(302)}`);
  assert.ok(!(await page.content()).includes('ss://Y2hhY2hh'));
  await page.getByRole('button', { name: 'Copy link: Shadowsocks link of Berlin 1', exact: true }).click();
  await page.locator('.command [data-on=true]', { hasText: 'Copied' }).waitFor();
  assert.match(
    await page.evaluate(() => navigator.clipboard.readText()),
    /^ss:\/\/Y2hhY2hh\S+@198\.51\.100\.7:1081#Berlin%201$/,
  );
  assert.deepEqual(lastCall('endpoints.shadowsocksAccess'), { id: id(201), credentialId: id(302) });
  await page.getByRole('button', { name: 'QR code of Berlin 1', exact: true }).click();
  const picture = page.locator('.qr-code');
  await picture.waitFor();
  assert.ok(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth > 0), 'the picture loads');
  await page.getByRole('button', { name: 'Hide of Berlin 1', exact: true }).click();
  await picture.waitFor({ state: 'detached' });
  assert.deepEqual(complaints, []);
  await close();
});

test('a host sets limits of its modems and where its certificate lies', async () => {
  const { page, complaints, close } = await visit(browser);
  await enter(page, `nodes/${id(401)}`, 1);
  await page.getByLabel('Certificate and chain (PEM)').fill('/etc/ssl/new.pem');
  await page.getByRole('button', { name: 'Save certificate' }).click();
  await called('nodes.setCertificate', {
    nodeId: id(401),
    certificate: { certFile: '/etc/ssl/new.pem', keyFile: '/etc/ssl/rooftop/proxy.key' },
  });
  await page.getByRole('link', { name: 'E3372h-320 in slot 1' }).click();
  await page.getByLabel('Flows at one time').fill('100');
  await page.getByRole('button', { name: 'Save limits' }).click();
  await called('nodes.setSlotLimits', { slotId: id(101), limits: { concurrentFlows: 100 } });
  assert.deepEqual(complaints, []);
  await close();
});

test('what is not there, or another’s, is said; who may only look cannot save', async () => {
  const { page, close } = await visit(browser);
  await enter(page, 'endpoints/nowhere');
  await page.getByText('This does not exist, or belongs to another organization.').waitFor();
  await enter(page, `modems/${id(101)}`, 0);
  await page.getByText('This does not exist, or belongs to another organization.').waitFor();
  // A viewer of the operator.
  await enter(page, `modems/${id(101)}`, 2);
  await page.getByText('Only owners, admins and fleet operators can change limits.').waitFor();
  assert.ok(await page.getByLabel('Flows at one time').isDisabled());
  assert.equal(await page.getByRole('button', { name: 'Save limits' }).count(), 0);
  await close();
});

test.run();
