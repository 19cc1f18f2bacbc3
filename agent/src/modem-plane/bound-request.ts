/**
 * One HTTP request from a slot's own address, names asked through the same slot: how the agent talks to a stick's web
 * API and to echo services. Every request has a deadline and a size limit, and a connection of its own.
 */
import { Resolver } from 'node:dns';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { type DetailedPeerCertificate, TLSSocket } from 'node:tls';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { CountOwn, OwnTraffic } from '../ports';
import { askFrom, familyOf } from './address-family';

const DNS_TIMEOUT_MS = 2000;
const DNS_TRIES = 2;
/** A question and its answer over UDP, with a name of usual length and two addresses; without headers. */
export const LOOKUP: Omit<OwnTraffic, 'slot'> = {
  ...{ upBytes: 45, downBytes: 90, upDatagrams: 1, downDatagrams: 1 },
};
/** What TLS 1.3 sends in a handshake by Node beside certificates (measured: tickets and records included). */
const TLS_UP_BYTES = 490;
const TLS_DOWN_BYTES = 1180;
const MAX_CHAIN = 8;

export interface BoundRequest {
  url: string;
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string;
  /** Null lets the kernel choose. */
  localAddress: string | null;
  /** Asked from `localAddress`; empty means the system's resolver. */
  dnsServers: readonly string[];
  deadlineMs: number;
  maxBytes: number;
  clock: Clock;
  signal?: AbortSignal;
  /** Called once, whatever came of it. */
  onFigures?: (figures: RequestFigures) => void;
  /** Called once: what it moved, by estimate where TLS and names are concerned. */
  count?: CountOwn | undefined;
}

/** What a request took and moved, for those who pay for it. */
export interface RequestFigures {
  /** The name was asked for. */
  lookedUp: boolean;
  /** Milliseconds until the connection stood; null when it never did. */
  connectMs: number | null;
  /** Milliseconds until the head of the answer was there; null when it never was. */
  answerMs: number | null;
  /** Bytes on the connection, without headers of TCP and IP. */
  sentBytes: number;
  receivedBytes: number;
}

export interface BoundReply {
  status: number;
  headers: IncomingMessage['headers'];
  /** As UTF-8; what is not valid UTF-8 is lost here, and whole in `bytes`. */
  body: string;
  bytes: Buffer;
}

/** Rejects with `request/timeout`, `request/too-large`, `request/aborted` or `request/failed` (which names the system's error). */
export function boundRequest(options: BoundRequest): Promise<BoundReply> {
  const { url, clock, localAddress, dnsServers, deadlineMs } = options;
  return new Promise((resolve, reject) => {
    const secure = url.startsWith('https:');
    const request = (secure ? requestHttps : requestHttp)(url, {
      method: options.method ?? 'GET',
      headers: { connection: 'close', ...options.headers },
      agent: false,
      family: familyOf(localAddress),
      ...(localAddress === null ? {} : { localAddress }),
      ...(dnsServers.length === 0 ? {} : { lookup: lookupThrough(localAddress, dnsServers) }),
    });
    const timer = clock.after(deadlineMs, () =>
      request.destroy(new CodedError('request/timeout', `no answer of ${url} within ${deadlineMs} ms`)),
    );
    const onAbort = () => request.destroy(new CodedError('request/aborted', `${url} was given up`));
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const begun = clock.monotonicMs();
    const figures: RequestFigures = {
      lookedUp: false,
      connectMs: null,
      answerMs: null,
      sentBytes: 0,
      receivedBytes: 0,
    };
    request.once('socket', socket => {
      socket.once('lookup', () => {
        figures.lookedUp = true;
      });
      socket.once('connect', () => {
        figures.connectMs = clock.monotonicMs() - begun;
      });
    });
    let told = false;
    const settle = () => {
      timer.cancel();
      if (!told) {
        told = true;
        figures.sentBytes = request.socket?.bytesWritten ?? 0;
        figures.receivedBytes = request.socket?.bytesRead ?? 0;
        options.onFigures?.(figures);
        options.count?.(ownOf(figures, request.socket));
      }
      options.signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown) => {
      settle();
      if (error instanceof CodedError) return reject(error);
      reject(
        new CodedError('request/failed', `${url}: ${codeOf(error) ?? messageOf(error)}`, {
          retryable: true,
          cause: error,
        }),
      );
    };
    request.once('error', fail);
    request.once('response', response => {
      figures.answerMs = clock.monotonicMs() - begun;
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        bytes += part.length;
        if (bytes > options.maxBytes)
          request.destroy(new CodedError('request/too-large', `${url}: over ${options.maxBytes} bytes`));
        else parts.push(part);
      });
      response.once('error', fail);
      response.once('end', () => {
        settle();
        const whole = Buffer.concat(parts);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: whole.toString('utf8'),
          bytes: whole,
        });
      });
    });
    request.end(options.body);
  });
}

/** What a request moved on its link, without headers of IP, TCP and UDP. */
function ownOf(figures: RequestFigures, socket: unknown): Omit<OwnTraffic, 'slot'> {
  const own = {
    upBytes: figures.sentBytes,
    downBytes: figures.receivedBytes,
    upDatagrams: 0,
    downDatagrams: 0,
  };
  if (socket instanceof TLSSocket && figures.connectMs !== null) {
    // The socket counts what is inside.
    own.upBytes += TLS_UP_BYTES;
    own.downBytes += TLS_DOWN_BYTES + chainBytes(socket.getPeerCertificate(true));
  }
  if (!figures.lookedUp) return own;
  return {
    upBytes: own.upBytes + LOOKUP.upBytes,
    downBytes: own.downBytes + LOOKUP.downBytes,
    ...{ upDatagrams: LOOKUP.upDatagrams, downDatagrams: LOOKUP.downDatagrams },
  };
}

function chainBytes(leaf: DetailedPeerCertificate): number {
  let bytes = 0;
  let certificate: DetailedPeerCertificate | undefined = leaf;
  for (let at = 0; at < MAX_CHAIN && certificate?.raw !== undefined; at += 1) {
    bytes += certificate.raw.length;
    // A root names itself; servers do not send it, but it is what ends the chain here.
    if (certificate.issuerCertificate === certificate)
      return at === 0 ? bytes : bytes - certificate.raw.length;
    certificate = certificate.issuerCertificate;
  }
  return bytes;
}

/** A `lookup` for sockets that asks `servers` from `localAddress`, for addresses of its family. */
export function lookupThrough(localAddress: string | null, servers: readonly string[]): LookupFunction {
  return (hostname, lookupOptions, callback) => {
    if (isIP(hostname) !== 0) return callback(null, hostname, isIP(hostname));
    const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
    const family = familyOf(localAddress);
    if (!askFrom(resolver, localAddress, servers))
      return callback(new Error(`no name server can be asked by IPv${family}`), '', family);
    // Addresses are missing where there is an error, whatever the types say.
    const take = (error: NodeJS.ErrnoException | null, addresses: string[] = []) => {
      const [first] = addresses;
      if (error || first === undefined)
        return callback(error ?? new Error(`${hostname} has no address`), '', family);
      if (lookupOptions.all)
        callback(
          null,
          addresses.map(address => ({ address, family })),
        );
      else callback(null, first, family);
    };
    if (family === 4) resolver.resolve4(hostname, take);
    else resolver.resolve6(hostname, take);
  };
}
