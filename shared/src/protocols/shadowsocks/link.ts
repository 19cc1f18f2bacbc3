/**
 * `ss://` links (SIP002), as clients import them. AEAD credentials stand in base64url; the 2022 edition's must be
 * plain and percent-encoded, since their keys are base64 already:
 *
 *     ss://<base64url of method:password>@host:port#name
 *     ss://2022-blake3-aes-256-gcm:<percent-encoded password>@host:port#name
 *
 * Plugins (SIP003) are not run here: a link that needs one is refused. A link holds the secret: never log it.
 * The picture of a link is qr-code.ts.
 */
import { CodedError } from '../../base/coded-error';
import { formatAuthority, parseAuthority } from '../target';
import { keysFromPassword } from './keys';
import { findMethod, requireMethod, SHADOWSOCKS_METHODS, type ShadowsocksMethodName } from './methods';

export interface ShadowsocksLink {
  method: ShadowsocksMethodName;
  /** AEAD: any text. 2022: keys in base64, joined by colons where there are identities. */
  password: string;
  host: string;
  port: number;
  /** What the client shows; null when the link has none. */
  name: string | null;
}

export type LinkParse =
  | { kind: 'link'; link: ShadowsocksLink }
  /** `field` is the part of the link that is wrong; `problem` says why and what would be right, without the secret. */
  | {
      kind: 'invalid';
      field: 'scheme' | 'credentials' | 'method' | 'password' | 'address' | 'plugin' | 'name';
      problem: string;
    };

/** Longer texts are no links: the longest password is far shorter, and regular expressions stay cheap. */
export const MAX_LINK_LENGTH = 4_096;

/** Throws a CodedError (`shadowsocks/unknown-method`, `-/bad-key`, `-/empty-password`, `-/bad-target`). */
export function formatShadowsocksLink(link: ShadowsocksLink): string {
  const method = requireMethod(link.method);
  keysFromPassword(link.password, method);
  const address = formatAuthority({ host: link.host, port: link.port });
  if (parseAuthority(address, null) === null)
    throw new CodedError(
      'shadowsocks/bad-target',
      'the link needs a host (name or address) and a port from 1 to 65535',
    );
  const credentials =
    method.edition === '2022'
      ? `${method.name}:${encodeURIComponent(link.password)}`
      : Buffer.from(`${method.name}:${link.password}`, 'utf8').toString('base64url');
  const tag = link.name === null ? '' : `#${encodeURIComponent(link.name)}`;
  return `ss://${credentials}@${address}${tag}`;
}

export function parseShadowsocksLink(text: string): LinkParse {
  const trimmed = text.trim();
  if (trimmed.length > MAX_LINK_LENGTH)
    return invalid('scheme', `a link has at most ${MAX_LINK_LENGTH} characters`);
  const scheme = /^ss:\/\//i.exec(trimmed);
  if (!scheme) return invalid('scheme', 'a Shadowsocks link begins with ss://');
  const [beforeName = '', ...nameParts] = trimmed.slice(scheme[0].length).split('#');
  const [beforeQuery = '', ...queryParts] = beforeName.split('?');
  const at = beforeQuery.lastIndexOf('@');
  if (at < 0)
    return invalid(
      'credentials',
      'there is no @ between credentials and address (the form from before SIP002 is not read)',
    );
  const address = parseAuthority(beforeQuery.slice(at + 1).replace(/\/$/, ''), null);
  if (!address) return invalid('address', 'behind the @ must stand host:port, IPv6 in brackets');
  if (new URLSearchParams(queryParts.join('?')).get('plugin'))
    return invalid('plugin', 'plugins are not supported; use a link without plugin');
  const name = nameParts.length === 0 ? null : decode(nameParts.join('#'));
  if (nameParts.length > 0 && name === null)
    return invalid('name', 'the name behind # is not valid percent-encoding');
  const credentials = readCredentials(beforeQuery.slice(0, at));
  if (!credentials)
    return invalid(
      'credentials',
      'before the @ must stand method:password, percent-encoded, or that in base64url',
    );
  const method = findMethod(credentials.method);
  if (!method)
    return invalid('method', `the method must be one of ${Object.keys(SHADOWSOCKS_METHODS).join(', ')}`);
  if (method.edition === '2022' && credentials.encoded)
    return invalid(
      'credentials',
      `${method.name} credentials must be percent-encoded, not base64url (SIP002)`,
    );
  try {
    keysFromPassword(credentials.password, method);
  } catch (error) {
    if (error instanceof CodedError) return invalid('password', error.userMessage);
    throw error;
  }
  return { kind: 'link', link: { method: method.name, password: credentials.password, ...address, name } };
}

/** A colon stands in plain credentials and never in base64. */
function readCredentials(text: string): { method: string; password: string; encoded: boolean } | null {
  if (text.includes(':')) {
    const colon = text.indexOf(':');
    const method = decode(text.slice(0, colon));
    const password = decode(text.slice(colon + 1));
    return method === null || password === null ? null : { method, password, encoded: false };
  }
  const unescaped = decode(text);
  if (unescaped === null || !/^[A-Za-z0-9+/_-]+=*$/.test(unescaped)) return null;
  const bytes = Buffer.from(unescaped, 'base64');
  const plain = bytes.toString('utf8');
  const colon = plain.indexOf(':');
  // Bytes that are no UTF-8 would come back as another password.
  if (colon < 0 || !Buffer.from(plain, 'utf8').equals(bytes)) return null;
  return { method: plain.slice(0, colon), password: plain.slice(colon + 1), encoded: true };
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

function invalid(field: (LinkParse & { kind: 'invalid' })['field'], problem: string): LinkParse {
  return { kind: 'invalid', field, problem };
}
