/**
 * What comes of a Shadowsocks datagram, the same for both editions. There is no reply to a bad one. The editions are
 * aead-packets.ts and packets-2022.ts.
 */
import type { Target } from '../target';

/** Why a datagram was dropped. For counters, never for the peer. */
export type DropCause =
  | 'unknown-user'
  | 'replayed'
  | 'clock-skew'
  | 'bad-header'
  | 'over-budget'
  | 'salts-full'
  | 'too-many-sessions';

/**
 * One client's way through a port: what the caller's association hangs on. AEAD has no sessions on the wire; there it
 * is the user and the source address. `Association` is the caller's own; null until it sets it, and to be set back
 * to null when it closes what hangs there.
 */
export interface PacketSession<User, Association> {
  readonly user: User;
  association: Association | null;
}

export type PacketOutcome<User, Association> =
  | {
      kind: 'packet';
      session: PacketSession<User, Association>;
      target: Target;
      /** Plaintext in memory of its own. */
      payload: Buffer;
    }
  | { kind: 'drop'; cause: DropCause };

/** A port's datagrams. */
export interface PacketServer<User, Association> {
  /** Opens a client's datagram; `source` is the client's address and port in one spelling. */
  open(packet: Buffer, source: string): PacketOutcome<User, Association>;
  /**
   * Seals what `from` (addressBytes) sent, for the session's client, into the front of `out`; gives back its bytes.
   * Throws `shadowsocks/no-room` when `out` has no MAX_PACKET_OVERHEAD_BYTES beside the payload.
   */
  seal(
    session: PacketSession<User, Association>,
    datagram: { from: Buffer; payload: Buffer },
    out: Buffer,
  ): number;
  /** Sessions that are known, with or without an association. */
  readonly sessions: number;
}

/** More than any packet costs above its payload: salt or headers, the longest address, tag. */
export const MAX_PACKET_OVERHEAD_BYTES = 512;
/** Sessions of one port; each costs about a kilobyte here and a socket where it is served. */
export const MAX_SESSIONS = 4_096;
/** A session without association is forgotten when its last packet is this old: its replays are too old by then. */
export const SESSION_KEEP_MS = 60_000;
/** How often old sessions are looked for, at most; done when a new one comes. */
export const SWEEP_EVERY_MS = 1_000;

export function drop(cause: DropCause): { kind: 'drop'; cause: DropCause } {
  return { kind: 'drop', cause };
}
