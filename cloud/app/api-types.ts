/**
 * What the server tells the portal, under the names that the screens use. Types only, so that any file may import
 * them; the values come through api.server.ts.
 */
import type { PortalContext } from '../server/portal-context';

export type { ConnectionView, EventView } from '../server/connections/views';
export type { ModemDetailView, RotationLinkView, RotationView } from '../server/fleet/rotation-views';
export type { CredentialView, EndpointView } from '../server/fleet/views';
export type { Role, Viewer } from '../server/identity/viewer';
export type { NodeLagPage, SystemView } from '../server/insight/system-views';
export type { ModemView, OverviewView } from '../server/insight/views';
export type { UsageSum, UsageView } from '../server/ledger/views';
export type { PortalContext } from '../server/portal-context';
export type { SlotDayView } from '../server/reconciliation/views';

export type PortalApi = PortalContext['api'];
export type RecoveryView = Awaited<ReturnType<PortalApi['modems']['recoveries']>>[number];
export type LimitsInput = Parameters<PortalApi['credentials']['setLimits']>[0]['limits'];
export type ProtocolsInput = Parameters<PortalApi['endpoints']['setProtocols']>[0];
export type OpenToInput = Parameters<PortalApi['endpoints']['setOpenTo']>[0];
export type ChainInput = Parameters<PortalApi['endpoints']['setChain']>[0];
export type LogSettingsInput = Parameters<PortalApi['connections']['setSettings']>[0];
export type QuotaInput = Parameters<PortalApi['credentials']['setQuota']>[0]['quota'];
export type UsageQuestion = Parameters<PortalApi['usage']['query']>[0];
