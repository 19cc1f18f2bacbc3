/** What ingest needs of an agent's session: who it is, how to answer, how to end it. The gateway has the real thing. */
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import type { NodeIdentity } from '../fleet/node-reports';

export interface AgentLink {
  readonly node: NodeIdentity;
  /** For the log. */
  readonly sessionId: string;
  /** When the message that is handled now arrived, on the monotonic clock. */
  readonly arrivedMs: number;
  send<K extends DownlinkKind>(kind: K, body: DownlinkBody<K>): void;
  /** What its hello said that it takes. */
  noteTaken(kinds: readonly string[]): void;
  takes(kind: DownlinkKind): boolean;
  /** How long this agent may say nothing before its session is closed. */
  bearSilence(ms: number): void;
  close(code: number, reason: string): void;
}
