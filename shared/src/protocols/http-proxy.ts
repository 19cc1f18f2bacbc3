/**
 * What a proxy makes of HTTP heads: where a request wants to go (CONNECT, or an absolute http:// address), who asks
 * (`Proxy-Authorization`), and what is passed on (RFC 9110 section 7.6). Pure; heads are read by http-head.ts,
 * bodies framed by http-body.ts. No `Via` is added: it would tell every origin that the modem is a proxy.
 */
import { type Framing, requestFraming } from './http-body';
import { formatHead, type HeaderField, listOf, type RequestHead, type ResponseHead } from './http-head';
import type { RefusalReason } from './refusal';
import { formatAuthority, parseAuthority, type Target } from './target';

export type ProxyRequest =
  | { kind: 'connect'; target: Target }
  | {
      kind: 'forward';
      target: Target;
      method: string;
      framing: Framing;
      /** The head to send to the origin. */
      head: Buffer;
      /** The client wants to go on with this connection. */
      keepAlive: boolean;
      /** The client asks to leave HTTP (`Upgrade`). */
      upgrade: boolean;
      minor: 0 | 1;
      /** May be sent again when a kept connection turns out to be dead: idempotent, and no body was lost. */
      repeatable: boolean;
    };

export type ProxyRequestOutcome = { ok: true; request: ProxyRequest } | { ok: false; reason: RefusalReason };

const refuse = (reason: RefusalReason): ProxyRequestOutcome => ({ ok: false, reason });

/** Meant for the next hop only (RFC 9110 section 7.6.1); those that `Connection` names come on top. */
const HOP_BY_HOP = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
]);

/** `Connection` may not name these away: without them the message means something else (RFC 9110 section 7.6.1). */
const NEVER_DROPPED = new Set(['content-length', 'host']);

const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Decides what a request head asks for. */
export function readProxyRequest(head: RequestHead): ProxyRequestOutcome {
  const framing = requestFraming(head);
  if (!framing) return refuse('bad-framing');
  const hosts = head.fields.filter(field => field.key === 'host');
  // RFC 9112 section 3.2: a 1.1 request without exactly one Host is malformed, whatever its target says.
  if (hosts.length > 1 || (hosts.length === 0 && head.minor === 1)) return refuse('bad-request');
  if (head.method === 'CONNECT') {
    if (framing.kind !== 'none') return refuse('bad-framing');
    const target = parseAuthority(head.target, null);
    return target ? { ok: true, request: { kind: 'connect', target } } : refuse('bad-request');
  }
  const url = /^http:\/\/([^/?#]*)([^#]*)$/i.exec(head.target);
  if (!url) return refuse('not-a-proxy-request');
  const target = parseAuthority(url[1] ?? '', 80);
  if (!target) return refuse('bad-request');
  const connection = listOf(head.fields, 'connection');
  const upgrade = head.minor === 1 && framing.kind === 'none' && connection.includes('upgrade');
  return {
    ok: true,
    request: {
      kind: 'forward',
      target,
      method: head.method,
      framing,
      head: forwardedHead(head, { target, path: url[2] ?? '', framing, upgrade }),
      keepAlive: wantsKeepAlive(head),
      upgrade,
      minor: head.minor,
      repeatable: REPEATABLE.has(head.method) && framing.kind === 'none' && !upgrade,
    },
  };
}

function forwardedHead(
  head: RequestHead,
  to: { target: Target; path: string; framing: Framing; upgrade: boolean },
): Buffer {
  // "http://host?query" has an empty path; OPTIONS without one asks about the server itself (RFC 9112 section 3.2.4).
  const path = to.path.startsWith('/')
    ? to.path
    : to.path === '' && head.method === 'OPTIONS'
      ? '*'
      : `/${to.path}`;
  const fields: Pick<HeaderField, 'name' | 'value'>[] = [
    { name: 'Host', value: formatAuthority(to.target, 80) },
  ];
  for (const field of endToEnd(head.fields)) if (field.key !== 'host') fields.push(field);
  if (to.framing.kind === 'chunked') fields.push({ name: 'Transfer-Encoding', value: 'chunked' });
  if (to.upgrade) fields.push(...upgradeFields(head.fields));
  else if (listOf(head.fields, 'te').includes('trailers'))
    fields.push({ name: 'TE', value: 'trailers' }, { name: 'Connection', value: 'TE' });
  // An origin must not chunk for HTTP/1.0, nor keep a connection that its client cannot reuse.
  if (head.minor === 0) fields.push({ name: 'Connection', value: 'close' });
  return formatHead(`${head.method} ${path} HTTP/1.${head.minor}`, fields);
}

/**
 * The head of a response as the client gets it. `close`: we shall close behind it. `bare`: the chunked framing is
 * taken off. `upgrade`: the response is a 101 and both sides leave HTTP.
 */
export function forwardedResponse(
  head: ResponseHead,
  how: { framing: Framing; close: boolean; bare: boolean; upgrade: boolean },
): Buffer {
  const fields: Pick<HeaderField, 'name' | 'value'>[] = endToEnd(head.fields);
  if (how.framing.kind === 'chunked' && !how.bare)
    fields.push({ name: 'Transfer-Encoding', value: 'chunked' });
  if (how.upgrade) fields.push(...upgradeFields(head.fields));
  else if (how.close) fields.push({ name: 'Connection', value: 'close' });
  return formatHead(`HTTP/1.1 ${head.status} ${head.reason}`, fields);
}

function upgradeFields(fields: readonly HeaderField[]): Pick<HeaderField, 'name' | 'value'>[] {
  const upgrades = fields.filter(field => field.key === 'upgrade');
  return [...upgrades, { name: 'Connection', value: 'Upgrade' }];
}

function endToEnd(fields: readonly HeaderField[]): HeaderField[] {
  const named = new Set(listOf(fields, 'connection').filter(name => !NEVER_DROPPED.has(name)));
  return fields.filter(field => !HOP_BY_HOP.has(field.key) && !named.has(field.key));
}

/** RFC 9112 section 9.3, and the `Proxy-Connection` that old clients send in its place. */
export function wantsKeepAlive(head: { minor: 0 | 1; fields: readonly HeaderField[] }): boolean {
  const options = [...listOf(head.fields, 'connection'), ...listOf(head.fields, 'proxy-connection')];
  // A 1.0 client would need our answers in its own dialect of keep-alive; it gets a fresh connection instead.
  return head.minor === 1 && !options.includes('close');
}

export type ProxyLogin =
  | { kind: 'none' }
  | { kind: 'malformed' }
  | { kind: 'basic'; username: string; secret: string };

/** Credentials of `Proxy-Authorization: Basic` (RFC 7617). */
export function readProxyLogin(fields: readonly HeaderField[]): ProxyLogin {
  const found = fields.filter(field => field.key === 'proxy-authorization');
  const [field] = found;
  if (!field) return { kind: 'none' };
  const match = /^basic +([A-Za-z0-9+/=_-]{1,1024})$/i.exec(field.value);
  if (!match || found.length > 1) return { kind: 'malformed' };
  const text = Buffer.from(match[1] ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return { kind: 'malformed' };
  return { kind: 'basic', username: text.slice(0, colon), secret: text.slice(colon + 1) };
}
