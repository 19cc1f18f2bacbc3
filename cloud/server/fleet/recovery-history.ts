/** What boxes did lately to bring a modem back: for those whose modem it is, since it tells of their box. */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { RecoveryReport } from '@mastline/shared/domain/modem';
import { withTenantSql } from '../db/tenant';
import { scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { ownNodes } from './visible';

/** Newest first, as many as are kept (node-reports.ts). Throws `fleet/no-such-slot` for modems of others. */
export function readRecoveries(
  services: Pick<Services, 'db'>,
  organization: Pick<OrganizationView, 'id' | 'kinds'>,
  slotId: string,
): Promise<RecoveryReport[]> {
  const scope = scopeOf(organization);
  return withTenantSql(services.db, scope.organizationId, async client => {
    const { rows } = await client.query<{ recoveries: RecoveryReport[] }>(
      `SELECT s.recoveries FROM slots s JOIN nodes n ON n.id = s.node_id
        WHERE s.id = $2 AND n.retired_at IS NULL AND ${ownNodes(scope)}`,
      [scope.organizationId, slotId],
    );
    const [row] = rows;
    if (row === undefined)
      throw new CodedError('fleet/no-such-slot', `no slot ${slotId} of ${scope.organizationId}`, {
        userMessage: 'There is no such modem.',
      });
    return row.recoveries;
  });
}
