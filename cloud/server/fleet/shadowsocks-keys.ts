/**
 * The Shadowsocks password of one credential at one endpoint. Pure. It is derived from the credential's secret, so
 * that nothing more is kept; a node gets the derived key only, which opens neither SOCKS5 nor HTTP nor another port.
 *
 *   password = HKDF-SHA256(secret, info = "mastline shadowsocks" | endpoint | credential | method)   (RFC 5869)
 */
import { hkdfSync, randomBytes } from 'node:crypto';
import { keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { requireMethod, type ShadowsocksMethodName } from '@mastline/shared/protocols/shadowsocks/methods';

/** Of an AEAD password, which may be any text: 192 bits in 32 letters. */
const AEAD_PASSWORD_BYTES = 24;

interface Access {
  secret: string;
  endpointId: string;
  credentialId: string;
  method: ShadowsocksMethodName;
}

/** What a client has to know: text for the older methods, a key in base64 for those of the 2022 edition. */
export function shadowsocksPassword({ secret, endpointId, credentialId, method: name }: Access): string {
  const method = requireMethod(name);
  const bytes = method.edition === '2022' ? method.keyBytes : AEAD_PASSWORD_BYTES;
  const info = `mastline shadowsocks ${endpointId} ${credentialId} ${name}`;
  const derived = Buffer.from(hkdfSync('sha256', secret, '', info, bytes));
  return derived.toString(method.edition === '2022' ? 'base64' : 'base64url');
}

/** What the node has to know, in base64. */
export function shadowsocksKey(access: Access): string {
  const [key] = keysFromPassword(shadowsocksPassword(access), requireMethod(access.method));
  if (key === undefined) throw new Error('a password without a key');
  return key.toString('base64');
}

/** A new key of the port itself, in base64; null for methods that have none. */
export function newPortKey(name: ShadowsocksMethodName): string | null {
  const method = requireMethod(name);
  return method.edition === '2022' ? randomBytes(method.keyBytes).toString('base64') : null;
}
