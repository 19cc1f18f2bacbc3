/** Real Chromium for tests: one browser a file, a fresh profile a page, and everything it complains about kept. */

import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { chromium } from 'playwright-core';
import { findTool } from '../../support/tools';
import { EMAIL, PASSWORD } from './fake-api';

const EXECUTABLE = findTool('chromium') ?? 'chromium';

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** Errors on the page's console and uncaught ones: a test that does not expect any checks that there are none. */
  complaints: string[];
  /** Sum of all layout shifts so far, those after an input too. */
  layoutShift(): Promise<number>;
  /** What moved in them, from where to where: top and height. */
  moved(): Promise<string>;
  close(): Promise<void>;
}

export async function visit(browser: Browser, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(error.message));
  if (options.javaScriptEnabled === false) withoutScripts.add(page);
  waitForReactAfterGoto(page);
  // esbuild wraps named functions in a call to this; functions handed to the page bring the call but not the helper.
  if (options.javaScriptEnabled !== false) await page.addInitScript('globalThis.__name = target => target;');
  if (options.javaScriptEnabled !== false)
    await page.addInitScript(() => {
      const all: number[] = [];
      const moved: string[] = [];
      Object.assign(window, { layoutShifts: all, moved });
      type Shift = {
        value: number;
        sources: { node: Node | null; previousRect: DOMRect; currentRect: DOMRect }[];
      };
      new PerformanceObserver(list => {
        for (const { value, sources } of list.getEntries() as unknown as Shift[]) {
          all.push(value);
          for (const { node, previousRect: before, currentRect: now } of sources)
            moved.push(
              `${node?.nodeName} "${(node?.textContent ?? '').slice(0, 30)}" ${before.y},${before.height} to ${now.y},${now.height}`,
            );
        }
      }).observe({ type: 'layout-shift', buffered: true });
    });
  return {
    page,
    context,
    complaints,
    layoutShift: () =>
      page.evaluate(() =>
        (window as unknown as { layoutShifts: number[] }).layoutShifts.reduce((sum, one) => sum + one, 0),
      ),
    moved: () =>
      page.evaluate(() => (window as unknown as { moved: string[] }).moved.slice(0, 10).join('; ')),
    close: () => context.close(),
  };
}

/**
 * A page is shown before its scripts have taken it over, and on a busy machine a test presses keys before anybody listens
 * for them. From now on `goto` gives the page back when it listens.
 */
function waitForReactAfterGoto(page: Page): void {
  const goto = page.goto.bind(page);
  page.goto = async (url, options) => {
    const response = await goto(url, options);
    if (response?.headers()['content-type']?.startsWith('text/html')) await takenOver(page);
    return response;
  };
}

const withoutScripts = new WeakSet<Page>();

/** Resolves when React has taken the rendered page over (it marks each element that it has hydrated). */
async function takenOver(page: Page): Promise<void> {
  if (withoutScripts.has(page)) return;
  await page.waitForFunction(() =>
    Object.keys(document.body ?? {}).some(key => key.startsWith('__reactProps')),
  );
}

export async function logIn(page: Page, url: string): Promise<void> {
  await page.goto(`${url}/login`);
  await page.getByLabel('E-mail').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL('**/dashboard');
  await takenOver(page);
}
