/** What probes cost a metered SIM: measured by the kernel's own counters, headers included, and bounded over a month. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { METERED_PACE } from '@mastline/agent/modem-plane/health/path-watch';
import {
  METERED_PROBE_BYTES_A_MONTH,
  MONTH_MS,
  ProbeBudget,
} from '@mastline/agent/modem-plane/health/probe-budget';
import * as assert from 'uvu/assert';
import { whyNoNamespaces } from '../../../simulators/run-tool';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';

const test = suite('what probes cost');
const run = promisify(execFile);
const MINUTE_MS = 60_000;

const obstacle = await whyNoNamespaces();
if (obstacle !== undefined) test.skip('a month of probes, by the kernel', obstacle);
else
  test(
    'a quiet month costs at most 1 MB by the kernel, names and headers included, and we count no less',
    async () => {
      const { stdout } = await run('unshare', [
        ...['-n', process.execPath, '--import', 'tsx'],
        join(import.meta.dirname, 'count-probes.ts'),
      ]);
      const { realBytes, thoughtBytes } = JSON.parse(stdout) as { realBytes: number; thoughtBytes: number };
      const month = (MONTH_MS / METERED_PACE.quietMs) * realBytes;
      console.log(
        `one probe: ${realBytes} bytes by the kernel, ${thoughtBytes} by us; a quiet month: ${Math.round(month)}`,
      );
      assert.ok(month <= METERED_PROBE_BYTES_A_MONTH, `${month} bytes a month`);
      assert.ok(thoughtBytes >= realBytes, `${thoughtBytes} is less than ${realBytes}`);
      assert.ok(thoughtBytes <= realBytes * 1.5, `${thoughtBytes} is far more than ${realBytes}`);
    },
    { deadlineMs: 60_000 },
  );

test('a modem that is doubted all month long costs no more than 1 MB in any 30 days', async () => {
  const clock = fakeClock();
  const budget = new ProbeBudget({ clock, metered: true });
  const spent: { at: number; bytes: number }[] = [];
  for (let minute = 0; minute < (3 * MONTH_MS) / MINUTE_MS; minute += 10) {
    if (budget.allows(4000)) {
      budget.spend(1200);
      spent.push({ at: minute * MINUTE_MS, bytes: 1200 });
    }
    await clock.advance(10 * MINUTE_MS);
  }
  for (const from of [0, MONTH_MS / 2, MONTH_MS, 1.9 * MONTH_MS]) {
    const month = spent.filter(one => one.at >= from && one.at < from + MONTH_MS);
    const bytes = month.reduce((sum, one) => sum + one.bytes, 0);
    assert.ok(bytes <= METERED_PROBE_BYTES_A_MONTH, `${bytes} bytes`);
    assert.ok(bytes > METERED_PROBE_BYTES_A_MONTH / 2, 'the budget is there to be used');
  }
});

test('without a meter nothing is held back', () => {
  const budget = new ProbeBudget({ clock: fakeClock(), metered: false });
  budget.spend(1e9);
  assert.ok(budget.allows(4000));
});

test.run();
