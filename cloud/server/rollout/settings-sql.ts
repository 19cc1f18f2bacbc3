/**
 * What people have set for one node, and its newest desired state, in one statement. It crosses tenants: endpoints and
 * credentials on a node are its customers'. What is made of it is compile.ts and publish.ts.
 */
import type { EndpointProtocol, Reach } from '@mastline/shared/domain/endpoint';
import type { NodeSettings } from './compile';

interface EndpointRow {
  organization_id: string;
  id: string;
  name: string;
  protocols: EndpointProtocol[];
  reach: Reach;
  host: string;
  port: number;
  slot_numbers: number[];
}

interface CredentialRow {
  organization_id: string;
  id: string;
  username: string;
  verifier: string;
  suspended: boolean;
}

export interface SettingsRow {
  endpoints: EndpointRow[] | null;
  credentials: CredentialRow[] | null;
}

/** Columns of one row for the node `$1`; credentials of every organization that has an endpoint here, no others. */
export const SETTINGS_COLUMNS = `
  (SELECT json_agg(e) FROM (SELECT organization_id, id, name, protocols, reach, host, port, slot_numbers
                              FROM endpoints WHERE node_id = $1 AND deleted_at IS NULL) e) AS endpoints,
  (SELECT json_agg(c) FROM (SELECT organization_id, id, username, verifier, suspended FROM credentials
                             WHERE deleted_at IS NULL AND organization_id IN
                               (SELECT organization_id FROM endpoints WHERE node_id = $1 AND deleted_at IS NULL)) c)
    AS credentials`;

export function settingsOf(nodeId: string, row: SettingsRow): NodeSettings {
  return {
    nodeId,
    endpoints: (row.endpoints ?? []).map(each => ({
      organizationId: each.organization_id,
      id: each.id,
      name: each.name,
      protocols: each.protocols,
      reach: each.reach,
      listen: { host: each.host, port: each.port },
      slots: each.slot_numbers,
    })),
    credentials: (row.credentials ?? []).map(({ organization_id: organizationId, ...each }) => ({
      organizationId,
      ...each,
    })),
  };
}
