/** Why a modem does not serve, and what its box did about it: from the report to the screen. */
import assert from 'node:assert/strict';
import { Turns } from '@mastline/cloud/server/db/turns';
import { modemReports } from '@mastline/cloud/server/fleet/node-reports';
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

test('an older agent, which tells of neither, is understood', async () => {
  const { cause, recovery: climb, ...old } = slot({ state: 'connected', reason: '' });
  assert.ok(cause && climb);
  assert.equal(await report(old as SlotReport), true);
  assert.equal((await modem())?.cause, null);
  assert.equal((await modem())?.recovery, null);
  assert.equal(await report(old as SlotReport), false);
});

test.run();
