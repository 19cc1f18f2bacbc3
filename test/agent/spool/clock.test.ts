import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { withAgent } from '../control-plane/rig';
import { delta, openSpool, totals } from './open-spool';

const test = suite('the minute of usage when the clock is wrong');
const MINUTE_MS = 60_000;
const TRUE_NOW = Date.UTC(2026, 10, 23, 12, 30, 20);
let folder: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  folder = await tempDir('clock');
});
test.afterEach(() => folder.remove());

const periodsOf = (records: readonly { periodStart: number; flows: number }[]) =>
  records.map(({ periodStart, flows }) => [new Date(periodStart).toISOString(), flows]);

/** A run of the agent whose clock nobody has corrected yet. */
const uncorrected = (now: () => number) => openSpool(folder.path, now, { awaitsCorrection: true });

test('seals nothing until the cloud has told the time', async () => {
  const { spool } = await uncorrected(() => 300_000);
  await spool.commit([delta()]);
  assert.equal(await spool.recordsAfter(0, 10), []);
  assert.is((await spool.position()).lastSequence, 0);
  await spool.close();
});

test('usage of a box that woke in 1970 gets the minutes in which it was carried', async () => {
  let now = 5_000;
  const { spool } = await uncorrected(() => now);
  await spool.commit([delta()]);
  now += 10 * MINUTE_MS;
  await spool.commit([delta({ flows: 2 })]);
  const offset = TRUE_NOW - now;
  now = TRUE_NOW;
  await spool.corrected(offset);
  await spool.commit([delta({ flows: 4 })]);
  assert.equal(periodsOf(await spool.recordsAfter(0, 10)), [
    ['2026-11-23T12:20:00.000Z', 1],
    ['2026-11-23T12:30:00.000Z', 6],
  ]);
  await spool.close();
});

test('usage of a run that crashed before it knew the time is stamped when the next one does', async () => {
  const first = await uncorrected(() => 5_000);
  await first.spool.commit([delta({ flows: 3 })]);
  await first.spool.close();
  // This one has a battery and was right all the time.
  const second = await uncorrected(() => TRUE_NOW - 5 * MINUTE_MS);
  await second.spool.commit([delta()]);
  await second.spool.close();
  let now = 8_000;
  const third = await uncorrected(() => now);
  now = TRUE_NOW;
  await third.spool.corrected(TRUE_NOW - 8_000);
  assert.equal(periodsOf(await third.spool.recordsAfter(0, 10)), [
    ['2026-11-23T12:25:00.000Z', 1],
    ['2026-11-23T12:30:00.000Z', 3],
  ]);
  await third.spool.close();
});

test('no minute lies in the future, whatever the clock said', async () => {
  const first = await uncorrected(() => Date.UTC(2099, 0, 1));
  await first.spool.commit([delta()]);
  await first.spool.close();
  const { spool } = await uncorrected(() => TRUE_NOW);
  await spool.corrected(0);
  assert.equal(periodsOf(await spool.recordsAfter(0, 10)), [['2026-11-23T12:30:00.000Z', 1]]);
  await spool.close();
});

test('commits that wait for the disk while the time is told lose nothing and are sealed', async () => {
  let now = 5_000;
  const { spool } = await uncorrected(() => now);
  const commits = Array.from({ length: 200 }, () => spool.commit([delta()]));
  const offset = TRUE_NOW - now;
  now = TRUE_NOW;
  const told = spool.corrected(offset);
  const later = Array.from({ length: 200 }, () => spool.commit([delta()]));
  await Promise.all([...commits, told, ...later]);
  const records = await spool.recordsAfter(0, 10);
  assert.is(totals(records).flows, 400);
  assert.equal(periodsOf(records), [['2026-11-23T12:30:00.000Z', 400]]);
  await spool.close();
});

test('a node whose clock is before 1971 brings usage of before its first welcome to the ledger, in this year', async () => {
  const clock = fakeClock(20_000);
  await withAgent(
    async rig => {
      rig.cloud.misbehave.ignoreHello = false;
      await rig.up();
      await rig.shutDown();
      // Starts again without a cloud, and carries.
      await rig.cloud.stop();
      const booting = rig.boot();
      await booting;
      await rig.spool.commit([delta({ flows: 5 })]);
      await clock.advance(2_000);
      await rig.spool.commit([delta({ flows: 6 })]);
      assert.is(rig.cloud.ledger.records().length, 0);
      await rig.cloud.listen();
      await clock.advance(60_000);
      await rig.up();
      await clock.advance(1_000);
      await rig.cloud.next('usage-batch');
      const records = rig.cloud.ledger.records();
      assert.is(totals(records).flows, 11);
      for (const { periodStart } of records)
        assert.ok(Math.abs(periodStart - Date.now()) < 5 * MINUTE_MS, new Date(periodStart).toISOString());
    },
    { clock },
  );
});

test('a step of the clock changes no minute once the cloud was heard', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      clock.jumpTo(1_000);
      await rig.spool.commit([delta()]);
      await clock.advance(1_000);
      clock.jumpTo(Date.UTC(2099, 0, 1));
      await rig.spool.commit([delta()]);
      await clock.advance(1_000);
      await rig.cloud.next('usage-batch', ({ records }) => records.some(({ flows }) => flows > 0));
      await rig.plane.close(5_000);
      for (const { periodStart } of rig.cloud.ledger.records())
        assert.ok(Math.abs(periodStart - Date.now()) < 5 * MINUTE_MS, new Date(periodStart).toISOString());
      assert.is(totals(rig.cloud.ledger.records()).flows, 2);
    },
    { clock },
  );
});

test.run();
