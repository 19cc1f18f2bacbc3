/**
 * A client's connection inside TLS, as a wire (wire.ts) like any other: Node's TLSSocket around what was accepted.
 * Bytes go through its stream, since only it knows the keys; the outlet sees that by itself (kernel-write.ts).
 */
import { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import { TcpSocket } from './tcp-socket';
import type { Wire } from './wire';

/** First byte of every TLS record that can begin a connection: "handshake" (RFC 8446 section 5.1). */
export const TLS_HANDSHAKE = 0x16;

/** Goes on inside TLS. `hello` is what was read already; `wire` is of no use afterwards, nor are its listeners. */
export function secured(wire: Wire, hello: Buffer, context: SecureContext): Wire {
  return new SecureSocket(plainSocket(wire, hello), context);
}

function plainSocket(wire: Wire, unread: Buffer): Socket {
  if (wire instanceof TcpSocket) return wire.toNetSocket(unread);
  if (!(wire instanceof Socket)) throw new TypeError('only a TCP connection can be secured');
  wire.pause();
  for (const event of ['data', 'end', 'error', 'close']) wire.removeAllListeners(event);
  wire.unshift(Buffer.from(unread));
  return wire;
}

class SecureSocket extends TLSSocket {
  readonly #plain: Socket;

  constructor(plain: Socket, context: SecureContext) {
    super(plain, { isServer: true, secureContext: context });
    this.#plain = plain;
    // What goes wrong below ends the connection; "close" tells.
    plain.on('error', () => this.destroy());
  }

  /**
   * A TLS socket has no handle that can be reset; the connection below it has. While an end is on its way libuv
   * refuses to reset it (EINVAL), and Node then loses the handle with its descriptor: then that end must do.
   */
  override resetAndDestroy(): this {
    const ending = this.writableEnded && !this.writableFinished;
    if (ending) this.#plain.destroy();
    else if (!this.#plain.destroyed) this.#plain.resetAndDestroy();
    this.destroy();
    return this;
  }
}
