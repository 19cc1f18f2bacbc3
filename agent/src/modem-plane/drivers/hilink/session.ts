/**
 * One session with a stick: its cookie, its request tokens, and one HTTP exchange at a time. Knows the three kinds that
 * firmware comes in (SesTokInfo, webserver/token, none at all); when to retry is client.ts, passwords are sign-in.ts.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { CountOwn } from '../../../ports';
import { type BoundReply, boundRequest } from '../../bound-request';
import type { Outcome } from '../../driver';
import { failed, faultOf, NO_SUCH_ENDPOINT } from './errors';
import { decodeStickText, type RequestElements, requestXml } from './stick-text';
import { parseXml, textOf, type XmlElement } from './xml';

/** Sticks answer in tens of milliseconds when well; busy ones take seconds. */
export const API_DEADLINE_MS = 4000;
const MAX_REPLY_BYTES = 256 * 1024;
/** A login hands out about thirty. */
const MAX_TOKENS = 64;
/** In `webserver/token` the first half is not the token. */
const LONG_TOKEN_CHARS = 32;

export interface SessionOptions {
  /** `http://192.168.8.1` */
  url: string;
  localAddress: string | null;
  clock: Clock;
  signal: AbortSignal;
  count?: CountOwn | undefined;
}

export type SessionKind = 'session-token' | 'token' | 'none';

export class HilinkSession {
  readonly #options: SessionOptions;
  /** Null until it was found out. */
  #kind: SessionKind | null = null;
  #cookie = '';
  /** Each is good for one POST; the oldest goes first. */
  #tokens: string[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Forgets everything: the next request begins anew. */
  drop(): void {
    this.#kind = null;
    this.#cookie = '';
    this.#tokens = [];
  }

  /** The reply's root element, or the fault. `elements` make it a POST. */
  async ask(path: string, elements?: RequestElements): Promise<Outcome<XmlElement>> {
    if (this.#kind === null) {
      const begun = await this.#begin();
      if (!begun.ok) return begun;
    }
    if (elements === undefined) return this.#exchange(path);
    const token = await this.token();
    return token.ok ? this.#exchange(path, { body: requestXml(elements), token: token.value }) : token;
  }

  /** A POST whose body depends on the token that it carries. */
  async askWithToken(path: string, make: (token: string) => RequestElements): Promise<Outcome<XmlElement>> {
    const token = await this.token();
    if (!token.ok) return token;
    return this.#exchange(path, { body: requestXml(make(token.value)), token: token.value });
  }

  /** The next token; '' with firmware that has none. */
  async token(): Promise<Outcome<string>> {
    if (this.#kind === null || (this.#kind !== 'none' && this.#tokens.length === 0)) {
      const begun = await this.#begin();
      if (!begun.ok) return begun;
    }
    return { ok: true, value: this.#tokens.shift() ?? '' };
  }

  async #begin(): Promise<Outcome<null>> {
    const session = await this.#exchange('webserver/SesTokInfo');
    if (session.ok) {
      const info = textOf(session.value, 'SesInfo') ?? '';
      if (info !== '') this.#cookie = info.startsWith('SessionID=') ? info : `SessionID=${info}`;
      return this.#use('session-token', textOf(session.value, 'TokInfo'));
    }
    if (session.fault.code !== NO_SUCH_ENDPOINT) return session;
    const token = await this.#exchange('webserver/token');
    if (token.ok) {
      const text = textOf(token.value, 'token') ?? '';
      return this.#use('token', text.length > LONG_TOKEN_CHARS ? text.slice(LONG_TOKEN_CHARS) : text);
    }
    return token.fault.code === NO_SUCH_ENDPOINT ? this.#use('none', '') : token;
  }

  #use(kind: SessionKind, token: string | undefined): Outcome<null> {
    if (kind !== 'none' && !token)
      return failed('failed', 'hilink/no-token', 'the stick began a session without a token');
    this.#kind = kind;
    this.#tokens = token ? [token] : [];
    return { ok: true, value: null };
  }

  async #exchange(path: string, post?: { body: string; token: string }): Promise<Outcome<XmlElement>> {
    const { url, localAddress, clock, signal, count } = this.#options;
    let reply: BoundReply;
    try {
      reply = await boundRequest({
        url: `${url}/api/${path}`,
        method: post ? 'POST' : 'GET',
        headers: {
          ...(this.#cookie === '' ? {} : { cookie: this.#cookie }),
          ...(post
            ? {
                'content-type': 'application/xml',
                'content-length': String(Buffer.byteLength(post.body)),
                ...(post.token === '' ? {} : { __RequestVerificationToken: post.token }),
              }
            : {}),
        },
        ...(post ? { body: post.body } : {}),
        localAddress,
        dnsServers: [],
        deadlineMs: API_DEADLINE_MS,
        maxBytes: MAX_REPLY_BYTES,
        clock,
        signal,
        count,
      });
    } catch (error) {
      const lost = error instanceof Error && isCut(error.cause);
      return failed(
        'unreachable',
        lost ? 'hilink/cut' : (codeOf(error) ?? 'request/failed'),
        messageOf(error),
      );
    }
    if (reply.status === 404) return failed('unsupported', NO_SUCH_ENDPOINT, `${path}: HTTP 404`);
    if (reply.status !== 200) return failed('failed', 'hilink/http-status', `${path}: HTTP ${reply.status}`);
    this.#keep(reply.headers);
    return readReply(path, reply.bytes);
  }

  #keep(headers: IncomingHttpHeaders): void {
    const session = headers['set-cookie']
      ?.map(line => line.split(';', 1)[0] ?? '')
      .find(pair => pair.startsWith('SessionID='));
    if (session !== undefined) this.#cookie = session;
    this.#tokens.push(...tokensIn(headers));
    if (this.#tokens.length > MAX_TOKENS) this.#tokens.splice(0, this.#tokens.length - MAX_TOKENS);
  }
}

/** The connection ended after the request was under way: the answer is lost, what was asked may be done. */
function isCut(cause: unknown): boolean {
  const code = codeOf(cause);
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** The tokens that a reply hands out, in the order of their use. */
export function tokensIn(headers: IncomingHttpHeaders): string[] {
  const of = (name: string) => {
    const value = headers[name];
    return typeof value === 'string' ? value.split('#').filter(part => part !== '') : [];
  };
  const after = [...of('__requestverificationtokenone'), ...of('__requestverificationtokentwo')];
  return after.length > 0 ? after : of('__requestverificationtoken');
}

/** `<response>` is good, `<error>` is not, both with HTTP status 200; anything else is no reply. */
export function readReply(path: string, bytes: Uint8Array): Outcome<XmlElement> {
  let root: XmlElement;
  try {
    root = parseXml(decodeStickText(bytes));
  } catch (error) {
    return failed('failed', 'hilink/bad-xml', `${path}: ${messageOf(error)}`);
  }
  if (root.name === 'response') return { ok: true, value: root };
  if (root.name !== 'error')
    return failed('failed', 'hilink/bad-reply', `${path}: <${root.name}> is no reply`);
  const code = textOf(root, 'code') ?? '';
  return code === ''
    ? failed('failed', 'hilink/bad-reply', `${path}: an error without a number`)
    : { ok: false, fault: faultOf(code.slice(0, 16), path) };
}
