/** Proxy users: list, reveal. The secret is generated with 160 bits, sealed at rest, and shown only on request. */
import { createHash, randomBytes } from 'node:crypto';
import { CodedError } from '@mastline/shared/base/coded-error';
import { quotaPeriodEnd } from '@mastline/shared/domain/quota';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { recordAudit } from '../audit/record';
import { countOf } from '../db/counts';
import { type TenantStore, withTenant } from '../db/tenant';
import type { Viewer } from '../identity/viewer';
import { type QuotaStanding, readQuotas } from '../quota/lease-store';
import type { Services } from '../rpc/context';
import type { SecretStore } from '../secrets/secret-store';
import { readCredentials } from './store';
import { readLimits } from './stored-settings';
import type { CredentialView, RevealedCredential } from './views';

const SECRET_BYTES = 20;
const DAY_MS = 86_400_000;

export async function listCredentials(services: Services, organizationId: string): Promise<CredentialView[]> {
  const now = services.clock.now();
  const quotas = await readQuotas(services.db, organizationId, now);
  const rows = await readCredentials(services.db, organizationId, new Date(now - (now % DAY_MS)));
  return rows.map(row => ({
    id: row.id,
    name: row.name,
    username: row.username,
    suspended: row.suspended,
    limits: readLimits(row.limits),
    quota: quotaView(
      quotas.find(quota => quota.credentialId === row.id),
      now,
    ),
    createdAt: row.created_at.getTime(),
    bytesToday: countOf(row.bytes_today),
    lastUsedAt: row.last_used_at?.getTime() ?? null,
  }));
}

function quotaView(quota: QuotaStanding | undefined, now: number): CredentialView['quota'] {
  if (quota === undefined) return null;
  const { bytes, period, used, lent, periodStart } = quota;
  return { bytes, period, used, lent, periodStart, periodEnd: quotaPeriodEnd(period, now) };
}

/** The secret in clear, written into the audit log in the same transaction. */
export async function revealCredential(
  services: Services,
  viewer: Viewer,
  credentialId: string,
): Promise<RevealedCredential> {
  return withTenant(services.db, viewer.active.id, async store => {
    const row = await store.credential.findFirst({ where: { id: credentialId, deletedAt: null } });
    if (row === null) throw noSuchCredential(credentialId, viewer.active.id);
    const secret = services.secrets.open(row.secretSealed, purposeOf(row.id));
    await recordAudit(store, {
      organizationId: viewer.active.id,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'credential.reveal',
      subject: { kind: 'credential', id: row.id },
    });
    return { username: row.username, secret };
  });
}

/** Makes a credential in the store's organization; the secret is in the answer and, sealed, in the row. */
export async function createCredential(
  store: TenantStore,
  secrets: SecretStore,
  input: { organizationId: string; name: string; username: string; at: number },
): Promise<{ id: string; username: string; secret: string }> {
  const id = uuidv7(input.at);
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  await store.credential.create({
    data: {
      id,
      organizationId: input.organizationId,
      name: input.name,
      username: input.username,
      secretSealed: secrets.seal(secret, purposeOf(id)),
      verifier: createHash('sha256').update(secret).digest('hex'),
      createdAt: new Date(input.at),
    },
  });
  return { id, username: input.username, secret };
}

export function noSuchCredential(id: string, organizationId: string): CodedError {
  return new CodedError('fleet/no-such-credential', `no credential ${id} in ${organizationId}`, {
    userMessage: 'There is no such credential. It may have been deleted.',
  });
}

/** What a credential's secret is sealed for. */
export const purposeOf = (credentialId: string) => `credential:${credentialId}`;
