/**
 * The UDP side of a Shadowsocks endpoint: a socket on the endpoint's address and port, whose datagrams the codec
 * (shared/protocols/shadowsocks) opens and gives to sessions. A session's way through the modem is association.ts.
 * Bad datagrams are dropped without an answer. One thread has the socket; datagrams are too many to hand around.
 */
import type { Socket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import { AddressWriter } from '@mastline/shared/protocols/shadowsocks/address';
import {
  type DropCause,
  MAX_PACKET_OVERHEAD_BYTES,
  type PacketSession,
} from '@mastline/shared/protocols/shadowsocks/packets';
import type { ListenerOutcome } from '../ports';
import { Association } from './association';
import { createDatagramSocket } from './datagram-socket';
import type { Lane } from './lane';
import { guestOf } from './login';
import type { ShadowsocksCodec } from './shadowsocks-ports';

/** What the kernel may hold for us while we are busy; its own default loses bursts. */
const SOCKET_BUFFER_BYTES = 1024 * 1024;

const DROPS: Readonly<Record<DropCause, RefusalReason>> = {
  'unknown-user': 'bad-credentials',
  replayed: 'replayed',
  'clock-skew': 'clock-skew',
  'bad-header': 'bad-request',
  'over-budget': 'too-many-flows',
  'salts-full': 'too-many-flows',
  'too-many-sessions': 'too-many-flows',
};

/** What hangs on a session of the codec. */
export interface ShadowsocksAssociation {
  way: Association;
  codec: ShadowsocksCodec;
  /** Who answers, as bytes. */
  origins: AddressWriter;
  /** Where the client's last authentic datagram came from. */
  client: { address: string; port: number };
}

type Session = PacketSession<string, ShadowsocksAssociation>;

export interface PacketPort {
  close(): void;
}

export type PacketPortOutcome =
  | { ok: true; port: PacketPort }
  | { ok: false; problem: NonNullable<ListenerOutcome['problem']> };

/** Opens the endpoint's UDP port. The codec is asked for at each datagram, since a plan may replace it. */
export function listenPackets(
  lane: Lane,
  endpointId: string,
  place: { host: string; port: number },
): Promise<PacketPortOutcome> {
  return new Promise(settle => {
    const socket = createDatagramSocket(isIPv4(place.host) ? 'udp4' : 'udp6');
    const packets = new Packets(lane, endpointId, socket);
    socket.once('error', error => {
      socket.close();
      settle({ ok: false, problem: problemOf(error, place) });
    });
    socket.bind({ address: place.host, port: place.port, exclusive: true }, () => {
      socket.removeAllListeners('error');
      // A client that is gone answers our answers with "port unreachable": nobody's concern.
      socket.on('error', () => undefined);
      enlargeBuffers(socket);
      settle({ ok: true, port: packets });
    });
  });
}

class Packets implements PacketPort {
  readonly #lane: Lane;
  readonly #endpointId: string;
  readonly #socket: Socket;
  readonly #ways = new Set<Association>();
  #closed = false;

  constructor(lane: Lane, endpointId: string, socket: Socket) {
    this.#lane = lane;
    this.#endpointId = endpointId;
    this.#socket = socket;
    socket.on('message', (packet, from) => this.#take(packet, from));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const way of this.#ways) way.close();
    this.#socket.close();
  }

  #take(packet: Buffer, from: { address: string; port: number }): void {
    const codec = this.#lane.shadowsocks.codec(this.#endpointId);
    if (!codec || this.#lane.draining) return;
    const outcome = codec.packets.open(packet, `${from.address}:${from.port}`);
    if (outcome.kind === 'drop') {
      this.#lane.refused(DROPS[outcome.cause]);
      return;
    }
    const { session, target, payload } = outcome;
    const association = session.association ?? this.#associate(codec, session, from);
    association.client = from;
    association.way.send(target, payload);
  }

  #associate(
    codec: ShadowsocksCodec,
    session: Session,
    from: { address: string; port: number },
  ): ShadowsocksAssociation {
    const way = new Association({
      source: from.address,
      lane: this.#lane,
      endpointId: this.#endpointId,
      guest: guestOf(session.user),
      protocol: 'shadowsocks-udp',
      answered: (payload, origin, sent) => this.#answer(session, { payload, from: origin }, sent),
      closed: () => {
        session.association = null;
        this.#ways.delete(way);
      },
    });
    this.#ways.add(way);
    const association = { way, codec, origins: new AddressWriter(), client: from };
    session.association = association;
    return association;
  }

  #answer(
    session: Session,
    answer: { payload: Buffer; from: { host: string; port: number } },
    sent: (taken: boolean) => void,
  ): void {
    const { association } = session;
    if (!association || this.#closed) {
      sent(false);
      return;
    }
    const { codec, client, origins } = association;
    // The kernel may take it later than this call: memory of its own.
    const out = Buffer.allocUnsafe(answer.payload.length + MAX_PACKET_OVERHEAD_BYTES);
    const from = origins.bytesOf(answer.from);
    const bytes = codec.packets.seal(session, { from, payload: answer.payload }, out);
    this.#socket.send(out.subarray(0, bytes), client.port, client.address, error => sent(!error));
  }
}

/** Containers and small systems may forbid it; then the default has to do. */
function enlargeBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch (error) {
    if (codeOf(error) !== 'ERR_SOCKET_BUFFER_SIZE') throw error;
  }
}

function problemOf(
  error: unknown,
  place: { host: string; port: number },
): NonNullable<ListenerOutcome['problem']> {
  const where = `UDP port ${place.port} on ${place.host}`;
  return codeOf(error) === 'EADDRINUSE'
    ? {
        code: 'listener/port-taken',
        message: `${where} is taken by another program: stop that program, or choose another port`,
      }
    : { code: 'listener/failed', message: `${where} cannot be opened: ${messageOf(error)}` };
}
