/**
 * The way from this box to its cloud: straight, or through an HTTP proxy that is asked to CONNECT; and which
 * certificates are believed at its end. One fresh connection for each use, so that names are resolved anew. Used by
 * cloud-request.ts and link-session.ts; what is said over it is theirs.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, connect as netConnect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { rootCertificates, connect as tlsConnect } from 'node:tls';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';

/** From the first byte to the proxy until it says that the tunnel stands, milliseconds. */
const TUNNEL_DEADLINE_MS = 10_000;
const MAX_PROXY_HEAD_BYTES = 16 * 1024;

export interface CloudRoute {
  /** `http://` or `https://`, with credentials in it where the proxy wants some; undefined for straight. */
  proxy: URL | undefined;
  /** Certificates (PEM) that are believed; undefined for those that Node brings along. */
  ca: readonly string[] | undefined;
}

export const STRAIGHT: CloudRoute = { proxy: undefined, ca: undefined };

/**
 * From the configuration file. `caFile` holds certificates that are believed beside the well-known ones. Throws
 * `config/ca-file` when it cannot be read or holds none, `config/proxy` when its credentials cannot be read.
 */
export function cloudRoute(config: { proxy?: string | undefined; caFile?: string | undefined }): CloudRoute {
  return {
    proxy: config.proxy === undefined ? undefined : proxyOf(config.proxy),
    ca: config.caFile === undefined ? undefined : [...rootCertificates, ...readCertificates(config.caFile)],
  };
}

function proxyOf(text: string): URL {
  const proxy = new URL(text);
  try {
    authorizationOf(proxy);
  } catch {
    // The fault would quote the password.
    throw new CodedError(
      'config/proxy',
      `cloud.proxy ${proxy.origin}: the credentials are not percent-encoded`,
      {
        userMessage:
          'User name and password in cloud.proxy must be percent-encoded: write %25 for %, %40 for @, %3A for a colon.',
      },
    );
  }
  return proxy;
}

function readCertificates(path: string): string[] {
  const unusable = (problem: string) =>
    new CodedError('config/ca-file', `cloud.caFile ${path}: ${problem}`, {
      userMessage: `The file ${path} (cloud.caFile) ${problem}. Give a file with the certificate of your authority in PEM.`,
    });
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw unusable(`cannot be read: ${messageOf(error)}`);
  }
  const found = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw unusable('holds no certificate');
  for (const [index, pem] of found.entries())
    try {
      new X509Certificate(pem);
    } catch {
      throw unusable(`holds a broken certificate (number ${index + 1})`);
    }
  return found;
}

/** The proxy as it may be shown: without its credentials. */
export function shownProxy(route: CloudRoute): string | undefined {
  return route.proxy?.origin;
}

export type Connected = (error: Error | null, socket: Duplex) => void;

/**
 * What `http.request` and `ws` take as `createConnection` for `target`. Through a proxy the socket comes by the
 * callback, once the tunnel stands; `signal` ends what is still on its way.
 */
export function connector(
  route: CloudRoute,
  target: URL,
  frame: { clock: Clock; signal?: AbortSignal | undefined },
): (options: object, connected: Connected) => Duplex | undefined {
  const host = target.hostname.replace(/^\[|\]$/g, '');
  const isSecure = target.protocol === 'https:' || target.protocol === 'wss:';
  const port = Number(target.port || (isSecure ? 443 : 80));
  const secured = (over?: Socket) =>
    tlsConnect({
      ...(over ? { socket: over } : { host, port }),
      // A server name is a name (RFC 6066 section 3).
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(route.ca ? { ca: [...route.ca] } : {}),
    });
  const { proxy } = route;
  if (!proxy) return () => (isSecure ? secured() : netConnect({ host, port }));
  return (_options, connected) => {
    tunnel(proxy, { host: target.hostname, port, ca: route.ca }, frame).then(
      socket => connected(null, isSecure ? secured(socket) : socket),
      // Node takes the error alone; its types want a socket too.
      error => (connected as (error: Error) => void)(error as Error),
    );
    return undefined;
  };
}

/** Asks `proxy` to CONNECT (RFC 9110 section 9.3.6). Rejects with `proxy/…` and a remedy. */
function tunnel(
  proxy: URL,
  to: { host: string; port: number; ca: readonly string[] | undefined },
  { clock, signal }: { clock: Clock; signal?: AbortSignal | undefined },
): Promise<Socket> {
  const place = `${to.host}:${to.port}`;
  const send = proxy.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = send({
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: Number(proxy.port || (proxy.protocol === 'https:' ? 443 : 80)),
      method: 'CONNECT',
      path: place,
      headers: { host: place, ...authorizationOf(proxy) },
      agent: false,
      maxHeaderSize: MAX_PROXY_HEAD_BYTES,
      ...(to.ca && proxy.protocol === 'https:' ? { ca: [...to.ca] } : {}),
      ...(signal ? { signal } : {}),
    });
    const timer = clock.after(TUNNEL_DEADLINE_MS, () =>
      request.destroy(new Error(`no answer within ${TUNNEL_DEADLINE_MS} ms`)),
    );
    request.on('error', error => {
      timer.cancel();
      reject(proxyError(proxy, 'proxy/unreachable', `cannot be used: ${messageOf(error)}`, error));
    });
    request.on('connect', (response, socket, head) => {
      timer.cancel();
      const status = response.statusCode ?? 0;
      if (status < 200 || status > 299) {
        socket.destroy();
        reject(refusalOf(proxy, place, status));
        return;
      }
      // Until somebody else listens, a reset here must not end the process.
      socket.on('error', () => undefined);
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.end();
  });
}

function authorizationOf(proxy: URL): { 'proxy-authorization'?: string } {
  if (proxy.username === '' && proxy.password === '') return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair, 'utf8').toString('base64')}` };
}

function refusalOf(proxy: URL, place: string, status: number): CodedError {
  if (status === 407) return proxyError(proxy, 'proxy/credentials', 'wants other credentials (status 407)');
  return proxyError(proxy, 'proxy/refused', `does not connect to ${place} (status ${status})`);
}

function proxyError(proxy: URL, code: string, problem: string, cause?: unknown): CodedError {
  return new CodedError(code, `the proxy ${proxy.origin} ${problem}`, {
    userMessage: `The proxy ${proxy.origin} (cloud.proxy) ${problem}. Check cloud.proxy in the configuration and ask whoever runs the proxy.`,
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}
