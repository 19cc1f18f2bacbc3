/**
 * The database thread: opens PGlite and serves it on a Unix socket until told to stop. Who may open the folder, and
 * what to tell people when this fails, is embedded.ts.
 */
import { rmSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { PgliteMessage } from './pglite-messages';

/** The pool's one connection (database.ts says why), and one that takes its place before the old one is quite gone. */
const MAX_CONNECTIONS = 2;

const { directory, socketPath } = workerData as { directory: string; socketPath: string };
const port = parentPort;
if (port === null) throw new Error('pglite.worker runs as a worker thread only');
const tell = (message: PgliteMessage) => port.postMessage(message);

try {
  const db = await PGlite.create(directory);
  // A socket that a killed process left behind; the lock says that nobody serves it.
  rmSync(socketPath, { force: true });
  const server = new PGLiteSocketServer({ db, path: socketPath, maxConnections: MAX_CONNECTIONS });
  await server.start();
  port.on('message', async (message: PgliteMessage) => {
    if (message.is !== 'stop') return;
    try {
      await server.stop();
      await db.close();
    } finally {
      rmSync(socketPath, { force: true });
      port.close();
      process.exit(0);
    }
  });
  tell({ is: 'ready' });
} catch (error) {
  tell({ is: 'failed', message: messageOf(error) });
}
