/**
 * Connects a bare handle (tcp-handle.ts) and makes a socket of it (tcp-socket.ts). One address, no race: that is
 * address-race.ts, and who asks for a target by name is dialer.ts.
 */
import { codeOfStatus } from './system-error';
import { type HandleRequest, rawTcp } from './tcp-handle';
import { type TcpReader, TcpSocket } from './tcp-socket';
import { enter, leave } from './within-callback';

export interface TcpTarget {
  /** An IPv4 or IPv6 literal. */
  address: string;
  port: number;
  /** To bind, of the same family; null lets the kernel choose. */
  localAddress: string | null;
}

/**
 * Connects. `settled` gets the socket, which does not read before `resume`, or the code of the error; it may be called
 * before this returns. The answer gives up, and `settled` is then not called. Throws when `rawTcp` is null.
 */
export function connectTcp(
  target: TcpTarget,
  reader: TcpReader,
  settled: (outcome: TcpSocket | string) => void,
): () => void {
  if (!rawTcp) throw new Error('bare handles are not to be had in this Node');
  const { address, port, localAddress } = target;
  const isV6 = address.includes(':');
  const handle = rawTcp.create();
  let open = true;
  let reads = false;
  const close = () => {
    if (!open) return;
    open = false;
    handle.close();
  };
  const fail = (status: number) => {
    close();
    settled(codeOfStatus(status));
    return close;
  };
  if (localAddress !== null) {
    const status = isV6 ? handle.bind6(localAddress, 0, 0) : handle.bind(localAddress, 0);
    if (status !== 0) return fail(status);
  }
  const request = rawTcp.connectRequest();
  request.owner = (status: number) => {
    if (!open) return;
    if (status !== 0) {
      fail(status);
      return;
    }
    open = false;
    const socket = new TcpSocket(handle, reader, { reads });
    settled(socket);
    socket.begun();
  };
  request.oncomplete = onConnected;
  const status = isV6 ? handle.connect6(request, address, port) : handle.connect(request, address, port);
  if (status !== 0) return fail(status);
  // Watched for both from the start, since watching for one after the other costs a system call more. Nothing is read
  // before the connection stands, and its owner says by then whether it wants to.
  reads = handle.readStart() === 0;
  return close;
}

function onConnected(this: HandleRequest, status: number): void {
  const settle = this.owner as (status: number) => void;
  this.owner = null;
  enter();
  try {
    settle(status);
  } finally {
    leave();
  }
}
