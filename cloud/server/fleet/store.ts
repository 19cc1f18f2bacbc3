/** Fleet's reads for screens. Writes stand with what they belong to: enrol.ts, node-reports.ts, credentials.ts. */
import type { EndpointProtocol } from '@mastline/shared/domain/endpoint';
import type { ModemState, RecoveryReport } from '@mastline/shared/domain/modem';
import type { Database } from '../db/database';
import { withTenantSql } from '../db/tenant';
import type { Scope } from '../identity/scope';
import { ownNodes, visibleNodes, visibleSlots } from './visible';

export interface SlotRow {
  id: string;
  node_id: string;
  node_name: string;
  number: number;
  interface: string | null;
  source_address: string | null;
  state: ModemState;
  reason: string;
  cause: string | null;
  recovery: RecoveryReport | null;
  exit_address: string | null;
  exit_address6: string | null;
  imei: string | null;
  model: string | null;
  virtual: boolean;
  last_seen_at: Date;
  limits: unknown;
  /** The organization's to change: it is the host's own, or everything is. */
  own: boolean;
}

/** Slots that the scope may see, by node name and number. */
export function readSlots(db: Database, scope: Scope): Promise<SlotRow[]> {
  return withTenantSql(db, scope.organizationId, async client => {
    const { rows } = await client.query<SlotRow>(
      `SELECT s.id, s.node_id, n.name AS node_name, s.number, s.interface, s.source_address, s.state, s.reason,
              s.cause, s.recovery, s.exit_address, s.exit_address6, m.imei, coalesce(m.model, s.model) AS model, s.virtual, s.last_seen_at,
              s.limits, (${ownNodes(scope)}) AS own
         FROM slots s JOIN nodes n ON n.id = s.node_id LEFT JOIN modems m ON m.id = s.modem_id
        WHERE n.retired_at IS NULL AND ${visibleSlots(scope)}
        ORDER BY n.name, n.id, s.number`,
      [scope.organizationId],
    );
    return rows;
  });
}

export interface NodeRow {
  id: string;
  name: string;
  agent_version: string;
  last_seen_at: Date | null;
  running_revision: number;
  running_hash: string | null;
  reported_outcome: 'applied' | 'refused' | 'failed' | null;
  reported_problems: { code: string; message: string }[];
  desired_revision: number;
  certificate: unknown;
  own: boolean;
}

/** Nodes that the scope may see, by name. */
export function readNodes(db: Database, scope: Scope): Promise<NodeRow[]> {
  return withTenantSql(db, scope.organizationId, async client => {
    const { rows } = await client.query<NodeRow>(
      `SELECT n.id, n.name, n.agent_version, n.last_seen_at, n.running_revision, n.running_hash, n.reported_outcome,
              n.reported_problems, n.certificate, (${ownNodes(scope)}) AS own,
              (SELECT coalesce(max(d.revision), 0) FROM desired_states d WHERE d.node_id = n.id) AS desired_revision
         FROM nodes n
        WHERE n.retired_at IS NULL AND ${visibleNodes(scope)}
        ORDER BY n.name, n.id`,
      [scope.organizationId],
    );
    return rows;
  });
}

export interface EndpointRow {
  id: string;
  node_id: string;
  node_name: string;
  name: string;
  protocols: EndpointProtocol[];
  reach: 'direct' | 'relay';
  host: string;
  port: number;
  slot_numbers: number[];
  shadowsocks: unknown;
  open_to: unknown;
  chain: unknown;
  tls: unknown;
  node_has_certificate: boolean;
  reported_problems: { code: string; message: string; endpointId?: string | null }[];
  reported_outcome: 'applied' | 'refused' | 'failed' | null;
}

/** Endpoints of one organization, by name. */
export function readEndpoints(db: Database, organizationId: string): Promise<EndpointRow[]> {
  return withTenantSql(db, organizationId, async client => {
    const { rows } = await client.query<EndpointRow>(
      `SELECT e.id, e.node_id, n.name AS node_name, e.name, e.protocols, e.reach, e.host, e.port, e.slot_numbers,
              e.shadowsocks, e.open_to, e.chain, e.tls, n.certificate IS NOT NULL AS node_has_certificate,
              n.reported_problems, n.reported_outcome
         FROM endpoints e JOIN nodes n ON n.id = e.node_id
        WHERE e.organization_id = $1 AND e.deleted_at IS NULL
        ORDER BY e.name, e.id`,
      [organizationId],
    );
    return rows;
  });
}

export interface CredentialRow {
  id: string;
  name: string;
  username: string;
  suspended: boolean;
  limits: unknown;
  created_at: Date;
  bytes_today: string | null;
  last_used_at: Date | null;
}

/** Credentials of one organization, by name, with their use since `dayStart`. */
export function readCredentials(
  db: Database,
  organizationId: string,
  dayStart: Date,
): Promise<CredentialRow[]> {
  return withTenantSql(db, organizationId, async client => {
    const { rows } = await client.query<CredentialRow>(
      `SELECT c.id, c.name, c.username, c.suspended, c.limits, c.created_at,
              (SELECT sum(u.up_bytes + u.down_bytes) FROM usage_rollups u
                WHERE u.organization_id = $1 AND u.credential_key = c.key AND u.hour >= $2) AS bytes_today,
              (SELECT u.last_period_start FROM usage_rollups u
                WHERE u.organization_id = $1 AND u.credential_key = c.key
                ORDER BY u.hour DESC, u.last_period_start DESC LIMIT 1) AS last_used_at
         FROM credentials c
        WHERE c.organization_id = $1 AND c.deleted_at IS NULL
        ORDER BY c.name, c.id`,
      [organizationId, dayStart],
    );
    return rows;
  });
}
