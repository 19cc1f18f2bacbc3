/**
 * Files that are there whole or not at all, whenever the power goes: written beside, flushed, renamed over, and the
 * folder flushed too (a rename is on disk only when its folder is). For every plane; what lies in a file is its owner's.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';

/** Replaces `path` with `bytes`, readable by the agent's user only. Throws `disk/…` with the path and a remedy. */
export async function writeDurably(path: string, bytes: string | Buffer): Promise<void> {
  const beside = `${path}.new`;
  try {
    const file = await open(beside, 'w', 0o600);
    try {
      // The mode above counts only for a new file; one left from a crash may have another.
      await file.chmod(0o600);
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw diskError(error, path);
  }
}

/** The bytes of `path`; undefined when there is no such file. */
export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw diskError(error, path);
  }
}

function diskError(error: unknown, path: string): CodedError {
  const cause = codeOf(error) ?? 'unknown';
  const [code, remedy] =
    cause === 'ENOSPC' || cause === 'EDQUOT'
      ? ['disk/full', `free space under ${dirname(path)}`]
      : cause === 'EROFS'
        ? ['disk/read-only', `remount ${dirname(path)} writable`]
        : cause === 'EACCES' || cause === 'EPERM'
          ? ['disk/not-permitted', `give ${path} to the agent's user`]
          : ['disk/io', `check the disk under ${dirname(path)}`];
  return new CodedError(code ?? 'disk/io', `${path}: ${messageOf(error)}: ${remedy}`, {
    userMessage: `The agent cannot use ${path}: ${remedy}.`,
    cause: error,
  });
}
