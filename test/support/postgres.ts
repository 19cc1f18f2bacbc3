/**
 * A migrated database of its own for a test. On the PostgreSQL at 127.0.0.1:5432 when it answers (each a copy of one
 * template, named after the migrations' content), else, or with MASTLINE_TEST_DATABASE=embedded, PGlite in a
 * temporary directory; one line says which. The template stays for the next run.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Database } from '@mastline/cloud/server/db/database';
import { openDatabase } from '@mastline/cloud/server/db/database';
import { migrate, migrationFiles } from '@mastline/cloud/server/db/migrate';
import pg from 'pg';
import { pino } from 'pino';
import { cloudBuilt } from './build-cloud';
import { tempDir } from './temp';

export type DatabaseKind = Database['kind'];

const HOST = '127.0.0.1';
const USERS = ['root', 'postgres'];
const TEMPLATE_PREFIX = 'mastline_template_';
/** Of our choosing: test files that start at once make the template one after the other. */
const TEMPLATE_LOCK = 7_262_734_099;
/** Templates of other contents that are left for other checkouts, which may be testing right now. */
const OTHER_TEMPLATES = 8;
/** A server that is not there refuses at once; one that is busy takes its time. */
const CONNECT_MS = 20_000;

export interface TestDatabase {
  db: Database;
  /** What a cloud process needs to open the same database; null when that is the embedded one. */
  databaseUrl: string | null;
  dataDir: string;
  /** Closes `db`, for a cloud process that opens the same database; harmless when it is closed already. */
  disconnect(): Promise<void>;
  drop(): Promise<void>;
}

let server: Promise<string | undefined> | undefined;

/** The kinds this machine can test on, best first. */
export async function databaseKinds(): Promise<DatabaseKind[]> {
  return (await serverUser()) === undefined ? ['embedded'] : ['server', 'embedded'];
}

/** A fresh migrated database; `kind` asks for one in particular. */
export async function testDatabase(kind?: DatabaseKind): Promise<TestDatabase> {
  const [best] = await databaseKinds();
  const chosen = kind ?? best ?? 'embedded';
  const dir = await tempDir('cloud');
  const log = pino({ level: 'silent' });
  if (chosen === 'embedded') {
    await cloudBuilt();
    const db = await openDatabase({ databaseUrl: null, dataDir: dir.path, log });
    await migrate(db);
    const disconnect = closingOnce(db);
    return {
      db,
      databaseUrl: null,
      dataDir: dir.path,
      disconnect,
      async drop() {
        await disconnect();
        await dir.remove();
      },
    };
  }
  const user = await serverUser();
  if (user === undefined) throw new Error('no PostgreSQL answers at 127.0.0.1:5432');
  const template = await ensureTemplate(user);
  const name = `mastline_test_${randomBytes(6).toString('hex')}`;
  await asAdmin(user, client => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`));
  const databaseUrl = urlOf(user, name);
  const db = await openDatabase({ databaseUrl, dataDir: dir.path, log });
  const disconnect = closingOnce(db);
  return {
    db,
    databaseUrl,
    dataDir: dir.path,
    disconnect,
    async drop() {
      await disconnect();
      await asAdmin(user, client => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
      await dir.remove();
    },
  };
}

function closingOnce(db: Database): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => {
    closing ??= db.close();
    return closing;
  };
}

/**
 * A migrated database on the server that outlives its run: a large one is filled once and asked many times. A new one is made
 * unless `there` says that it must be there already; then it is brought to the migrations of now.
 */
export async function keptDatabase(name: string, { there }: { there: boolean }): Promise<TestDatabase> {
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(name))
    throw new Error(`${name}: a database's name is small letters, digits and underscores, 63 at most`);
  const user = await serverUser();
  if (user === undefined) throw new Error('no PostgreSQL answers at 127.0.0.1:5432');
  if (!there) {
    const template = await ensureTemplate(user);
    await asAdmin(user, client => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`));
  }
  const databaseUrl = urlOf(user, name);
  const db = await openDatabase({ databaseUrl, dataDir: '/nonexistent', log: pino({ level: 'silent' }) });
  if (there) await migrate(db);
  const disconnect = closingOnce(db);
  return { db, databaseUrl, dataDir: '/nonexistent', disconnect, drop: disconnect };
}

/** An empty database on the server, not migrated. Only where there is a server. */
export async function emptyServerDatabase(): Promise<{ databaseUrl: string; drop(): Promise<void> }> {
  const user = await serverUser();
  if (user === undefined) throw new Error('no PostgreSQL answers at 127.0.0.1:5432');
  const name = `mastline_test_${randomBytes(6).toString('hex')}`;
  await asAdmin(user, client => client.query(`CREATE DATABASE ${name}`));
  return {
    databaseUrl: urlOf(user, name),
    drop: async () => {
      await asAdmin(user, client => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
    },
  };
}

const urlOf = (user: string, name: string) => `postgres://${user}@${HOST}:5432/${name}`;

function serverUser(): Promise<string | undefined> {
  server ??= (async () => {
    if (process.env.MASTLINE_TEST_DATABASE === 'embedded') {
      console.log('database for these tests: PGlite (MASTLINE_TEST_DATABASE=embedded)');
      return undefined;
    }
    for (const user of USERS)
      try {
        await asAdmin(user, client => client.query('SELECT 1'));
        console.log(`database for these tests: PostgreSQL at ${HOST}:5432 as ${user}`);
        return user;
      } catch {
        // Not this user, or no server at all: the line below says what is used instead.
      }
    console.log(`database for these tests: PGlite (no PostgreSQL answers at ${HOST}:5432)`);
    return undefined;
  })();
  return server;
}

async function asAdmin<T>(user: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    host: HOST,
    user,
    database: 'postgres',
    connectionTimeoutMillis: CONNECT_MS,
  });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

let template: Promise<string> | undefined;

function ensureTemplate(user: string): Promise<string> {
  template ??= asAdmin(user, async client => {
    const content = createHash('sha256').update(JSON.stringify(migrationFiles())).digest('hex').slice(0, 16);
    const name = `${TEMPLATE_PREFIX}${content}`;
    await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    try {
      const { rows } = await client.query<{ datname: string }>(
        'SELECT datname FROM pg_database WHERE starts_with(datname, $1) ORDER BY oid DESC',
        [TEMPLATE_PREFIX],
      );
      if (rows.some(row => row.datname === name)) return name;
      for (const { datname } of rows.slice(OTHER_TEMPLATES))
        await client.query(`DROP DATABASE IF EXISTS ${datname} WITH (FORCE)`);
      const draft = `${name}_draft`;
      await client.query(`DROP DATABASE IF EXISTS ${draft} WITH (FORCE)`);
      await client.query(`CREATE DATABASE ${draft}`);
      const db = await openDatabase({
        databaseUrl: urlOf(user, draft),
        dataDir: '/nonexistent',
        log: pino({ level: 'silent' }),
      });
      await migrate(db);
      await db.close();
      await client.query(`ALTER DATABASE ${draft} RENAME TO ${name}`);
      return name;
    } finally {
      await client.query('SELECT pg_advisory_unlock($1)', [TEMPLATE_LOCK]);
    }
  });
  return template;
}
