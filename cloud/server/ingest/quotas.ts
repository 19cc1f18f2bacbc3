/** Nodes' reports on quota leases: taken down, then answered. */
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Services } from '../rpc/context';
import type { AgentLink } from './link';

export async function ingestQuotaReport(
  services: Services,
  session: AgentLink,
  body: UplinkBody<'quota-report'>,
): Promise<void> {
  const grant = await services.quotas.report(session.node.nodeId, body);
  if (session.takes('quota-grant')) session.send('quota-grant', grant);
}
