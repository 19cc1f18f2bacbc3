/** Usage into the ledger: exactly once, by mark, whatever order or number of times batches come in. */
import assert from 'node:assert/strict';
import { withTenantSql } from '@mastline/cloud/server/db/tenant';
import { type BatchOutcome, recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { rebuildRollups } from '@mastline/cloud/server/ledger/rollups';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import fc from 'fast-check';
import { cloudWorld, type Tenant, usageRecord, type World } from '../../support/cloud-world';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/ledger: usage batches');
const HOUR_MS = 3_600_000;
const T0 = Date.UTC(2026, 10, 23, 12);
let database: TestDatabase;
let world: World;

test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
});
test.after(async () => database.drop());

const send = (tenant: Tenant, epoch: string, records: UsageRecord[]): Promise<BatchOutcome> =>
  recordBatch(
    database.db,
    { nodeId: tenant.node.id, hostOrganizationId: tenant.host.active.id, epoch, records },
    T0,
  );
const range = (tenant: Tenant, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => usageRecord(tenant, from + i));

async function ledgerOf(epoch: string): Promise<{ count: number; up: number; last: number }> {
  const { rows } = await database.db.pool.query(
    `SELECT count(*)::int AS count, coalesce(sum(up_bytes), 0)::float8 AS up, coalesce(max(sequence), 0)::int AS last
       FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key WHERE m.epoch = $1`,
    [epoch],
  );
  return rows[0];
}

async function rollups(): Promise<unknown[]> {
  const { rows } = await database.db.pool.query(
    'SELECT * FROM usage_rollups ORDER BY organization_id, hour, credential_key, endpoint_key, node_key, slot, modem_key',
  );
  return rows;
}

test('stores a batch, and the same batch again stores nothing and answers the same mark', async () => {
  const epoch = uuidv7();
  const first = await send(world.acme, epoch, range(world.acme, 1, 5));
  assert.deepEqual(first, { is: 'stored', mark: 5, stored: 5, duplicates: 0, unattributed: 0 });
  const again = await send(world.acme, epoch, range(world.acme, 1, 5));
  assert.deepEqual(again, { is: 'stored', mark: 5, stored: 0, duplicates: 5, unattributed: 0 });
  assert.equal((await ledgerOf(epoch)).count, 5);
});

test('takes the new part of a batch that overlaps', async () => {
  const epoch = uuidv7();
  await send(world.acme, epoch, range(world.acme, 1, 5));
  const outcome = await send(world.acme, epoch, range(world.acme, 3, 8));
  assert.deepEqual(outcome, { is: 'stored', mark: 8, stored: 3, duplicates: 3, unattributed: 0 });
  assert.equal((await ledgerOf(epoch)).count, 8);
});

test('refuses a gap, stores nothing of it, and asks for what is missing', async () => {
  const epoch = uuidv7();
  await send(world.acme, epoch, range(world.acme, 1, 2));
  assert.deepEqual(await send(world.acme, epoch, range(world.acme, 4, 6)), { is: 'gap', expected: 3 });
  assert.equal((await ledgerOf(epoch)).count, 2);
});

test('refuses a first batch that does not begin at 1', async () => {
  assert.deepEqual(await send(world.acme, uuidv7(), range(world.acme, 2, 3)), { is: 'gap', expected: 1 });
});

test('refuses a batch whose sequences are not consecutive', async () => {
  const outcome = await send(world.acme, uuidv7(), [usageRecord(world.acme, 1), usageRecord(world.acme, 3)]);
  assert.equal(outcome.is === 'refused' && outcome.code, 'ledger/not-consecutive');
});

test('refuses a record that counts more than a minute can hold', async () => {
  const outcome = await send(world.acme, uuidv7(), [usageRecord(world.acme, 1, { upBytes: 2 ** 52 })]);
  assert.equal(outcome.is === 'refused' && outcome.code, 'ledger/implausible');
});

test('takes ten copies of one batch at once as one', async () => {
  const epoch = uuidv7();
  const outcomes = await Promise.all(
    Array.from({ length: 10 }, () => send(world.acme, epoch, range(world.acme, 1, 20))),
  );
  assert.equal(
    outcomes.reduce((sum, each) => sum + (each.is === 'stored' ? each.stored : 0), 0),
    20,
  );
  assert.ok(outcomes.every(each => each.is === 'stored' && each.mark === 20));
  assert.equal((await ledgerOf(epoch)).count, 20);
});

test('nodes do not share marks, even with the same epoch', async () => {
  const epoch = uuidv7();
  await send(world.acme, epoch, range(world.acme, 1, 3));
  const other = await send(world.rival, epoch, range(world.rival, 1, 2));
  assert.deepEqual(other, { is: 'stored', mark: 2, stored: 2, duplicates: 0, unattributed: 0 });
});

test('a transaction that dies before its commit leaves neither records nor mark', async () => {
  const epoch = uuidv7();
  await send(world.acme, epoch, range(world.acme, 1, 2));
  const before = await rollups();
  // The connection is cut from the side of the server, between the insert and the commit.
  const cut = {
    ...database.db.pool,
    connect: async () => {
      const client = await database.db.pool.connect();
      const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
      client.query = ((text: unknown, ...rest: unknown[]) => {
        if (text === 'COMMIT') return Promise.reject(new Error('power cut'));
        return query(text, ...rest);
      }) as typeof client.query;
      return new Proxy(client, {
        get: (target, key) =>
          key === 'release'
            ? () => {
                client.query = query as typeof client.query;
                client.release();
              }
            : Reflect.get(target, key, target),
      });
    },
  } as unknown as TestDatabase['db']['pool'];
  await assert.rejects(
    recordBatch(
      { pool: cut },
      {
        nodeId: world.acme.node.id,
        hostOrganizationId: world.acme.host.active.id,
        epoch,
        records: range(world.acme, 3, 9),
      },
      T0,
    ),
    /power cut/,
  );
  assert.equal((await ledgerOf(epoch)).last, 2);
  assert.deepEqual(await rollups(), before);
  const again = await send(world.acme, epoch, range(world.acme, 3, 9));
  assert.equal(again.is === 'stored' && again.stored, 7);
});

test('keeps usage that names unknown or foreign things with the host, and says why', async () => {
  const epoch = uuidv7();
  const { acme, rival } = world;
  const records = [
    usageRecord(acme, 1, { endpointId: 'gone' }),
    usageRecord(acme, 2, { endpointId: rival.endpointId }),
    usageRecord(acme, 3, { credentialId: uuidv7() }),
    usageRecord(acme, 4, { credentialId: rival.credentialId }),
    usageRecord(acme, 5, { endpointId: 'nul\u0000' }),
    usageRecord(acme, 6),
  ];
  const outcome = await send(acme, epoch, records);
  assert.deepEqual(outcome, { is: 'stored', mark: 6, stored: 6, duplicates: 0, unattributed: 5 });
  const { rows } = await database.db.pool.query(
    `SELECT r.organization_id, r.unattributed FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key
      WHERE m.epoch = $1 ORDER BY r.sequence`,
    [epoch],
  );
  const host = acme.host.active.id;
  assert.deepEqual(rows, [
    { organization_id: host, unattributed: 'unknown-endpoint' },
    { organization_id: host, unattributed: 'endpoint-of-another-node' },
    { organization_id: host, unattributed: 'unknown-credential' },
    { organization_id: host, unattributed: 'credential-not-served-here' },
    { organization_id: host, unattributed: 'unknown-endpoint' },
    { organization_id: acme.customer.active.id, unattributed: null },
  ]);
});

test('keeps a period that no working clock gives in the present minute, with what it came with', async () => {
  const epoch = uuidv7();
  const far = 9_007_199_254_740_000;
  await send(world.acme, epoch, [
    usageRecord(world.acme, 1, { periodStart: far - (far % 60_000) }),
    usageRecord(world.acme, 2, { periodStart: 0 }),
  ]);
  const { rows } = await database.db.pool.query(
    `SELECT r.period_start, r.reported FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key
      WHERE m.epoch = $1 ORDER BY r.sequence`,
    [epoch],
  );
  assert.deepEqual(
    rows.map(row => row.period_start.getTime()),
    [T0, T0],
  );
  assert.equal(rows[1].reported.periodStart, 0);
});

test('rollups equal a rebuild from the records, over hours, slots, credentials and nodes', async () => {
  const epoch = uuidv7();
  const records = Array.from({ length: 300 }, (_, i) =>
    usageRecord(world.acme, i + 1, {
      at: T0 - (i % 7) * HOUR_MS - i * 60_000,
      slot: i % 3,
      ...(i % 11 === 0 ? { credentialId: 'gone' } : {}),
    }),
  );
  for (let i = 0; i < records.length; i += 37) await send(world.acme, epoch, records.slice(i, i + 37));
  const incremental = await rollups();
  assert.ok(incremental.length > 20);
  await withTenantSql(database.db, world.acme.host.active.id, rebuildRollups);
  assert.deepEqual(await rollups(), incremental);
});

test(
  'whatever is sent, doubled, reordered, cut short or lost: the ledger holds 1..mark once each',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            from: fc.integer({ min: 1, max: 40 }),
            length: fc.integer({ min: 1, max: 15 }),
            copies: fc.integer({ min: 1, max: 3 }),
            together: fc.boolean(),
          }),
          { minLength: 1, maxLength: 12 },
        ),
        async steps => {
          const epoch = uuidv7();
          let mark = 0;
          for (const { from, length, copies, together } of steps) {
            const batch = range(world.acme, from, from + length - 1);
            const sends = Array.from({ length: copies }, () => () => send(world.acme, epoch, batch));
            const outcomes: BatchOutcome[] = [];
            if (together) outcomes.push(...(await Promise.all(sends.map(each => each()))));
            else for (const each of sends) outcomes.push(await each());
            const gap = from > mark + 1;
            for (const outcome of outcomes)
              if (gap) assert.deepEqual(outcome, { is: 'gap', expected: mark + 1 });
              else assert.ok(outcome.is === 'stored' && outcome.mark === Math.max(mark, from + length - 1));
            if (!gap) mark = Math.max(mark, from + length - 1);
          }
          const { count, up, last } = await ledgerOf(epoch);
          assert.deepEqual({ count, last }, { count: mark, last: mark });
          assert.equal(up, 100 * mark + (mark * (mark + 1)) / 2);
        },
      ),
      { numRuns: 25 },
    );
  },
  { deadlineMs: 90_000 },
);

test.run();
