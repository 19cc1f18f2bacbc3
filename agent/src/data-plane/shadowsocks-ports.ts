/**
 * The codecs of a thread's Shadowsocks endpoints: made when a plan first names the endpoint, given new users when it
 * changes. What cannot be served (a method without its key, too many users) is a problem of that endpoint, told like
 * a port that is taken. Connections are shadowsocks-session.ts, datagrams shadowsocks-packets.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { requireMethod, type ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import {
  attachSaltStore,
  SALT_CAPACITY,
  SALT_KEEP_MS,
  type SaltStore,
  saltStoreBytes,
} from '@mastline/shared/protocols/shadowsocks/salt-store';
import {
  createShadowsocksServer,
  type ShadowsocksServer,
} from '@mastline/shared/protocols/shadowsocks/server';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';
import type { ListenerOutcome } from '../ports';
import type { ShadowsocksAssociation } from './shadowsocks-packets';

/** Salts seen, common to all threads: one store for each kind, since they are kept differently. */
export interface SaltMemory {
  aeadStreams: SharedArrayBuffer;
  streams2022: SharedArrayBuffer;
  aeadPackets: SharedArrayBuffer;
}

/** Reserved, and used page by page as salts come. */
export function createSaltMemory(): SaltMemory {
  const store = () => new SharedArrayBuffer(saltStoreBytes(SALT_CAPACITY));
  return { aeadStreams: store(), streams2022: store(), aeadPackets: store() };
}

/** A codec whose users are ids of credentials. */
export type ShadowsocksCodec = ShadowsocksServer<string, ShadowsocksAssociation>;

interface Port {
  codec: ShadowsocksCodec;
  /** What it was made of, to see whether it changed. */
  made: string;
  users: ReadonlySet<string>;
}

export class ShadowsocksPorts {
  readonly #clock: Clock;
  readonly #salts: { aead: SaltStore; edition2022: SaltStore; packets: SaltStore };
  readonly #ports = new Map<string, Port>();
  readonly #problems = new Map<string, NonNullable<ListenerOutcome['problem']>>();

  constructor(memory: SaltMemory, clock: Clock) {
    const store = (bytes: SharedArrayBuffer, keepMs: number | null) =>
      attachSaltStore(bytes, { capacity: SALT_CAPACITY, keepMs, clock });
    this.#clock = clock;
    this.#salts = {
      aead: store(memory.aeadStreams, null),
      edition2022: store(memory.streams2022, SALT_KEEP_MS),
      packets: store(memory.aeadPackets, null),
    };
  }

  /** Serves these endpoints from now on. New users hold for what begins from now on; flows are cut by the lane. */
  adopt(endpoints: Iterable<Endpoint>): void {
    const wanted = new Map<string, Endpoint>();
    for (const endpoint of endpoints)
      if (endpoint.protocols.includes('shadowsocks')) wanted.set(endpoint.id, endpoint);
    for (const id of this.#ports.keys()) if (!wanted.has(id)) this.#ports.delete(id);
    this.#problems.clear();
    for (const [id, endpoint] of wanted) {
      try {
        this.#adopt(id, endpoint);
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        this.#ports.delete(id);
        this.#problems.set(id, { code: error.code, message: error.userMessage });
      }
    }
  }

  codec(endpointId: string): ShadowsocksCodec | undefined {
    return this.#ports.get(endpointId)?.codec;
  }

  /** False when the endpoint is a Shadowsocks port on which the credential has no key. */
  hasKey(endpointId: string, credentialId: string): boolean {
    return this.#ports.get(endpointId)?.users.has(credentialId) ?? true;
  }

  /** Why the endpoint cannot be served; null when it can, or speaks something else. */
  problem(endpointId: string): NonNullable<ListenerOutcome['problem']> | null {
    return this.#problems.get(endpointId) ?? null;
  }

  #adopt(id: string, endpoint: Endpoint): void {
    const method = methodOf(endpoint);
    const users = usersOf(endpoint, method);
    const made = JSON.stringify(endpoint.shadowsocks);
    const known = this.#ports.get(id);
    if (known?.made === made) return;
    const ids = new Set(users.users.map(one => one.user));
    if (known && known.codec.method === method) {
      known.codec.setUsers(users);
      known.made = made;
      known.users = ids;
      return;
    }
    const { aead, edition2022, packets } = this.#salts;
    const codec: ShadowsocksCodec = createShadowsocksServer({
      method,
      users,
      salts: method.edition === '2022' ? edition2022 : aead,
      packetSalts: packets,
      clock: this.#clock,
    });
    this.#ports.set(id, { codec, made, users: ids });
  }
}

function methodOf(endpoint: Endpoint): ShadowsocksMethod {
  if (endpoint.protocols.length > 1)
    throw new CodedError(
      'listener/shared-port',
      'Shadowsocks cannot share a port with another protocol: its first byte is random. Give it a port of its own',
    );
  if (endpoint.tls)
    throw new CodedError(
      'listener/shared-port',
      'Shadowsocks is not spoken inside TLS here: leave "tls" out',
    );
  if (!endpoint.shadowsocks)
    throw new CodedError('listener/no-method', 'a Shadowsocks endpoint needs a method and keys');
  return requireMethod(endpoint.shadowsocks.method);
}

function usersOf(endpoint: Endpoint, method: ShadowsocksMethod): ShadowsocksUsers<string> {
  const service = endpoint.shadowsocks;
  const users = (service?.keys ?? []).map(one => ({
    user: one.credentialId,
    key: Buffer.from(one.key, 'base64'),
  }));
  return service?.serverKey === undefined || method.edition !== '2022'
    ? { kind: 'keys', users }
    : { kind: 'identified', serverKey: Buffer.from(service.serverKey, 'base64'), users };
}
