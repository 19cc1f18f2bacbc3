/** Where the SecretStore's key comes from: the environment, else a 0600 file in the data directory, made once. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { SECRET_KEY_BYTES } from './secret-store';

/** The key; makes the file at the first start. A file that others may read is refused. */
export function loadSecretKey(dataDir: string, fromEnvironment: Buffer | null): Buffer {
  if (fromEnvironment !== null) return fromEnvironment;
  const path = join(dataDir, 'secret.key');
  const existing = read(path);
  if (existing !== undefined) return existing;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  const file = openSync(draft, 'w', 0o600);
  try {
    writeSync(file, `${randomBytes(SECRET_KEY_BYTES).toString('base64')}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    // link() refuses to replace: whoever was first wins, and everybody reads the same key.
    linkSync(draft, path);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  const made = read(path);
  if (made === undefined) throw new CodedError('secrets/key-file', `${path} vanished while it was made`);
  return made;
}

function read(path: string): Buffer | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new CodedError('secrets/key-file', `cannot read ${path}: ${codeOf(error)}`, {
      userMessage: `The secret key ${path} cannot be read (${codeOf(error)}). Check its owner and rights.`,
      cause: error,
    });
  }
  if ((statSync(path).mode & 0o077) !== 0)
    throw new CodedError('secrets/key-file', `${path} is open to others`, {
      userMessage: `The secret key ${path} can be read by other users. Run: chmod 600 ${path}`,
    });
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length !== SECRET_KEY_BYTES)
    throw new CodedError('secrets/key-file', `${path} holds no ${SECRET_KEY_BYTES}-byte key`, {
      userMessage: `The secret key ${path} is damaged. Restore it from a backup: without it, sealed secrets stay shut.`,
    });
  return key;
}
