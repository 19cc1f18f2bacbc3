/** What screens show of endpoints, credentials and nodes. Plain JSON; instants are epoch milliseconds. */
import type { ChainHop, EndpointProtocol, OpenTo, Reach } from '@mastline/shared/domain/endpoint';
import type { FlowLimits } from '@mastline/shared/domain/flow-limits';
import type { ModemState } from '@mastline/shared/domain/modem';
import type { QuotaSetting } from '@mastline/shared/domain/quota';
import type { ShadowsocksMethodName } from '@mastline/shared/protocols/shadowsocks/methods';

export interface EndpointSlotView {
  slot: number;
  model: string | null;
  exitAddress: string | null;
  state: ModemState;
  virtual: boolean;
}

/** An upstream proxy as screens see it: that there is a secret, never which. */
export interface HopView {
  id: string;
  protocol: ChainHop['protocol'];
  host: string;
  port: number;
  username: string | null;
  method: ShadowsocksMethodName | null;
  hasSecret: boolean;
}

/** What a Shadowsocks client is set up with; as secret as the password in it. */
export interface ShadowsocksAccess {
  method: ShadowsocksMethodName;
  password: string;
  /** `ss://…` (SIP002). */
  link: string;
  /** The link as a QR code. */
  qrSvg: string;
}

export interface EndpointView {
  id: string;
  name: string;
  protocols: EndpointProtocol[];
  host: string;
  port: number;
  reach: Reach;
  nodeName: string;
  nodeOnline: boolean;
  slots: EndpointSlotView[];
  /** Null where it does not speak Shadowsocks. */
  method: ShadowsocksMethodName | null;
  tls: 'optional' | 'required' | null;
  /** Its node has a certificate, so that TLS may be chosen. */
  tlsPossible: boolean;
  openTo: OpenTo | null;
  chain: HopView[];
  /** Why it cannot serve now, for people; null when nothing is known to be wrong. */
  problem: string | null;
}

/** Bytes; `lent` is with nodes and not used as far as they have said. */
export interface QuotaView extends QuotaSetting {
  used: number;
  lent: number;
  periodStart: number;
  /** When it begins anew; null for never. */
  periodEnd: number | null;
}

export interface CredentialView {
  id: string;
  name: string;
  username: string;
  suspended: boolean;
  limits: FlowLimits;
  quota: QuotaView | null;
  createdAt: number;
  /** Both directions, since midnight UTC. */
  bytesToday: number;
  /** Start of the last minute with usage; null when never used. */
  lastUsedAt: number | null;
}

export interface RevealedCredential {
  username: string;
  secret: string;
}

export interface NodeSlotView extends EndpointSlotView {
  slotId: string;
  reason: string;
  interface: string | null;
  sourceAddress: string | null;
  imei: string | null;
  lastSeenAt: number;
  limits: FlowLimits;
}

export interface NodeView {
  id: string;
  name: string;
  online: boolean;
  agentVersion: string;
  lastSeenAt: number | null;
  running: {
    revision: number;
    hash: string | null;
    /** Its last word on a revision; null before the first. */
    outcome: 'applied' | 'refused' | 'failed' | null;
    problems: { code: string; message: string }[];
  };
  desiredRevision: number;
  /** Paths on the node; null when there is none, or they are not the viewer's to know. */
  certificate: { certFile: string; keyFile: string } | null;
  /** The viewer's organization may change the node's settings. */
  own: boolean;
  slots: NodeSlotView[];
}
