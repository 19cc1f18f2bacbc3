/**
 * A client that speaks HTTP to its proxy: reads request heads, checks who asks, opens a tunnel for CONNECT, and for
 * absolute-form requests runs one exchange after the other (http-exchange.ts), keeping both connections where both
 * sides want it. Parsing is shared/protocols; pages of refusals are shared/protocols/refusal.ts.
 */
import { findHeadEnd, parseRequestHead, type RequestHead } from '@mastline/shared/protocols/http-head';
import {
  type ProxyRequest,
  readProxyLogin,
  readProxyRequest,
  wantsKeepAlive,
} from '@mastline/shared/protocols/http-proxy';
import { httpRefusal, type RefusalDetail, type RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Connection } from './connection';
import { Exchange } from './http-exchange';
import { type Guest, knownBySource, logIn, sameRoute } from './login';
import type { FlowOutcome } from './opening';
import type { Session } from './session';

const EMPTY = Buffer.alloc(0);
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n');
const CR = 13;
const LF = 10;

type ForwardRequest = ProxyRequest & { kind: 'forward' };
type TunnelRequest = ProxyRequest & { kind: 'connect' };

export class HttpSession implements Session {
  readonly #connection: Connection;
  #unread: Buffer = EMPTY;
  /** Bytes of `#unread` that hold no end of a head. */
  #scanned = 0;
  /** `head`: a request is awaited. `opening`: the target is dialled. `exchange`: request and response pass. */
  #at: 'head' | 'opening' | 'exchange' = 'head';
  #exchange: Exchange | null = null;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  clientData(bytes: Buffer): void {
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    this.#advance();
    // What stays is ours from here on: the caller reads its next bytes into the same memory.
    if (this.#unread.length > 0 && this.#unread.buffer === bytes.buffer)
      this.#unread = Buffer.from(this.#unread);
  }

  clientEnd(): void {
    if (this.#at === 'exchange') {
      this.#exchange?.clientEnd();
      return;
    }
    if (this.#at === 'opening') return;
    if (this.#unread.length > 0) this.#connection.cut();
    else this.#finish();
  }

  clientDrained(): void {
    this.#exchange?.clientDrained();
  }

  originDrained(): void {
    this.#connection.touch();
    this.#advance();
  }

  originData(bytes: Buffer): boolean {
    if (this.#exchange) return this.#exchange.originData(bytes);
    // An origin that speaks without being asked would answer the next request before it is made.
    this.#connection.closeFlow();
    return false;
  }

  originEnd(): void {
    if (this.#exchange) this.#exchange.originEnd(true);
    else this.#connection.closeFlow();
  }

  originClosed(hadError: boolean): void {
    if (this.#exchange) this.#exchange.originEnd(!hadError);
    else this.#connection.closeFlow();
  }

  timedOut(): void {
    if (this.#at === 'exchange') this.#exchange?.timedOut();
    // What is being opened belongs to nobody then.
    else if (this.#at === 'opening') this.#connection.cut();
    else if (this.#unread.length > 0) this.#refuse('handshake-timeout', false);
    else this.#finish();
  }

  /** Between requests, with nothing read, and all of the last answer is out. */
  get resting(): boolean {
    return this.#at === 'head' && this.#unread.length === 0 && this.#connection.down.idle;
  }

  /** Does what can be done with the bytes at hand; stops reading while they have to wait. */
  #advance(): void {
    while (!this.#connection.closed) {
      if (this.#at === 'exchange' && this.#exchange?.wantsBody) {
        if (!this.#exchange.readyForBody) break;
        if (this.#unread.length === 0) {
          this.#readOn();
          return;
        }
        const used = this.#exchange.body(this.#unread);
        this.#unread = this.#unread.subarray(used);
        continue;
      }
      if (this.#at !== 'head') break;
      const before = this.#at;
      if (!this.#readHead() || before !== this.#at) continue;
      return;
    }
    if (this.#unread.length > 0) this.#connection.socket.pause();
    else if (this.#at !== 'exchange' || !this.#exchange?.wantsBody) this.#readOn();
    else this.#connection.socket.pause();
  }

  /** Reading goes on even while nothing is expected: that is how the end of the client is noticed. */
  #readOn(): void {
    this.#connection.socket.resume();
  }

  /** True when more bytes are needed, or nothing more is to be done. */
  #readHead(): boolean {
    // RFC 9112 section 2.2: an empty line in front of a request is ignored (old clients send it behind a POST).
    if (this.#scanned === 0 && this.#unread[0] === CR) {
      if (this.#unread.length < 2) return this.#awaitMore();
      if (this.#unread[1] === LF) this.#unread = this.#unread.subarray(2);
    }
    if (this.#unread.length === 0) return this.#awaitMore();
    const found = findHeadEnd(this.#unread, this.#scanned);
    if (found.kind === 'more') {
      this.#scanned = this.#unread.length;
      return this.#awaitMore();
    }
    this.#scanned = 0;
    if (found.kind !== 'end') {
      this.#refuse(found.kind === 'bad' ? 'bad-request' : 'head-too-large', false);
      return true;
    }
    const parsed = parseRequestHead(this.#unread.subarray(0, found.end));
    this.#unread = this.#unread.subarray(found.end);
    if (!parsed.ok) {
      this.#refuse(parsed.reason, false);
      return true;
    }
    return this.#begin(parsed.head);
  }

  #awaitMore(): boolean {
    this.#readOn();
    return true;
  }

  /** True when this connection is finished or handed on. */
  #begin(head: RequestHead): boolean {
    const read = readProxyRequest(head);
    if (!read.ok) {
      this.#refuse(read.reason, false);
      return true;
    }
    const { request } = read;
    const login = readProxyLogin(head.fields);
    const guest =
      login.kind === 'basic'
        ? logIn(this.#connection.lane.policy, login.username, login.secret)
        : login.kind === 'none'
          ? knownBySource(this.#connection.lane.policy, this.#connection.endpointId, this.#connection.source)
          : null;
    if (!guest) {
      // Clients ask without credentials first and come back with them: where no body is on its way they may stay.
      const empty = request.kind === 'connect' || request.framing.kind === 'none';
      const keepAlive = empty && wantsKeepAlive(head);
      this.#refuse(login.kind === 'none' ? 'credentials-required' : 'bad-credentials', keepAlive, {
        method: head.method,
      });
      return !keepAlive;
    }
    this.#at = 'opening';
    if (request.kind === 'connect') this.#openTunnel(request, guest);
    else this.#openExchange(request, guest);
    return false;
  }

  #openTunnel(request: TunnelRequest, guest: Guest): void {
    const connection = this.#connection;
    connection.closeFlow();
    connection.openFlow(request.target, guest, outcome => this.#tunnelOpened(outcome, request, guest));
  }

  #tunnelOpened(outcome: FlowOutcome, request: TunnelRequest, guest: Guest): void {
    const connection = this.#connection;
    if (connection.closed) return;
    // Behind a CONNECT may already stand what was meant for the tunnel, so a refused one ends the connection.
    if (!outcome.ok) {
      connection.noteRefusal(request.target, guest, outcome.reason);
      this.#refuse(outcome.reason, false, { detail: outcome.detail });
      return;
    }
    connection.down.send(ESTABLISHED, false);
    connection.tunnel(outcome.flow, { fromClient: this.#unread });
  }

  /** `again`: a kept connection was dead, and a new one is wanted. */
  #openExchange(request: ForwardRequest, guest: Guest, again = false): void {
    const connection = this.#connection;
    const kept = connection.flow;
    const fits =
      kept !== null &&
      !kept.closed &&
      sameRoute(kept.guest, guest) &&
      kept.target.host === request.target.host &&
      kept.target.port === request.target.port;
    if (fits && !again) {
      this.#startExchange(request, guest, true);
      return;
    }
    connection.closeFlow();
    connection.openFlow(request.target, guest, outcome => {
      if (connection.closed) return;
      if (outcome.ok) this.#startExchange(request, guest, false);
      else {
        connection.noteRefusal(request.target, guest, outcome.reason);
        this.#failed(request, outcome.reason, outcome.detail);
      }
    });
  }

  #startExchange(request: ForwardRequest, guest: Guest, reused: boolean): void {
    const connection = this.#connection;
    const { flow } = connection;
    if (!flow) {
      this.#failed(request, 'origin-closed');
      return;
    }
    connection.touch();
    this.#at = 'exchange';
    this.#exchange = new Exchange({
      connection,
      flow,
      request,
      done: next => this.#exchangeDone(next),
      failed: reason => this.#failed(request, reason),
      stale: reused
        ? () => {
            this.#exchange = null;
            this.#at = 'opening';
            this.#openExchange(request, guest, true);
          }
        : null,
      upgraded: fromOrigin => {
        this.#exchange = null;
        connection.tunnel(flow, { fromClient: this.#unread, fromOrigin });
      },
    });
    this.#exchange.start();
    if (connection.clientEnded) this.#exchange?.clientEnd();
    this.#advance();
  }

  #exchangeDone(next: { keepClient: boolean; keepOrigin: boolean }): void {
    this.#exchange = null;
    if (!next.keepOrigin) this.#connection.closeFlow();
    if (!next.keepClient || this.#connection.lane.draining) {
      this.#finish();
      return;
    }
    this.#at = 'head';
    this.#connection.touch();
    this.#advance();
  }

  /** The exchange failed before the client got any of its answer: it gets ours. */
  #failed(request: ForwardRequest, reason: RefusalReason, detail?: RefusalDetail): void {
    this.#exchange = null;
    this.#connection.closeFlow(reason);
    const keepAlive = request.keepAlive && request.framing.kind === 'none' && !this.#connection.clientEnded;
    this.#at = 'head';
    this.#refuse(reason, keepAlive, { method: request.method, detail });
    if (keepAlive) this.#advance();
  }

  #refuse(
    reason: RefusalReason,
    keepAlive: boolean,
    about: { method?: string; detail?: RefusalDetail | undefined } = {},
  ): void {
    const page = httpRefusal(reason, { keepAlive, head: about.method === 'HEAD', detail: about.detail });
    if (!keepAlive) {
      this.#connection.refuse(reason, page);
      return;
    }
    this.#connection.noteRefused(reason);
    this.#connection.down.send(page, false);
  }

  #finish(): void {
    this.#connection.closeFlow();
    this.#connection.finish();
  }
}
