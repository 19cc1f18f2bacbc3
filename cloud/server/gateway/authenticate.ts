/** Who is at the door, before any WebSocket is accepted: header → node, or the refusal to answer with. */
import { verify } from 'node:crypto';
import { linkProof, parseLinkAuthorization } from '@mastline/shared/wire/enrolment';
import type { NodeIdentity } from '../fleet/node-reports';
import { publicKeyFromRaw } from '../rollout/signing';
import type { Admissions } from './admissions';
import type { FindNode } from './node-finder';
import type { Nonces, NonceVerdict } from './nonces';

export type Admission =
  /** `order` grows with each admission of all processes: the session with the highest is the newest. */
  | { is: 'admitted'; node: NodeIdentity; order: number }
  | { is: 'refused'; status: 401 | 404 | 410; code: string; message: string };

/** Checks the upgrade's Authorization header against the node's device key. */
export async function authenticate(
  { findNode, nonces, admissions }: { findNode: FindNode; nonces: Nonces; admissions: Admissions },
  authorization: string | undefined,
): Promise<Admission> {
  const claim = parseLinkAuthorization(authorization);
  if (claim === undefined)
    return {
      is: 'refused',
      status: 401,
      code: 'link/no-proof',
      message: 'Authorization must be: Mastline node="…", nonce="…", signature="…"',
    };
  const { nodeId, nonce, signature } = claim;
  // Before the database is asked: a made-up nonce costs us one HMAC.
  const verdict = nonces.check(nodeId, nonce);
  if (verdict !== 'fresh') return nonceRefused(verdict);
  const found = await findNode(nodeId);
  if (found.is === 'refused') return found;
  if (!verify(null, linkProof(nodeId, nonce), publicKeyFromRaw(found.publicKey), signature))
    return {
      is: 'refused',
      status: 401,
      code: 'link/bad-signature',
      message: 'The signature does not match the device key this node enrolled with.',
    };
  if (!nonces.spend(nodeId, nonce)) return nonceRefused('replayed');
  const order = await admissions.admit(nonce);
  return order === null ? nonceRefused('replayed') : { is: 'admitted', node: found.node, order };
}

function nonceRefused(verdict: Exclude<NonceVerdict, 'fresh'>): Extract<Admission, { is: 'refused' }> {
  return {
    is: 'refused',
    status: 401,
    code: `link/nonce-${verdict}`,
    message: 'Ask for a new challenge and answer it within half a minute, once.',
  };
}
