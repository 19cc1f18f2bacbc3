/** A Shadowsocks client of a few lines around the codec's client role, for what real clients cannot be made to do. */
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { systemClock } from '@mastline/shared/base/clock';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { PacketClient2022 } from '@mastline/shared/protocols/shadowsocks/packet-client-2022';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksStream } from '@mastline/shared/protocols/shadowsocks/stream';
import type { Target } from '@mastline/shared/protocols/target';
import { tcp } from './clients';
import { endpoint, SECRET } from './rig';

export const AEAD = ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305'] as const;
export const EDITION_2022 = ['2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm'] as const;
export type MethodName = (typeof AEAD)[number] | (typeof EDITION_2022)[number];

export const randomly = (into: Buffer) => void randomFillSync(into);

/** A key of the method's length that stands for `name`. */
export function keyFor(method: MethodName, name = SECRET): Buffer {
  const { keyBytes, edition } = requireMethod(method);
  if (edition === 'aead') return keysFromPassword(name, requireMethod(method))[0] ?? Buffer.alloc(0);
  return Buffer.alloc(keyBytes, name);
}

const base64 = (bytes: Buffer) => bytes.toString('base64');

/** An endpoint on which `users` (ids of credentials) have the keys of their names. */
export function shadowsocksEndpoint(
  port: number,
  method: MethodName,
  users: Record<Credential['id'], string> = { c1: SECRET },
): Endpoint {
  const edition2022 = method.startsWith('2022');
  return endpoint(port, {
    protocols: ['shadowsocks'],
    shadowsocks: {
      method,
      ...(edition2022 ? { serverKey: base64(keyFor(method, 'server')) } : {}),
      keys: Object.entries(users).map(([credentialId, name]) => ({
        credentialId,
        key: base64(keyFor(method, name)),
      })),
    },
  });
}

/** The client's two directions to `target`, as the user of `name`. */
export function clientStream(method: MethodName, target: Target, name = SECRET): ShadowsocksStream {
  const clock = { now: Date.now };
  const found = requireMethod(method);
  return found.edition === 'aead'
    ? openAeadClient(found, { key: keyFor(method, name), target }, randomly)
    : openClient2022(
        found,
        { keys: [keyFor(method, 'server'), keyFor(method, name)], target },
        { clock, random: randomly, salts: createSaltStore({ capacity: 64, keepMs: null, clock }) },
      );
}

export type PacketCodec = Pick<AeadPacketClient, 'seal' | 'open'>;

/** Seals and opens datagrams as the user of `name`. */
export function packetCodec(method: MethodName, name = SECRET): PacketCodec {
  const found = requireMethod(method);
  const key = keyFor(method, name);
  return found.edition === 'aead'
    ? new AeadPacketClient(found, key, randomly)
    : new PacketClient2022(found, [keyFor(method, 'server'), key], { clock: systemClock, random: randomly });
}

export function seal(stream: ShadowsocksStream, plain: Buffer): Buffer {
  const out = Buffer.alloc(stream.sealer.bound(plain.length));
  return out.subarray(0, stream.sealer.seal(plain, out));
}

export interface ShadowsocksConnection {
  socket: Socket;
  /** Sealed bytes written, and plaintext in them. */
  send(plain: Buffer): void;
  /** Plaintext until the server ends; throws when the stream is broken or reset. */
  readAll(): Promise<Buffer>;
}

/** Opens a way to `target`; nothing is sent before the first `send`. */
export async function shadowsocks(
  port: number,
  method: MethodName,
  target: Target,
  name = SECRET,
): Promise<ShadowsocksConnection> {
  const socket = await tcp(port);
  const stream = clientStream(method, target, name);
  return {
    socket,
    send: plain => void socket.write(seal(stream, plain)),
    async readAll() {
      const opened: Buffer[] = [];
      socket.on('data', sealed => {
        const out = Buffer.alloc(stream.opener.bound(sealed.length));
        const bytes = stream.opener.open(sealed, out);
        if (bytes < 0) socket.destroy(new Error(`stream broken: ${stream.opener.cause}`));
        else opened.push(out.subarray(0, bytes));
      });
      await Promise.race([
        once(socket, 'end'),
        new Promise(resolve => socket.once('close', resolve)).then(() => {
          if (!socket.readableEnded) throw new Error('reset');
        }),
      ]);
      return Buffer.concat(opened);
    },
  };
}
