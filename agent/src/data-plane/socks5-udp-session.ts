/**
 * UDP ASSOCIATE (RFC 1928 section 7): the client's TCP connection stays open and is the association's life line, its
 * datagrams come to a socket of their own, on the address by which the client reached us. Datagrams are taken from the
 * client's address only, and from the port that its first one came from; the port that it announced is not asked, as
 * a NAT on the way would have changed it. What lies behind, toward the targets, is association.ts.
 */
import type { RemoteInfo, Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIP, isIPv4 } from 'node:net';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import { socks5Refusal } from '@mastline/shared/protocols/refusal';
import { parseSocks5Datagram, Socks5Headers, socks5Associated } from '@mastline/shared/protocols/socks5-udp';
import type { Target } from '@mastline/shared/protocols/target';
import { Association } from './association';
import type { Connection } from './connection';
import { createDatagramSocket } from './datagram-socket';
import { Lingering } from './lingering';
import type { Guest } from './login';

/** Answers that the kernel has not taken yet; more are dropped. */
const MAX_QUEUED_BYTES = 256 * 1024;

export class Socks5UdpSession extends Lingering {
  readonly #connection: Connection;
  readonly #guest: Guest;
  readonly #client: string;
  #association: Association | null = null;
  #socket: Socket | null = null;
  #port: number | null = null;
  readonly #headers = new Socks5Headers();

  constructor(connection: Connection, guest: Guest) {
    super(connection);
    this.#connection = connection;
    this.#guest = guest;
    this.#client = unmapped(connection.source);
  }

  /** Takes the connection over and answers the request. */
  async begin(): Promise<void> {
    const connection = this.#connection;
    const { lane, endpointId, source } = connection;
    connection.become(this);
    connection.loggedIn();
    // From here on the association's own deadline counts; what the client sends by TCP means nothing.
    connection.deadlineTick = Number.POSITIVE_INFINITY;
    connection.socket.resume();
    connection.attached = this;
    this.#association = new Association({
      lane,
      endpointId,
      guest: this.#guest,
      source,
      protocol: 'socks5-udp',
      answered: (payload, from, sent) => this.#answer(payload, from, sent),
      closed: () => this.#over(),
    });
    const refused = this.#association.open();
    if (refused) return this.#refuse(refused);
    const relay = await this.#listen(unmapped(connection.socket.localAddress ?? ''));
    if (connection.closed || this.#association.closed) return;
    if (!relay) return this.#refuse('modem-failed');
    connection.down.send(socks5Associated(relay), false);
  }

  /** Called when the connection is gone. */
  close(): void {
    this.#association?.close();
    this.#socket?.close();
    this.#socket = null;
  }

  override get resting(): boolean {
    return this.#association?.resting ?? false;
  }

  override clientEnd(): void {
    this.#connection.cut();
  }

  /** Where the client is to send to; null when no port could be opened. */
  async #listen(address: string): Promise<Target | null> {
    // A way in that has no address of its own (there is none today) cannot have datagrams beside it.
    if (isIP(address) === 0) return null;
    const socket = createDatagramSocket(isIPv4(address) ? 'udp4' : 'udp6');
    this.#socket = socket;
    socket.on('message', (bytes, from) => this.#fromClient(bytes, from));
    try {
      socket.bind({ port: 0, address, exclusive: true });
      await once(socket, 'listening');
    } catch {
      // No descriptor or no such address: the client is told, and the association ends with the connection.
      return null;
    } finally {
      socket.on('error', () => undefined);
    }
    if (this.#socket === null) return null;
    return { host: address, port: socket.address().port };
  }

  #fromClient(bytes: Buffer, from: RemoteInfo): void {
    const { lane } = this.#connection;
    if (unmapped(from.address) !== this.#client || (this.#port !== null && from.port !== this.#port)) {
      lane.refused('source-not-allowed');
      return;
    }
    const datagram = parseSocks5Datagram(bytes);
    if (datagram.kind === 'drop') {
      lane.refused(datagram.cause === 'fragment' ? 'command-not-supported' : 'bad-request');
      return;
    }
    this.#port = from.port;
    this.#association?.send(datagram.target, datagram.payload);
  }

  #answer(payload: Buffer, from: Target, sent: (taken: boolean) => void): void {
    const socket = this.#socket;
    if (!socket || this.#port === null || socket.getSendQueueSize() > MAX_QUEUED_BYTES) {
      sent(false);
      return;
    }
    socket.send([this.#headers.of(from), payload], this.#port, this.#client, error => sent(!error));
  }

  #refuse(reason: RefusalReason): void {
    const connection = this.#connection;
    // The connection lives on for its answer; the association does not.
    connection.attached = null;
    this.close();
    connection.refuse(reason, socks5Refusal(reason));
  }

  /** The association ended by itself: idle, a limit, a plan. */
  #over(): void {
    const connection = this.#connection;
    if (connection.closed || connection.attached !== this) return;
    connection.attached = null;
    this.close();
    connection.finish();
  }
}

/** An IPv4 address as a socket that speaks both families shows it, as itself. */
function unmapped(address: string): string {
  const plain = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  return plain ?? address;
}
