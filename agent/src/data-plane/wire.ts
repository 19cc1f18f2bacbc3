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
