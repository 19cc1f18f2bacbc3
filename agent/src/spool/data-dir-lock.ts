/**
 * One agent per data directory. The lock is a SQLite lock, hence the kernel's: it goes with the process that holds
 * it, so that nothing stale is left by kill -9. The pid beside it is only for the message.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import Sqlite from 'better-sqlite3';

export interface DataDirLock {
  release(): void;
}

/** Makes `dataDir` (0700) if missing and locks it; throws `data-dir/in-use`, naming the pid, when another has it. */
export function lockDataDir(dataDir: string): DataDirLock {
  const pidPath = join(dataDir, 'agent.pid');
  let db: Sqlite.Database | undefined;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    db = new Sqlite(join(dataDir, 'agent.lock'), { timeout: 0 });
    db.exec('BEGIN EXCLUSIVE');
    writeFileSync(pidPath, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    db?.close();
    if (codeOf(error)?.startsWith('SQLITE_BUSY')) {
      const pid = holderOf(pidPath);
      throw new CodedError('data-dir/in-use', `${dataDir} is held by another agent, process ${pid}`, {
        userMessage: `Another agent (process ${pid}) uses ${dataDir}. Stop it, or give this one a directory of its own.`,
      });
    }
    throw new CodedError('data-dir/unusable', `${dataDir} cannot be used: ${messageOf(error)}`, {
      userMessage: `The data directory ${dataDir} cannot be used (${messageOf(error)}). Check that it belongs to the agent's user and has space.`,
      cause: error,
    });
  }
  const held = db;
  return { release: () => void held.close() };
}

function holderOf(pidPath: string): string {
  try {
    return readFileSync(pidPath, 'utf8').trim() || 'unknown';
  } catch {
    // It has the lock and has not written its number yet: the refusal stands without it.
    return 'unknown';
  }
}
