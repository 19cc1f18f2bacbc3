/** What procedures take for settings. Messages are read by people beside the field, so they say what would be right. */
import {
  ChainHop,
  EndpointProtocol,
  MAX_CHAIN_HOPS,
  OpenRange,
  ShadowsocksMethodId,
} from '@mastline/shared/domain/endpoint';
import { FlowLimits } from '@mastline/shared/domain/flow-limits';
import { CredentialId, EndpointId, NodeId } from '@mastline/shared/domain/ids';
import { QuotaSetting } from '@mastline/shared/domain/quota';
import { z } from 'zod';
import { TlsUse } from './stored-settings';

const { quota: _leases, ...settable } = FlowLimits.shape;

/** Limits that people set; a quota is set apart, and lent to nodes (server/quota). */
export const LimitsInput = z
  .strictObject(settable)
  .refine(limits => limits.whenFull === undefined || limits.concurrentFlows !== undefined, {
    path: ['concurrentFlows'],
    error: 'is needed where it is said what happens beyond it',
  });
export type LimitsInput = z.infer<typeof LimitsInput>;

export const CredentialLimitsInput = z.strictObject({ id: CredentialId, limits: LimitsInput });
/** Null takes the quota away. */
export const QuotaInput = z.strictObject({ id: CredentialId, quota: QuotaSetting.nullable() });
export const SlotLimitsInput = z.strictObject({ slotId: z.uuid(), limits: LimitsInput });

export const ProtocolsInput = z.strictObject({
  id: EndpointId,
  protocols: z.array(EndpointProtocol).min(1, 'choose at least one').max(2),
  /** With Shadowsocks. */
  method: ShadowsocksMethodId.nullable(),
  tls: TlsUse.nullable(),
});
export type ProtocolsInput = z.infer<typeof ProtocolsInput>;

export const OpenToInput = z.strictObject({
  id: EndpointId,
  openTo: z
    .strictObject({
      sourceAddresses: z.array(OpenRange).min(1, 'name at least one address').max(256, 'at most 256'),
      credentialId: CredentialId,
    })
    .nullable(),
});
export type OpenToInput = z.infer<typeof OpenToInput>;

const port = 'must be a port from 1 to 65535';

export const ChainInput = z.strictObject({
  id: EndpointId,
  hops: z
    .array(
      z.strictObject({
        /** Of a hop that is there already; null adds one. */
        id: z.uuid().nullable(),
        protocol: ChainHop.shape.protocol,
        host: z.string().min(1, 'name the host').max(253, 'is longer than any host name'),
        port: z.int({ error: port }).min(1, port).max(65_535, port),
        username: z.string().min(1).max(255, 'has at most 255 letters').nullable(),
        /** Null keeps the secret of a hop that is there already. */
        secret: z.string().min(1).max(1024, 'has at most 1024 letters').nullable(),
        method: ShadowsocksMethodId.nullable(),
      }),
    )
    .max(MAX_CHAIN_HOPS, `a chain has at most ${MAX_CHAIN_HOPS} hops`),
});
export type ChainInput = z.infer<typeof ChainInput>;

export const LinkInput = z.strictObject({ id: EndpointId, credentialId: CredentialId });

const path = z
  .string()
  .regex(/^\/[^\0]*$/, 'must be a whole path on the node, such as /etc/ssl/proxy.pem')
  .max(4096);
export const CertificateInput = z.strictObject({
  nodeId: NodeId,
  certificate: z.strictObject({ certFile: path, keyFile: path }).nullable(),
});
export type CertificateInput = z.infer<typeof CertificateInput>;
