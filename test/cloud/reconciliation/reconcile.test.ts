/**
 * Days of slots in the database, on PostgreSQL and on PGlite: told twice, late, out of order, by liars; alerts that come and go;
 * who may see them. The judgement itself is judge.test.ts.
 */
import assert from 'node:assert/strict';
import { Turns } from '@mastline/cloud/server/db/turns';
import { modemReports } from '@mastline/cloud/server/fleet/node-reports';
import type { Viewer } from '@mastline/cloud/server/identity/viewer';
import { ingestSlotDays } from '@mastline/cloud/server/ingest/reconciliation';
import { ingestServices } from '@mastline/cloud/server/ingest/services';
import { recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { compareAgain, forgetSlotDays, noteSlotDays } from '@mastline/cloud/server/reconciliation/reconcile';
import type { StateSigner } from '@mastline/cloud/server/rollout/signing';
import { createCaller } from '@mastline/cloud/server/router';
import { codeOf } from '@mastline/shared/base/coded-error';
import { DAY_MS } from '@mastline/shared/domain/day';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { addNode, cloudWorld, usageRecord, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/reconciliation');
const TODAY = Date.UTC(2026, 10, 23);
const NOON = TODAY + DAY_MS / 2;
const YESTERDAY = TODAY - DAY_MS;
const MIB = 2 ** 20;

interface Place {
  database: TestDatabase;
  world: World;
  node: { nodeId: string; organizationId: string };
  slotId: string;
}

/** A node of its own with slot 1, so that tests do not meet. */
async function place(database: TestDatabase, world: World): Promise<Place> {
  const { id: nodeId } = await addNode(world.services, world.acme.host, 'box of a test');
  const node = { nodeId, organizationId: world.acme.host.active.id };
  await modemReports(world.services, new Turns(database.db.kind))(node, [
    {
      ...{ slot: 1, usbPath: '1-1', interface: 'wwan0', sourceAddress: '192.168.8.101', state: 'connected' },
      ...{ reason: '', exitAddress: null, imei: null, model: 'E3372', firmware: null, virtual: false },
    },
  ]);
  const { rows } = await database.db.pool.query('SELECT id FROM slots WHERE node_id = $1', [nodeId]);
  return { database, world, node, slotId: rows[0].id };
}

function slotDay(over: Partial<SlotDay> = {}): SlotDay {
  const none = { up: 0, down: 0 };
  const even = { up: MIB, down: 99 * MIB };
  return {
    ...{ day: YESTERDAY, slot: 1, imei: null, interface: 'wwan0', driver: 'cdc_ether' },
    ...{ relayed: even, committed: even, carried: even, packets: { up: 40_000, down: 70_000 } },
    ...{ own: none, unseen: none, unattributed: none, crashes: 0, resets: 0, ...over },
  };
}

const note = (of: Place, days: SlotDay[], at = NOON, oldestPending: number | null = null) =>
  noteSlotDays(of.world.services, of.node, { at, oldestPending, days });

/** Usage of yesterday through slot 1, as its node's spool would send it. */
async function charge(
  of: Place,
  upBytes: number,
  downBytes: number,
  at = YESTERDAY + 3_600_000,
): Promise<void> {
  const { world, node } = of;
  const outcome = await recordBatch(
    of.database.db,
    {
      ...{ nodeId: node.nodeId, hostOrganizationId: node.organizationId, epoch: uuidv7() },
      records: [usageRecord(world.acme, 1, { slot: 1, upBytes, downBytes, at })],
    },
    NOON,
  );
  assert.equal(outcome.is, 'stored');
}

async function dayRow(of: Place, day = YESTERDAY) {
  const { rows } = await of.database.db.pool.query(
    'SELECT state, cause, difference::float8, ledger_up::float8 + ledger_down AS ledger, relayed_down::float8 AS relayed FROM slot_days WHERE node_id = $1 AND day = $2',
    [of.node.nodeId, new Date(day)],
  );
  return rows[0];
}

async function alerts(of: Place) {
  const { rows } = await of.database.db.pool.query(
    'SELECT code, severity, cause, resolved_at IS NULL AS open FROM alerts WHERE node_id = $1 ORDER BY since',
    [of.node.nodeId],
  );
  return rows;
}

const caller = (of: Place, viewer: Viewer) =>
  createCaller({ services: of.world.services, viewer, sessionId: null, requestId: 'test' });

const kinds = await databaseKinds();
for (const kind of kinds) {
  let database: TestDatabase;
  let world: World;
  const scenario = (name: string, body: (of: Place) => Promise<void>) =>
    test(`${kind}: ${name}`, async () => {
      database ??= await testDatabase(kind);
      world ??= await cloudWorld(database.db, NOON);
      await body(await place(database, world));
    });

  scenario('a day that agrees is even, and the same again changes nothing', async of => {
    await charge(of, MIB, 99 * MIB);
    await note(of, [slotDay()]);
    const first = await dayRow(of);
    assert.deepEqual(first, {
      state: 'even',
      cause: null,
      difference: 0,
      ledger: 100 * MIB,
      relayed: 99 * MIB,
    });
    await note(of, [slotDay(), slotDay()]);
    assert.deepEqual(await dayRow(of), first);
    assert.deepEqual(await alerts(of), []);
  });

  scenario(
    'a difference raises one alert that names its cause, and it is resolved when the day comes out even',
    async of => {
      await charge(of, MIB, 99 * MIB);
      const more = slotDay({ carried: { up: MIB, down: 120 * MIB } });
      await note(of, [more]);
      await note(of, [more]);
      assert.equal((await dayRow(of)).state, 'alarm');
      assert.deepEqual(await alerts(of), [
        { code: 'ledger/difference', severity: 'warning', cause: 'other-traffic', open: true },
      ]);
      await note(of, [slotDay()], NOON + 1);
      assert.equal((await dayRow(of)).state, 'even');
      assert.deepEqual(
        (await alerts(of)).map(one => one.open),
        [false],
      );
      await note(of, [slotDay({ carried: { up: MIB, down: 10 * MIB } })], NOON + 2);
      assert.deepEqual(await alerts(of), [
        { code: 'ledger/difference', severity: 'critical', cause: 'ledger-exceeds', open: true },
      ]);
    },
  );

  scenario('a word that comes late does not undo a later one', async of => {
    await charge(of, MIB, 99 * MIB);
    await note(of, [slotDay()], NOON);
    await note(of, [slotDay({ relayed: { up: 1, down: 1 }, carried: { up: 1, down: 1 } })], NOON - 1000);
    assert.deepEqual(await dayRow(of), {
      state: 'even',
      cause: null,
      difference: 0,
      ledger: 100 * MIB,
      relayed: 99 * MIB,
    });
  });

  scenario(
    'records that are still with the node are waited for; the job looks again when they have come',
    async of => {
      await note(of, [slotDay()], NOON, YESTERDAY + 60_000);
      assert.equal((await dayRow(of)).state, 'waiting');
      assert.deepEqual(await alerts(of), []);
      await charge(of, MIB, 99 * MIB);
      await note(of, [slotDay()], NOON + 1);
      assert.equal((await dayRow(of)).state, 'even');
      // A second box with the same spool charges the same day.
      await charge(of, 0, 50 * MIB);
      await compareAgain(of.world.services);
      assert.deepEqual((await dayRow(of)).cause, 'ledger-exceeds');
      assert.deepEqual(
        (await alerts(of)).map(one => [one.severity, one.open]),
        [['critical', true]],
      );
    },
  );

  scenario('the day under way has figures and no alarm', async of => {
    await charge(of, MIB, 4 * MIB, TODAY + 3_600_000);
    await note(of, [slotDay({ day: TODAY, carried: { up: MIB, down: 400 * MIB } })]);
    const today = await dayRow(of, TODAY);
    assert.deepEqual([today.state, today.ledger, today.difference], ['running', 5 * MIB, 396 * MIB]);
    assert.deepEqual(await alerts(of), []);
  });

  scenario('a clock that runs ahead does not make today look over', async of => {
    await note(of, [slotDay({ day: TODAY })], NOON + 3 * DAY_MS);
    assert.equal((await dayRow(of, TODAY)).state, 'running');
  });

  scenario('days that cannot be and slots that are not there are not taken', async of => {
    await note(of, [
      slotDay({ day: TODAY + 2 * DAY_MS }),
      slotDay({ day: TODAY - 60 * DAY_MS }),
      slotDay({ slot: 77 }),
    ]);
    const { rows } = await of.database.db.pool.query('SELECT 1 FROM slot_days WHERE node_id = $1', [
      of.node.nodeId,
    ]);
    assert.equal(rows.length, 0);
  });

  scenario('the largest figures that the wire lets through do not break anything', async of => {
    const most = { up: Number.MAX_SAFE_INTEGER, down: Number.MAX_SAFE_INTEGER };
    const lie = slotDay({
      ...{ relayed: most, committed: most, carried: most, packets: most, own: most, unseen: most },
      ...{ unattributed: most, crashes: Number.MAX_SAFE_INTEGER, resets: Number.MAX_SAFE_INTEGER },
      ...{ interface: 'a\u0000b', driver: '\u0000' },
    });
    await note(of, [lie]);
    assert.equal((await dayRow(of)).state, 'alarm');
    assert.equal(
      (await caller(of, of.world.acme.host).reconciliation.ofSlot({ slotId: of.slotId })).length,
      1,
    );
  });

  scenario('a node cannot write the days of another, nor raise alerts of another organization', async of => {
    const other = await place(of.database, of.world);
    await note(other, [slotDay({ carried: { up: MIB, down: 500 * MIB } })]);
    assert.equal(await dayRow(of), undefined);
    // As if the session belonged to somebody else's organization: nothing of the row changes.
    const rival = { nodeId: other.node.nodeId, organizationId: of.world.rival.host.active.id };
    await noteSlotDays(of.world.services, rival, { at: NOON + 5, oldestPending: null, days: [slotDay()] });
    assert.equal((await dayRow(other)).state, 'alarm');
  });

  scenario('the answer goes to agents that take it, after the commit', async of => {
    const sent: [string, unknown][] = [];
    const link = (takes: boolean) => ({
      node: of.node,
      send: (what: string, body: unknown) => void sent.push([what, body]),
      takes: () => takes,
      ...{
        sessionId: 's',
        arrivedMs: 0,
        noteTaken: () => undefined,
        bearSilence: () => undefined,
        close: () => undefined,
      },
    });
    const body = { ask: 3, at: NOON, oldestPending: null, days: [slotDay()] };
    const services = ingestServices(of.world.services, {} as StateSigner);
    await ingestSlotDays(services, link(true), body);
    await ingestSlotDays(services, link(false), body);
    assert.deepEqual(sent, [['reconcile-noted', { ask: 3 }]]);
    assert.ok(await dayRow(of));
  });

  scenario(
    'host and operator see the days of a modem with the cause in words; its customers and others do not',
    async of => {
      await charge(of, MIB, 99 * MIB);
      await note(of, [slotDay({ carried: { up: MIB, down: 120 * MIB }, own: { up: 0, down: MIB } })]);
      // The customer's endpoint stands on this slot: it sees the modem, not what went over it altogether.
      await of.database.db.pool.query('UPDATE endpoints SET node_id = $1, slot_numbers = $2 WHERE id = $3', [
        of.node.nodeId,
        [1],
        of.world.acme.endpointId,
      ]);
      for (const viewer of [of.world.acme.host, of.world.operator]) {
        const [day] = await caller(of, viewer).reconciliation.ofSlot({ slotId: of.slotId });
        assert.ok(day);
        assert.deepEqual(
          { ledger: day.ledger, carried: day.carried, difference: day.difference, state: day.state },
          { ledger: 100 * MIB, carried: 120 * MIB, difference: 20 * MIB, state: 'alarm' },
        );
        assert.match(day.why, /other software/);
      }
      for (const viewer of [of.world.acme.customer, of.world.rival.host, of.world.rival.customer])
        await assert.rejects(
          caller(of, viewer).reconciliation.ofSlot({ slotId: of.slotId }),
          (error: unknown) =>
            /fleet\/no-such-slot|NOT_FOUND/.test(`${codeOf(error)} ${codeOf((error as Error).cause)}`),
        );
    },
  );

  scenario('a node whose figures are past counting keeps no other from being compared again', async of => {
    await charge(of, MIB, 99 * MIB);
    await note(of, [slotDay()]);
    const next = await place(of.database, of.world);
    await note(next, [slotDay()]);
    await charge(next, MIB, 99 * MIB);
    const rollups = (upBytes: string) =>
      of.database.db.pool.query(
        'UPDATE usage_rollups_daily SET up_bytes = $2 WHERE node_key = (SELECT key FROM nodes WHERE id = $1)',
        [of.node.nodeId, upBytes],
      );
    await rollups('9000000000000000000');
    const done = await compareAgain(of.world.services);
    await rollups(String(MIB));
    assert.equal(done.failed, 1);
    assert.equal((await dayRow(next))?.ledger, 100 * MIB, 'the node after it was compared');
    assert.equal((await compareAgain(of.world.services)).failed, 0);
  });

  scenario('what is older than 400 days is forgotten', async of => {
    await note(of, [slotDay()]);
    await of.database.db.pool.query('UPDATE slot_days SET day = $1 WHERE node_id = $2', [
      new Date(TODAY - 401 * DAY_MS),
      of.node.nodeId,
    ]);
    assert.equal(await forgetSlotDays(of.world.services), 1);
  });

  test(`${kind}: closed`, () => database.drop());
}
if (!kinds.includes('server')) test.skip('on a PostgreSQL server', 'no PostgreSQL answers at 127.0.0.1:5432');

test.run();
