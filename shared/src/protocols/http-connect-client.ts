/**
 * HTTP CONNECT as a client speaks it (RFC 9110 section 9.3.6): for hops after the modem and for programs that use an
 * endpoint. Owns no socket: send `request`, feed what comes, do what `next` says. The server side is http-proxy.ts.
 */
import { findHeadEnd, formatHead, parseResponseHead } from './http-head';
import { formatAuthority, type Target } from './target';

export type HttpConnectStep =
  | { kind: 'more' }
  /** The way is open; `surplus` are the first bytes of the target. */
  | { kind: 'connected'; surplus: Buffer }
  /** `status` where the server gave one. */
  | { kind: 'failed'; cause: 'not-http' | 'bad-credentials' | 'refused'; status: number | null };

/** Interim responses before the final one; a proxy that sends more is none. */
const MAX_INTERIM = 8;
const EMPTY = Buffer.alloc(0);
const MORE: HttpConnectStep = { kind: 'more' };

export class HttpConnectClient {
  readonly #target: Target;
  readonly #login: { username: string; secret: string } | null;
  #unread: Buffer = EMPTY;
  #scanned = 0;
  #interim = 0;
  #done = false;

  constructor(target: Target, login: { username: string; secret: string } | null) {
    this.#target = target;
    this.#login = login;
  }

  /** The first and only bytes to send. */
  request(): Buffer {
    const authority = formatAuthority(this.#target);
    const fields = [{ name: 'Host', value: authority }];
    if (this.#login) {
      const basic = Buffer.from(`${this.#login.username}:${this.#login.secret}`).toString('base64');
      fields.push({ name: 'Proxy-Authorization', value: `Basic ${basic}` });
    }
    return formatHead(`CONNECT ${authority} HTTP/1.1`, fields);
  }

  /** Takes bytes as they come; keeps a copy of what it needs. */
  feed(bytes: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, bytes]);
  }

  next(): HttpConnectStep {
    while (!this.#done) {
      const found = findHeadEnd(this.#unread, this.#scanned);
      if (found.kind === 'more') {
        this.#scanned = this.#unread.length;
        return MORE;
      }
      this.#scanned = 0;
      const head = found.kind === 'end' ? parseResponseHead(this.#unread.subarray(0, found.end)) : null;
      if (!head || found.kind !== 'end') return this.#fail('not-http', null);
      this.#unread = this.#unread.subarray(found.end);
      if (head.status >= 200) return this.#finish(head.status);
      this.#interim += 1;
      if (head.status === 101 || this.#interim > MAX_INTERIM) return this.#fail('not-http', head.status);
    }
    return MORE;
  }

  #finish(status: number): HttpConnectStep {
    if (status >= 300)
      return this.#fail(status === 407 || status === 401 ? 'bad-credentials' : 'refused', status);
    // A 2xx to CONNECT has no body, whatever its fields say (RFC 9110 section 9.3.6).
    this.#done = true;
    const surplus = this.#unread;
    this.#unread = EMPTY;
    return { kind: 'connected', surplus };
  }

  #fail(cause: (HttpConnectStep & { kind: 'failed' })['cause'], status: number | null): HttpConnectStep {
    this.#done = true;
    this.#unread = EMPTY;
    return { kind: 'failed', cause, status };
  }
}
