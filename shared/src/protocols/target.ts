/**
 * What a client asks to be connected to: a host as it was written (name or address literal) and a port. Pure text
 * work; whether the target may be reached is the gate's question, and names are resolved by the resolver.
 */
import { isIP } from 'node:net';

export interface Target {
  /** An IPv4 or IPv6 literal without brackets, or a name in lower case without its final dot. */
  host: string;
  port: number;
}

/**
 * RFC 1123 letters, digits and hyphens, and the underscore that real names contain. A host whose last label is all
 * digits would be read as an IPv4 address by some resolvers (WHATWG URL does), so it is no name.
 */
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** The host in its one spelling, or null when it is neither an address nor a name. */
export function normalizeHost(text: string): string | null {
  if (isIP(text) !== 0) return text.includes('%') ? null : text.toLowerCase();
  const name = (text.endsWith('.') ? text.slice(0, -1) : text).toLowerCase();
  if (name.length === 0 || name.length > 253) return null;
  const labels = name.split('.');
  if (!labels.every(label => LABEL.test(label))) return null;
  return /^(0x[0-9a-f]*|[0-9]+)$/.test(labels[labels.length - 1] ?? '') ? null : name;
}

/** `host:port`, `[v6]:port`, or without a port when `defaultPort` is given. Null when it is anything else. */
export function parseAuthority(text: string, defaultPort: number | null): Target | null {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^[\]:@/?#\s]+))(?::([0-9]{1,5}))?$/.exec(text);
  if (!match) return null;
  const [, bracketed, plain, portText] = match;
  if (bracketed !== undefined && isIP(bracketed) !== 6) return null;
  const host = normalizeHost(bracketed ?? plain ?? '');
  const port = portText === undefined ? defaultPort : Number(portText);
  if (host === null || port === null || port < 1 || port > 65_535) return null;
  return { host, port };
}

/** The target as an authority: IPv6 in brackets; the port is left out where it is `defaultPort`. */
export function formatAuthority(target: Target, defaultPort?: number): string {
  const host = target.host.includes(':') ? `[${target.host}]` : target.host;
  return target.port === defaultPort ? host : `${host}:${target.port}`;
}
