/** Who is at the door, before any WebSocket is accepted: header → node, or the refusal to answer with. */
import { verify } from 'node:crypto';
import { NodeId } from '@mastline/shared/domain/ids';
import { linkProof, parseLinkAuthorization, REFUSAL } from '@mastline/shared/wire/enrolment';
import type { Database } from '../db/database';
import type { NodeIdentity } from '../fleet/node-reports';
import { publicKeyFromRaw } from '../rollout/signing';
import type { Admissions } from './admissions';
import type { Nonces, NonceVerdict } from './nonces';

export type Admission =
  /** `order` grows with each admission of all processes: the session with the highest is the newest. */
  | { is: 'admitted'; node: NodeIdentity; order: number }
  | { is: 'refused'; status: 401 | 404 | 410; code: string; message: string };

/** Checks the upgrade's Authorization header against the node's device key. */
export async function authenticate(
  { db, nonces, admissions }: { db: Database; nonces: Nonces; admissions: Admissions },
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
  const found = await findNode(db, nodeId);
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

/** A node that may connect, or why there is none. */
export async function findNode(
  db: Database,
  nodeId: string,
): Promise<
  { is: 'found'; node: NodeIdentity; publicKey: Uint8Array } | Extract<Admission, { is: 'refused' }>
> {
  // Not a UUID: the database could not even compare it.
  const id = NodeId.safeParse(nodeId);
  const row = id.success ? await readNode(db, id.data) : undefined;
  if (row === undefined)
    return {
      is: 'refused',
      status: 404,
      code: REFUSAL.nodeUnknown,
      message: 'This node is not known here. Enrol it with a claim code from the portal.',
    };
  if (row.retired)
    return {
      is: 'refused',
      status: 410,
      code: REFUSAL.nodeRetired,
      message: 'This node was retired by its host.',
    };
  return {
    is: 'found',
    node: { nodeId: row.id, organizationId: row.organization_id },
    publicKey: row.public_key,
  };
}

interface NodeRow {
  id: string;
  organization_id: string;
  public_key: Buffer;
  retired: boolean;
}

/** Plain SQL: asked twice by each of ten thousand nodes that come back after a restart. */
async function readNode(db: Database, nodeId: string): Promise<NodeRow | undefined> {
  const { rows } = await db.pool.query<NodeRow>(
    'SELECT id, organization_id, public_key, retired_at IS NOT NULL AS retired FROM nodes WHERE id = $1',
    [nodeId],
  );
  return rows[0];
}
