/**
 * Shadowsocks 2022 over UDP as a client speaks it (SIP022 section 3.2, SIP023): one session of its own, and the
 * server's newest two. The layout is packet-2022.ts, the server packets-2022.ts.
 */
import type { Cipher, Decipher } from 'node:crypto';
import type { Clock } from '../../base/clock';
import type { Target } from '../target';
import { AddressMemo, addressBytes } from './address';
import { Aead, TAG_BYTES } from './aead';
import { requireRoom } from './chunks';
import { requireUserKey } from './client-2022';
import type { FillRandom } from './handshake';
import { identityOf, sessionKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import {
  blockDecryptor,
  blockEncryptor,
  openBody,
  PacketNumberer,
  packetNumberOf,
  readBody,
  SEPARATE_HEADER_BYTES,
  SESSION_ID_BYTES,
  SHORTEST_BODY_BYTES,
  sealBody,
} from './packet-2022';
import { PacketWindow } from './packet-window';
import { MAX_PACKET_OVERHEAD_BYTES } from './packets';
import { isCurrent, TYPE_REQUEST, TYPE_RESPONSE } from './stream-2022';

/** A server session younger than this is not given up for a third one (SIP022 section 3.2.4). */
const OLD_SESSION_MS = 60_000;

interface ServerSession {
  id: Buffer;
  aead: Aead;
  window: PacketWindow;
  lastMs: number;
}

/** An identity header to be made for each packet. */
interface Layer {
  encryptor: Cipher;
  nextIdentity: Buffer;
}

export class PacketClient2022 {
  readonly #method: ShadowsocksMethod;
  readonly #key: Buffer;
  readonly #clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly #outgoing: PacketNumberer;
  /** For the separate header: the first key. */
  readonly #encryptor: Cipher;
  /** For the separate header of responses: the user's key. */
  readonly #decryptor: Decipher;
  readonly #layers: Layer[];
  readonly #memo = new AddressMemo();
  /** Newest first, at most two. */
  #servers: ServerSession[] = [];

  /** `keys` are identity keys, then the user's own. Throws `shadowsocks/bad-users`. */
  constructor(
    method: ShadowsocksMethod,
    keys: readonly Buffer[],
    context: { clock: Pick<Clock, 'now' | 'monotonicMs'>; random: FillRandom },
  ) {
    this.#method = method;
    this.#key = requireUserKey(keys);
    this.#clock = context.clock;
    const session = Buffer.alloc(SESSION_ID_BYTES);
    context.random(session);
    this.#outgoing = new PacketNumberer(method, this.#key, session);
    this.#encryptor = blockEncryptor(method, keys[0] ?? this.#key);
    this.#decryptor = blockDecryptor(method, this.#key);
    this.#layers = keys.slice(0, -1).map((key, at) => ({
      encryptor: blockEncryptor(method, key),
      nextIdentity: identityOf(keys[at + 1] ?? this.#key),
    }));
  }

  /** Seals `payload` for `target` into the front of `out`; gives back its bytes. */
  seal(target: Target, payload: Buffer, out: Buffer): number {
    requireRoom(out, payload.length + MAX_PACKET_OVERHEAD_BYTES);
    this.#outgoing.step();
    const { separate } = this.#outgoing;
    out.set(this.#encryptor.update(separate), 0);
    let at = SEPARATE_HEADER_BYTES;
    for (const { encryptor, nextIdentity } of this.#layers) {
      const whitened = nextIdentity.map((byte, index) => byte ^ (separate[index] ?? 0));
      out.set(encryptor.update(whitened), at);
      at += nextIdentity.length;
    }
    const from = addressBytes(target);
    const parts = { type: TYPE_REQUEST, nowMs: this.#clock.now(), clientSession: null, from, payload };
    return sealBody(this.#outgoing.aead, parts, { out, at });
  }

  /** Opens a server's datagram; null when it is forged, repeated, late, or not for this session. */
  open(packet: Buffer): { from: Target; payload: Buffer } | null {
    if (packet.length < SEPARATE_HEADER_BYTES + SHORTEST_BODY_BYTES + TAG_BYTES) return null;
    const separate = this.#decryptor.update(packet.subarray(0, SEPARATE_HEADER_BYTES));
    const number = packetNumberOf(separate);
    if (number === null) return null;
    const id = separate.subarray(0, SESSION_ID_BYTES);
    const known = this.#servers.find(one => one.id.equals(id));
    const server = known ?? {
      id: Buffer.from(id),
      aead: new Aead(this.#method.cipher, sessionKey(this.#method, this.#key, id)),
      window: new PacketWindow(),
      lastMs: 0,
    };
    if (!server.window.isFresh(number)) return null;
    const body = openBody(server.aead, separate, packet.subarray(SEPARATE_HEADER_BYTES));
    const header = body && readBody(body, TYPE_RESPONSE, this.#memo);
    if (!header?.clientSession?.equals(this.#outgoing.session)) return null;
    if (!isCurrent(header.timestamp, this.#clock.now())) return null;
    if (!known && !this.#admit(server)) return null;
    server.window.take(number);
    server.lastMs = this.#clock.monotonicMs();
    return { from: header.target, payload: header.payload };
  }

  #admit(server: ServerSession): boolean {
    const oldest = this.#servers[1];
    if (oldest && this.#clock.monotonicMs() - oldest.lastMs < OLD_SESSION_MS) return false;
    this.#servers = [server, ...this.#servers.slice(0, 1)];
    return true;
  }
}
