/** Batches of many nodes in one transaction: nobody's batch suffers from another's, and nothing is lost while the database is away. */
import assert from 'node:assert/strict';
import type { Database } from '@mastline/cloud/server/db/database';
import { inTransaction } from '@mastline/cloud/server/db/transaction';
import { BatchWriter, isAway, MAX_WAITING_RECORDS } from '@mastline/cloud/server/ledger/batch-writer';
import { MAX_NEW_EPOCHS_PER_DAY } from '@mastline/cloud/server/ledger/ingest-sql';
import { type BatchOutcome, recordBatches } from '@mastline/cloud/server/ledger/record-batch';
import { rebuildRollups } from '@mastline/cloud/server/ledger/rollups';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import fc from 'fast-check';
import { cloudWorld, type Tenant, usageRecord, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/ledger: many batches at once');
const T0 = Date.UTC(2026, 10, 23, 12);
const databases: { kind: string; database: TestDatabase; world: World }[] = [];

test.before(async () => {
  for (const kind of await databaseKinds()) {
    const database = await testDatabase(kind);
    databases.push({ kind, database, world: await cloudWorld(database.db) });
  }
});
test.after(async () => {
  for (const { database } of databases) await database.drop();
});

const range = (tenant: Tenant, from: number, to: number, over: Partial<UsageRecord> = {}) =>
  Array.from({ length: to - from + 1 }, (_, i) => usageRecord(tenant, from + i, over));
const batchOf = (tenant: Tenant, epoch: string, records: UsageRecord[]) => ({
  nodeId: tenant.node.id,
  hostOrganizationId: tenant.host.active.id,
  epoch,
  records,
});

async function countOf(db: Database, epoch: string): Promise<number> {
  const { rows } = await db.pool.query(
    'SELECT count(*)::int AS count FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key WHERE m.epoch = $1',
    [epoch],
  );
  return rows[0].count;
}

/** Connections of `db` on which `spoil` may refuse a statement. */
function spoiled(db: Database, spoil: (text: string) => Error | undefined): Database {
  const pool = new Proxy(db.pool, {
    get(target, key) {
      if (key !== 'connect') return Reflect.get(target, key, target);
      return async () => {
        const client = await target.connect();
        return new Proxy(client, {
          get(inner, name) {
            if (name === 'query')
              return (text: string, ...rest: unknown[]) => {
                const error = spoil(text);
                return error === undefined
                  ? (inner.query as (...all: unknown[]) => unknown)(text, ...rest)
                  : Promise.reject(error);
              };
            if (name === 'release') return (error?: Error) => inner.release(error);
            return Reflect.get(inner, name, inner);
          },
        });
      };
    },
  });
  return { ...db, pool } as Database;
}

test('one transaction takes batches of several nodes and epochs, each with its own outcome', async () => {
  for (const { database, world } of databases) {
    const { acme, rival } = world;
    const [a, b, c] = [uuidv7(), uuidv7(), uuidv7()];
    const outcomes = await recordBatches(
      database.db,
      [
        batchOf(acme, a, range(acme, 1, 4)),
        batchOf(rival, b, range(rival, 1, 2)),
        batchOf(acme, a, range(acme, 3, 6)),
        batchOf(rival, b, range(rival, 9, 9)),
        batchOf(acme, c, [usageRecord(acme, 1), usageRecord(acme, 3)]),
        batchOf(rival, b, [usageRecord(rival, 3, { endpointId: acme.endpointId }), usageRecord(rival, 4)]),
        batchOf(acme, a, range(acme, 1, 6)),
      ],
      T0,
    );
    assert.deepEqual(
      outcomes.map(each => (each.is === 'refused' ? each.code : each)),
      [
        { is: 'stored', mark: 4, stored: 4, duplicates: 0, unattributed: 0 },
        { is: 'stored', mark: 2, stored: 2, duplicates: 0, unattributed: 0 },
        { is: 'stored', mark: 6, stored: 2, duplicates: 2, unattributed: 0 },
        { is: 'gap', expected: 3 },
        'ledger/not-consecutive',
        { is: 'stored', mark: 4, stored: 2, duplicates: 0, unattributed: 1 },
        { is: 'stored', mark: 6, stored: 0, duplicates: 6, unattributed: 0 },
      ] as never,
    );
    assert.equal(await countOf(database.db, a), 6);
    assert.equal(await countOf(database.db, b), 4);
  }
});

test('ids that join to the same text are still two names', async () => {
  for (const { database, world } of databases) {
    const { acme } = world;
    const epoch = uuidv7();
    const records = [
      usageRecord(acme, 1, { endpointId: 'a b', credentialId: 'c' }),
      usageRecord(acme, 2, { endpointId: 'a', credentialId: 'b c' }),
    ];
    const [outcome] = await recordBatches(database.db, [batchOf(acme, epoch, records)], T0);
    assert.equal(outcome?.is === 'stored' && outcome.unattributed, 2);
    const { rows } = await database.db.pool.query(
      `SELECT reported->>'endpoint' AS endpoint, reported->>'credential' AS credential
         FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key WHERE m.epoch = $1 ORDER BY sequence`,
      [epoch],
    );
    assert.deepEqual(rows, [
      { endpoint: 'a b', credential: 'c' },
      { endpoint: 'a', credential: 'b c' },
    ]);
  }
});

test('a batch that the database cannot take fails alone; its neighbours in the group are stored', async () => {
  for (const { database, world } of databases) {
    const { acme, rival } = world;
    const log = world.services.log;
    const writer = new BatchWriter({ db: database.db, clock: systemClock, log });
    const [good, bad, other] = [uuidv7(), uuidv7(), uuidv7()];
    // The wire lets no such slot in: this stands for whatever one batch may hold that a column does not.
    const results = await Promise.allSettled([
      writer.write(batchOf(acme, good, range(acme, 1, 3))),
      writer.write(batchOf(rival, bad, range(rival, 1, 2, { slot: 2 ** 40 }))),
      writer.write(batchOf(acme, other, range(acme, 1, 2))),
    ]);
    assert.deepEqual(
      results.map(each => each.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(
      [await countOf(database.db, good), await countOf(database.db, bad), await countOf(database.db, other)],
      [3, 0, 2],
    );
    assert.equal(writer.figures().waitingRecords, 0);
  }
});

test('while the database is away batches wait, and are stored once when it is back', async () => {
  for (const { database, world } of databases) {
    const { acme, rival } = world;
    let refusals = 6;
    const db = spoiled(database.db, text =>
      text === 'BEGIN' && refusals-- > 0
        ? Object.assign(new Error('the database system is starting up'), { code: '57P03' })
        : undefined,
    );
    const writer = new BatchWriter({ db, clock: systemClock, log: world.services.log, random: () => 0 });
    const [a, b] = [uuidv7(), uuidv7()];
    const outcomes = await Promise.all([
      writer.write(batchOf(acme, a, range(acme, 1, 3))),
      writer.write(batchOf(rival, b, range(rival, 1, 2))),
    ]);
    assert.ok(outcomes.every(each => each.is === 'stored'));
    assert.ok(writer.figures().retries >= 3);
    assert.deepEqual([await countOf(database.db, a), await countOf(database.db, b)], [3, 2]);
  }
});

test('a commit whose answer was lost is answered as duplicates, not stored again', async () => {
  for (const { database, world } of databases) {
    const { acme } = world;
    let lose = true;
    const inner = spoiled(database.db, () => undefined);
    const pool = new Proxy(inner.pool, {
      get(target, key) {
        if (key !== 'connect') return Reflect.get(target, key, target);
        return async () => {
          const client = await target.connect();
          return new Proxy(client, {
            get(each, name) {
              if (name !== 'query') return Reflect.get(each, name, each);
              return async (text: string, ...rest: unknown[]) => {
                const result = await (each.query as (...all: unknown[]) => unknown)(text, ...rest);
                if (text === 'COMMIT' && lose) {
                  lose = false;
                  throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
                }
                return result;
              };
            },
          });
        };
      },
    });
    const writer = new BatchWriter({
      db: { ...database.db, pool } as Database,
      clock: systemClock,
      log: world.services.log,
      random: () => 0,
    });
    const epoch = uuidv7();
    const outcome = await writer.write(batchOf(acme, epoch, range(acme, 1, 5)));
    assert.deepEqual(outcome, { is: 'stored', mark: 5, stored: 0, duplicates: 5, unattributed: 0 });
    assert.equal(await countOf(database.db, epoch), 5);
  }
});

test('what waits is bounded: more is refused for now', async () => {
  const [{ database, world } = { database: undefined, world: undefined }] = databases;
  assert.ok(database && world);
  const { acme } = world;
  const writer = new BatchWriter({ db: database.db, clock: systemClock, log: world.services.log });
  const huge = { ...batchOf(acme, uuidv7(), []), records: { length: MAX_WAITING_RECORDS + 1 } as never };
  await assert.rejects(writer.write(huge), error => codeOf(error) === 'ledger/busy');
});

test('a node that begins too many epochs is refused the next, and goes on in those it has', async () => {
  for (const { database, world } of databases) {
    const { rival } = world;
    const { rows } = await database.db.pool.query(
      'SELECT count(*)::int AS count FROM usage_marks WHERE node_id = $1',
      [rival.node.id],
    );
    const epochs = Array.from({ length: MAX_NEW_EPOCHS_PER_DAY - rows[0].count }, () => uuidv7());
    const outcomes: BatchOutcome[] = [];
    for (const epoch of epochs)
      outcomes.push(...(await recordBatches(database.db, [batchOf(rival, epoch, range(rival, 1, 1))], T0)));
    assert.ok(outcomes.every(each => each.is === 'stored'));
    const [more, old] = await recordBatches(
      database.db,
      [batchOf(rival, uuidv7(), range(rival, 1, 1)), batchOf(rival, epochs[0] ?? '', range(rival, 2, 2))],
      T0,
    );
    assert.equal(more?.is === 'refused' && more.code, 'ledger/too-many-epochs');
    assert.equal(old?.is === 'stored' && old.stored, 1);
    const [later] = await recordBatches(
      database.db,
      [batchOf(rival, uuidv7(), range(rival, 1, 1))],
      T0 + 86_400_001,
    );
    assert.equal(later?.is, 'stored', 'a day later there is room again');
  }
});

test('the faults that are waited out are those of a database that is away', () => {
  for (const code of ['57P01', '57P03', '08006', '53300', '40P01', '40001', 'ECONNREFUSED', 'ECONNRESET'])
    assert.ok(isAway(Object.assign(new Error('x'), { code })), code);
  assert.ok(isAway(new Error('Connection terminated unexpectedly')));
  for (const code of ['23505', '22003', '42601', '57014'])
    assert.ok(!isAway(Object.assign(new Error('x'), { code })), code);
});

test(
  'whatever nodes send at once, doubled, overlapping or with gaps: 1..mark once each, and rollups equal a rebuild',
  async () => {
    for (const { database, world } of databases) {
      const { db } = database;
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({
              who: fc.integer({ min: 0, max: 1 }),
              offset: fc.integer({ min: -8, max: 2 }),
              length: fc.integer({ min: 1, max: 12 }),
              copies: fc.integer({ min: 1, max: 3 }),
              slot: fc.integer({ min: 0, max: 2 }),
              hour: fc.integer({ min: 0, max: 60 }),
            }),
            { minLength: 1, maxLength: 14 },
          ),
          async steps => {
            const writer = new BatchWriter({ db, clock: world.services.clock, log: world.services.log });
            const tenants = [world.acme, world.rival];
            const epochs = [uuidv7(), uuidv7()];
            await db.pool.query('UPDATE usage_marks SET first_seen_at = $1', [new Date(0)]);
            // Each node's session waits for its answer; the nodes do not wait for each other.
            const marks = await Promise.all(
              tenants.map(async (tenant, who) => {
                let mark = 0;
                const epoch = epochs[who] ?? '';
                for (const step of steps.filter(each => each.who === who)) {
                  // Mostly at or before what comes next, now and then past it: a gap.
                  const from = Math.max(1, mark + 1 + Math.min(1, step.offset));
                  const records = range(tenant, from, from + step.length - 1, {
                    slot: step.slot,
                    periodStart: T0 - step.hour * 3_600_000,
                  });
                  for (let copy = 0; copy < step.copies; copy += 1) {
                    const outcome = await writer.write(batchOf(tenant, epoch, records));
                    if (from > mark + 1) assert.deepEqual(outcome, { is: 'gap', expected: mark + 1 });
                    else {
                      mark = Math.max(mark, from + step.length - 1);
                      assert.equal(outcome.is === 'stored' && outcome.mark, mark);
                    }
                  }
                }
                return mark;
              }),
            );
            for (const [who, mark] of marks.entries())
              assert.equal(await countOf(db, epochs[who] ?? ''), mark);
          },
        ),
        { numRuns: 20 },
      );
      const rebuilt = await inTransaction(db, client => rebuildRollups(client));
      assert.ok(rebuilt.hourly > 20 && rebuilt.daily > 3, JSON.stringify(rebuilt));
      assert.equal(rebuilt.wrong, 0);
    }
  },
  { deadlineMs: 120_000 },
);

test('a rebuild finds and mends rollups that are wrong, missing or made up', async () => {
  for (const { database, world } of databases) {
    const { db } = database;
    await recordBatches(db, [batchOf(world.acme, uuidv7(), range(world.acme, 1, 9))], T0);
    await db.pool.query(
      'UPDATE usage_rollups SET up_bytes = up_bytes + 1 WHERE ctid = (SELECT min(ctid) FROM usage_rollups)',
    );
    await db.pool.query(
      'DELETE FROM usage_rollups_daily WHERE ctid = (SELECT max(ctid) FROM usage_rollups_daily)',
    );
    const rebuilt = await inTransaction(db, client => rebuildRollups(client));
    assert.ok(rebuilt.wrong >= 2);
    assert.equal((await inTransaction(db, client => rebuildRollups(client))).wrong, 0);
    const { rows } = await db.pool.query(
      `SELECT (SELECT sum(up_bytes + down_bytes) FROM usage_records) AS records,
              (SELECT sum(up_bytes + down_bytes) FROM usage_rollups) AS hourly,
              (SELECT sum(up_bytes + down_bytes) FROM usage_rollups_daily) AS daily`,
    );
    assert.deepEqual([rows[0].hourly, rows[0].daily], [rows[0].records, rows[0].records]);
  }
});

test.run();
