/**
 * One-time codes that turn a box into a node. 100 random bits in groups that can be read over the phone; only the
 * SHA-256 of the normalised code is kept. Spending one is enrol.ts.
 */
import { createHash, randomInt } from 'node:crypto';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { recordAudit } from '../audit/record';
import { withTenant } from '../db/tenant';
import type { Services } from '../rpc/context';

/** Crockford's alphabet: no I, L, O, U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUPS = 4;
const GROUP_LENGTH = 5;
export const CLAIM_LIFETIME_MS = 24 * 3_600_000;

/** Makes a claim for the host `organizationId`. The code is in the answer and nowhere else. */
export async function createClaim(
  services: Pick<Services, 'db' | 'clock'>,
  input: { organizationId: string; nodeName: string; createdById: string | null; lifetimeMs?: number },
): Promise<{ id: string; code: string; expiresAt: number }> {
  const now = services.clock.now();
  const id = uuidv7(now);
  const code = newCode();
  const expiresAt = now + (input.lifetimeMs ?? CLAIM_LIFETIME_MS);
  await withTenant(services.db, input.organizationId, async store => {
    await store.claim.create({
      data: {
        id,
        organizationId: input.organizationId,
        codeHash: hashCode(code),
        nodeName: input.nodeName,
        createdById: input.createdById,
        createdAt: new Date(now),
        expiresAt: new Date(expiresAt),
      },
    });
    await recordAudit(store, {
      organizationId: input.organizationId,
      at: now,
      actor: input.createdById === null ? { kind: 'system' } : { kind: 'user', id: input.createdById },
      action: 'claim.create',
      subject: { kind: 'claim', id },
      details: { nodeName: input.nodeName },
    });
  });
  return { id, code, expiresAt };
}

function newCode(): string {
  const group = () =>
    Array.from({ length: GROUP_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return Array.from({ length: GROUPS }, group).join('-');
}

/** Case, spaces and dashes do not matter; what people misread is read as meant. */
export function hashCode(code: string): string {
  const normal = code.toUpperCase().replace(/[\s-]/g, '').replaceAll('O', '0').replace(/[IL]/g, '1');
  return createHash('sha256').update(normal).digest('hex');
}
