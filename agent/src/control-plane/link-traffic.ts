/**
 * What the link moves over which of the box's addresses, for reconciliation: a box may reach its cloud through one of its
 * own modems. TLS is counted by estimate, since its sockets tell what is inside. What is done with it is node.ts's.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** A handshake of TLS 1.3 with a usual chain of certificates, and a record's head and tag. */
const HANDSHAKE = { up: 490, down: 4200 };
const RECORD_BYTES = 22;
/** Frames of the link are small: a record holds about so much. */
const RECORD_HOLDS_BYTES = 400;
/** Local addresses remembered; a box has fewer. */
const MAX_ADDRESSES = 64;

export interface LinkMoved {
  localAddress: string;
  /** Since the start, without headers of IP and TCP. */
  upBytes: number;
  downBytes: number;
}

export class LinkTraffic {
  readonly #over = new Map<string, LinkMoved>();
  readonly #open = new Map<Socket, string>();

  /** Counts this socket from its first byte on, until it is closed. */
  follow(socket: Socket): void {
    const { localAddress } = socket;
    if (localAddress === undefined || this.#open.has(socket)) return;
    this.#open.set(socket, localAddress);
    socket.once('close', () => {
      this.#open.delete(socket);
      add(this.#over, localAddress, movedBy(socket));
    });
  }

  /** By local address. */
  moved(): LinkMoved[] {
    const sums = new Map([...this.#over].map(([address, sum]) => [address, { ...sum }]));
    for (const [socket, address] of this.#open) add(sums, address, movedBy(socket));
    return [...sums.values()];
  }
}

function add(sums: Map<string, LinkMoved>, address: string, more: { up: number; down: number }): void {
  const sum = sums.get(address) ?? { localAddress: address, upBytes: 0, downBytes: 0 };
  sum.upBytes += more.up;
  sum.downBytes += more.down;
  sums.set(address, sum);
  if (sums.size > MAX_ADDRESSES) sums.delete(sums.keys().next().value ?? address);
}

function movedBy(socket: Socket): { up: number; down: number } {
  const { bytesWritten: up, bytesRead: down } = socket;
  if (!(socket instanceof TLSSocket)) return { up, down };
  const sealed = (bytes: number) => bytes + Math.ceil(bytes / RECORD_HOLDS_BYTES) * RECORD_BYTES;
  return { up: HANDSHAKE.up + sealed(up), down: HANDSHAKE.down + sealed(down) };
}
