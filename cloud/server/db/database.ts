/**
 * The database as the server sees it: one pool of PostgreSQL connections, with Prisma on top of the same pool. What is
 * behind it, a server or the embedded PGlite, is embedded.ts and this file's business only.
 */
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import type { Log } from '../log';
import { openEmbedded } from './embedded';
import { PrismaClient } from './generated/client';

/** PostgreSQL 15: the oldest that every statement of ours is tested on. */
export const FLOOR_SERVER_VERSION = 150_000;
/** Connections of one process to a server. */
export const POOL_SIZE = 10;
/**
 * The embedded database has one session behind its socket, and the socket server (pglite-socket 0.2.17) hands it
 * protocol messages one by one: with two clients, one's Bind can meet the other's unnamed statement, and answers go
 * astray. One connection is all that is safe; queries and transactions wait for it in the pool.
 */
const EMBEDDED_POOL_SIZE = 1;
const CONNECT_DEADLINE_MS = 5_000;
/** No statement of ours is meant to run longer; a stuck one must not hold a connection for ever. */
const STATEMENT_DEADLINE_MS = 60_000;
const TRANSACTION_WAIT_MS = 15_000;
const TRANSACTION_DEADLINE_MS = 30_000;

export interface Database {
  kind: 'embedded' | 'server';
  prisma: PrismaClient;
  pool: pg.Pool;
  /** Ends connections, then what was started behind them. */
  close(): Promise<void>;
}

/** Opens the server at `databaseUrl`, or the embedded database in `dataDir` when that is null. Migrates nothing. */
export async function openDatabase(options: {
  databaseUrl: string | null;
  dataDir: string;
  log: Log;
}): Promise<Database> {
  if (options.databaseUrl !== null)
    return connect('server', { connectionString: options.databaseUrl }, options.log);
  const embedded = await openEmbedded(options.dataDir);
  try {
    const database = await connect('embedded', embedded.connection, options.log);
    return {
      ...database,
      async close() {
        await database.close();
        await embedded.close();
      },
    };
  } catch (error) {
    await embedded.close();
    throw error;
  }
}

async function connect(kind: Database['kind'], config: pg.PoolConfig, log: Log): Promise<Database> {
  const pool = new pg.Pool({
    ...config,
    max: kind === 'server' ? POOL_SIZE : EMBEDDED_POOL_SIZE,
    connectionTimeoutMillis: kind === 'server' ? CONNECT_DEADLINE_MS : TRANSACTION_WAIT_MS,
    ...(kind === 'server' ? { statement_timeout: STATEMENT_DEADLINE_MS, keepAlive: true } : {}),
    application_name: 'mastline',
  });
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', error => log.warn({ err: error }, 'an idle database connection broke'));
  // The same for one that is taken, between two statements of a transaction: the next statement fails and tells.
  pool.on('connect', client =>
    client.on('error', error => log.debug({ err: error }, 'a database connection broke')),
  );
  try {
    await checkServer(pool);
  } catch (error) {
    await pool.end();
    throw error instanceof CodedError ? error : unreachable(kind, error);
  }
  const prisma = new PrismaClient({
    adapter: new PrismaPg(pool),
    transactionOptions: { maxWait: TRANSACTION_WAIT_MS, timeout: TRANSACTION_DEADLINE_MS },
    errorFormat: 'minimal',
  });
  return {
    kind,
    prisma,
    pool,
    async close() {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

async function checkServer(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ version: string; shown: string }>(
    "SELECT current_setting('server_version_num') AS version, current_setting('server_version') AS shown",
  );
  const [row] = rows;
  if (row === undefined || Number(row.version) < FLOOR_SERVER_VERSION)
    throw new CodedError('db/too-old', `PostgreSQL ${row?.shown} is older than 15`, {
      userMessage: `The database is PostgreSQL ${row?.shown}, but Mastline needs 15 or newer. Upgrade it, or leave DATABASE_URL unset to use the embedded database.`,
    });
}

function unreachable(kind: Database['kind'], cause: unknown): CodedError {
  const code = codeOf(cause);
  if (kind === 'embedded')
    return new CodedError('db/embedded-failed', `embedded database does not answer: ${messageOf(cause)}`, {
      cause,
    });
  const why =
    code === '28P01' || code === '28000'
      ? 'it refused the user or password'
      : code === '3D000'
        ? 'the database named there does not exist'
        : messageOf(cause);
  return new CodedError('db/unreachable', `cannot reach PostgreSQL: ${messageOf(cause)}`, {
    userMessage: `Cannot use the database in DATABASE_URL: ${why}. Check the address and that the server runs, or leave DATABASE_URL unset to use the embedded database.`,
    retryable: true,
    cause,
  });
}
