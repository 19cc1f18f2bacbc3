/**
 * What people set → what one node should be. Pure. The text is canonical, so that the same settings give the same
 * bytes and no needless revision; signing them is signing.ts, keeping them publish.ts.
 */
import { createHash } from 'node:crypto';
import { DEFAULT_LEASE_SECONDS, type DesiredState } from '@mastline/shared/domain/desired-state';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';

export interface NodeSettings {
  nodeId: string;
  endpoints: (Endpoint & { organizationId: string })[];
  /** Of every organization that has an endpoint here; others are left out. */
  credentials: (Pick<Credential, 'id' | 'username' | 'verifier' | 'suspended'> & {
    organizationId: string;
  })[];
}

/** A desired state without its revision and time. */
export type Content = Pick<DesiredState, 'format' | 'nodeId' | 'leaseSeconds' | 'endpoints' | 'credentials'>;

/** Each credential is bound to the endpoints of its own organization: a node serves many. */
export function compileContent(settings: NodeSettings): Content {
  const endpointsOf = new Map<string, string[]>();
  for (const { organizationId, id } of settings.endpoints)
    endpointsOf.set(organizationId, [...(endpointsOf.get(organizationId) ?? []), id]);
  const endpoints = settings.endpoints
    .map(({ organizationId: _owner, ...endpoint }) => endpoint)
    .sort((a, b) => compare(a.id, b.id));
  const credentials = settings.credentials
    .flatMap(({ organizationId, ...credential }) => {
      const endpointIds = endpointsOf.get(organizationId);
      return endpointIds === undefined
        ? []
        : [{ ...credential, endpointIds: [...endpointIds].sort(compare) }];
    })
    .sort((a, b) => compare(a.id, b.id));
  return { format: 1, nodeId: settings.nodeId, leaseSeconds: DEFAULT_LEASE_SECONDS, endpoints, credentials };
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
