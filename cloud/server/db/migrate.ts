/**
 * Brings the database to the present schema at start: applies what is in cloud/prisma/migrations and not yet in
 * `_prisma_migrations`. Forward only. A database that a newer version migrated is refused rather than served.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import pg from 'pg';
import { cloudPath } from '../paths';
import type { Database } from './database';
import { openSchemaEngine } from './schema-engine';

/** Of our choosing: two processes that start at once on one server migrate one after the other. */
const MIGRATION_LOCK = 7_262_734_001;
/** The engine's session, and scripts beside it. */
const ENGINE_CONNECTIONS = 4;

/** Tables made and kept by hand-written SQL: Prisma's comparison leaves them alone. */
export const EXTERNAL_TABLES = [
  'public.usage_records',
  'public.usage_records_default',
  'public.usage_rollups',
  'public.usage_rollups_default',
  'public.usage_rollups_daily',
  'public.usage_marks',
  'public.usage_ingest_daily',
  'public.usage_retention',
  'public.job_runs',
  'public.ingest_watch',
  'public.ingest_minutes',
  'public.ingest_refusals',
  'public.cloud_processes',
  'public.link_admissions',
  'public.event_marks',
  'public.connection_logs',
  'public.connection_logs_default',
  'public.node_events',
];

interface MigrationFile {
  name: string;
  sql: string;
}

export function migrationFiles(directory = cloudPath('prisma/migrations')): MigrationFile[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => entry.name)
    .sort()
    .map(name => ({ name, sql: readFileSync(join(directory, name, 'migration.sql'), 'utf8') }));
}

/** Applies what is missing; returns the names of what was applied now. */
export async function migrate(
  database: Pick<Database, 'kind' | 'pool'>,
  files: MigrationFile[] = migrationFiles(),
): Promise<string[]> {
  if (database.kind === 'embedded') return apply(database.pool, files);
  const holder = await database.pool.connect();
  try {
    await holder.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    // The engine locks for its session and leaves that to the session's end: in our pool the lock would outlive the
    // migration, and the next process could not start.
    const pool = new pg.Pool({ ...database.pool.options, max: ENGINE_CONNECTIONS });
    // What breaks while idle is made anew; what breaks in use fails the statement.
    pool.on('error', () => undefined);
    pool.on('connect', client => client.on('error', () => undefined));
    try {
      return await apply(pool, files);
    } finally {
      await pool.end();
      await holder.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]);
    }
  } finally {
    holder.release();
  }
}

async function apply(pool: pg.Pool, files: MigrationFile[]): Promise<string[]> {
  await checkHistory(pool, files);
  const engine = await openSchemaEngine(pool);
  try {
    const { appliedMigrationNames } = await engine.applyMigrations({
      migrationsList: {
        baseDir: cloudPath('prisma/migrations'),
        lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
        shadowDbInitScript: '',
        migrationDirectories: files.map(({ name, sql }) => ({
          path: name,
          migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
        })),
      },
      filters: { externalTables: EXTERNAL_TABLES, externalEnums: [] },
    });
    return appliedMigrationNames;
  } catch (error) {
    throw new CodedError('db/migration-failed', `migration failed: ${messageOf(error)}`, {
      userMessage: `The database could not be brought to this version's schema: ${messageOf(error)}. Nothing was served. Restore a backup or repair what it names, then start again.`,
      cause: error,
    });
  } finally {
    engine.free();
  }
}

/** Refuses a database with migrations that this version does not know, or that were edited after they were applied. */
async function checkHistory(pool: pg.Pool, files: MigrationFile[]): Promise<void> {
  const { rows: tables } = await pool.query<{ there: boolean }>(
    "SELECT to_regclass('public._prisma_migrations') IS NOT NULL AS there",
  );
  if (tables[0]?.there !== true) return;
  const { rows } = await pool.query<{ migration_name: string; checksum: string }>(
    'SELECT migration_name, checksum FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL',
  );
  const known = new Map(files.map(({ name, sql }) => [name, createHash('sha256').update(sql).digest('hex')]));
  for (const { migration_name: name, checksum } of rows) {
    const expected = known.get(name);
    if (expected === undefined)
      throw new CodedError('db/too-new', `database has migration ${name}, which this version does not know`, {
        userMessage: `The database was migrated by a newer Mastline (${name}). Run that version or newer.`,
      });
    if (expected !== checksum)
      throw new CodedError('db/migration-edited', `migration ${name} differs from what was applied`, {
        userMessage: `The migration ${name} was changed after it was applied to this database. Restore the file as released.`,
      });
  }
}
