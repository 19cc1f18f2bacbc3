/**
 * The Shadowsocks methods spoken here, as a table: the AEAD ciphers (SIP004, SIP007) and the 2022 edition (SIP022).
 * Stream ciphers without authentication are left out on purpose: they can be decrypted by whoever may replay.
 * How keys come from passwords is keys.ts.
 */
import { CodedError } from '../../base/coded-error';
import type { ShadowsocksMethodName } from '../../domain/endpoint';

export type { ShadowsocksMethodName };

/** The names of the ciphers in node:crypto. */
export type CipherName = 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';

export interface ShadowsocksMethod {
  name: ShadowsocksMethodName;
  edition: 'aead' | '2022';
  cipher: CipherName;
  keyBytes: number;
  saltBytes: number;
  /** Most plaintext bytes of one chunk: 0x3fff (SIP004), 0xffff (SIP022 section 3.1.2). */
  maxPayload: number;
}

function method(name: ShadowsocksMethodName, cipher: CipherName, keyBytes: number): ShadowsocksMethod {
  const edition = name.startsWith('2022-') ? '2022' : 'aead';
  return {
    name,
    edition,
    cipher,
    keyBytes,
    saltBytes: keyBytes,
    maxPayload: edition === '2022' ? 0xffff : 0x3fff,
  };
}

export const SHADOWSOCKS_METHODS: Readonly<Record<ShadowsocksMethodName, ShadowsocksMethod>> = {
  'aes-128-gcm': method('aes-128-gcm', 'aes-128-gcm', 16),
  'aes-256-gcm': method('aes-256-gcm', 'aes-256-gcm', 32),
  'chacha20-ietf-poly1305': method('chacha20-ietf-poly1305', 'chacha20-poly1305', 32),
  '2022-blake3-aes-128-gcm': method('2022-blake3-aes-128-gcm', 'aes-128-gcm', 16),
  '2022-blake3-aes-256-gcm': method('2022-blake3-aes-256-gcm', 'aes-256-gcm', 32),
};

/** The method of that name, in any letter case; null when it is not spoken here. */
export function findMethod(name: string): ShadowsocksMethod | null {
  const lower = name.toLowerCase();
  return Object.hasOwn(SHADOWSOCKS_METHODS, lower)
    ? SHADOWSOCKS_METHODS[lower as ShadowsocksMethodName]
    : null;
}

/** The method of that name; throws `shadowsocks/unknown-method`, which lists the known ones. */
export function requireMethod(name: string): ShadowsocksMethod {
  const found = findMethod(name);
  if (found) return found;
  throw new CodedError(
    'shadowsocks/unknown-method',
    `method "${name.slice(0, 40)}" is not known; use one of ${Object.keys(SHADOWSOCKS_METHODS).join(', ')}`,
  );
}

/**
 * How many bytes one read should fetch so that sealing them makes only full chunks: a 64 KiB read would end in a
 * chunk of four bytes that costs as much as a full one.
 */
export function readBytesFor(method: ShadowsocksMethod, aboutBytes = 256 * 1024): number {
  return Math.max(1, Math.floor(aboutBytes / method.maxPayload)) * method.maxPayload;
}
