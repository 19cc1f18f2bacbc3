/** What screens show of endpoints, credentials and nodes. Plain JSON; instants are epoch milliseconds. */
import type { EndpointProtocol, Reach } from '@mastline/shared/domain/endpoint';
import type { ModemState } from '@mastline/shared/domain/modem';

export interface EndpointSlotView {
  slot: number;
  model: string | null;
  exitAddress: string | null;
  state: ModemState;
  virtual: boolean;
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
  /** Why it cannot serve now, for people; null when nothing is known to be wrong. */
  problem: string | null;
}

export interface CredentialView {
  id: string;
  name: string;
  username: string;
  suspended: boolean;
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
  slots: NodeSlotView[];
}
