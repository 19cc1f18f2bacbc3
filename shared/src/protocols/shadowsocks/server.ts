/**
 * One Shadowsocks port, whichever edition its method belongs to: what the data plane makes of an endpoint. Hands out
 * a handshake per connection and keeps the port's datagram sessions. Owns no socket; the editions are
 * aead-stream.ts and stream-2022.ts, aead-packets.ts and packets-2022.ts.
 */
import type { Clock } from '../../base/clock';
import { CodedError } from '../../base/coded-error';
import { AeadPacketServer } from './aead-packets';
import { AeadHandshake } from './aead-stream';
import type { FillRandom, HandshakeContext, ShadowsocksHandshake } from './handshake';
import type { ShadowsocksMethod } from './methods';
import type { PacketServer } from './packets';
import { PacketServer2022 } from './packets-2022';
import { fillRandom } from './random-stock';
import type { SaltStore } from './salt-store';
import { Handshake2022, type Users2022 } from './stream-2022';
import { checkUsers, type ShadowsocksUsers, UserFinder, usersByIdentity } from './users';

export interface ShadowsocksServerOptions<User> {
  method: ShadowsocksMethod;
  users: ShadowsocksUsers<User>;
  /** Salts of streams; shared by all threads that serve the port. `keepMs` is 60 s for 2022 methods, null for AEAD. */
  salts: SaltStore;
  /** Salts of AEAD datagrams (`keepMs` null); the 2022 edition does not use it. */
  packetSalts: SaltStore;
  clock: Pick<Clock, 'now' | 'monotonicMs'>;
  /** Left out, node:crypto's. */
  random?: FillRandom;
}

export interface ShadowsocksServer<User, Association> {
  readonly method: ShadowsocksMethod;
  /** For one accepted connection; `source` is the client's address without its port. */
  handshake(source: string): ShadowsocksHandshake<User>;
  readonly packets: PacketServer<User, Association>;
  /**
   * Replaces the users for what begins from now on. Running streams go on until the caller ends them; datagram
   * sessions of users that are gone are forgotten. Throws `shadowsocks/bad-users` and changes nothing.
   */
  setUsers(users: ShadowsocksUsers<User>): void;
}

/** Throws `shadowsocks/bad-users` when method and users do not fit together. */
export function createShadowsocksServer<User, Association = unknown>(
  options: ShadowsocksServerOptions<User>,
): ShadowsocksServer<User, Association> {
  checkUsers(options.method, options.users);
  const { salts, clock, random = fillRandom } = options;
  const context: HandshakeContext = { salts, clock, random };
  return options.method.edition === 'aead' ? aeadServer(options, context) : server2022(options, context);
}

function aeadServer<User, Association>(
  options: ShadowsocksServerOptions<User>,
  context: HandshakeContext,
): ShadowsocksServer<User, Association> {
  const { method, clock, users } = options;
  const finder = new UserFinder(users.users, clock);
  const packets = new AeadPacketServer<User, Association>(method, new UserFinder(users.users, clock), {
    ...context,
    salts: options.packetSalts,
  });
  return {
    method,
    packets,
    handshake: source => new AeadHandshake(method, { finder, source }, context),
    setUsers: next => {
      checkUsers(method, next);
      finder.setUsers(next.users);
      packets.setUsers(next.users);
    },
  };
}

function server2022<User, Association>(
  options: ShadowsocksServerOptions<User>,
  context: HandshakeContext,
): ShadowsocksServer<User, Association> {
  const { method } = options;
  let users = users2022(options.users);
  const packets = new PacketServer2022<User, Association>(method, users, context);
  return {
    method,
    packets,
    handshake: () => new Handshake2022(method, users, context),
    setUsers: next => {
      checkUsers(method, next);
      users = users2022(next);
      packets.setUsers(users);
    },
  };
}

function users2022<User>(users: ShadowsocksUsers<User>): Users2022<User> {
  if (users.kind === 'identified')
    return { kind: 'identified', serverKey: users.serverKey, byIdentity: usersByIdentity(users.users) };
  const one = users.users[0];
  if (!one)
    throw new CodedError(
      'shadowsocks/bad-users',
      'a 2022 port without server key and identities needs a user',
    );
  return { kind: 'one', one };
}
