/**
 * Decides whether a desired state may be believed. Pure: the signed text goes in, a state or a refusal comes out.
 * The signature covers the exact bytes, so they are checked before they are read. Applying is desired-state.ts.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { problemsOf } from '@mastline/shared/base/problems';
import { DesiredState, type SignedState } from '@mastline/shared/domain/desired-state';
import type { Identity } from '../spool/state-store';

export type StateVerdict =
  | { is: 'good'; state: DesiredState }
  | { is: 'refused'; code: string; message: string };

export interface Trust {
  nodeId: string;
  stateKeys: Identity['stateKeys'];
  /** The last good one: nothing older is taken, or its revocations could be undone by a replay. */
  floor: { revision: number; hash: string | null };
}

export function verifyState(signed: SignedState, trust: Trust): StateVerdict {
  const bytes = Buffer.from(signed.payload, 'utf8');
  const key = trust.stateKeys.find(({ keyId }) => keyId === signed.keyId);
  if (!key) return refused('state/unknown-key', `signed with key ${signed.keyId}, which is not pinned here`);
  if (!isSignedBy(key.publicKey, bytes, signed.signature))
    return refused(
      'state/bad-signature',
      `the signature is not that of key ${signed.keyId} over this payload`,
    );
  if (createHash('sha256').update(bytes).digest('hex') !== signed.hash)
    return refused('state/bad-hash', 'the hash is not that of the payload');
  let json: unknown;
  try {
    json = JSON.parse(signed.payload);
  } catch {
    return refused('state/not-json', 'the payload is not JSON');
  }
  const parsed = DesiredState.safeParse(json);
  if (!parsed.success) return refused('state/invalid', problemsOf(parsed.error).slice(0, 5).join('; '));
  const state = parsed.data;
  if (state.nodeId !== trust.nodeId)
    return refused('state/other-node', `made for node ${state.nodeId}, this is ${trust.nodeId}`);
  if (state.revision !== signed.revision)
    return refused(
      'state/bad-revision',
      `announced as revision ${signed.revision}, but is ${state.revision}`,
    );
  if (state.revision < trust.floor.revision)
    return refused('state/old', `revision ${state.revision} is older than ${trust.floor.revision}`);
  if (
    state.revision === trust.floor.revision &&
    trust.floor.hash !== null &&
    signed.hash !== trust.floor.hash
  )
    return refused('state/revision-reused', `revision ${state.revision} came before with another content`);
  return { is: 'good', state };
}

function isSignedBy(publicKey: string, bytes: Buffer, signature: string): boolean {
  const raw = Buffer.from(publicKey, 'base64');
  const signatureBytes = Buffer.from(signature, 'base64');
  if (raw.length !== 32 || signatureBytes.length !== 64) return false;
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') },
    format: 'jwk',
  });
  return verify(null, bytes, key, signatureBytes);
}

const refused = (code: string, message: string): StateVerdict => ({ is: 'refused', code, message });
