/**
 * What comes of the first bytes of a Shadowsocks connection, the same for both editions. There is no reply to a bad
 * beginning: whatever is wrong, the answer is `silent`, and the caller reads on without answering until its deadline,
 * as it does when bytes are still missing. So a probe learns neither what was wrong nor how many bytes were looked at
 * (SIP022 section 3.1.3; it also asks that one read be enough, which would cut off clients behind links that split
 * segments, and gains nothing here, since waiting and silence look the same from outside).
 */
import type { Clock } from '../../base/clock';
import type { Target } from '../target';
import type { SaltStore } from './salt-store';
import type { ShadowsocksStream } from './stream';

/** Why a beginning was not taken. For logs and counters, never for the peer. */
export type SilentCause =
  /** No key of this port opens it: a probe, a wrong password, or another protocol. */
  | 'unknown-user'
  /** Authentic, and seen before. */
  | 'replayed'
  /** Authentic, but more than 30 s from our clock (2022 edition). */
  | 'clock-skew'
  /** Authentic, but not a request: wrong type, length, padding or address. */
  | 'bad-header'
  /** A later chunk of the first read was not authentic. */
  | 'forged'
  /** Strangers have used up the trials of keys for now (users.ts). */
  | 'over-budget'
  /** More new streams in a minute than salts can be remembered. */
  | 'salts-full';

export type ShadowsocksStep<User> =
  /** Feed more bytes. */
  | { kind: 'more' }
  /** Never answer; read and drop until a deadline, then close. */
  | { kind: 'silent'; cause: SilentCause }
  /** The request is whole. `payload` is the plaintext that came with it: memory of its own, often empty. */
  | { kind: 'request'; user: User; target: Target; payload: Buffer; stream: ShadowsocksStream };

/** One connection's first bytes. `feed` keeps a copy of what it needs, so the caller may reuse its buffer. */
export interface ShadowsocksHandshake<User> {
  feed(bytes: Buffer): ShadowsocksStep<User>;
}

/** Fills `into` with random bytes that cannot be guessed. */
export type FillRandom = (into: Buffer) => void;

/** What both editions' servers are given beside their users. */
export interface HandshakeContext {
  salts: SaltStore;
  clock: Pick<Clock, 'now' | 'monotonicMs'>;
  random: FillRandom;
}

export const MORE = { kind: 'more' } as const;
