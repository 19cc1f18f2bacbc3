/** What customers connect to, and with what. Plain values: the cloud compiles them, the agent serves them. */
import { z } from 'zod';
import { FlowLimits, SourceRange } from './flow-limits';
import { DestinationPolicy } from './flow-summary';
import { parseAddressRange } from './ip-range';

/** What one listening port speaks. With SOCKS5 and HTTP, the first byte decides; Shadowsocks needs a port of its own. */
export const EndpointProtocol = z.enum(['socks5', 'http', 'shadowsocks']);
export type EndpointProtocol = z.infer<typeof EndpointProtocol>;

/** How customers get to it: straight to the node, or (later) through a relay for nodes behind NAT. */
export const Reach = z.enum(['direct', 'relay']);
export type Reach = z.infer<typeof Reach>;

export const ListenAddress = z.looseObject({
  host: z.union([z.ipv4(), z.ipv6()]),
  port: z.int().min(1).max(65_535),
});
export type ListenAddress = z.infer<typeof ListenAddress>;

/** The methods spoken here; what each is made of is protocols/shadowsocks/methods.ts. */
export const ShadowsocksMethodId = z.enum([
  'aes-128-gcm',
  'aes-256-gcm',
  'chacha20-ietf-poly1305',
  '2022-blake3-aes-128-gcm',
  '2022-blake3-aes-256-gcm',
]);
export type ShadowsocksMethodName = z.infer<typeof ShadowsocksMethodId>;

const RawKey = z.base64().min(24).max(44);

/** How a port speaks Shadowsocks. The only place where a node gets keys that open something, not verifiers. */
export const ShadowsocksService = z.looseObject({
  method: ShadowsocksMethodId,
  /** The port's own key (SIP023), without which a 2022 method serves a single credential. */
  serverKey: RawKey.optional(),
  /** Raw keys of the method's length in base64, one for each credential that may use the port. */
  keys: z.array(z.looseObject({ credentialId: z.string().min(1).max(64), key: RawKey })).max(4096),
});
export type ShadowsocksService = z.infer<typeof ShadowsocksService>;

/** TLS around SOCKS5 and HTTP. Paths are on the node; a certificate never travels in a document. */
export const EndpointTls = z.looseObject({
  /** PEM: the certificate, then those between it and the authority. */
  certFile: z.string().min(1).max(4096),
  keyFile: z.string().min(1).max(4096),
  /** True: without TLS nothing is spoken. False: the first byte decides. */
  required: z.boolean(),
});
export type EndpointTls = z.infer<typeof EndpointTls>;

/** Hops behind the modem; every one costs a round trip or two, and nobody needs more. */
export const MAX_CHAIN_HOPS = 4;

/** One upstream proxy. Node and hop both need its secret, so it travels. */
export const ChainHop = z.looseObject({
  protocol: z.enum(['socks5', 'http', 'shadowsocks']),
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535),
  /** User name and password; null where the hop asks for none. Shadowsocks has a password only. */
  username: z.string().min(1).max(255).nullish(),
  secret: z.string().min(1).max(1024).nullish(),
  /** Shadowsocks only. */
  method: ShadowsocksMethodId.nullish(),
});
export type ChainHop = z.infer<typeof ChainHop>;

/** Somebody's addresses, not everybody's. */
export const OpenRange = SourceRange.refine(
  text => parseAddressRange(text)?.prefix !== 0,
  'would let in everybody: an open proxy is used up by strangers within hours',
);

/** Clients from these addresses need no login; for programs that cannot send one (browsers with SOCKS5). */
export const OpenTo = z.looseObject({
  sourceAddresses: z.array(OpenRange).min(1).max(256),
  /** Whose usage it is, and whose limits hold. */
  credentialId: z.string().min(1).max(64),
});
export type OpenTo = z.infer<typeof OpenTo>;

export const Endpoint = z.looseObject({
  id: z.string().min(1).max(64),
  name: z.string().min(1).max(80),
  protocols: z.array(EndpointProtocol).min(1),
  reach: Reach,
  listen: ListenAddress,
  /** Slots that may carry its flows, in order of preference. */
  slots: z.array(z.int().min(0).max(65_535)).min(1).max(256),
  /** Needed where `protocols` is Shadowsocks. */
  shadowsocks: ShadowsocksService.optional(),
  tls: EndpointTls.optional(),
  /** Upstream proxies after the modem, the first one nearest to it. TCP only. */
  chain: z.array(ChainHop).max(MAX_CHAIN_HOPS).optional(),
  openTo: OpenTo.optional(),
});
export type Endpoint = z.infer<typeof Endpoint>;

/** Nodes get verifiers, not secrets: the secret is 160 random bits, so one SHA-256 is enough to keep it. */
export const Credential = z.looseObject({
  id: z.string().min(1).max(64),
  username: z.string().min(1).max(64),
  /** SHA-256 of the secret, 64 hex digits. */
  verifier: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits (SHA-256 of the secret)'),
  /** Endpoints it may use; null means every endpoint of its organization on this node. */
  endpointIds: z.array(z.string().min(1).max(64)).max(4096).nullable(),
  suspended: z.boolean(),
  limits: FlowLimits.optional(),
  /** What the connection log says of its targets; DEFAULT_DESTINATION_POLICY when left out. */
  destinations: DestinationPolicy.optional(),
});
export type Credential = z.infer<typeof Credential>;
