/** What a host reads of a modem that did not carry: the cause, and each step that its box took, in a real browser. */
import assert from 'node:assert/strict';
import type { Browser } from 'playwright-core';
import { suite } from '../../support/suite';
import { launch, logIn, visit } from './browser';
import { ORGANIZATIONS } from './fake-api';
import { type FakePortal, fakePortal } from './fake-portal';

const test = suite('portal: recovery', { needs: ['chromium'] });
const MODEM = 'modems/01900000-0000-7000-8000-000000000101';
let portal: FakePortal;
let browser: Browser;
test.before(async () => {
  [portal, browser] = await Promise.all([fakePortal(), launch()]);
});
test.after(async () => {
  await browser?.close();
  await portal?.close();
});

async function open() {
  const visited = await visit(browser);
  await logIn(visited.page, portal.url);
  // The operator's.
  for (const key of portal.cloud.sessions.keys()) portal.cloud.sessions.set(key, ORGANIZATIONS[2]!.id);
  await visited.page.goto(`${portal.url}/${MODEM}`);
  return visited;
}

test('each attempt tells its cause, its steps with outcome, time and evidence, and what it came to', async () => {
  portal.cloud.rotations.recoveries = [
    {
      ...{ at: Date.now() - 60_000, cause: 'data-dead', outcome: 'mended', tookMs: 41_000 },
      rungs: [
        { rung: 'reconnect', outcome: 'not-mended', tookMs: 31_000, evidence: 'no answer of echo.test' },
        { rung: 'radio', outcome: 'mended', tookMs: 10_000, evidence: 'radio off and on, connected anew' },
      ],
    },
    {
      // Of a later agent.
      ...{ at: Date.now() - 120_000, cause: 'moon-phase', outcome: 'not-mended', tookMs: 200 },
      rungs: [{ rung: 'incense', outcome: 'impossible', tookMs: 0, evidence: '' }],
    },
  ];
  const { page, complaints, close } = await open();
  const rows = page.getByRole('region', { name: 'Recovery' }).locator('tbody tr');
  assert.equal(await rows.count(), 2);
  const first = await rows.nth(0).innerText();
  for (const part of [
    'Connected, but carries nothing',
    'Connected anew: did not help, 31.0 s',
    'no answer of echo.test',
    'Radio off and on: helped, 10.0 s',
    'Brought back',
    '41.0 s',
  ])
    assert.ok(first.includes(part), `${part} in ${first}`);
  assert.match(await rows.nth(1).innerText(), /moon-phase.*incense: cannot be done here.*Not brought back/s);
  assert.deepEqual(complaints, []);
  await close();
});

test('a modem that never had to be brought back says so', async () => {
  portal.cloud.rotations.recoveries = [];
  const { page, close } = await open();
  await page.getByText('Its box has not had to bring this modem back.').waitFor();
  assert.equal(await page.getByRole('region', { name: 'Recovery' }).getByRole('table').count(), 0);
  await close();
});

test.run();
