/** What nodes say came of rotations: written down, then confirmed, then those who wait are told. */
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import { noteRotations } from '../fleet/rotations';
import type { Services } from '../rpc/context';
import type { AgentLink } from './link';

export async function ingestRotations(
  services: Services,
  session: AgentLink,
  body: UplinkBody<'rotation-report'>,
): Promise<void> {
  const ids = await noteRotations(services, session.node, body.rotations);
  if (session.takes('rotations-noted')) session.send('rotations-noted', { ids });
  services.rotations.told(ids);
  services.cluster.told(ids);
  services.presence.changed();
}
