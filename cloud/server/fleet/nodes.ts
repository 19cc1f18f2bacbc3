/** Nodes as hosts and operators see them. */

import { scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { readNodes, readSlots } from './store';
import { readCertificate, readLimits } from './stored-settings';
import type { NodeView } from './views';

/** Empty for organizations that neither host nor operate: customers see modems, not boxes. */
export async function listNodes(services: Services, organization: OrganizationView): Promise<NodeView[]> {
  const scope = scopeOf(organization);
  if (!scope.everything && !scope.asHost) return [];
  const own = await readNodes(services.db, scope);
  const slots = await readSlots(services.db, scope);
  return own.map(node => ({
    id: node.id,
    name: node.name,
    online: services.presence.isOnline(node.id),
    agentVersion: node.agent_version,
    lastSeenAt: node.last_seen_at?.getTime() ?? null,
    running: {
      revision: node.running_revision,
      hash: node.running_hash,
      outcome: node.reported_outcome,
      problems: node.reported_problems.map(({ code, message }) => ({ code, message })),
    },
    desiredRevision: node.desired_revision,
    certificate: node.own ? readCertificate(node.certificate) : null,
    own: node.own,
    slots: slots
      .filter(slot => slot.node_id === node.id)
      .map(slot => ({
        slotId: slot.id,
        slot: slot.number,
        model: slot.model,
        exitAddress: slot.exit_address,
        state: slot.state,
        virtual: slot.virtual,
        reason: slot.reason,
        interface: slot.interface,
        sourceAddress: slot.source_address,
        imei: slot.imei,
        lastSeenAt: slot.last_seen_at.getTime(),
        limits: readLimits(slot.limits),
      })),
  }));
}
