/** Migrations: on both databases, once and again; the schema they make is the one Prisma believes in. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, openDatabase } from '@mastline/cloud/server/db/database';
import { EXTERNAL_TABLES, migrate, migrationFiles } from '@mastline/cloud/server/db/migrate';
import { openSchemaEngine } from '@mastline/cloud/server/db/schema-engine';
import { ensurePartitions, MONTHS_AHEAD, WEEKS_AHEAD } from '@mastline/cloud/server/ledger/partitions';
import { recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { codeOf } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { cloudBuilt } from '../../support/build-cloud';
import { cloudWorld, usageRecord } from '../../support/cloud-world';
import { databaseKinds, emptyServerDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('cloud/db: migrations');
const log = pino({ level: 'silent' });
const T0 = Date.UTC(2026, 10, 23, 12);
const kinds = await databaseKinds();

/** An empty database of that kind, opened but not migrated. */
async function empty(kind: Database['kind']): Promise<{ db: Database; drop(): Promise<void> }> {
  const dir = await tempDir('migrate');
  const server = kind === 'server' ? await emptyServerDatabase() : undefined;
  if (kind === 'embedded') await cloudBuilt();
  const db = await openDatabase({ databaseUrl: server?.databaseUrl ?? null, dataDir: dir.path, log });
  return {
    db,
    async drop() {
      await db.close();
      await server?.drop();
      await dir.remove();
    },
  };
}

if (!kinds.includes('server'))
  test.skip('migrates a PostgreSQL server', 'no PostgreSQL answers at 127.0.0.1:5432');

for (const kind of kinds) {
  test(`${kind}: applies every migration once, keeps Prisma's table, and applies nothing the second time`, async () => {
    const { db, drop } = await empty(kind);
    try {
      const names = migrationFiles().map(file => file.name);
      assert.deepEqual(await migrate(db), names);
      assert.deepEqual(await migrate(db), []);
      const { rows } = await db.pool.query(
        'SELECT migration_name, applied_steps_count FROM _prisma_migrations ORDER BY migration_name',
      );
      // A lock that outlives the migration would keep the next process from starting.
      const { rows: locks } = await db.pool.query(
        `SELECT objid FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      );
      if (kind === 'server') assert.deepEqual(locks, []);
      assert.deepEqual(
        rows.map(row => row.migration_name),
        names,
      );
    } finally {
      await drop();
    }
  });

  test(`${kind}: usage goes in, partitions are made ahead, and rows that came before theirs move into it`, async () => {
    const { db, drop } = await empty(kind);
    try {
      await migrate(db);
      const { acme } = await cloudWorld(db, T0);
      const epoch = uuidv7();
      const outcome = await recordBatch(
        db,
        {
          nodeId: acme.node.id,
          hostOrganizationId: acme.host.active.id,
          epoch,
          records: [1, 2, 3].map(sequence => usageRecord(acme, sequence)),
        },
        T0,
      );
      assert.equal(outcome.is === 'stored' && outcome.stored, 3);
      const count = async (table: string) =>
        Number((await db.pool.query(`SELECT count(*) AS count FROM ${table}`)).rows[0].count);
      assert.equal(await count('usage_records_default'), 3);
      assert.equal(await count('usage_rollups_default'), 1);
      const made = await ensurePartitions(db, T0);
      assert.equal(made.length, MONTHS_AHEAD + 1 + 2 * (WEEKS_AHEAD + 1));
      assert.ok(made.includes('usage_records_2026_11'));
      // A Monday, and T0 lies in its week.
      assert.ok(made.includes('usage_rollups_2026_11_23'));
      assert.equal(await count('usage_rollups_2026_11_23'), 1);
      assert.equal(await count('usage_rollups_default'), 0);
      assert.equal(await count('usage_records_2026_11'), 3);
      assert.equal(await count('usage_records_default'), 0);
      assert.deepEqual(await ensurePartitions(db, T0), []);
    } finally {
      await drop();
    }
  });

  test(`${kind}: a migration that fails half-way leaves nothing behind and is named`, async () => {
    const { db, drop } = await empty(kind);
    try {
      const bad = { name: '20990101000000_bad', sql: 'CREATE TABLE half (id int); SELECT 1 / 0;' };
      await assert.rejects(migrate(db, [bad]), error => codeOf(error) === 'db/migration-failed');
      const { rows } = await db.pool.query("SELECT to_regclass('half') IS NULL AS gone");
      assert.equal(rows[0].gone, true);
    } finally {
      await drop();
    }
  });

  test(`${kind}: a database of a newer version, or with an edited migration, is refused`, async () => {
    const { db, drop } = await empty(kind);
    try {
      const one = { name: '20200101000000_one', sql: 'CREATE TABLE one (id int);' };
      await migrate(db, [one]);
      await assert.rejects(migrate(db, []), error => codeOf(error) === 'db/too-new');
      await assert.rejects(
        migrate(db, [{ ...one, sql: 'CREATE TABLE other (id int);' }]),
        error => codeOf(error) === 'db/migration-edited',
      );
    } finally {
      await drop();
    }
  });
}

test('the migrations make the schema that the Prisma files say', async () => {
  // The WASM engine cannot read a database back ("char" columns of the catalog), so both are built and compared.
  const kind = kinds[0] ?? 'embedded';
  const migrated = await empty(kind);
  const described = await empty(kind);
  try {
    await migrate(migrated.db);
    const dir = join(import.meta.dirname, '../../../cloud/prisma/schema');
    const files = readdirSync(dir).map(name => ({
      path: join(dir, name),
      content: readFileSync(join(dir, name), 'utf8'),
    }));
    const engine = await openSchemaEngine(described.db.pool);
    try {
      const diff = await engine.diff({
        from: { tag: 'empty' },
        to: { tag: 'schemaDatamodel', files },
        script: true,
        exitCode: null,
        filters: { externalTables: EXTERNAL_TABLES, externalEnums: [] },
      });
      await described.db.pool.query(diff.stdout ?? '');
    } finally {
      engine.free();
    }
    const expected = await catalogue(described.db);
    assert.ok(expected.length > 150);
    assert.deepEqual(await catalogue(migrated.db), expected);
  } finally {
    await migrated.drop();
    await described.drop();
  }
});

/** Columns, constraints and indexes of everything but the tables written by hand, as lines. */
async function catalogue(db: Database): Promise<string[]> {
  const { rows } = await db.pool.query<{ line: string }>(
    `WITH tables AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
                     AND relkind IN ('r', 'p') AND 'public.' || relname <> ALL ($1) AND relname <> '_prisma_migrations')
    SELECT relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' ||
           coalesce(pg_get_expr(adbin, adrelid), '') AS line
      FROM tables JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT relname || ' ' || pg_get_constraintdef(c.oid) FROM tables JOIN pg_constraint c ON conrelid = tables.oid
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM tables JOIN pg_index ON indrelid = tables.oid
    ORDER BY 1`,
    [EXTERNAL_TABLES],
  );
  return rows.map(row => row.line);
}

test.run();
