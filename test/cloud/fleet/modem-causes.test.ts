/** Why a modem does not serve, and what its box did about it: from the report to the screen. */
import assert from 'node:assert/strict';
import { Turns } from '@mastline/cloud/server/db/turns';
import { KEPT_RECOVERIES, modemReports } from '@mastline/cloud/server/fleet/node-reports';
import { readRecoveries } from '@mastline/cloud/server/fleet/recovery-history';
import { readOverview } from '@mastline/cloud/server/insight/overview';
import { RecoveryReport, type SlotReport } from '@mastline/shared/domain/modem';
import { cloudWorld, type World } from '../../support/cloud-world';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/fleet: causes');
let database: TestDatabase;
let world: World;
test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
});
test.after(async () => database.drop());

const recovery: RecoveryReport = RecoveryReport.parse({
  at: Date.UTC(2026, 10, 23, 11, 59),
  cause: 'data-dead',
  outcome: 'not-mended',
  tookMs: 61_000,
  rungs: [{ rung: 'reconnect', outcome: 'not-mended', tookMs: 30_000, evidence: 'no answer' }],
});
const slot = (over: Partial<SlotReport>): SlotReport => ({
  ...{ slot: 0, usbPath: '1-1', interface: null, sourceAddress: null, exitAddress: null },
  ...{ imei: null, model: 'E3372h', firmware: null, virtual: true },
  state: 'failed',
  reason: 'SIM out of credit: the answer leads to http://shop.test/',
  cause: 'sim-out-of-credit',
  recovery,
  ...over,
});
const report = (...slots: SlotReport[]) =>
  modemReports(world.services, new Turns(database.db.kind))(
    { nodeId: world.acme.node.id, organizationId: world.acme.host.active.id },
    slots,
  );
const recoveries = async (viewer = world.acme.host) =>
  readRecoveries(world.services, viewer.active, (await modem())?.slotId ?? '');
const modem = async () => (await readOverview(world.services, world.acme.host.active)).modems[0];

test('cause and climb are on the screen; the same report again changes nothing', async () => {
  assert.equal(await report(slot({})), true);
  const seen = await modem();
  assert.equal(seen?.cause, 'sim-out-of-credit');
  assert.match(seen?.reason ?? '', /^SIM out of credit/);
  assert.deepEqual(seen?.recovery, recovery);
  assert.equal(await report(slot({})), false);
});

test('a later climb and a later cause take their place', async () => {
  const later = { ...recovery, at: recovery.at + 60_000, outcome: 'mended' as const };
  assert.equal(await report(slot({ recovery: later })), true);
  assert.equal((await modem())?.recovery?.outcome, 'mended');
  assert.equal(await report(slot({ state: 'connected', reason: '', cause: null, recovery: later })), true);
  assert.equal((await modem())?.cause, null);
});

test('the latest climbs are kept, each once, newest first; a slot without one forgets none', async () => {
  const ofSlot = await recoveries();
  assert.deepEqual(
    ofSlot.map(one => one.outcome),
    ['mended', 'not-mended'],
  );
  assert.deepEqual(ofSlot.at(-1), recovery);
  for (let i = 1; i <= KEPT_RECOVERIES; i += 1)
    await report(slot({ recovery: { ...recovery, at: recovery.at + 120_000 + i } }));
  const many = await recoveries();
  assert.equal(many.length, KEPT_RECOVERIES);
  assert.deepEqual(
    [many[0]?.at, many.at(-1)?.at],
    [recovery.at + 120_000 + KEPT_RECOVERIES, recovery.at + 120_001],
  );
  await report(slot({ recovery: null }));
  assert.equal((await recoveries()).length, KEPT_RECOVERIES);
});

test('they are told to those whose modem it is, and to nobody else', async () => {
  assert.equal((await recoveries(world.operator)).length, KEPT_RECOVERIES);
  for (const viewer of [world.rival.host, world.acme.customer])
    await assert.rejects(recoveries(viewer), { code: 'fleet/no-such-slot' });
});

test('an older agent, which tells of neither, is understood', async () => {
  const { cause, recovery: climb, ...old } = slot({ state: 'connected', reason: '' });
  assert.ok(cause && climb);
  assert.equal(await report(old as SlotReport), true);
  assert.equal((await modem())?.cause, null);
  assert.equal((await modem())?.recovery, null);
  assert.equal(await report(old as SlotReport), false);
});

test.run();
