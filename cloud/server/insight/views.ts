/** What the overview and the live feed show. Plain JSON: instants are epoch milliseconds, bytes are safe integers. */
import type { ModemState, RecoveryReport } from '@mastline/shared/domain/modem';

export interface ModemView {
  slotId: string;
  nodeId: string;
  nodeName: string;
  slot: number;
  model: string | null;
  virtual: boolean;
  /** `absent` while the node itself is offline is not claimed: see `nodeOnline`. */
  state: ModemState;
  reason: string;
  /** Name of why it does not serve (MODEM_CAUSES, or of a later agent); `reason` has it in words. */
  cause: string | null;
  /** The last attempt of its box to bring it back. */
  recovery: RecoveryReport | null;
  nodeOnline: boolean;
  exitAddress: string | null;
  upBytesPerSecond: number;
  downBytesPerSecond: number;
  openFlows: number;
  lastSeenAt: number;
  /** The viewer's organization may set its limits. */
  own: boolean;
}

export interface OverviewView {
  at: number;
  nodes: { online: number; total: number };
  modems: ModemView[];
  throughput: { upBytesPerSecond: number; downBytesPerSecond: number };
  /** Since midnight UTC. */
  today: { upBytes: number; downBytes: number; flows: number };
}
