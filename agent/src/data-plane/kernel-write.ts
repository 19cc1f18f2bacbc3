/**
 * Writes to a socket at once and says exactly how many bytes the kernel took. Node's stream interface cannot: it
 * takes everything, keeps what the kernel did not, and goes on reading from memory that the caller wants back.
 * Exact counts are what the bill is made of, and memory that is free right after the call is what lets all flows of
 * a thread read into one buffer.
 *
 * A bare handle (tcp-socket.ts) shows its descriptor; of plain sockets `_handle.fd` does, which Node does not document
 * (it has been there since 0.x). Where it is missing (TLS sockets, other platforms) the answer is `unsupported` and
 * outlet.ts writes through the stream.
 */
import { writeSync } from 'node:fs';
import { codeOf } from '@mastline/shared/base/coded-error';
import { TcpSocket } from './tcp-socket';
import type { Wire } from './wire';

/** Bytes that the kernel took; fewer than given means that its buffer is full. */
export type KernelWrite = number | 'broken' | 'unsupported';

/** Must not be called while the stream still holds bytes of its own (`writableLength`): they would be overtaken. */
export function writeNow(socket: Wire, bytes: Uint8Array): KernelWrite {
  const fd = fdOf(socket);
  if (fd === null) return 'unsupported';
  if (socket instanceof TcpSocket) socket.willWrite(bytes.length);
  try {
    return writeSync(fd, bytes, 0, bytes.length);
  } catch (error) {
    return codeOf(error) === 'EAGAIN' ? 0 : 'broken';
  }
}

/** File descriptor of a plain TCP socket that is open, else null. */
function fdOf(socket: Wire): number | null {
  if (socket instanceof TcpSocket) return socket.fd < 0 ? null : socket.fd;
  // A TLS socket has a descriptor too, but plaintext must not go there.
  return socket.destroyed || 'encrypted' in socket ? null : descriptorOf(socket);
}

/** File descriptor of an open socket or server; null where Node shows none. */
export function descriptorOf(owner: object): number | null {
  const handle: unknown = '_handle' in owner ? owner._handle : null;
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) return null;
  return typeof handle.fd === 'number' && handle.fd >= 0 ? handle.fd : null;
}
