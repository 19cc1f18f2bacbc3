/**
 * What people set → what one node should be. Pure. The text is canonical, so that the same settings give the same
 * bytes and no needless revision; signing them is signing.ts, keeping them publish.ts.
 */
import { createHash } from 'node:crypto';
import {
  DEFAULT_LEASE_SECONDS,
  type DesiredState,
  type SlotLimits,
} from '@mastline/shared/domain/desired-state';
import type { ChainHop, Credential, Endpoint, OpenTo } from '@mastline/shared/domain/endpoint';
import type { FlowLimits } from '@mastline/shared/domain/flow-limits';
import { DEFAULT_DESTINATION_POLICY, type DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import type { SlotSchedule } from '@mastline/shared/domain/rotation';
import type { ShadowsocksMethodName } from '@mastline/shared/protocols/shadowsocks/methods';
import { shadowsocksKey } from '../fleet/shadowsocks-keys';

/** An endpoint as people set it, secrets opened. */
export interface EndpointSettings
  extends Pick<Endpoint, 'id' | 'name' | 'protocols' | 'reach' | 'listen' | 'slots'> {
  organizationId: string;
  openTo?: OpenTo | null;
  chain?: ChainHop[];
  shadowsocks?: { method: ShadowsocksMethodName; serverKey: string | null } | null;
  tls?: 'optional' | 'required' | null;
}

export interface CredentialSettings extends Pick<Credential, 'id' | 'username' | 'verifier' | 'suspended'> {
  organizationId: string;
  limits?: FlowLimits;
  /** Of its quota, when it has one. */
  quotaId?: string | null;
  /** What the connection log says of its targets. */
  destinations?: DestinationPolicy;
  /** Opened where its organization has a Shadowsocks endpoint on this node; else null. */
  secret?: string | null;
}

export interface NodeSettings {
  nodeId: string;
  endpoints: EndpointSettings[];
  /** Of every organization that has an endpoint here; others are left out. */
  credentials: CredentialSettings[];
  /** Of the slots that have any. */
  slotLimits?: { slot: number; limits: FlowLimits }[];
  /** Slots that get another address by themselves. */
  rotations?: SlotSchedule[];
  /** Firmware profiles that operators ship. */
  profiles?: { id: string }[];
  /** Paths on the node. */
  certificate?: { certFile: string; keyFile: string } | null;
}

/** A desired state without its revision and time. What nobody has set is left out, so that hashes stay as they were. */
export type Content = Pick<
  DesiredState,
  'format' | 'nodeId' | 'leaseSeconds' | 'endpoints' | 'credentials' | 'rotations' | 'profiles'
> & { slotLimits?: SlotLimits[] };

/** Each credential is bound to the endpoints of its own organization: a node serves many. */
export function compileContent(settings: NodeSettings): Content {
  const endpointsOf = new Map<string, string[]>();
  for (const { organizationId, id } of settings.endpoints)
    endpointsOf.set(organizationId, [...(endpointsOf.get(organizationId) ?? []), id]);
  const endpoints = settings.endpoints
    .map(endpoint => compileEndpoint(endpoint, settings))
    .sort((a, b) => compare(a.id, b.id));
  const credentials = settings.credentials
    .flatMap(
      ({ organizationId, limits, quotaId, destinations, secret: _stays, ...credential }): Credential[] => {
        const endpointIds = endpointsOf.get(organizationId);
        return endpointIds === undefined
          ? []
          : [
              {
                ...credential,
                endpointIds: [...endpointIds].sort(compare),
                ...present({ limits: withQuota(limits, quotaId) }),
                ...(destinations === undefined || destinations === DEFAULT_DESTINATION_POLICY
                  ? {}
                  : { destinations }),
              },
            ];
      },
    )
    .sort((a, b) => compare(a.id, b.id));
  const slotLimits = [...(settings.slotLimits ?? [])].sort((a, b) => a.slot - b.slot);
  const rotations = [...(settings.rotations ?? [])].sort((a, b) => a.slot - b.slot);
  const profiles = [...(settings.profiles ?? [])].sort((a, b) => compare(a.id, b.id));
  return {
    format: 1,
    nodeId: settings.nodeId,
    leaseSeconds: DEFAULT_LEASE_SECONDS,
    endpoints,
    credentials,
    ...(slotLimits.length > 0 ? { slotLimits } : {}),
    ...(rotations.length > 0 ? { rotations } : {}),
    ...(profiles.length > 0 ? { profiles } : {}),
  };
}

/** A credential is its organization's: an endpoint gets keys of, and is open as, no other. */
function compileEndpoint(endpoint: EndpointSettings, settings: NodeSettings): Endpoint {
  const { organizationId, openTo, chain = [], shadowsocks, tls, ...plain } = endpoint;
  const own = settings.credentials.filter(each => each.organizationId === organizationId);
  const payer = openTo && own.some(each => each.id === openTo.credentialId);
  return {
    ...plain,
    ...(payer ? { openTo } : {}),
    ...(chain.length > 0 ? { chain } : {}),
    ...(shadowsocks && plain.protocols.includes('shadowsocks')
      ? { shadowsocks: serviceOf(plain.id, shadowsocks, own) }
      : {}),
    // Without a certificate nothing is served in the clear instead: the node says that the file is missing.
    ...(tls ? { tls: { ...(settings.certificate ?? NO_CERTIFICATE), required: tls === 'required' } } : {}),
  };
}

/** A path that is on no node. */
const NO_CERTIFICATE = { certFile: '(no certificate is set)', keyFile: '(no certificate is set)' };

function serviceOf(
  endpointId: string,
  { method, serverKey }: NonNullable<EndpointSettings['shadowsocks']>,
  credentials: readonly CredentialSettings[],
): NonNullable<Endpoint['shadowsocks']> {
  const keys = credentials
    .flatMap(({ id, secret }) =>
      secret == null
        ? []
        : [{ credentialId: id, key: shadowsocksKey({ secret, endpointId, credentialId: id, method }) }],
    )
    .sort((a, b) => compare(a.credentialId, b.credentialId));
  return { method, ...(serverKey === null ? {} : { serverKey }), keys };
}

/** A node has nothing of a quota before it is lent some; nor has an agent that knows no leases. */
function withQuota(
  limits: FlowLimits | undefined,
  quotaId: string | null | undefined,
): FlowLimits | undefined {
  return quotaId ? { ...limits, quota: { lease: quotaId, bytes: 0, leased: true } } : limits;
}

/** The limits as a field, when there are any. */
function present({ limits }: { limits: FlowLimits | undefined }): { limits?: FlowLimits } {
  return limits !== undefined && Object.keys(limits).length > 0 ? { limits } : {};
}

/** Identity of the content, whatever its revision. */
export const contentHash = (content: Content) => sha256Hex(canonicalJson(content));

/** The exact text to be signed. */
export function payloadOf(content: Content, revision: number, issuedAt: number): string {
  return canonicalJson({ ...content, revision, issuedAt });
}

export const sha256Hex = (text: string) => createHash('sha256').update(text, 'utf8').digest('hex');

/** JSON with sorted keys and no spaces; values are plain JSON already. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .sort(([a], [b]) => compare(a, b));
  return `{${entries.map(([key, each]) => `${JSON.stringify(key)}:${canonicalJson(each)}`).join(',')}}`;
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
