/**
 * What a connection hands its events to. A session is the protocol that a client speaks at this moment: first the
 * handshake (socks5-session.ts, http-session.ts), then usually a tunnel (tunnel.ts). Bytes are valid during the call
 * only.
 */
import type { OriginListener } from './flow';

export interface Session extends OriginListener {
  /** False stops reading the origin. */
  originData(bytes: Buffer): boolean;
  clientData(bytes: Buffer): void;
  /** The client will send no more; it may still want to read. */
  clientEnd(): void;
  /** Everything sent toward the client is out: read the origin on. */
  clientDrained(): void;
  /** Nothing is under way: the connection may be closed without harm when the agent drains. Left out: never. */
  readonly resting?: boolean;
  /** The connection's deadline has passed. */
  timedOut(): void;
}
