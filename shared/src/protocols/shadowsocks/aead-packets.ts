/**
 * Shadowsocks AEAD over UDP (SIP004), both ends. Every datagram has a salt and a key of its own, and nonce zero:
 *
 *     | salt | address | payload | tag 16 |
 *
 * Sessions are told apart by source and user. The 2022 edition is packets-2022.ts.
 */
import { CodedError } from '../../base/coded-error';
import type { Target } from '../target';
import { AddressMemo, addressBytes } from './address';
import { Aead, TAG_BYTES } from './aead';
import { requireRoom } from './chunks';
import type { FillRandom, HandshakeContext } from './handshake';
import { identityOf, packetKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import {
  drop,
  MAX_PACKET_OVERHEAD_BYTES,
  MAX_SESSIONS,
  type PacketOutcome,
  type PacketServer,
  type PacketSession,
  SESSION_KEEP_MS,
  SWEEP_EVERY_MS,
} from './packets';
import type { ShadowsocksUser, UserFinder } from './users';

/** Type 1 address with an empty payload is the shortest plaintext. */
const SHORTEST_PLAIN_BYTES = 1 + 4 + 2;

class AeadSession<User, Association> implements PacketSession<User, Association> {
  association: Association | null = null;
  readonly user: User;
  readonly key: Buffer;
  readonly memo = new AddressMemo();
  lastMs: number;

  constructor(one: ShadowsocksUser<User>, nowMs: number) {
    this.user = one.user;
    this.key = one.key;
    this.lastMs = nowMs;
  }
}

export class AeadPacketServer<User, Association> implements PacketServer<User, Association> {
  readonly #method: ShadowsocksMethod;
  readonly #finder: UserFinder<User>;
  readonly #context: HandshakeContext;
  readonly #sessions = new Map<string, AeadSession<User, Association>>();
  /** Short names of keys, which are secrets and do not belong into the keys of maps. */
  readonly #keyNames = new WeakMap<Buffer, string>();
  #sweptMs = Number.NEGATIVE_INFINITY;

  /** `context.salts` should be a store for datagrams alone: they are many, and would push streams' salts out. */
  constructor(method: ShadowsocksMethod, finder: UserFinder<User>, context: HandshakeContext) {
    this.#method = method;
    this.#finder = finder;
    this.#context = context;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** Sessions of keys that are gone are forgotten: they must not speak for a user who has a new key. */
  setUsers(users: readonly ShadowsocksUser<User>[]): void {
    this.#finder.setUsers(users);
    for (const [name, session] of this.#sessions)
      if (!users.some(one => one.user === session.user && one.key.equals(session.key)))
        this.#sessions.delete(name);
  }

  open(packet: Buffer, source: string): PacketOutcome<User, Association> {
    const { saltBytes } = this.#method;
    const plainBytes = packet.length - saltBytes - TAG_BYTES;
    if (plainBytes < SHORTEST_PLAIN_BYTES) return drop('unknown-user');
    const salt = packet.subarray(0, saltBytes);
    const sealed = packet.subarray(saltBytes);
    const found = this.#finder.find(source, key =>
      new Aead(this.#method.cipher, packetKey(this.#method, key, salt)).openOwned(sealed),
    );
    if (found === 'over-budget') return drop('over-budget');
    if (found === 'unknown') return drop('unknown-user');
    const verdict = this.#context.salts.remember(salt);
    if (verdict !== 'new') return drop(verdict === 'seen' ? 'replayed' : 'salts-full');
    const session = this.#sessionOf(found.one, source);
    if (!session) return drop('too-many-sessions');
    const plain = found.opened;
    const address = session.memo.read(plain, 0);
    if (address.kind !== 'address') return drop('bad-header');
    session.lastMs = this.#context.clock.monotonicMs();
    return { kind: 'packet', session, target: address.target, payload: plain.subarray(address.end) };
  }

  seal(
    session: PacketSession<User, Association>,
    datagram: { from: Buffer; payload: Buffer },
    out: Buffer,
  ): number {
    if (!(session instanceof AeadSession))
      throw new CodedError('shadowsocks/foreign-session', 'the session was not made by this server');
    const { from, payload } = datagram;
    const { random } = this.#context;
    return sealAeadPacket(this.#method, { key: session.key, from, payload }, { out, random });
  }

  #sessionOf(one: ShadowsocksUser<User>, source: string): AeadSession<User, Association> | null {
    const name = `${this.#keyName(one.key)} ${source}`;
    const known = this.#sessions.get(name);
    if (known) return known;
    const now = this.#context.clock.monotonicMs();
    if (now - this.#sweptMs >= SWEEP_EVERY_MS) {
      this.#sweptMs = now;
      for (const [old, session] of this.#sessions)
        if (session.association === null && now - session.lastMs >= SESSION_KEEP_MS)
          this.#sessions.delete(old);
    }
    if (this.#sessions.size >= MAX_SESSIONS) return null;
    const session = new AeadSession<User, Association>(one, now);
    this.#sessions.set(name, session);
    return session;
  }

  #keyName(key: Buffer): string {
    let name = this.#keyNames.get(key);
    if (name === undefined) {
      name = identityOf(key).toString('latin1');
      this.#keyNames.set(key, name);
    }
    return name;
  }
}

/** One datagram, of either end: `from` is the sender's or the wanted target's address (addressBytes). */
export function sealAeadPacket(
  method: ShadowsocksMethod,
  datagram: { key: Buffer; from: Buffer; payload: Buffer },
  into: { out: Buffer; random: FillRandom },
): number {
  const { key, from, payload } = datagram;
  const { out } = into;
  requireRoom(out, payload.length + MAX_PACKET_OVERHEAD_BYTES);
  const salt = out.subarray(0, method.saltBytes);
  into.random(salt);
  const aead = new Aead(method.cipher, packetKey(method, key, salt));
  return aead.sealPair(from, payload, { out, at: method.saltBytes });
}

/** A client's datagrams through a server that knows `key`. */
export class AeadPacketClient {
  readonly #method: ShadowsocksMethod;
  readonly #key: Buffer;
  readonly #random: FillRandom;
  readonly #memo = new AddressMemo();

  constructor(method: ShadowsocksMethod, key: Buffer, random: FillRandom) {
    this.#method = method;
    this.#key = key;
    this.#random = random;
  }

  /** Seals `payload` for `target` into the front of `out`; gives back its bytes. */
  seal(target: Target, payload: Buffer, out: Buffer): number {
    const datagram = { key: this.#key, from: addressBytes(target), payload };
    return sealAeadPacket(this.#method, datagram, { out, random: this.#random });
  }

  /** Opens a server's datagram; null when it is not authentic. */
  open(packet: Buffer): { from: Target; payload: Buffer } | null {
    const { saltBytes } = this.#method;
    const plainBytes = packet.length - saltBytes - TAG_BYTES;
    if (plainBytes < SHORTEST_PLAIN_BYTES) return null;
    const key = packetKey(this.#method, this.#key, packet.subarray(0, saltBytes));
    const plain = new Aead(this.#method.cipher, key).openOwned(packet.subarray(saltBytes));
    if (!plain) return null;
    const address = this.#memo.read(plain, 0);
    return address.kind === 'address' ? { from: address.target, payload: plain.subarray(address.end) } : null;
  }
}
