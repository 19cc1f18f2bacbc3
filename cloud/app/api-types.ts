/**
 * What the server tells the portal, under the names that the screens use. Types only, so that any file may import
 * them; the values come through api.server.ts.
 */
import type { PortalContext } from '../server/portal-context';

export type { CredentialView, EndpointView } from '../server/fleet/views';
export type { Role, Viewer } from '../server/identity/viewer';
export type { ModemView, OverviewView } from '../server/insight/views';
export type { UsageSum, UsageView } from '../server/ledger/views';
export type { PortalContext } from '../server/portal-context';

export type PortalApi = PortalContext['api'];
export type UsageQuestion = Parameters<PortalApi['usage']['query']>[0];
