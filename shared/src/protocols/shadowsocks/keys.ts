/**
 * Where Shadowsocks keys come from. AEAD: a password becomes a key by OpenSSL's EVP_BytesToKey (MD5, no salt, one
 * round; weak, but it is what the protocol says) and a session key by HKDF-SHA1 (RFC 5869) with the info "ss-subkey".
 * 2022 edition: keys are random and written in base64; session and identity keys come by BLAKE3's derive_key
 * (SIP022 section 2.2, SIP023). Nothing here keeps or prints a key.
 */
import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { blake3 } from '@noble/hashes/blake3.js';
import { CodedError } from '../../base/coded-error';
import type { ShadowsocksMethod } from './methods';

/** SIP023: what an identity header carries of a key's BLAKE3 hash. */
export const IDENTITY_BYTES = 16;

const HKDF_INFO_1 = Buffer.from('ss-subkey\x01');
const HKDF_INFO_2 = Buffer.from('ss-subkey\x02');
// Keying with the context string costs as much as a derivation: done once, cloned per key.
const SESSION_HASH = blake3.create({ context: Buffer.from('shadowsocks 2022 session subkey') });
const IDENTITY_HASH = blake3.create({ context: Buffer.from('shadowsocks 2022 identity subkey') });

/** OpenSSL's EVP_BytesToKey with MD5, no salt and one round. */
export function keyFromPassword(password: string, keyBytes: number): Buffer {
  const secret = Buffer.from(password, 'utf8');
  let block: Buffer = Buffer.alloc(0);
  let key: Buffer = Buffer.alloc(0);
  while (key.length < keyBytes) {
    block = createHash('md5').update(block).update(secret).digest();
    key = Buffer.concat([key, block]);
  }
  return key.subarray(0, keyBytes);
}

/** A 2022 key from its base64 form. Throws `shadowsocks/bad-key` when it is not that many bytes; never shows it. */
export function keyFromBase64(text: string, method: ShadowsocksMethod): Buffer {
  const key = Buffer.from(text, 'base64');
  // Buffer.from skips what is not base64: only text that comes back the same was a key.
  const same = key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '');
  if (same && key.length === method.keyBytes) return key;
  throw new CodedError(
    'shadowsocks/bad-key',
    `the key for ${method.name} must be ${method.keyBytes} bytes in base64 (make one with: openssl rand -base64 ${method.keyBytes})`,
  );
}

/**
 * The keys that a password field holds: one for AEAD; for the 2022 edition one, or identity keys and the user's own
 * joined by colons (SIP023), the user's last. Throws `shadowsocks/bad-key` or `shadowsocks/empty-password`.
 */
export function keysFromPassword(password: string, method: ShadowsocksMethod): Buffer[] {
  if (password === '')
    throw new CodedError('shadowsocks/empty-password', `the password for ${method.name} must not be empty`);
  return method.edition === 'aead'
    ? [keyFromPassword(password, method.keyBytes)]
    : password.split(':').map(part => keyFromBase64(part, method));
}

/** Session key of a stream or packet: HKDF-SHA1 for AEAD, BLAKE3 for the 2022 edition. `salt` is used at once. */
export function sessionKey(method: ShadowsocksMethod, key: Buffer, salt: Uint8Array): KeyObject {
  return createSecretKey(packetKey(method, key, salt));
}

/** The same as bytes, for what is used once: a key object costs ten times what it saves each time. */
export function packetKey(method: ShadowsocksMethod, key: Buffer, salt: Uint8Array): Buffer {
  return method.edition === 'aead'
    ? hkdfSha1(key, salt, method.keyBytes)
    : Buffer.from(SESSION_HASH.clone().update(key).update(salt).digest()).subarray(0, method.keyBytes);
}

/** Key of one identity header of a TCP request (SIP023). */
export function identityKey(method: ShadowsocksMethod, key: Buffer, salt: Uint8Array): KeyObject {
  const derived = IDENTITY_HASH.clone().update(key).update(salt).digest();
  return createSecretKey(Buffer.from(derived).subarray(0, method.keyBytes));
}

/** What stands for a key in an identity header: the first 16 bytes of its BLAKE3 hash. */
export function identityOf(key: Buffer): Buffer {
  return Buffer.from(blake3(key)).subarray(0, IDENTITY_BYTES);
}

/** Spelled out because it costs less than hkdfSync for the one or two SHA-1 blocks that are needed. */
function hkdfSha1(key: Buffer, salt: Uint8Array, keyBytes: number): Buffer {
  const extracted = createHmac('sha1', salt).update(key).digest();
  const first = createHmac('sha1', extracted).update(HKDF_INFO_1).digest();
  if (keyBytes <= first.length) return first.subarray(0, keyBytes);
  const second = createHmac('sha1', extracted).update(first).update(HKDF_INFO_2).digest();
  return Buffer.concat([first, second], keyBytes);
}
