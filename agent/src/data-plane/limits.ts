/**
 * Every bound of the data plane in one place, with its reason. Tests hand in smaller ones; nothing else changes them.
 */
export interface Limits {
  /** From accept to a whole request. */
  handshakeMs: number;
  /** From the request to an open connection to the target, name resolution included. */
  dialMs: number;
  /** A flow that asked for another address of its modem first: from its request to that address. */
  rotateMs: number;
  /** A flow on which nothing moves in either direction; also a kept HTTP connection between requests. */
  idleMs: number;
  /** An association on which no datagram passes. Shorter than NAT entries of carriers live. */
  udpIdleMs: number;
  /** How long a refused client may take to read our answer before it is cut. */
  lingerMs: number;
  /** Connections of all threads that have not proven whose they are; beyond it a newcomer takes the place of one. */
  openHandshakes: number;
  /** The same of one source address (IPv6: of one /64); more are closed at accept. A browser farm is one source. */
  sourceHandshakes: number;
  /** Connects of one source that came to nothing, at once; each log-in takes its own off again. */
  sourceConnects: number;
  /** How many of these are forgiven in a second. A source of which a customer has logged in has four times the room. */
  sourceConnectsPerSecond: number;
  /** Connects of all other sources together that came to nothing; more are closed at accept. At least the backlog. */
  strangers: number;
  strangersPerSecond: number;
  /** Connections of all threads. */
  connections: number;
  /** The largest read. Its memory is shared by all flows of a thread; read-memory.ts says who may use all of it. */
  readBytes: number;
  /** Relayed but uncommitted bytes of a slot at which it stops: what a crash can lose (design part 3). */
  windowBytes: number;
  /** Uncommitted bytes of a slot at which a commit begins without waiting for the tick. */
  commitBytes: number;
}

export const LIMITS: Limits = {
  handshakeMs: 10_000,
  dialMs: 15_000,
  rotateMs: 120_000,
  idleMs: 300_000,
  udpIdleMs: 60_000,
  lingerMs: 2_000,
  openHandshakes: 2_048,
  sourceHandshakes: 512,
  sourceConnects: 1_024,
  sourceConnectsPerSecond: 100,
  strangers: 1_024,
  strangersPerSecond: 128,
  connections: 16_384,
  readBytes: 1024 * 1024,
  windowBytes: 8 * 1024 * 1024,
  commitBytes: 6 * 1024 * 1024,
};

/**
 * Deadlines are checked, and usage is committed, once in this time: one timer for all flows instead of one for each.
 * Usage relayed right after a tick waits for the next and then for the disk, which keeps the loss of a crash below 2 s.
 */
export const TICK_MS = 1_000;

/** Milliseconds as whole ticks, rounded up, and never none. */
export function ticksOf(ms: number): number {
  return Math.max(1, Math.ceil(ms / TICK_MS));
}
