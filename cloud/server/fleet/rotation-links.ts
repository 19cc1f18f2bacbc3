/**
 * Secret links that rotate one slot: for programs that can call an address and nothing else. 160 random bits, of which
 * only the SHA-256 is kept; revocable; good only while the organization that made it may see the modem. Answering one
 * is http/rotation-route.ts.
 */
import { createHash, randomBytes } from 'node:crypto';
import { CodedError } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { recordAudit } from '../audit/record';
import type { Database } from '../db/database';
import { withTenant } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { OrganizationKind, Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import type { RotationLinkView } from './rotation-views';
import { findSlot, type SlotPlace } from './rotations';

const TOKEN_BYTES = 20;
/** Of one organization for one modem. */
const MAX_LINKS = 20;

/** The token is in the answer and nowhere else. */
export async function createRotationLink(
  services: Services,
  viewer: Viewer,
  input: { slotId: string; name: string },
): Promise<{ id: string; token: string }> {
  const slot = await findSlot(services.db, scopeOf(viewer.active), { slotId: input.slotId });
  const at = services.clock.now();
  const id = uuidv7(at);
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  await withTenant(services.db, viewer.active.id, async store => {
    const place = { nodeId: slot.nodeId, slotNumber: slot.number };
    const there = await store.rotationLink.count({ where: { ...place, revokedAt: null } });
    if (there >= MAX_LINKS)
      throw new CodedError('fleet/too-many-links', `${there} links for slot ${slot.slotId}`, {
        userMessage: `A modem has at most ${MAX_LINKS} links. Revoke one that is not used any more.`,
      });
    await store.rotationLink.create({
      data: {
        ...place,
        id,
        organizationId: viewer.active.id,
        name: input.name,
        tokenHash: hashToken(token),
        createdAt: new Date(at),
        createdById: viewer.user.id,
      },
    });
    await recordAudit(store, {
      organizationId: viewer.active.id,
      at,
      actor: { kind: 'user', id: viewer.user.id },
      action: 'rotation-link.create',
      subject: { kind: 'rotation-link', id },
      details: { slotId: slot.slotId, name: input.name },
    });
  });
  return { id, token };
}

/** The organization's own, newest first; without the revoked. */
export function listRotationLinks(
  services: Services,
  organizationId: string,
  slot: SlotPlace,
): Promise<RotationLinkView[]> {
  return withTenant(services.db, organizationId, async store => {
    const rows = await store.rotationLink.findMany({
      where: { nodeId: slot.nodeId, slotNumber: slot.number, revokedAt: null },
      orderBy: { createdAt: 'desc' },
    });
    return rows.map(row => ({
      id: row.id,
      name: row.name,
      createdAt: row.createdAt.getTime(),
      lastUsedAt: row.lastUsedAt?.getTime() ?? null,
    }));
  });
}

/** From the next call on it is unknown. Throws `fleet/no-such-rotation-link`. */
export async function revokeRotationLink(services: Services, viewer: Viewer, id: string): Promise<void> {
  const at = services.clock.now();
  await withTenant(services.db, viewer.active.id, async store => {
    const { count } = await store.rotationLink.updateMany({
      where: { id, revokedAt: null },
      data: { revokedAt: new Date(at) },
    });
    if (count === 0)
      throw new CodedError('fleet/no-such-rotation-link', `no link ${id} in ${viewer.active.id}`, {
        userMessage: 'There is no such link. It may have been revoked already.',
      });
    await recordAudit(store, {
      organizationId: viewer.active.id,
      at,
      actor: { kind: 'user', id: viewer.user.id },
      action: 'rotation-link.revoke',
      subject: { kind: 'rotation-link', id },
    });
  });
}

/** What a token is good for; null when it is unknown, revoked, or for a modem that its owner may not see any more. */
export async function openRotationLink(
  db: Pick<Database, 'pool'>,
  token: string,
): Promise<{ linkId: string; slot: SlotPlace } | null> {
  const { rows } = await db.pool.query<{
    id: string;
    organization_id: string;
    kinds: OrganizationKind[];
    node_id: string;
    slot_number: number;
  }>(
    `SELECT l.id, l.organization_id, o.kinds, l.node_id, l.slot_number
       FROM rotation_links l JOIN organizations o ON o.id = l.organization_id
      WHERE l.token_hash = $1 AND l.revoked_at IS NULL`,
    [hashToken(token)],
  );
  const [row] = rows;
  if (row === undefined) return null;
  const scope = scopeOf({ id: row.organization_id, kinds: row.kinds });
  try {
    const slot = await findSlot(db, scope, { nodeId: row.node_id, number: row.slot_number });
    return { linkId: row.id, slot };
  } catch (error) {
    if (error instanceof CodedError && error.code === 'fleet/no-such-slot') return null;
    throw error;
  }
}

/** For the list of links. */
export async function noteLinkUse(db: Pick<Database, 'pool'>, linkId: string, at: number): Promise<void> {
  await db.pool.query('UPDATE rotation_links SET last_used_at = $2 WHERE id = $1', [linkId, new Date(at)]);
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
