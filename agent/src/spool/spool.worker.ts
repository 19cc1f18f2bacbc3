/**
 * The thread that owns the spool's file: SQLite blocks on fsync, and nobody else shall wait for a disk. Takes one
 * request at a time, in order; decides nothing (spool-keeper.ts does).
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { CodedError } from '@mastline/shared/base/coded-error';
import { spoolError } from './database';
import { SpoolKeeper } from './spool-keeper';
import type { SpoolFailure, SpoolReply, SpoolRequest, SpoolWorkerData } from './worker-messages';

const port = parentPort;
if (!port) throw new Error('spool.worker runs as a worker thread only');
const { path, nowMs, committed } = workerData as SpoolWorkerData;
const lastCommit = new Int32Array(committed);
const say = (reply: SpoolReply) => port.postMessage(reply);

try {
  const keeper = new SpoolKeeper(path, nowMs);
  let told = JSON.stringify(keeper.health());
  say({ is: 'open', health: keeper.health() });
  const tellHealth = (): boolean => {
    const health = keeper.health();
    const text = JSON.stringify(health);
    if (text === told) return false;
    told = text;
    say({ is: 'health', health });
    return true;
  };
  port.on('message', (request: SpoolRequest) => {
    try {
      if (request.operation === 'close') {
        keeper.close();
        say({ is: 'done', id: request.id, value: null });
        port.close();
        return;
      }
      const value = keeper.perform(request);
      // Where there is news about the file, the message that says so comes first.
      if (!tellHealth() && request.operation === 'commit') Atomics.store(lastCommit, 0, request.id);
      say({ is: 'done', id: request.id, value });
    } catch (error) {
      tellHealth();
      say({ is: 'failed', id: request.id, failure: failureOf(spoolError(error, path)) });
    }
  });
} catch (error) {
  say({ is: 'not-open', failure: failureOf(spoolError(error, path)) });
  port.close();
}

function failureOf(error: CodedError): SpoolFailure {
  const { code, message, userMessage, retryable } = error;
  return { code, message, userMessage, retryable };
}
