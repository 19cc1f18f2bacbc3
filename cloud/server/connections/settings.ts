/** What an organization decides about its own log: how long it is kept, and what nodes may say of its targets. */
import { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import { recordAudit } from '../audit/record';
import { withTenant } from '../db/tenant';
import type { OrganizationView, Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import type { LogSettingsView } from './views';

export async function readLogSettings(
  services: Services,
  organization: OrganizationView,
): Promise<LogSettingsView> {
  const row = await services.db.prisma.organization.findUniqueOrThrow({
    where: { id: organization.id },
    select: { connectionLogDays: true, eventDays: true, logDestinations: true },
  });
  return {
    connectionLogDays: row.connectionLogDays,
    eventDays: row.eventDays,
    destinations: DestinationPolicy.parse(row.logDestinations),
  };
}

/** What is shortened is removed by the next run of the job; what nodes may say changes with their next state. */
export async function setLogSettings(
  services: Services,
  viewer: Viewer,
  settings: LogSettingsView,
): Promise<void> {
  const organizationId = viewer.active.id;
  const before = await readLogSettings(services, viewer.active);
  const { connectionLogDays, eventDays, destinations } = settings;
  await services.db.prisma.organization.update({
    where: { id: organizationId },
    data: { connectionLogDays, eventDays, logDestinations: destinations },
  });
  const nodeIds = await withTenant(services.db, organizationId, async store => {
    await recordAudit(store, {
      organizationId,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'organization.log-settings',
      subject: { kind: 'organization', id: organizationId },
      details: { connectionLogDays, eventDays, destinations },
    });
    const endpoints = await store.endpoint.findMany({ where: { deletedAt: null }, select: { nodeId: true } });
    return [...new Set(endpoints.map(each => each.nodeId))];
  });
  if (before.destinations !== destinations) await services.settingsChanged(nodeIds);
}
