/** What a customer connects to, and whether it can serve now. */

import type { TenantStore } from '../db/tenant';
import type { Services } from '../rpc/context';
import type { Presence } from './presence';
import { type EndpointRow, readEndpoints, readSlots, type SlotRow } from './store';
import { readChain, readOpenTo, readShadowsocks, readTls } from './stored-settings';
import type { EndpointView } from './views';

export async function listEndpoints(services: Services, organizationId: string): Promise<EndpointView[]> {
  const endpoints = await readEndpoints(services.db, organizationId);
  const slots = await readSlots(services.db, { organizationId, everything: false, asHost: false });
  return endpoints.map(endpoint => view(endpoint, slots, services.presence));
}

/** Ids of the nodes that the store's organization has endpoints on: those to be told of what it changes. */
export async function servingNodes(store: Pick<TenantStore, 'endpoint'>): Promise<string[]> {
  const endpoints = await store.endpoint.findMany({ where: { deletedAt: null }, select: { nodeId: true } });
  return [...new Set(endpoints.map(each => each.nodeId))];
}

function view(endpoint: EndpointRow, allSlots: SlotRow[], presence: Presence): EndpointView {
  const nodeOnline = presence.isOnline(endpoint.node_id);
  const slots = endpoint.slot_numbers.map(number => {
    const row = allSlots.find(each => each.node_id === endpoint.node_id && each.number === number);
    return {
      slot: number,
      model: row?.model ?? null,
      exitAddress: row?.exit_address ?? null,
      state: row?.state ?? ('absent' as const),
      virtual: row?.virtual ?? false,
      reason: row?.reason ?? '',
    };
  });
  return {
    id: endpoint.id,
    name: endpoint.name,
    protocols: endpoint.protocols,
    host: endpoint.host,
    port: endpoint.port,
    reach: endpoint.reach,
    nodeName: endpoint.node_name,
    nodeOnline,
    slots: slots.map(({ reason: _reason, ...shown }) => shown),
    method: readShadowsocks(endpoint.shadowsocks)?.method ?? null,
    tls: readTls(endpoint.tls),
    tlsPossible: endpoint.node_has_certificate,
    openTo: readOpenTo(endpoint.open_to),
    chain: readChain(endpoint.chain).map(({ secretSealed, ...hop }) => ({
      ...hop,
      hasSecret: secretSealed !== null,
    })),
    problem: problemOf(endpoint, nodeOnline, slots),
  };
}

/** The nearest cause first: without its node nothing else matters. Pure. */
function problemOf(
  endpoint: EndpointRow,
  nodeOnline: boolean,
  slots: { slot: number; state: string; reason: string }[],
): string | null {
  if (!nodeOnline)
    return 'The node is not connected to the cloud. It may still serve from its last configuration.';
  // Only what is said of this very endpoint: other problems of the node may be about other customers' things.
  const own = endpoint.reported_problems.find(each => each.endpointId === endpoint.id);
  if (own !== undefined) return own.message;
  if (endpoint.reported_outcome === 'refused' || endpoint.reported_outcome === 'failed')
    return 'The node could not apply its last configuration.';
  if (slots.some(each => each.state === 'connected')) return null;
  const [first] = slots;
  if (first === undefined) return 'No slot is set for this endpoint.';
  return first.reason === '' ? `Modem in slot ${first.slot} is ${first.state}.` : first.reason;
}
