/** Modem reports from the link. The same report again is not written again, but for the time it was seen. */
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import { reportDigest } from '../fleet/node-reports';
import type { AgentLink } from './link';
import type { IngestServices } from './services';

/** What each session reported last; gone with the session. A digest: whole reports of ten thousand nodes are megabytes. */
const lastReports = new WeakMap<AgentLink, string>();

export async function ingestModemReport(
  services: IngestServices,
  session: AgentLink,
  body: UplinkBody<'modem-report'>,
): Promise<void> {
  services.seen.note(session.node.nodeId, services.clock.now());
  const digest = reportDigest(body.slots);
  if (lastReports.get(session) === digest) return;
  const changed = await services.applyModemReport(session.node, body.slots);
  lastReports.set(session, digest);
  if (changed) services.presence.changed();
}
