/**
 * What a session needs of a way to a modem: frames out, bytes in, and word when it is gone. Only types. The ways are
 * `device-file.ts` (cdc-wdm, pty) and `stream.ts` (Unix socket, mbim-proxy); `connect.ts` chooses.
 */
export interface TransportListener {
  /** Bytes as they came: frames may be glued together or cut anywhere. */
  bytes(chunk: Buffer): void;
  /** Called once, also when the transport breaks while something is being sent. Not called after `close()`. */
  gone(reason: string): void;
}

export interface MbimTransport {
  /** For messages: "/dev/cdc-wdm0". */
  readonly name: string;
  /** Starts the reading; called once. */
  listen(listener: TransportListener): void;
  /** One frame, in one write where the other side is a device. Rejects with `mbim/write-stuck` or `mbim/gone`. */
  send(frame: Buffer): Promise<void>;
  /** True while an answer or an indication is awaited: a transport that polls does it faster then. */
  expect(answer: boolean): void;
  /** Frees what it holds; harmless when called twice. */
  close(): Promise<void>;
}

/** A write that a device does not take within this time never will. */
export const WRITE_DEADLINE_MS = 5_000;
