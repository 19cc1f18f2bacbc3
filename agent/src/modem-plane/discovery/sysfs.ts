/**
 * Reading and writing of single attributes in sysfs and its like. What is missing is `null`, since devices vanish while
 * one reads of them; what may not be written is an error with its remedy. What the values mean is usb-tree.ts's.
 */
import { readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';

/** ENODEV and EIO: the kernel knew the device when the file was opened and not any more when it was read. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'EIO', 'EINVAL', 'ESRCH']);

/** The text without the newline at its end; null when there is none to be had. */
export async function readText(path: string): Promise<string | null> {
  const bytes = await readBytes(path);
  return bytes === null ? null : bytes.toString('utf8').trimEnd();
}

export async function readBytes(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path);
  } catch (error) {
    return gone(error, null);
  }
}

/** A decimal number; null when the text is not one. */
export async function readNumber(path: string): Promise<number | null> {
  const text = await readText(path);
  return text !== null && /^\d+(?:\.\d+)?$/.test(text.trim()) ? Number(text) : null;
}

/** Names in a folder, sorted; empty when there is no such folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    return gone(error, []);
  }
}

/** What a link points at, without folders; null when there is no such link. */
export async function linkName(path: string): Promise<string | null> {
  try {
    return basename(await readlink(path));
  } catch (error) {
    return gone(error, null);
  }
}

/** How attributes are written; tests hand in one that does what a kernel would. */
export type WriteAttribute = (path: string, value: string) => Promise<void>;

/** Throws `usb/not-permitted`, `usb/busy`, `usb/no-such-attribute` or `usb/write-failed`. */
export const writeAttribute: WriteAttribute = async (path, value) => {
  try {
    await writeFile(path, value, { flag: 'r+' });
  } catch (error) {
    const code = codeOf(error);
    const said = `writing "${value}" to ${path}: ${messageOf(error)}`;
    const cause = { cause: error };
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      throw new CodedError('usb/not-permitted', said, {
        ...cause,
        userMessage: `The agent may not write ${path}. Run it as root, or give its user the right by a udev rule.`,
      });
    if (code === 'EBUSY') throw new CodedError('usb/busy', said, { ...cause, retryable: true });
    if (code === 'ENOENT' || code === 'ENODEV') throw new CodedError('usb/no-such-attribute', said, cause);
    throw new CodedError('usb/write-failed', said, cause);
  }
};

function gone<T>(error: unknown, instead: T): T {
  if (GONE.has(codeOf(error) ?? '')) return instead;
  throw error;
}
