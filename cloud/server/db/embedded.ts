/**
 * Starts the embedded database: PGlite in a worker thread behind a Unix socket, so that the rest of the server speaks
 * to PostgreSQL whatever is behind. It survives kill -9 of this process, not a power cut: PGlite does not fsync.
 * The worker's side is pglite.worker.ts; one opener at a time is data-dir-lock.ts.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { workerUrl } from '../paths';
import { lockDataDir } from './data-dir-lock';
import { PGLITE_SOCKET_NAME, type PgliteMessage } from './pglite-messages';

/** A large data directory replays its log first. */
const START_DEADLINE_MS = 60_000;
/** The whole server stops within 3 seconds; a database cut short replays its log at the next start. */
const STOP_DEADLINE_MS = 1_000;
/** sun_path of Linux has 108 bytes with its terminating zero; macOS has 104. */
const SOCKET_PATH_LIMIT = 103;

export interface Embedded {
  connection: { host: string; port: number; user: string; database: string };
  close(): Promise<void>;
}

/** Opens `dataDir`/database. Fails with `db/locked` when another process has it, `db/broken` when it cannot be read. */
export async function openEmbedded(dataDir: string): Promise<Embedded> {
  const unlock = lockDataDir(dataDir);
  const socketDir = socketFolder(dataDir);
  try {
    const worker = await startWorker(join(dataDir, 'database'), join(socketDir.path, PGLITE_SOCKET_NAME));
    return {
      connection: { host: socketDir.path, port: 5432, user: 'postgres', database: 'postgres' },
      async close() {
        await stopWorker(worker);
        socketDir.remove();
        unlock();
      },
    };
  } catch (error) {
    socketDir.remove();
    unlock();
    throw error;
  }
}

/** PostgreSQL clients name a Unix socket by its folder: in the data directory, or a short one where that is too long. */
function socketFolder(dataDir: string): { path: string; remove(): void } {
  const path = join(dataDir, 'run');
  if (Buffer.byteLength(join(path, PGLITE_SOCKET_NAME)) <= SOCKET_PATH_LIMIT) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return { path, remove: () => {} };
  }
  const short = mkdtempSync(join(tmpdir(), 'mastline-'));
  const discard = () => rmSync(short, { recursive: true, force: true });
  // Also when a start is cut short, and nobody is left to call remove().
  process.once('exit', discard);
  return {
    path: short,
    remove() {
      process.off('exit', discard);
      discard();
    },
  };
}

async function startWorker(directory: string, socketPath: string): Promise<Worker> {
  const worker = new Worker(workerUrl('pglite.worker'), {
    workerData: { directory, socketPath },
    stdout: false,
  });
  const ready = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: PgliteMessage) => {
      if (message.is === 'ready') resolve();
      if (message.is === 'failed') reject(broken(directory, message.message));
    });
    worker.once('error', error => reject(broken(directory, messageOf(error))));
    worker.once('exit', code => reject(broken(directory, `its thread ended with code ${code}`)));
  });
  try {
    await withDeadline(ready, START_DEADLINE_MS, 'starting the embedded database');
    return worker;
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}

async function stopWorker(worker: Worker): Promise<void> {
  const exited = new Promise<void>(resolve => worker.once('exit', () => resolve()));
  worker.postMessage({ is: 'stop' } satisfies PgliteMessage);
  try {
    await withDeadline(exited, STOP_DEADLINE_MS, 'stopping the embedded database');
  } catch {
    // Killing it is what a crash does, and a crash loses nothing that was committed.
    await worker.terminate();
  }
}

function broken(directory: string, detail: string): CodedError {
  return new CodedError('db/broken', `embedded database in ${directory} cannot be opened: ${detail}`, {
    userMessage: `The embedded database in ${directory} cannot be opened (${detail}). Restore that folder from a backup, or move it away to start with an empty one.`,
  });
}
