/**
 * Every screen in both looks and two widths, for eyes: `npx tsx test/cloud/portal/take-screenshots.ts [folder]`.
 * Not a test; what can be told without eyes is in the tests beside it.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { launch, logIn, visit } from './browser';
import { aModem, ORGANIZATIONS } from './fake-api';
import { fakePortal } from './fake-portal';
import { emptySystem } from './fake-system';

const OPERATOR = ORGANIZATIONS.find(one => one.kinds.includes('operator'))?.id ?? '';
const folder = process.argv[2] ?? '/tmp/mastline-portal';
await mkdir(folder, { recursive: true });
const portal = await fakePortal(Date.UTC(2026, 10, 23, 14, 20));
const browser = await launch();
const spent = portal.cloud.credentials.find(one => one.name === 'New project');
if (spent)
  spent.quota = {
    ...{ bytes: 10 * 2 ** 30, used: 10 * 2 ** 30, lent: 0, period: { kind: 'total' } },
    ...{ periodStart: Date.UTC(2026, 10, 2), periodEnd: null },
  };

for (const look of ['light', 'dark'] as const)
  for (const width of [1440, 360]) {
    const { page, close } = await visit(browser, {
      viewport: { width, height: width === 360 ? 780 : 900 },
      colorScheme: look,
      timezoneId: 'Europe/Berlin',
      deviceScaleFactor: width === 360 ? 2 : 1,
      isMobile: width === 360,
      hasTouch: width === 360,
    });
    await page.clock.setFixedTime(Date.UTC(2026, 10, 23, 14, 20));
    const shoot = (name: string) =>
      page.screenshot({ path: join(folder, `${name}-${look}-${width}.png`), fullPage: true });
    portal.cloud.wrongLogIns = 0;
    await page.goto(`${portal.url}/login`);
    await shoot('login');
    await page.getByLabel('E-mail').fill('ana@acme.example');
    await page.getByLabel('Password', { exact: true }).fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').waitFor();
    await shoot('login-wrong');
    await logIn(page, portal.url);
    await page.locator('[data-status=live]').waitFor();
    for (let second = 0; second < 45; second += 1) {
      portal.cloud.publish(overview => {
        const wave = (phase: number) => 0.55 + 0.45 * Math.sin(second / 5 + phase) * Math.cos(second / 11);
        overview.at = Date.UTC(2026, 10, 23, 14, 20) + second;
        overview.modems = [
          aModem({
            slot: 1,
            downBytesPerSecond: Math.round(2_400_000 * wave(0)),
            upBytesPerSecond: Math.round(260_000 * wave(2)),
            openFlows: 42,
          }),
          aModem({
            slot: 2,
            downBytesPerSecond: Math.round(900_000 * wave(1)),
            upBytesPerSecond: Math.round(120_000 * wave(3)),
            openFlows: 17,
          }),
          ...overview.modems.slice(2),
        ];
        overview.throughput = {
          downBytesPerSecond: overview.modems.reduce((total, one) => total + one.downBytesPerSecond, 0),
          upBytesPerSecond: overview.modems.reduce((total, one) => total + one.upBytesPerSecond, 0),
        };
      });
      await new Promise(resolve => setTimeout(resolve, width === 1440 && look === 'light' ? 1000 : 60));
    }
    await shoot('dashboard');
    const settings = '01900000-0000-7000-8000-000000000';
    for (const [name, path] of [
      ['endpoints', 'endpoints'],
      ['endpoint', `endpoints/${settings}203`],
      ['endpoint-shadowsocks', `endpoints/${settings}205`],
      ['credentials', 'credentials'],
      ['credential', `credentials/${settings}302`],
      ['credential-spent', `credentials/${settings}304`],
      ['settings', 'settings'],
      ['usage', 'usage'],
      ['connections', 'connections'],
      ['connections-older', 'connections?range=all&outcome=refused'],
    ] as const) {
      await page.goto(`${portal.url}/${path}`);
      await page.waitForLoadState('networkidle');
      await shoot(name);
    }
    await page.goto(`${portal.url}/usage?range=7d&by=hour`);
    await page.locator('.chart-bars').focus();
    for (let step = 0; step < 40; step += 1) await page.keyboard.press('ArrowLeft');
    await shoot('usage-hours');
    const mine = [...portal.cloud.sessions].at(-1)?.[0] ?? '';
    portal.cloud.sessions.set(mine, OPERATOR);
    await page.goto(`${portal.url}/system`);
    await page.locator('[data-status=live]').waitFor();
    await page.locator('.chart-bars').focus();
    for (let step = 0; step < 16; step += 1) await page.keyboard.press('ArrowLeft');
    await shoot('system');
    const installation = structuredClone(portal.cloud.system);
    emptySystem(portal.cloud.system);
    await page.goto(`${portal.url}/system`);
    await page.locator('[data-status=live]').waitFor();
    await shoot('system-empty');
    portal.cloud.system = installation;
    portal.cloud.sessions.set(mine, ORGANIZATIONS[0]?.id ?? '');
    await page.goto(`${portal.url}/nowhere`);
    await shoot('not-found');
    portal.cloud.failures.set('credentials.list', new Error('broken on purpose'));
    await page.goto(`${portal.url}/credentials`);
    await shoot('error');
    // What only the host of a modem sees.
    for (const [session, organization] of portal.cloud.sessions)
      if (organization.endsWith('001')) portal.cloud.sessions.set(session, `${settings}002`);
    await page.goto(`${portal.url}/modems/${settings}101`);
    await page.waitForLoadState('networkidle');
    await shoot('modem');
    for (const session of portal.cloud.sessions.keys()) portal.cloud.sessions.set(session, `${settings}001`);
    const used = portal.cloud.usage;
    portal.cloud.usage = [];
    await page.goto(`${portal.url}/usage`);
    await shoot('usage-empty');
    portal.cloud.usage = used;
    const { connections } = portal.cloud.log;
    portal.cloud.log.connections = [];
    await page.goto(`${portal.url}/connections`);
    await shoot('connections-empty');
    portal.cloud.log.connections = connections;
    portal.cloud.failures.set('connections.list', new Error('broken on purpose'));
    await page.goto(`${portal.url}/connections`);
    await shoot('connections-error');
    await page.goto(`${portal.url}/endpoints`);
    await page.waitForLoadState('networkidle');
    await page.locator('.menu:visible > summary').first().click();
    await page.screenshot({ path: join(folder, `menu-${look}-${width}.png`) });
    await page.keyboard.press('Escape');
    await page.locator('.menu:visible > summary').last().click();
    await page.screenshot({ path: join(folder, `user-menu-${look}-${width}.png`) });
    await close();
  }
await browser.close();
await portal.close();
