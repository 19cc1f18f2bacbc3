/** The overview screen: who is online, what the modems do, what flows now and flowed today. */
import { readNodes, readSlots } from '../fleet/store';
import { scopeOf } from '../identity/scope';
import type { OrganizationView } from '../identity/viewer';
import { sumUsage } from '../ledger/query';
import type { Services } from '../rpc/context';
import type { ModemView, OverviewView } from './views';

const DAY_MS = 86_400_000;

export async function readOverview(
  services: Services,
  organization: Pick<OrganizationView, 'id' | 'kinds'>,
): Promise<OverviewView> {
  const scope = scopeOf(organization);
  const at = services.clock.now();
  const nodes = await readNodes(services.db, scope);
  const slots = await readSlots(services.db, scope);
  const today = await sumUsage(services, scope, { from: at - (at % DAY_MS), to: at + DAY_MS });
  const modems = slots.map((slot): ModemView => {
    const figures = services.presence.figures(slot.node_id, slot.number);
    return {
      slotId: slot.id,
      nodeId: slot.node_id,
      nodeName: slot.node_name,
      slot: slot.number,
      model: slot.model,
      virtual: slot.virtual,
      state: slot.state,
      reason: slot.reason,
      cause: slot.cause,
      recovery: slot.recovery,
      nodeOnline: services.presence.isOnline(slot.node_id),
      exitAddress: slot.exit_address,
      upBytesPerSecond: figures?.upBytesPerSecond ?? 0,
      downBytesPerSecond: figures?.downBytesPerSecond ?? 0,
      openFlows: figures?.openFlows ?? 0,
      lastSeenAt: slot.last_seen_at.getTime(),
      own: slot.own,
    };
  });
  return {
    at,
    nodes: { online: nodes.filter(node => services.presence.isOnline(node.id)).length, total: nodes.length },
    modems,
    throughput: {
      upBytesPerSecond: modems.reduce((sum, each) => sum + each.upBytesPerSecond, 0),
      downBytesPerSecond: modems.reduce((sum, each) => sum + each.downBytesPerSecond, 0),
    },
    today,
  };
}
