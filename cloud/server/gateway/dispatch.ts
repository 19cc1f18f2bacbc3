/** Uplink kind → what is done with it. Exhaustive: a new kind does not compile until it has a line here. */
import type { Uplink } from '@mastline/shared/wire/uplink';
import { ingestEvents } from '../ingest/events';
import { greet } from '../ingest/greeting';
import { ingestQuotaReport } from '../ingest/quotas';
import { ingestSlotDays } from '../ingest/reconciliation';
import { ingestModemReport } from '../ingest/reports';
import { ingestRotations } from '../ingest/rotations';
import type { IngestServices } from '../ingest/services';
import { ingestUsage } from '../ingest/usage';
import type { AgentSession } from './session';

export async function dispatch(
  services: IngestServices,
  session: AgentSession,
  message: Uplink,
): Promise<void> {
  switch (message.kind) {
    case 'hello':
      return greet(services, session, message.body);
    case 'usage-batch':
      return ingestUsage(services, session, message.body);
    case 'modem-report':
      return ingestModemReport(services, session, message.body);
    case 'rotation-report':
      return ingestRotations(services, session, message.body);
    case 'quota-report':
      return ingestQuotaReport(services, session, message.body);
    case 'reconcile-report':
      return ingestSlotDays(services, session, message.body);
    case 'event-batch':
      return ingestEvents(services, session, message.body);
    case 'state-report':
      await services.noteStateReport({ node: session.node, report: message.body });
      services.presence.changed();
      return;
    case 'live-report':
      services.presence.report(session.node.nodeId, message.body.slots);
      return;
    case 'ping':
      session.send('pong', { at: message.body.at, now: services.clock.now() });
      return;
    default:
      message satisfies never;
  }
}
