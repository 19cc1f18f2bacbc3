/**
 * The shapes of the JSON columns in which settings lie: what a row says is read through these, what is written fits
 * them. A column that does not fit is a fault of ours and stops the reader, since a limit must not be lost quietly.
 * Secrets are sealed here, for the purposes below; what opens them is rollout/settings-sql.ts.
 */
import { parseOrExplain } from '@mastline/shared/base/problems';
import { ChainHop, OpenTo, ShadowsocksMethodId } from '@mastline/shared/domain/endpoint';
import { FlowLimits } from '@mastline/shared/domain/flow-limits';
import { z } from 'zod';

/** A hop whose secret is sealed for `hopPurpose`. */
export const StoredHop = z.object({
  id: z.uuid(),
  protocol: ChainHop.shape.protocol,
  host: z.string(),
  port: z.int(),
  username: z.string().nullable(),
  method: ShadowsocksMethodId.nullable(),
  secretSealed: z.string().nullable(),
});
export type StoredHop = z.infer<typeof StoredHop>;

export const StoredShadowsocks = z.object({
  method: ShadowsocksMethodId,
  /** The port's own key, in base64, sealed for `portKeyPurpose`; null where the method has none. */
  serverKeySealed: z.string().nullable(),
});
export type StoredShadowsocks = z.infer<typeof StoredShadowsocks>;

/** Paths on the node. */
export const StoredCertificate = z.object({ certFile: z.string(), keyFile: z.string() });
export type StoredCertificate = z.infer<typeof StoredCertificate>;

/** How an endpoint speaks TLS. */
export const TlsUse = z.enum(['optional', 'required']);
export type TlsUse = z.infer<typeof TlsUse>;

const Chain = z.array(StoredHop);

export const readLimits = (value: unknown): FlowLimits => read(FlowLimits, value);
export const readChain = (value: unknown): StoredHop[] => read(Chain, value);
export const readOpenTo = (value: unknown): OpenTo | null => read(OpenTo.nullable(), value ?? null);
export const readShadowsocks = (value: unknown): StoredShadowsocks | null =>
  read(StoredShadowsocks.nullable(), value ?? null);
export const readCertificate = (value: unknown): StoredCertificate | null =>
  read(StoredCertificate.nullable(), value ?? null);
export const readTls = (value: unknown): TlsUse | null => read(TlsUse.nullable(), value ?? null);

/** What the secret of a hop is sealed for. */
export const hopPurpose = (endpointId: string, hopId: string) => `endpoint:${endpointId}:hop:${hopId}`;
/** What the key of a Shadowsocks port is sealed for. */
export const portKeyPurpose = (endpointId: string) => `endpoint:${endpointId}:shadowsocks`;

function read<T>(schema: z.ZodType<T>, value: unknown): T {
  return parseOrExplain(schema, value, 'a stored setting', 'fleet/broken-setting');
}
