/**
 * A PostgreSQL cluster of the run's own: made in a temporary directory, served on a free port, crashed and started again
 * as the run pleases, removed at the end. PostgreSQL refuses to run as root: it then runs as `postgres` or `nobody`.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { freePorts } from '../../installer/local/ports';
import { findTool } from '../support/tools';

const READY_MS = 60_000;
const STOP_MS = 20_000;
const INITDB_MS = 120_000;
const PACKAGED = '/usr/lib/postgresql';

export interface OwnPostgres {
  url: string;
  /** As a crash: no checkpoint, what was not yet on disk is recovered from the log at the next start. */
  crash(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes its files. */
  remove(): Promise<void>;
}

/** Where `initdb` and `postgres` are; undefined when they are not installed. */
export function postgresPrograms(): { initdb: string; postgres: string } | undefined {
  const folders = existsSync(PACKAGED)
    ? readdirSync(PACKAGED)
        .sort((a, b) => Number(b) - Number(a))
        .map(version => join(PACKAGED, version, 'bin'))
    : [];
  for (const folder of folders) {
    const found = { initdb: join(folder, 'initdb'), postgres: join(folder, 'postgres') };
    if (existsSync(found.initdb) && existsSync(found.postgres)) return found;
  }
  const initdb = findTool('initdb');
  const postgres = findTool('postgres');
  return initdb && postgres ? { initdb, postgres } : undefined;
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const programs = postgresPrograms();
  if (!programs) throw new Error('PostgreSQL is not installed: sudo apt-get install -y postgresql');
  const user = unprivileged();
  const dir = mkdtempSync(join(tmpdir(), 'mastline-chaos-db-'));
  if (user.uid !== undefined && user.gid !== undefined) chownSync(dir, user.uid, user.gid);
  const data = join(dir, 'data');
  const logFile = join(dir, 'log');
  let server: ChildProcess | undefined;
  let gone: Promise<void> = Promise.resolve();
  const [port = 0] = await freePorts(1);
  const url = `postgres://mastline@127.0.0.1:${port}/postgres`;

  const end = async (signal: NodeJS.Signals) => {
    if (server === undefined) return;
    const killer = setTimeout(() => server?.kill('SIGKILL'), STOP_MS);
    server.kill(signal);
    await gone;
    clearTimeout(killer);
    server = undefined;
  };
  const own: OwnPostgres = {
    url,
    crash: () => end('SIGQUIT'),
    async start() {
      const log = openSync(logFile, 'a', 0o644);
      const child = spawn(
        programs.postgres,
        [
          '-D',
          data,
          '-p',
          String(port),
          '-c',
          'listen_addresses=127.0.0.1',
          '-c',
          'unix_socket_directories=',
        ],
        // Ctrl-C in a terminal is for the run, which ends it in order.
        { ...user, cwd: dir, stdio: ['ignore', log, log], detached: true },
      );
      closeSync(log);
      server = child;
      gone = new Promise(resolve => {
        child.once('exit', () => resolve());
        // No such program or no such user: the wait below tells that it does not answer.
        child.once('error', () => resolve());
      });
      await answers(url, () => child.exitCode !== null || child.pid === undefined, logFile);
    },
    async remove() {
      await end('SIGINT');
      rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    execFileSync(
      programs.initdb,
      ['-D', data, '-U', 'mastline', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
      { ...user, cwd: dir, stdio: 'pipe', timeout: INITDB_MS },
    );
    await own.start();
    return own;
  } catch (error) {
    await own.remove();
    throw error;
  }
}

async function answers(url: string, isGone: () => boolean, logFile: string): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    // Broken off while it starts: the failing query below says so.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('SELECT 1');
      return;
    } catch (error) {
      if (isGone() || performance.now() > deadline)
        throw new Error(`PostgreSQL did not start:\n${readFileSync(logFile, 'utf8').slice(-2_000)}`, {
          cause: error,
        });
    } finally {
      await client.end().catch(() => undefined);
    }
    await wait(50);
  }
}

function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const rows = readFileSync('/etc/passwd', 'utf8').split('\n');
  for (const name of ['postgres', 'nobody']) {
    const [, , uid, gid] = rows.find(row => row.startsWith(`${name}:`))?.split(':') ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('PostgreSQL does not run as root, and there is neither a user "postgres" nor "nobody"');
}
