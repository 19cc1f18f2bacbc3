/**
 * Shadowsocks 2022 over UDP as a server sees it (SIP022 section 3.2, SIP023). A session is the client's, whatever
 * address it comes from; its keys are derived once, its packet numbers pass a sliding window. The layout is
 * packet-2022.ts; the client's side is packet-client-2022.ts.
 */
import type { Cipher, Decipher } from 'node:crypto';
import { CodedError } from '../../base/coded-error';
import { AddressMemo } from './address';
import { Aead, TAG_BYTES } from './aead';
import { requireRoom } from './chunks';
import type { HandshakeContext } from './handshake';
import { IDENTITY_BYTES, sessionKey } from './keys';
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
import { isCurrent, TYPE_REQUEST, TYPE_RESPONSE, type Users2022 } from './stream-2022';
import type { ShadowsocksUser } from './users';

class Session2022<User, Association> implements PacketSession<User, Association> {
  association: Association | null = null;
  readonly user: User;
  readonly key: Buffer;
  readonly clientSession: Buffer;
  readonly incoming: Aead;
  readonly outgoing: PacketNumberer;
  readonly window = new PacketWindow();
  readonly memo = new AddressMemo();
  lastMs: number;

  constructor(one: ShadowsocksUser<User>, keys: { incoming: Aead; outgoing: PacketNumberer }, begun: Begun) {
    this.user = one.user;
    this.key = one.key;
    this.incoming = keys.incoming;
    this.outgoing = keys.outgoing;
    this.clientSession = begun.clientSession;
    this.lastMs = begun.nowMs;
  }
}

interface Begun {
  clientSession: Buffer;
  nowMs: number;
}

export class PacketServer2022<User, Association> implements PacketServer<User, Association> {
  readonly #method: ShadowsocksMethod;
  readonly #context: Pick<HandshakeContext, 'clock' | 'random'>;
  readonly #sessions = new Map<string, Session2022<User, Association>>();
  /** One block cipher a key, for as long as somebody holds the key. */
  readonly #encryptors = new WeakMap<Buffer, Cipher>();
  #users: Users2022<User>;
  #decryptor: Decipher;
  #sweptMs = Number.NEGATIVE_INFINITY;

  constructor(
    method: ShadowsocksMethod,
    users: Users2022<User>,
    context: Pick<HandshakeContext, 'clock' | 'random'>,
  ) {
    this.#method = method;
    this.#users = users;
    this.#context = context;
    this.#decryptor = blockDecryptor(method, portKey(users));
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** Sessions of keys that are gone are forgotten: they must not speak for a user who has a new key. */
  setUsers(users: Users2022<User>): void {
    this.#users = users;
    this.#decryptor = blockDecryptor(this.#method, portKey(users));
    const known = users.kind === 'one' ? [users.one] : [...users.byIdentity.values()];
    for (const [name, session] of this.#sessions)
      if (!known.some(one => one.user === session.user && one.key.equals(session.key)))
        this.#sessions.delete(name);
  }

  open(packet: Buffer, _source: string): PacketOutcome<User, Association> {
    const bodyAt = SEPARATE_HEADER_BYTES + (this.#users.kind === 'identified' ? IDENTITY_BYTES : 0);
    if (packet.length < bodyAt + SHORTEST_BODY_BYTES + TAG_BYTES) return drop('unknown-user');
    const separate = this.#decryptor.update(packet.subarray(0, SEPARATE_HEADER_BYTES));
    const number = packetNumberOf(separate);
    if (number === null) return drop('unknown-user');
    const name = separate.toString('latin1', 0, SESSION_ID_BYTES);
    const known = this.#sessions.get(name);
    if (known && !known.window.isFresh(number)) return drop('replayed');
    const one = known ?? this.#userOf(packet, separate);
    if (!one) return drop('unknown-user');
    const incoming = known?.incoming ?? this.#aeadOf(one.key, separate);
    const body = openBody(incoming, separate, packet.subarray(bodyAt));
    if (!body) return drop('unknown-user');
    const memo = known?.memo ?? new AddressMemo();
    const header = readBody(body, TYPE_REQUEST, memo);
    if (!header) return drop('bad-header');
    if (!isCurrent(header.timestamp, this.#context.clock.now())) return drop('clock-skew');
    const session = known ?? this.#begin({ user: one.user, key: one.key }, incoming, separate);
    if (!session) return drop('too-many-sessions');
    session.window.take(number);
    session.lastMs = this.#context.clock.monotonicMs();
    return { kind: 'packet', session, target: header.target, payload: header.payload };
  }

  seal(
    session: PacketSession<User, Association>,
    datagram: { from: Buffer; payload: Buffer },
    out: Buffer,
  ): number {
    if (!(session instanceof Session2022))
      throw new CodedError('shadowsocks/foreign-session', 'the session was not made by this server');
    const { from, payload } = datagram;
    requireRoom(out, payload.length + MAX_PACKET_OVERHEAD_BYTES);
    const { outgoing, clientSession } = session;
    outgoing.step();
    out.set(this.#encryptorOf(session.key).update(outgoing.separate), 0);
    const parts = { type: TYPE_RESPONSE, nowMs: this.#context.clock.now(), clientSession, from, payload };
    return sealBody(outgoing.aead, parts, { out, at: SEPARATE_HEADER_BYTES });
  }

  /** SIP023: the identity is whitened with the separate header, so that it differs in every packet. */
  #userOf(packet: Buffer, separate: Buffer): ShadowsocksUser<User> | undefined {
    const users = this.#users;
    if (users.kind === 'one') return users.one;
    const identity = this.#decryptor.update(
      packet.subarray(SEPARATE_HEADER_BYTES, SEPARATE_HEADER_BYTES + IDENTITY_BYTES),
    );
    for (let at = 0; at < IDENTITY_BYTES; at += 1) identity[at] = (identity[at] ?? 0) ^ (separate[at] ?? 0);
    return users.byIdentity.get(identity.toString('latin1'));
  }

  #aeadOf(key: Buffer, separate: Buffer): Aead {
    return new Aead(
      this.#method.cipher,
      sessionKey(this.#method, key, separate.subarray(0, SESSION_ID_BYTES)),
    );
  }

  #begin(
    one: ShadowsocksUser<User>,
    incoming: Aead,
    separate: Buffer,
  ): Session2022<User, Association> | null {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#sweptMs >= SWEEP_EVERY_MS) {
      this.#sweptMs = nowMs;
      for (const [old, session] of this.#sessions)
        if (session.association === null && nowMs - session.lastMs >= SESSION_KEEP_MS)
          this.#sessions.delete(old);
    }
    if (this.#sessions.size >= MAX_SESSIONS) return null;
    const clientSession = Buffer.from(separate.subarray(0, SESSION_ID_BYTES));
    const serverSession = Buffer.alloc(SESSION_ID_BYTES);
    // A server's session must never be the client's (SIP022 section 3.2.2): key and nonce would be used twice.
    do this.#context.random(serverSession);
    while (serverSession.equals(clientSession));
    const outgoing = new PacketNumberer(this.#method, one.key, serverSession);
    const session = new Session2022<User, Association>(one, { incoming, outgoing }, { clientSession, nowMs });
    this.#sessions.set(clientSession.toString('latin1'), session);
    return session;
  }

  #encryptorOf(key: Buffer): Cipher {
    let encryptor = this.#encryptors.get(key);
    if (!encryptor) {
      encryptor = blockEncryptor(this.#method, key);
      this.#encryptors.set(key, encryptor);
    }
    return encryptor;
  }
}

/** The key of the separate header: the port's where there are identities, else the one user's. */
function portKey<User>(users: Users2022<User>): Buffer {
  return users.kind === 'one' ? users.one.key : users.serverKey;
}
