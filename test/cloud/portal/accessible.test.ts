/** What everybody must be able to do: keyboard alone, both looks, narrow and wide, nothing that moves or lacks a name. */
import assert from 'node:assert/strict';
import type { Browser, Page } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { ORGANIZATIONS } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal for everybody', { needs: ['chromium'] });
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

const OPERATOR = ORGANIZATIONS.find(one => one.kinds.includes('operator'))?.id ?? '';
const SCREENS = [
  'dashboard',
  'endpoints',
  'credentials',
  'usage',
  'usage?range=7d&by=hour',
  'usage?range=30d',
  'connections',
  'connections?range=all&outcome=refused',
  'endpoints/01900000-0000-7000-8000-000000000203',
  'endpoints/01900000-0000-7000-8000-000000000205',
  'credentials/01900000-0000-7000-8000-000000000302',
  'settings',
  'modems/01900000-0000-7000-8000-000000000101/address',
];

/** What axe would call serious, as far as it can be told simply. */
function faults(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const visible = (element: Element) => element.checkVisibility({ visibilityProperty: true });
    const textOf = (ids: string | null) =>
      (ids ?? '')
        .split(' ')
        .map(id => document.getElementById(id)?.textContent ?? '')
        .join('');
    const named = (element: Element) =>
      (element.getAttribute('aria-label') ?? '') +
      textOf(element.getAttribute('aria-labelledby')) +
      (element.textContent ?? '') +
      ('labels' in element
        ? [...((element.labels as NodeList | null) ?? [])].map(l => l.textContent).join('')
        : '');
    for (const element of document.querySelectorAll(
      'button, a[href], input:not([type=hidden]), select, summary, [role=slider], nav, section[tabindex]',
    ))
      if (visible(element) && named(element).trim() === '')
        found.push(`no name: ${element.outerHTML.slice(0, 120)}`);
    for (const svg of document.querySelectorAll('svg'))
      if (svg.getAttribute('aria-hidden') !== 'true' && svg.getAttribute('role') !== 'img')
        found.push(`svg neither hidden nor an image: ${svg.outerHTML.slice(0, 80)}`);
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    for (const id of new Set(ids))
      if (ids.filter(one => one === id).length > 1) found.push(`id twice: ${id}`);
    for (const attribute of ['aria-labelledby', 'aria-describedby', 'for'])
      for (const element of document.querySelectorAll(`[${attribute}]`))
        for (const id of element.getAttribute(attribute)?.split(' ') ?? [])
          if (!document.getElementById(id)) found.push(`${attribute} leads nowhere: ${id}`);
    const levels = [...document.querySelectorAll('h1, h2, h3, h4')]
      .filter(visible)
      .map(h => Number(h.tagName[1]));
    if (levels.filter(level => level === 1).length !== 1) found.push(`not one h1: ${levels.join(' ')}`);
    levels.forEach((level, at) => {
      if (at > 0 && level > (levels[at - 1] ?? 0) + 1)
        found.push(`heading level skipped: ${levels.join(' ')}`);
    });
    if ([...document.querySelectorAll('main')].filter(visible).length !== 1) found.push('not one main');
    if (document.documentElement.lang === '') found.push('no language');
    for (const header of document.querySelectorAll('th')) if (!header.scope) found.push('th without scope');
    for (const control of document.querySelectorAll('button, a[href], select, summary')) {
      const box = control.getBoundingClientRect();
      if (
        visible(control) &&
        box.width > 0 &&
        getComputedStyle(control).display !== 'inline' &&
        (box.width < 24 || box.height < 24)
      )
        found.push(`smaller than 24 px: ${control.outerHTML.slice(0, 100)}`);
    }
    return found;
  });
}

/** Text whose colour is too near to what lies under it, by the computed styles of this very page. */
function poorContrast(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })!;
    const rgba = (colour: string): number[] => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (rgb: number[]) => {
      const [r, g, b] = rgb.slice(0, 3).map(part => {
        const value = part / 255;
        return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
    };
    const ground = (element: Element | null): number[] => {
      for (let at = element; at; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return rgba(getComputedStyle(document.body).backgroundColor);
    };
    const poor: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement;
      if (!parent || node.textContent?.trim() === '' || !parent.checkVisibility({ visibilityProperty: true }))
        continue;
      if (/^(SCRIPT|STYLE|NOSCRIPT)$/.test(parent.tagName)) continue;
      const ink =
        parent instanceof SVGElement ? getComputedStyle(parent).fill : getComputedStyle(parent).color;
      const [low, high] = [luminance(rgba(ink)), luminance(ground(parent))].sort((a, b) => a - b);
      const ratio = (high! + 0.05) / (low! + 0.05);
      if (ratio < 4.5) poor.push(`${ratio.toFixed(2)}: ${node.textContent?.trim().slice(0, 40)}`);
    }
    return poor;
  });
}

for (const look of ['light', 'dark'] as const)
  for (const width of [360, 1440])
    test(
      `every screen holds at ${width} px in the ${look} look: no overflow, no shift, names, contrast`,
      async () => {
        const { page, layoutShift, moved, complaints, close } = await visit(browser, {
          viewport: { width, height: 800 },
          colorScheme: look,
          timezoneId: 'America/Los_Angeles',
        });
        const problems: string[] = [];
        const check = async (screen: string) => {
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          if (overflow > 0) problems.push(`${screen}: ${overflow} px wider than the window`);
          const shift = await layoutShift();
          if (shift > 0.005) problems.push(`${screen}: layout shift ${shift.toFixed(4)}: ${await moved()}`);
          for (const fault of [...(await faults(page)), ...(await poorContrast(page))])
            problems.push(`${screen}: ${fault}`);
        };
        await page.goto(`${portal.url}/login`);
        await check('login');
        await logIn(page, portal.url);
        for (const screen of SCREENS) {
          await page.goto(`${portal.url}/${screen}`);
          await page.waitForFunction(() => 'layoutShifts' in window && document.fonts.status === 'loaded');
          await page.getByRole('heading', { level: 1 }).waitFor();
          if (screen === 'dashboard') await page.locator('[data-status=live]').waitFor();
          await check(screen);
        }
        // What only those see who run the cloud.
        for (const session of portal.cloud.sessions.keys()) portal.cloud.sessions.set(session, OPERATOR);
        for (const screen of ['system', 'system?q=attic', 'system?q=nowhere']) {
          await page.goto(`${portal.url}/${screen}`);
          await page.locator('[data-status=live]').waitFor();
          await check(screen);
        }
        assert.deepEqual(problems, []);
        assert.deepEqual(complaints, []);
        await close();
      },
      { deadlineMs: 120_000 },
    );

test('the first visit comes in UTC, every later one in the zone of the browser', async () => {
  const { page, close, layoutShift } = await visit(browser, { timezoneId: 'Asia/Tokyo' });
  await logIn(page, portal.url);
  await page.goto(`${portal.url}/credentials`);
  const at = portal.cloud.credentials[0]!.lastUsedAt!;
  const time = page.locator(`time[datetime="${new Date(at).toISOString()}"]`);
  const tokyo = new Intl.DateTimeFormat('en-GB', {
    timeZone: 'Asia/Tokyo',
    hour: '2-digit',
    minute: '2-digit',
  });
  assert.ok(((await time.textContent()) ?? '').endsWith(tokyo.format(at)));
  assert.match((await time.getAttribute('title')) ?? '', /UTC$/);
  const html = await (await page.request.get(`${portal.url}/credentials`)).text();
  assert.ok(html.includes(tokyo.format(at)), 'the server itself writes the zone by then');
  assert.ok((await layoutShift()) < 0.005);
  await close();
});

test('the look is chosen once, holds across screens and comes with the first byte', async () => {
  const { page, close } = await visit(browser, { colorScheme: 'light' });
  await logIn(page, portal.url);
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.locator('.sidebar .menu summary').last().click();
  await page.locator('.sidebar').getByRole('button', { name: 'Dark' }).click();
  await page.waitForFunction(was => getComputedStyle(document.body).backgroundColor !== was, light);
  const dark = await ground();
  await page.locator('.sidebar [aria-pressed=true]', { hasText: 'Dark' }).waitFor();
  await page.goto(`${portal.url}/usage`);
  assert.equal(await ground(), dark);
  const html = await (await page.request.get(`${portal.url}/usage`)).text();
  assert.match(html, /<html lang="en" data-look="dark"/);
  await close();
});

test(
  'everything can be done by keyboard alone',
  async () => {
    const { page, close } = await visit(browser, { permissions: ['clipboard-read', 'clipboard-write'] });
    const focused = () =>
      page.evaluate(() => {
        const at = document.activeElement;
        return at?.getAttribute('aria-label') ?? at?.textContent?.trim() ?? '';
      });
    const tabTo = async (name: RegExp) => {
      for (let step = 0; step < 40; step += 1) {
        await page.keyboard.press('Tab');
        if (name.test(await focused())) {
          const outlined = await page.evaluate(() => {
            const at = document.activeElement;
            return at !== null && getComputedStyle(at).outlineStyle !== 'none';
          });
          assert.ok(outlined, `${name} has the focus, but nobody can see it`);
          return;
        }
      }
      assert.fail(`Tab never reached ${name}`);
    };
    await logIn(page, portal.url);
    await page.goto(`${portal.url}/dashboard`);
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'content');

    await page.goto(`${portal.url}/dashboard`);
    await tabTo(/^Organization: /);
    await page.keyboard.press('ArrowDown');
    assert.match(await focused(), /Acme Crawl/);
    await page.keyboard.press('End');
    assert.match(await focused(), /Settings of Acme Crawl/);
    await page.keyboard.press('ArrowUp');
    assert.match(await focused(), /Mastline Operations/);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    assert.match(await focused(), /Acme Crawl/);
    await page.keyboard.press('Escape');
    assert.match(await focused(), /^Organization: /);
    assert.equal(await page.locator('.menu[open]').count(), 0);

    await tabTo(/^Endpoints$/);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Endpoints' }).waitFor();
    await tabTo(/^Copy address of Berlin 1$/);
    await page.keyboard.press('Enter');
    await page.getByText('Copied', { exact: true }).first().waitFor({ state: 'attached' });
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '198.51.100.7:1081');

    await page.goto(`${portal.url}/usage`);
    await tabTo(/^Bytes by day/);
    await page.keyboard.press('ArrowRight');
    assert.notEqual(await page.locator('[data-chart=label]').textContent(), 'Whole range');
    await close();
  },
  { deadlineMs: 60_000 },
);

test('nothing moves for those who asked for less motion', async () => {
  const { page, close } = await visit(browser, { reducedMotion: 'reduce' });
  await logIn(page, portal.url);
  portal.cloud.publish(overview => {
    overview.modems[0]!.state = 'rotating';
  });
  await page.getByText('Changing address').waitFor();
  const moving = await page.evaluate(
    () => document.getAnimations().filter(one => Number(one.effect?.getComputedTiming().duration) > 0).length,
  );
  assert.equal(moving, 0);
  await close();
});

test.run();
