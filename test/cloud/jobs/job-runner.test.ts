/** Jobs: each due run once however many processes look, taken over from one that died, tried again after a failure. */
import assert from 'node:assert/strict';
import { migrationFiles } from '@mastline/cloud/server/db/migrate';
import { inTransaction } from '@mastline/cloud/server/db/transaction';
import { type Job, JobRunner, LEASE_MS } from '@mastline/cloud/server/jobs/job-runner';
import { ensurePartitions, orderClosedWeeks, partitionsOf } from '@mastline/cloud/server/ledger/partitions';
import { recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { applyRetention, DEFAULT_RETENTION } from '@mastline/cloud/server/ledger/retention';
import { rebuildRollups } from '@mastline/cloud/server/ledger/rollups';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { fakeClock } from '../../support/clock';
import { cloudWorld, usageRecord } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/jobs');
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const T0 = Date.UTC(2026, 10, 23, 12, 30);
const log = pino({ level: 'silent' });
const databases: { kind: string; database: TestDatabase }[] = [];

test.before(async () => {
  for (const kind of await databaseKinds()) databases.push({ kind, database: await testDatabase(kind) });
});
test.after(async () => {
  for (const { database } of databases) await database.drop();
});

function runners(database: TestDatabase, clock: ReturnType<typeof fakeClock>, jobs: Job[], count: number) {
  return Array.from(
    { length: count },
    (_, i) => new JobRunner({ db: database.db, jobs, clock, log, processId: `process ${i}` }),
  );
}

test('five processes that look at once run each due job once, and again when it is due again', async () => {
  for (const { kind, database } of databases) {
    const clock = fakeClock(T0);
    const ran: number[] = [];
    const job: Job = {
      name: `count-${kind}`,
      everyMs: HOUR_MS,
      run: async () => {
        ran.push(clock.now());
        return 'counted';
      },
    };
    const all = runners(database, clock, [job], 5);
    await Promise.all(all.map(each => each.look()));
    await Promise.all(all.map(each => each.look()));
    assert.equal(ran.length, 1);
    clock.jumpTo(T0 + HOUR_MS);
    await Promise.all(all.map(each => each.look()));
    assert.equal(ran.length, 2);
    for (const each of all) await each.close();
    const { rows } = await database.db.pool.query(
      'SELECT due_at, attempts, outcome, detail FROM job_runs WHERE job = $1 ORDER BY due_at',
      [job.name],
    );
    assert.deepEqual(
      rows.map(row => [row.due_at.getTime() % HOUR_MS, row.attempts, row.outcome, row.detail]),
      [
        [0, 1, 'done', 'counted'],
        [0, 1, 'done', 'counted'],
      ],
    );
  }
});

test('a run whose process died is taken over when its lease is over, not before', async () => {
  for (const { kind, database } of databases) {
    const clock = fakeClock(T0);
    let taken = 0;
    const name = `orphan-${kind}`;
    const dead = new JobRunner({
      db: database.db,
      // Never ends: as if the process had been killed in the middle. Its clock does not tick, so no lease is renewed.
      jobs: [{ name, everyMs: DAY_MS, run: () => new Promise<string>(() => {}) }],
      clock: fakeClock(T0),
      log,
      processId: 'dead',
    });
    void dead.look();
    const [other] = runners(
      database,
      clock,
      [
        {
          name,
          everyMs: DAY_MS,
          run: async () => {
            taken += 1;
            return 'taken over';
          },
        },
      ],
      1,
    );
    assert.ok(other);
    await claimed(database, name);
    await other.look();
    assert.equal(taken, 0);
    clock.jumpTo(T0 + LEASE_MS + 1);
    await other.look();
    assert.equal(taken, 1);
    await other.close();
    const { rows } = await database.db.pool.query(
      'SELECT process_id, attempts FROM job_runs WHERE job = $1',
      [name],
    );
    assert.deepEqual(rows, [{ process_id: 'process 0', attempts: 2 }]);
  }
});

/** Resolves when somebody holds the run. */
async function claimed(database: TestDatabase, name: string): Promise<void> {
  for (;;) {
    const { rowCount } = await database.db.pool.query('SELECT 1 FROM job_runs WHERE job = $1', [name]);
    if (rowCount === 1) return;
  }
}

test('a run that fails is tried again a few times, and a job that fails does not stop the others', async () => {
  for (const { kind, database } of databases) {
    const clock = fakeClock(T0);
    let tries = 0;
    let others = 0;
    const jobs: Job[] = [
      {
        name: `fails-${kind}`,
        everyMs: DAY_MS,
        run: async () => {
          tries += 1;
          throw new Error('no luck');
        },
      },
      {
        name: `goes-on-${kind}`,
        everyMs: DAY_MS,
        run: async () => {
          others += 1;
          return '';
        },
      },
    ];
    const [runner] = runners(database, clock, jobs, 1);
    assert.ok(runner);
    for (let i = 0; i < 8; i += 1) {
      await runner.look();
      clock.jumpTo(clock.now() + LEASE_MS + 1);
    }
    await runner.close();
    assert.deepEqual([tries, others], [5, 1]);
    const { rows } = await database.db.pool.query(
      'SELECT outcome, detail, finished_at FROM job_runs WHERE job = $1',
      [`fails-${kind}`],
    );
    assert.deepEqual(rows, [{ outcome: 'failed', detail: 'no luck', finished_at: null }]);
  }
});

test('weeks that were put in order before they were packed are done once more', async () => {
  const script = migrationFiles().find(file => file.name.endsWith('_pack_closed_weeks'))?.sql;
  assert.ok(script);
  for (const { database } of databases) {
    const { db } = database;
    await ensurePartitions(db, Date.UTC(2024, 0, 10));
    const first = await orderClosedWeeks(db, Date.UTC(2024, 0, 20));
    assert.deepEqual(first, ['usage_rollups_2024_01_08']);
    assert.deepEqual(await orderClosedWeeks(db, Date.UTC(2024, 0, 20)), []);
    await db.pool.query(script);
    assert.deepEqual(await orderClosedWeeks(db, Date.UTC(2024, 0, 20)), first);
    // Nothing of it is left for the tests that follow.
    for (const table of ['usage_rollups', 'usage_records', 'connection_logs'] as const)
      for (const { name, to } of await partitionsOf(db, table))
        if (to < Date.UTC(2025, 0, 1)) await db.pool.query(`DROP TABLE ${name}`);
  }
});

test('retention removes whole months and weeks, and a rebuild leaves alone what it cannot make again', async () => {
  for (const { database } of databases) {
    const { db } = database;
    const { acme } = await cloudWorld(db, T0);
    const old = Date.UTC(2025, 10, 10, 8);
    await ensurePartitions(db, old);
    const epoch = uuidv7();
    const batch = (at: number, sequence: number) => ({
      nodeId: acme.node.id,
      hostOrganizationId: acme.host.active.id,
      epoch,
      records: [usageRecord(acme, sequence, { at })],
    });
    await recordBatch(db, batch(old, 1), old);
    await ensurePartitions(db, T0);
    await recordBatch(db, batch(T0, 2), T0);
    // Into the default partition: nobody made one for that month.
    await recordBatch(db, batch(Date.UTC(2025, 9, 20), 3), Date.UTC(2025, 9, 21));
    assert.deepEqual(await orderClosedWeeks(db, T0), [
      'usage_rollups_2025_11_10',
      'usage_rollups_2025_11_17',
      'usage_rollups_2025_11_24',
      'usage_rollups_2025_12_01',
      'usage_rollups_2025_12_08',
      'usage_rollups_2025_12_15',
    ]);
    assert.deepEqual(await orderClosedWeeks(db, T0), [], 'each week once');
    const storage = await db.pool.query<{ name: string; options: string[] }>(
      `SELECT relname AS name, reloptions AS options FROM pg_class
        WHERE relname IN ('usage_rollups_2025_12_15', 'usage_rollups_2026_11_23') ORDER BY relname`,
    );
    assert.deepEqual(
      storage.rows.map(row => row.options),
      [['fillfactor=100'], ['fillfactor=70']],
      'a week that is over is packed, one that grows has room',
    );
    assert.deepEqual(await applyRetention(db, DEFAULT_RETENTION, T0), [], 'a year is kept');

    const later = Date.UTC(2027, 2, 5);
    assert.deepEqual(await applyRetention(db, DEFAULT_RETENTION, later), [
      'usage_records_2025_11',
      'usage_records_2025_12',
    ]);
    const sums = async () => {
      const { rows } = await db.pool.query(
        `SELECT (SELECT count(*)::int FROM usage_records) AS records, (SELECT count(*)::int FROM usage_rollups) AS hourly,
                (SELECT count(*)::int FROM usage_rollups_daily) AS daily`,
      );
      return rows[0];
    };
    assert.deepEqual(await sums(), { records: 1, hourly: 3, daily: 3 });
    const rebuilt = await inTransaction(db, client => rebuildRollups(client));
    assert.deepEqual(rebuilt, { hourly: 1, daily: 1, wrong: 0 });
    assert.deepEqual(await sums(), { records: 1, hourly: 3, daily: 3 });

    const muchLater = Date.UTC(2029, 6, 1);
    const removed = await applyRetention(db, DEFAULT_RETENTION, muchLater);
    assert.ok(removed.includes('usage_rollups_2025_11_10'));
    assert.equal(
      (await partitionsOf(db, 'usage_rollups')).some(each => each.to <= Date.UTC(2026, 5, 1)),
      false,
    );
    assert.deepEqual((await sums()).daily, 3, 'days stay for good');
  }
});

test.run();
