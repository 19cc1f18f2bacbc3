/**
 * What the node is and what it was last told, on disk: the device key, the identity given at enrolment, the last
 * good desired state as it came, and how much of its lease is used. Files of the data directory, each 0600. Judging
 * a desired state is control-plane/desired-state.ts.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { chmod, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { SignedState } from '@mastline/shared/domain/desired-state';
import { EnrolReply } from '@mastline/shared/wire/enrolment';
import { z } from 'zod';
import { readIfThere, writeDurably } from '../durable-file';
import type { Log } from '../observe/log';

/** What enrolment gave: who this node is, and whose signatures it trusts. */
export const Identity = EnrolReply.extend({ cloudUrl: z.url() });
export type Identity = z.infer<typeof Identity>;

/** The key that never leaves the node. */
export interface DeviceKey {
  /** Raw Ed25519 public key, 32 bytes, base64. */
  publicKey: string;
  sign(bytes: Buffer): Buffer;
}

/** How far the lease is used up; durations are on the monotonic clock of `bootId`. */
export const LeaseNote = z.looseObject({
  bootId: z.string(),
  /** Milliseconds since boot at the last contact with the cloud. */
  contactUptimeMs: z.number(),
  /** The same by the node's corrected clock, epoch milliseconds. */
  contactAt: z.number(),
  /** Milliseconds without contact when this was written. */
  usedMs: z.number().min(0),
});
export type LeaseNote = z.infer<typeof LeaseNote>;

export interface StateStore {
  /** The device key; made at the first call in a node's life. */
  deviceKey(): Promise<DeviceKey>;
  /** Undefined before enrolment. */
  identity(): Promise<Identity | undefined>;
  saveIdentity(identity: Identity): Promise<void>;
  /** The last good desired state; undefined before the first. Throws `state/unreadable` when the file is broken. */
  signedState(): Promise<SignedState | undefined>;
  saveSignedState(state: SignedState): Promise<void>;
  /** Undefined when there is none or when it cannot be read (then the lease counts as it stands on no note). */
  leaseNote(): Promise<LeaseNote | undefined>;
  saveLeaseNote(note: LeaseNote): Promise<void>;
}

/** The store in `dataDir`, which must exist (data-dir-lock.ts makes it). */
export function stateStore(dataDir: string, log: Log): StateStore {
  const keyPath = join(dataDir, 'device.key');
  const identityPath = join(dataDir, 'identity.json');
  const statePath = join(dataDir, 'desired-state.json');
  const leasePath = join(dataDir, 'lease.json');

  const readJson = async <T>(path: string, schema: z.ZodType<T>, code: string): Promise<T | undefined> => {
    const bytes = await readIfThere(path);
    if (!bytes) return undefined;
    let json: unknown;
    try {
      json = JSON.parse(bytes.toString('utf8'));
    } catch {
      // The parser's message would quote the file.
      throw new CodedError(code, `${path} is not JSON`);
    }
    return parseOrExplain(schema, json, path, code);
  };

  return {
    async deviceKey() {
      const pem = await readIfThere(keyPath);
      if (pem) {
        await closeToOthers(keyPath, log);
        return deviceKeyOf(pem, keyPath);
      }
      const { privateKey } = generateKeyPairSync('ed25519');
      const made = privateKey.export({ type: 'pkcs8', format: 'pem' });
      await writeDurably(keyPath, made);
      return deviceKeyOf(Buffer.from(made), keyPath);
    },
    identity: () => readJson(identityPath, Identity, 'identity/unreadable'),
    saveIdentity: identity => writeDurably(identityPath, JSON.stringify(identity, null, 2)),
    signedState: () => readJson(statePath, SignedState, 'state/unreadable'),
    saveSignedState: state => writeDurably(statePath, JSON.stringify(state)),
    async leaseNote() {
      try {
        return await readJson(leasePath, LeaseNote, 'lease/unreadable');
      } catch (error) {
        log.warn('the note of the lease is unreadable', { error });
        return undefined;
      }
    },
    saveLeaseNote: note => writeDurably(leasePath, JSON.stringify(note)),
  };
}

function deviceKeyOf(pem: Buffer, path: string): DeviceKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw badKey(path);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw badKey(path);
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  if (x === undefined) throw badKey(path);
  return {
    publicKey: Buffer.from(x, 'base64url').toString('base64'),
    sign: bytes => sign(null, bytes, key),
  };
}

const badKey = (path: string) =>
  new CodedError('identity/bad-key', `${path} is not an Ed25519 private key in PEM`, {
    userMessage: `The device key ${path} is broken. Restore it from a backup, or remove the data directory and enrol the node again.`,
  });

async function closeToOthers(path: string, log: Log): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o077) === 0) return;
  log.warn('the device key was readable by others; closed it', { path, mode: (mode & 0o777).toString(8) });
  await chmod(path, 0o600);
}
