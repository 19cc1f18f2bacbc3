/** What nodes say of their slots' days: written down and compared, then confirmed. */
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import { noteSlotDays } from '../reconciliation/reconcile';
import type { AgentLink } from './link';
import type { IngestServices } from './services';

export async function ingestSlotDays(
  services: IngestServices,
  session: AgentLink,
  body: UplinkBody<'reconcile-report'>,
): Promise<void> {
  await services.turns.take(() => noteSlotDays(services, session.node, body));
  if (session.takes('reconcile-noted')) session.send('reconcile-noted', { ask: body.ask });
}
