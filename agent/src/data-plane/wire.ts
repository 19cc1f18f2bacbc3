/**
 * A TCP connection as the data plane uses it: the part of `net.Socket` that it needs, in the same words, so that both
 * plain sockets and the fast path's (tcp-socket.ts) are one. Reading begins by itself; what is read is valid during
 * the call only.
 */
export interface Wire {
  readonly destroyed: boolean;
  /** Bytes given to `write` that the kernel has not taken. */
  readonly writableLength: number;
  /** The other side has ended, and all of it was read. */
  readonly readableEnded: boolean;
  readonly remoteAddress?: string | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  pause(): unknown;
  resume(): unknown;
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown;
  /** Half-closes behind what was written. */
  end(): unknown;
  destroy(error?: Error): unknown;
  /** Closes with a reset. */
  resetAndDestroy(): unknown;
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'close', listener: (hadError: boolean) => void): unknown;
  once(event: 'end', listener: () => void): unknown;
  once(event: 'close', listener: (hadError: boolean) => void): unknown;
}

export type WireEvent = 'data' | 'end' | 'error' | 'close';

/** Who a wire belongs to, and is told what happens on it (wire-owner.ts). */
export interface WireOwner {
  /** Left out by who is given what is read otherwise. */
  wireData?(bytes: Buffer): void;
  /** The other side will send no more. */
  wireEnded(): void;
  /** It is closed, by whomever. Which error it was does not matter to anybody here. */
  wireClosed(hadError: boolean): void;
}
