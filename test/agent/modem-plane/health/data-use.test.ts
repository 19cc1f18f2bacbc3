/** Billing periods, and what a SIM has used in one, over restarts and clocks that jump. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATA_USE_FILE, DataGauge, DataUse, periodOf } from '@mastline/agent/modem-plane/health/data-use';
import { quietLog } from '@mastline/agent/observe/log';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';

const test = suite('data of a SIM');
const day = (text: string) => Date.parse(`${text}T00:00:00Z`);
const shown = (ms: number) => new Date(ms).toISOString().slice(0, 10);

let dir: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  dir = await tempDir('use');
});
test.afterEach(() => dir.remove());

const rows: [string, number, string, string][] = [
  ['2026-03-15', 1, '2026-03-01', '2026-04-01'],
  ['2026-03-15', 20, '2026-02-20', '2026-03-20'],
  ['2026-03-20', 20, '2026-03-20', '2026-04-20'],
  ['2026-02-15', 31, '2026-01-31', '2026-02-28'],
  ['2026-02-28', 31, '2026-02-28', '2026-03-31'],
  ['2028-02-29', 30, '2028-02-29', '2028-03-30'],
  ['2026-01-05', 10, '2025-12-10', '2026-01-10'],
  ['2026-12-31', 31, '2026-12-31', '2027-01-31'],
];
for (const [at, billingDay, from, to] of rows)
  test(`on ${at} the period of day ${billingDay} runs from ${from} to ${to}`, () => {
    const period = periodOf(day(at), billingDay);
    assert.is(shown(period.from), from);
    assert.is(shown(period.to), to);
  });

test('every instant lies in its period, and periods follow each other without a gap', () => {
  void fc.assert(
    fc.property(
      fc.integer({ min: day('2024-01-01'), max: day('2040-01-01') }),
      fc.integer({ min: 1, max: 31 }),
      (at, of) => {
        const { from, to } = periodOf(at, of);
        assert.ok(from <= at && at < to);
        assert.is(periodOf(to, of).from, to);
        assert.is(periodOf(from - 1, of).to, from);
      },
    ),
  );
});

const open = (now: () => number, clock = fakeClock()) =>
  new DataUse({ dataDir: dir.path, clock, now, log: quietLog });
const CAP = { megabytes: 1, billingDay: 1 };

test('is kept over a restart, and begins anew with the period', async () => {
  let now = day('2026-03-31');
  const first = open(() => now);
  first.add('iccid:89', 600_000, 1);
  await first.close();
  const second = open(() => now);
  assert.is(second.of('iccid:89', 1).bytes, 600_000);
  assert.is(second.refusal('iccid:89', CAP), null);
  second.add('iccid:89', 400_000, 1);
  assert.is(second.refusal('iccid:89', CAP), '1 MB are used up, until 2026-04-01');
  now = day('2026-04-01');
  assert.is(second.refusal('iccid:89', CAP), null);
  second.add('iccid:89', 5, 1);
  assert.is(second.of('iccid:89', 1).bytes, 5);
  await second.close();
});

test('a clock that was set back, or is not set yet, gives a SIM nothing anew', async () => {
  let now = day('2026-04-02');
  const use = open(() => now);
  use.add('slot:1', 1_000_000, 1);
  now = day('2026-03-20');
  use.add('slot:1', 1, 1);
  assert.ok(use.refusal('slot:1', CAP) !== null);
  now = 5000;
  use.add('slot:1', 1, 1);
  assert.is(use.of('slot:1', 1).bytes, 1_000_002);
  assert.ok(use.refusal('slot:1', CAP) !== null);
  await use.close();
});

test('writes at most once a minute', async () => {
  const clock = fakeClock();
  const use = open(() => day('2026-04-02'), clock);
  use.add('slot:1', 1, 1);
  const timers = clock.pending();
  for (let i = 0; i < 100; i += 1) use.add('slot:1', 1, 1);
  assert.is(clock.pending(), timers);
  await use.close();
});

test('a damaged file is moved aside, and counting goes on', async () => {
  writeFileSync(join(dir.path, DATA_USE_FILE), '{"version":1,"sims":');
  const use = open(() => day('2026-04-02'));
  use.add('slot:1', 7, 1);
  assert.is(use.of('slot:1', 1).bytes, 7);
  await use.close();
});

test('counts what moved between two looks, by whoever saw more, through counters that begin anew', () => {
  const gauge = new DataGauge();
  const modem = (bytes: number) => ({ rxBytes: bytes, txBytes: 0 });
  assert.is(gauge.moved(modem(500), 0), 0);
  assert.is(gauge.moved(modem(800), 100), 300);
  assert.is(gauge.moved(modem(800), 500), 400);
  // It connected anew.
  assert.is(gauge.moved(modem(50), 500), 50);
  assert.is(gauge.moved(null, 700), 200);
  assert.is(gauge.moved(modem(60), 700), 10);
});

test.run();
