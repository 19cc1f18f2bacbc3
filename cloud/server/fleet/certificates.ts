/**
 * Where a node's certificate lies: paths on the node itself, set by its host. Customers then choose whether their
 * endpoints there speak TLS (endpoint-settings.ts). The files never leave the node.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { recordAudit } from '../audit/record';
import { Prisma } from '../db/generated/client';
import { withTenant, withTenantSql } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { BadSetting } from './bad-setting';
import type { CertificateInput } from './settings-input';
import { ownNodes } from './visible';

/** Sets or takes away the node's certificate. It stays while an endpoint speaks TLS with it. */
export async function setCertificate(
  services: Services,
  viewer: Viewer,
  { nodeId, certificate }: CertificateInput,
): Promise<void> {
  const scope = scopeOf(viewer.active);
  const node = await withTenantSql(services.db, scope.organizationId, async client => {
    const { rows } = await client.query<{ organization_id: string; users: number }>(
      `SELECT n.organization_id, (SELECT count(*)::int FROM endpoints e
                                   WHERE e.node_id = n.id AND e.deleted_at IS NULL AND e.tls IS NOT NULL) AS users
         FROM nodes n WHERE n.id = $2 AND n.retired_at IS NULL AND ${ownNodes(scope)}`,
      [scope.organizationId, nodeId],
    );
    return rows[0];
  });
  if (node === undefined)
    throw new CodedError('fleet/no-such-node', `no node ${nodeId} for ${scope.organizationId}`, {
      userMessage: 'There is no such node among yours.',
    });
  if (certificate === null && node.users > 0)
    throw new BadSetting([
      {
        path: ['certificate', 'certFile'],
        message: `Endpoints of customers speak TLS with it (${node.users}): they have to stop first.`,
      },
    ]);
  await withTenant(services.db, node.organization_id, async store => {
    await store.node.updateMany({
      where: { id: nodeId },
      data: { certificate: certificate ?? Prisma.DbNull },
    });
    await recordAudit(store, {
      organizationId: node.organization_id,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'node.certificate',
      subject: { kind: 'node', id: nodeId },
      details: { certificate },
    });
  });
  await services.settingsChanged([nodeId]);
}
