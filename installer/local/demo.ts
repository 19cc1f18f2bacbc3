/**
 * What a start leaves on disk for the next one and for the person: log-in, credentials, ports. Log-in and
 * credentials are written by the cloud when it seeds, 0600, and read here. Also the lock that keeps two starts from sharing a data directory.
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';

const Demo = z.looseObject({
  login: z.looseObject({ email: z.string(), password: z.string() }),
  credentials: z.array(z.looseObject({ name: z.string(), username: z.string(), secret: z.string() })).min(1),
  /** Null once the node is enrolled. */
  claimCode: z.string().nullable(),
});
export type Demo = z.infer<typeof Demo>;

export function readDemo(file: string): Demo {
  return parseOrExplain(Demo, JSON.parse(readFileSync(file, 'utf8')), file, 'start/demo-file');
}

export interface DataDir {
  path: string;
  at(...parts: string[]): string;
  release(): void;
}

/** Makes the directory, checks that it is ours to use, and takes its lock. */
export function openDataDir(path: string): DataDir {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    for (const part of ['logs', 'agent', 'cloud', 'simulators']) {
      mkdirSync(join(path, part), { recursive: true, mode: 0o700 });
      accessSync(join(path, part), constants.R_OK | constants.W_OK | constants.X_OK);
    }
    chmodSync(path, 0o700);
  } catch (error) {
    const why = codeOf(error);
    if (why === 'EACCES' || why === 'EPERM')
      throw new CodedError('start/data-dir-rights', `no rights on ${path}`, {
        userMessage: `You may not use the data directory ${path} (it belongs to another user).\nRun as its owner, or choose another with --data-dir DIR.`,
        cause: error,
      });
    if (why === 'ENOTDIR' || why === 'EEXIST')
      throw new CodedError('start/data-dir-broken', `${path} is not a directory`, {
        userMessage: `The data directory ${path} is broken: a file lies where a folder should be.\nMove it away, or choose another with --data-dir DIR.`,
        cause: error,
      });
    throw new CodedError('start/data-dir', `cannot use ${path}`, {
      userMessage: `The data directory ${path} cannot be used (${why ?? String(error)}).\nChoose another with --data-dir DIR.`,
      cause: error,
    });
  }
  const lock = join(path, 'start.lock');
  takeLock(lock, path);
  return { path, at: (...parts) => join(path, ...parts), release: () => rmSync(lock, { force: true }) };
}

function takeLock(lock: string, path: string): void {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      writeFileSync(lock, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      return;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const owner = Number(existsSync(lock) ? readFileSync(lock, 'utf8') : '0');
      if (owner > 0 && owner !== process.pid && alive(owner))
        throw new CodedError('start/running', `pid ${owner} holds ${lock}`, {
          userMessage: `Mastline is already running with this data directory (process ${owner}).\nStop it first, or choose another with --data-dir DIR --port N.`,
        });
      // Left by a start that was killed.
      rmSync(lock, { force: true });
    }
  }
  throw new CodedError('start/running', `cannot take ${lock}`, {
    userMessage: `Another start is taking the data directory ${path} at this moment. Try again.`,
  });
}

/** Whether a process of that number exists (one of another user counts: EPERM). */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
