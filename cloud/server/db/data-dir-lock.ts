/**
 * One process per data directory. The lock is a file with the holder's pid and start time, so that one left behind by
 * a crash, or a pid that was given out again, locks nobody out.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';

const NAME = 'cloud.lock';

/** Takes the lock; returns what gives it back. `db/locked` names the pid that holds it. */
export function lockDataDir(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new CodedError('db/data-dir', `cannot make ${dataDir}: ${codeOf(error)}`, {
      userMessage: `The data directory ${dataDir} cannot be made (${codeOf(error)}). Check its path and rights, or choose another with MASTLINE_DATA_DIR.`,
      cause: error,
    });
  }
  const path = join(dataDir, NAME);
  const mine = `${process.pid} ${startTimeOf(process.pid) ?? '-'}\n`;
  // Written aside and linked into place: nobody ever reads half a lock.
  const draft = `${path}.${process.pid}`;
  try {
    writeFileSync(draft, mine, { mode: 0o600 });
  } catch (error) {
    throw new CodedError('db/data-dir', `cannot write in ${dataDir}: ${codeOf(error)}`, {
      userMessage: `The data directory ${dataDir} cannot be written (${codeOf(error)}). Check its rights and free space, or choose another with MASTLINE_DATA_DIR.`,
      cause: error,
    });
  }
  try {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      try {
        linkSync(draft, path);
        return () => rmSync(path, { force: true });
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const holder = holderOf(path);
      if (holder !== undefined)
        throw new CodedError('db/locked', `${dataDir} is in use by process ${holder}`, {
          userMessage: `The data directory ${dataDir} is in use by another Mastline cloud (process ${holder}). Stop that one first, or choose another directory with MASTLINE_DATA_DIR.`,
        });
      rmSync(path, { force: true });
    }
    throw new CodedError('db/locked', `${path} changes hands faster than it can be taken`, {
      retryable: true,
    });
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Pid of the living process that holds the lock; undefined when it is stale. */
function holderOf(path: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const [pidText, startTime] = text.trim().split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return undefined;
  }
  return startTime === '-' || startTime === (startTimeOf(pid) ?? '-') ? pid : undefined;
}

/** Field 22 of /proc/<pid>/stat: ticks since boot; undefined where there is no /proc. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
