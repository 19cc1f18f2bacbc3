/**
 * A UDP socket of an association toward its targets. It sends from the slot's address or not at all: Node gives a
 * socket whose bind failed any address of the machine at its next send, and what a modem should carry would leave by
 * the host's own link. So nothing is handed to the socket before it is bound, and one that cannot be is closed.
 * Who may send what is association.ts.
 */
import type { RemoteInfo, Socket } from 'node:dgram';
import { createDatagramSocket } from './datagram-socket';

/** Datagrams that come within the turn in which the address is bound. */
const MAX_WAITING = 64;

export interface SlotDatagramsOptions {
  family: 4 | 6;
  /** The slot's address; null leaves it to the system. */
  localAddress: string | null;
  heard: (payload: Buffer, from: RemoteInfo) => void;
  /** The address cannot be had: the socket is closed, and what waited was told so. */
  unbound: () => void;
}

interface Datagram {
  payload: Buffer;
  /** An IPv4 or IPv6 literal of the socket's family. */
  address: string;
  port: number;
}

/** Gets whether the kernel took the datagram. */
export type Sent = (taken: boolean) => void;

export class SlotDatagrams {
  readonly localAddress: string | null;
  readonly #socket: Socket;
  #waiting: { datagram: Datagram; sent: Sent }[] = [];
  #state: 'binding' | 'bound' | 'closed' = 'binding';

  constructor(options: SlotDatagramsOptions) {
    const { family, localAddress, heard, unbound } = options;
    this.localAddress = localAddress;
    this.#socket = createDatagramSocket(family === 4 ? 'udp4' : 'udp6');
    this.#socket.on('message', heard);
    this.#socket.on('error', () => {
      // Of a bound socket: an unreachable port or the like. The datagram is lost, the socket stays.
      if (this.#state !== 'binding') return;
      this.close();
      unbound();
    });
    this.#socket.once('listening', () => this.#bound());
    const address = localAddress === null ? {} : { address: localAddress };
    this.#socket.bind({ port: 0, exclusive: true, ...address });
  }

  /** Sends, or drops; `sent` is called once either way. */
  send(datagram: Datagram, sent: Sent): void {
    if (this.#state === 'bound') this.#deliver(datagram, sent);
    else if (this.#state === 'binding' && this.#waiting.length < MAX_WAITING)
      this.#waiting.push({ datagram, sent });
    else sent(false);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket.close();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { sent } of waiting) sent(false);
  }

  #bound(): void {
    if (this.#state !== 'binding') return;
    this.#state = 'bound';
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { datagram, sent } of waiting) this.#deliver(datagram, sent);
  }

  #deliver({ payload, address, port }: Datagram, sent: Sent): void {
    this.#socket.send(payload, port, address, error => sent(!error));
  }
}
