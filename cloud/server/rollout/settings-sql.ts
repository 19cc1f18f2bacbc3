/**
 * What people have set for one node, and its newest desired state, in one statement. It crosses tenants: endpoints and
 * credentials on a node are its customers'. What is made of it is compile.ts and publish.ts.
 */
import type { EndpointProtocol, Reach } from '@mastline/shared/domain/endpoint';
import type { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import type { RotationSchedule } from '@mastline/shared/domain/rotation';
import { purposeOf } from '../fleet/credentials';
import {
  hopPurpose,
  portKeyPurpose,
  readCertificate,
  readChain,
  readLimits,
  readOpenTo,
  readShadowsocks,
  readTls,
} from '../fleet/stored-settings';
import type { SecretStore } from '../secrets/secret-store';
import type { EndpointSettings, NodeSettings } from './compile';

interface EndpointRow {
  organization_id: string;
  id: string;
  name: string;
  protocols: EndpointProtocol[];
  reach: Reach;
  host: string;
  port: number;
  slot_numbers: number[];
  open_to: unknown;
  chain: unknown;
  shadowsocks: unknown;
  tls: unknown;
}

interface CredentialRow {
  organization_id: string;
  id: string;
  username: string;
  verifier: string;
  suspended: boolean;
  limits: unknown;
  quota_id: string | null;
  log_destinations: DestinationPolicy;
  /** Null where no endpoint on the node needs it. */
  secret_sealed: string | null;
}

export interface SettingsRow {
  endpoints: EndpointRow[] | null;
  credentials: CredentialRow[] | null;
  slot_limits: { number: number; limits: unknown }[] | null;
  certificate: unknown;
  rotations: { slot_number: number; schedule: RotationSchedule }[] | null;
  profiles: { id: string }[] | null;
}

/**
 * Columns for the node that `node` names, a parameter or another table's column; credentials of every organization that
 * has an endpoint here, no others.
 */
export const settingsColumns = (node: string) => `
  (SELECT json_agg(e) FROM (SELECT organization_id, id, name, protocols, reach, host, port, slot_numbers, open_to,
                                   chain, shadowsocks, tls
                              FROM endpoints WHERE node_id = ${node} AND deleted_at IS NULL) e) AS endpoints,
  (SELECT json_agg(c) FROM (SELECT c.organization_id, c.id, c.username, c.verifier, c.suspended, c.limits,
                                   (SELECT q.id FROM quotas q WHERE q.credential_id = c.id) AS quota_id,
                                   (SELECT t.log_destinations FROM organizations t
                                     WHERE t.id = c.organization_id) AS log_destinations,
                                   CASE WHEN o.shadowsocks THEN c.secret_sealed END AS secret_sealed
                              FROM credentials c
                              JOIN (SELECT organization_id, bool_or(shadowsocks IS NOT NULL) AS shadowsocks
                                      FROM endpoints WHERE node_id = ${node} AND deleted_at IS NULL
                                     GROUP BY organization_id) o USING (organization_id)
                             WHERE c.deleted_at IS NULL) c) AS credentials,
  (SELECT json_agg(s) FROM (SELECT number, limits FROM slots
                             WHERE node_id = ${node} AND limits <> '{}'::jsonb) s) AS slot_limits,
  (SELECT certificate FROM nodes WHERE id = ${node}) AS certificate,
  (SELECT json_agg(r) FROM (SELECT slot_number, schedule FROM rotation_schedules WHERE node_id = ${node}) r) AS rotations,
  (SELECT json_agg(profile) FROM shipped_profiles) AS profiles`;

/** The row with its secrets opened. */
export function settingsOf(nodeId: string, row: SettingsRow, secrets: SecretStore): NodeSettings {
  return {
    nodeId,
    endpoints: (row.endpoints ?? []).map(each => endpointOf(each, secrets)),
    credentials: (row.credentials ?? []).map(each => ({
      organizationId: each.organization_id,
      id: each.id,
      username: each.username,
      verifier: each.verifier,
      suspended: each.suspended,
      limits: readLimits(each.limits),
      quotaId: each.quota_id,
      destinations: each.log_destinations,
      secret: each.secret_sealed === null ? null : secrets.open(each.secret_sealed, purposeOf(each.id)),
    })),
    slotLimits: (row.slot_limits ?? []).map(({ number, limits }) => ({
      slot: number,
      limits: readLimits(limits),
    })),
    certificate: readCertificate(row.certificate),
    profiles: row.profiles ?? [],
    rotations: (row.rotations ?? []).map(each => ({ slot: each.slot_number, schedule: each.schedule })),
  };
}

function endpointOf(row: EndpointRow, secrets: SecretStore): EndpointSettings {
  const shadowsocks = readShadowsocks(row.shadowsocks);
  return {
    organizationId: row.organization_id,
    id: row.id,
    name: row.name,
    protocols: row.protocols,
    reach: row.reach,
    listen: { host: row.host, port: row.port },
    slots: row.slot_numbers,
    openTo: readOpenTo(row.open_to),
    tls: readTls(row.tls),
    chain: readChain(row.chain).map(({ id, secretSealed, ...hop }) => ({
      ...hop,
      secret: secretSealed === null ? null : secrets.open(secretSealed, hopPurpose(row.id, id)),
    })),
    shadowsocks: shadowsocks && {
      method: shadowsocks.method,
      serverKey:
        shadowsocks.serverKeySealed === null
          ? null
          : secrets.open(shadowsocks.serverKeySealed, portKeyPurpose(row.id)),
    },
  };
}
