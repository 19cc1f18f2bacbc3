/**
 * Shadowsocks messages put together step by step from the specifications, with node:crypto's primitives and keys that
 * other programs derived; nothing here comes from the codecs under test. BLAKE3 values are from Debian's b3sum 1.2
 * (`printf … | b3sum --derive-key 'shadowsocks 2022 session subkey'`), which shares no code with ours.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { FillRandom } from '@mastline/shared/protocols/shadowsocks/handshake';
import { findMethod, type ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';

/** `count` bytes that go up by one from `first`. */
export const run = (first: number, count: number) =>
  Buffer.alloc(count).map((_, at) => (first + at) & 0xff) as Buffer;

const hex = (text: string) => Buffer.from(text, 'hex');

export interface Vector {
  name: '2022-blake3-aes-128-gcm' | '2022-blake3-aes-256-gcm';
  key: Buffer;
  serverKey: Buffer;
  requestSalt: Buffer;
  responseSalt: Buffer;
  clientSession: Buffer;
  serverSession: Buffer;
  requestKey: Buffer;
  responseKey: Buffer;
  identityKey: Buffer;
  /** First half of the BLAKE3 hash of `key`. */
  identity: Buffer;
  clientSessionKey: Buffer;
  serverSessionKey: Buffer;
}

const inputs = (bytes: number) => ({
  key: run(0x00, bytes),
  serverKey: run(0x40, bytes),
  requestSalt: run(0x80, bytes),
  responseSalt: run(0xc0, bytes),
  clientSession: run(0xa0, 8),
  serverSession: run(0xb0, 8),
});

export const VECTORS: Vector[] = [
  {
    name: '2022-blake3-aes-128-gcm',
    ...inputs(16),
    requestKey: hex('722b3033c5d021365a8521bfb41157a3'),
    responseKey: hex('129f11bdc02d3617ffdd53d6d955317d'),
    identityKey: hex('7e2db052a261543696270e78cb3cae31'),
    identity: hex('a6a492965517a830cb75fdb713465aa4'),
    clientSessionKey: hex('bb10b765269a37fd03bb0f417bf98e9d'),
    serverSessionKey: hex('30c8b8d3a3d690189c40e13472e8bb2e'),
  },
  {
    name: '2022-blake3-aes-256-gcm',
    ...inputs(32),
    requestKey: hex('11289b9d205255930f83932405c2b0a38ec32be703fe33f290ff25ffeff402f9'),
    responseKey: hex('3d8f536a5b407717b0a8082e427e47bb3a582f12aa2ed585a3bd4a15bdb6544f'),
    identityKey: hex('61def88c206a3b5ddfca7385bf0db60f71a23a454f96b2a36f0081672b94443d'),
    identity: hex('e528e95798037df410543d9f31e396ec'),
    clientSessionKey: hex('96397d4224f3ab46be0031b7d820b3c0595cc5bbca63e41e1fa13261dec88823'),
    serverSessionKey: hex('0efba8cb5fa875f68e2428acf85c5bc60c8bd3d00b0730498b4b6b2c465bb0a4'),
  },
];

export function methodOf(name: string): ShadowsocksMethod {
  const method = findMethod(name);
  if (!method) throw new Error(`no method ${name}`);
  return method;
}

/** Seals with a 12-byte nonce; `counter` as a little-endian number, or the nonce itself. */
export function seal(cipher: string, key: Buffer, counter: number | Buffer, plain: Buffer): Buffer {
  const sealer = createCipheriv(cipher as 'aes-128-gcm', key, nonceOf(counter), { authTagLength: 16 });
  return Buffer.concat([sealer.update(plain), sealer.final(), sealer.getAuthTag()]);
}

/** Throws when the tag does not fit. */
export function open(cipher: string, key: Buffer, counter: number | Buffer, sealed: Buffer): Buffer {
  const opener = createDecipheriv(cipher as 'aes-128-gcm', key, nonceOf(counter), { authTagLength: 16 });
  opener.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([opener.update(sealed.subarray(0, -16)), opener.final()]);
}

function nonceOf(counter: number | Buffer): Buffer {
  if (typeof counter !== 'number') return counter;
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(counter, 0);
  return nonce;
}

/** One AES block. */
export function ecb(key: Buffer, block: Buffer, direction: 'encrypt' | 'decrypt' = 'encrypt'): Buffer {
  const name = `aes-${key.length * 8}-ecb`;
  const cipher =
    direction === 'encrypt' ? createCipheriv(name, key, null) : createDecipheriv(name, key, null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

export const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff]);

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** `example.org:443` as RFC 1928 section 5 writes it. */
export const EXAMPLE_ADDRESS = Buffer.concat([Buffer.from([3, 11]), Buffer.from('example.org'), u16(443)]);
export const EXAMPLE_TARGET = { host: 'example.org', port: 443 };

/** Random bytes that are not: the given ones in turn, then counted ones. */
export function scripted(...parts: Buffer[]): FillRandom {
  let calls = 0;
  return into => {
    const part = parts[calls];
    calls += 1;
    if (part && part.length !== into.length) throw new Error(`random asked for ${into.length} bytes`);
    into.set(part ?? run(calls, into.length));
  };
}

export interface RequestParts {
  nowMs: number;
  identified?: boolean;
  type?: number;
  address?: Buffer;
  padding?: Buffer;
  paddingLength?: number;
  payload?: Buffer;
  salt?: Buffer;
  requestKey?: Buffer;
}

/** A 2022 request (SIP022 section 3.1.2, SIP023). */
export function request2022(vector: Vector, parts: RequestParts): Buffer {
  const { cipher } = methodOf(vector.name);
  const key = parts.requestKey ?? vector.requestKey;
  const padding = parts.padding ?? Buffer.alloc(0);
  const variable = Buffer.concat([
    parts.address ?? EXAMPLE_ADDRESS,
    u16(parts.paddingLength ?? padding.length),
    padding,
    parts.payload ?? Buffer.alloc(0),
  ]);
  const fixed = Buffer.concat([
    Buffer.from([parts.type ?? 0]),
    u64(Math.floor(parts.nowMs / 1000)),
    u16(variable.length),
  ]);
  return Buffer.concat([
    parts.salt ?? vector.requestSalt,
    parts.identified ? ecb(vector.identityKey, vector.identity) : Buffer.alloc(0),
    seal(cipher, key, 0, fixed),
    seal(cipher, key, 1, variable),
  ]);
}
