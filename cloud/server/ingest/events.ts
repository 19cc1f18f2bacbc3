/** What nodes remember: kept, then answered; or refused at once, so that usage behind it does not wait. */
import { CLOSE } from '@mastline/shared/wire/close-codes';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import { type EventBatch, keepEvents } from '../connections/keep-events';
import type { Services } from '../rpc/context';
import type { AgentLink } from './link';

export async function ingestEvents(
  services: Services,
  session: AgentLink,
  body: UplinkBody<'event-batch'>,
): Promise<void> {
  const { nodeId, organizationId } = session.node;
  const { epoch, stream, first, droppedEvents, events = [], flows = [] } = body;
  const common = { nodeId, hostOrganizationId: organizationId, epoch, first, droppedEvents };
  const batch: EventBatch =
    stream === 'flows' ? { ...common, stream, items: flows } : { ...common, stream, items: events };
  const items = batch.items.length;
  const refuse = (code: string, message: string, retryAfterMs: number) => {
    if (session.takes('event-refused'))
      session.send('event-refused', { epoch, stream, code, message, retryAfterMs });
  };
  const admission = services.eventRate.admit(session, items);
  if (admission.is === 'insisting') {
    services.log.warn({ nodeId, code: admission.code }, admission.message);
    return session.close(CLOSE.protocol, `${admission.code}: ${admission.message}`);
  }
  if (admission.is === 'refused') return refuse(admission.code, admission.message, admission.retryAfterMs);
  try {
    const outcome = await keepEvents(services.db, batch, services.clock.now());
    if (outcome.is === 'refused') {
      services.log.warn({ nodeId, code: outcome.code }, outcome.message);
      return refuse(outcome.code, outcome.message, REFUSED_MS);
    }
    const { foreign, stale } = outcome;
    if (foreign + stale > 0)
      services.log.warn(
        { nodeId, stream, foreign, stale },
        'a node remembers what is not its own, or too old',
      );
    if (session.takes('event-ack')) session.send('event-ack', { epoch, stream, mark: outcome.mark });
  } finally {
    admission.done();
  }
}

/** What no honest agent sends is not asked for again soon. */
const REFUSED_MS = 3_600_000;
