/**
 * Shadowsocks 2022 over TCP as a client speaks it (SIP022 section 3.1, SIP023): for hops after the modem, and for
 * programs that use an endpoint. The server's side, and the drawing of the headers, is stream-2022.ts.
 */
import { createCipheriv } from 'node:crypto';
import type { Clock } from '../../base/clock';
import { CodedError } from '../../base/coded-error';
import type { Target } from '../target';
import { addressBytes, MAX_ADDRESS_BYTES } from './address';
import { Aead, FORGED, TAG_BYTES } from './aead';
import { ChunkOpener, ChunkSealer } from './chunks';
import type { FillRandom } from './handshake';
import { identityKey, identityOf, sessionKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import type { SaltStore } from './salt-store';
import { ResponseOpener, type ShadowsocksStream, StreamSealer } from './stream';
import {
  isCurrent,
  MAX_PADDING_BYTES,
  REQUEST_HEADER_BYTES,
  TYPE_REQUEST,
  TYPE_RESPONSE,
} from './stream-2022';

/** Identity headers in one request; more servers in a row than anyone runs, and what stream.ts reserves room for. */
export const MAX_IDENTITY_KEYS = 8;

export interface ClientContext2022 {
  clock: Pick<Clock, 'now'>;
  random: FillRandom;
  /** Salts of responses seen (SIP022 section 3.1.4). */
  salts: SaltStore;
}

/**
 * A stream to `target`. `keys` are identity keys, then the user's own (keysFromPassword). Throws
 * `shadowsocks/bad-target`, and `shadowsocks/bad-users` when there is no key or there are too many.
 */
export function openClient2022(
  method: ShadowsocksMethod,
  request: { keys: readonly Buffer[]; target: Target },
  context: ClientContext2022,
): ShadowsocksStream {
  const key = requireUserKey(request.keys);
  const salt = Buffer.allocUnsafeSlow(method.saltBytes);
  context.random(salt);
  const address = addressBytes(request.target);
  const chunks = new ChunkSealer(method, new Aead(method.cipher, sessionKey(method, key, salt)));
  const sealer = new StreamSealer(method, chunks, (plain, out) => {
    const padding = plain.length === 0 ? randomPadding(context.random) : Buffer.alloc(0);
    const took = Math.min(plain.length, method.maxPayload - MAX_ADDRESS_BYTES - 2);
    const variable = Buffer.concat([address, u16(padding.length), padding, plain.subarray(0, took)]);
    const fixed = Buffer.alloc(REQUEST_HEADER_BYTES);
    fixed[0] = TYPE_REQUEST;
    fixed.writeBigUInt64BE(BigInt(Math.floor(context.clock.now() / 1000)), 1);
    fixed.writeUInt16BE(variable.length, 9);
    out.set(salt, 0);
    const headerAt = writeIdentities(method, { keys: request.keys, salt }, out);
    return { written: chunks.unit(variable, out, chunks.unit(fixed, out, headerAt)), took };
  });
  return { sealer, opener: responseOpener(method, { key, requestSalt: salt }, context) };
}

/** The last key, after checking their number. */
export function requireUserKey(keys: readonly Buffer[]): Buffer {
  const key = keys[keys.length - 1];
  if (!key || keys.length > MAX_IDENTITY_KEYS + 1)
    throw new CodedError(
      'shadowsocks/bad-users',
      `a client needs its own key and at most ${MAX_IDENTITY_KEYS} identity keys before it, not ${keys.length} keys`,
    );
  return key;
}

/** SIP023: each identity header names the key that comes next, under the key before it. */
function writeIdentities(
  method: ShadowsocksMethod,
  of: { keys: readonly Buffer[]; salt: Buffer },
  out: Buffer,
): number {
  let at = of.salt.length;
  for (let layer = 0; layer + 1 < of.keys.length; layer += 1) {
    const key = of.keys[layer];
    const next = of.keys[layer + 1];
    if (!key || !next) break;
    const block = createCipheriv(`aes-${method.keyBytes * 8}-ecb`, identityKey(method, key, of.salt), null);
    block.setAutoPadding(false);
    const header = block.update(identityOf(next));
    out.set(header, at);
    at += header.length;
  }
  return at;
}

function responseOpener(
  method: ShadowsocksMethod,
  of: { key: Buffer; requestSalt: Buffer },
  context: ClientContext2022,
): ResponseOpener {
  const { saltBytes } = method;
  const headerBytes = REQUEST_HEADER_BYTES + saltBytes;
  return new ResponseOpener({
    bytes: saltBytes + headerBytes + TAG_BYTES,
    read: head => {
      const salt = head.subarray(0, saltBytes);
      const aead = new Aead(method.cipher, sessionKey(method, of.key, salt));
      const header = Buffer.alloc(headerBytes);
      if (aead.open(head.subarray(saltBytes), header, 0) === FORGED) return 'forged';
      aead.advance();
      if (header[0] !== TYPE_RESPONSE || !header.subarray(9, 9 + saltBytes).equals(of.requestSalt))
        return 'bad-header';
      if (!isCurrent(header.readBigUInt64BE(1), context.clock.now())) return 'clock-skew';
      if (context.salts.remember(salt) !== 'new') return 'replayed';
      return new ChunkOpener(method, aead, header.readUInt16BE(9 + saltBytes));
    },
  });
}

/** 1 to 900 random bytes: a request without payload must not always have the same length (SIP022 section 3.1.3). */
function randomPadding(random: FillRandom): Buffer {
  const size = Buffer.alloc(2);
  random(size);
  // 65,536 is no multiple of 900; the bias of a tenth of a percent tells nothing about anyone.
  const padding = Buffer.alloc(1 + (size.readUInt16BE(0) % MAX_PADDING_BYTES));
  random(padding);
  return padding;
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}
