/** What an organization decides about its own log: how long it is kept, and what nodes may say of its targets. */
import { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import { recordAudit } from '../audit/record';
import { type TenantStore, withTenant } from '../db/tenant';
import { servingNodes } from '../fleet/endpoints';
import type { OrganizationView, Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import type { LogSettingsView } from './views';

export function readLogSettings(
  services: Services,
  organization: Pick<OrganizationView, 'id'>,
): Promise<LogSettingsView> {
  return withTenant(services.db, organization.id, read);
}

/** What is shortened is removed by the next run of the job; what nodes may say changes with their next state. */
export async function setLogSettings(
  services: Services,
  viewer: Viewer,
  settings: LogSettingsView,
): Promise<void> {
  const organizationId = viewer.active.id;
  const { connectionLogDays, eventDays, destinations } = settings;
  const toTell = await withTenant(services.db, organizationId, async store => {
    const before = await read(store);
    await store.organization.updateMany({
      data: { connectionLogDays, eventDays, logDestinations: destinations },
    });
    await recordAudit(store, {
      organizationId,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'organization.log-settings',
      subject: { kind: 'organization', id: organizationId },
      details: { connectionLogDays, eventDays, destinations },
    });
    return before.destinations === destinations ? [] : servingNodes(store);
  });
  if (toTell.length > 0) await services.settingsChanged(toTell);
}

async function read(store: Pick<TenantStore, 'organization'>): Promise<LogSettingsView> {
  const { logDestinations, ...days } = await store.organization.findFirstOrThrow({
    select: { connectionLogDays: true, eventDays: true, logDestinations: true },
  });
  return { ...days, destinations: DestinationPolicy.parse(logDestinations) };
}
