/**
 * One request and its response between a client and an origin: the request's head and body go up, interim responses
 * (100, 103) and the final one come down, each framed anew. Ends as `done`, `failed` (nothing of the response was
 * passed on yet), `upgraded` (101: both sides left HTTP) or `stale` (a kept connection turned out to be dead and the
 * request may be sent again); a response that breaks off half-way cuts the client, since it must not look whole.
 */
import { BodyScanner, responseFraming } from '@mastline/shared/protocols/http-body';
import { findHeadEnd, parseResponseHead, type ResponseHead } from '@mastline/shared/protocols/http-head';
import { forwardedResponse, type ProxyRequest, wantsKeepAlive } from '@mastline/shared/protocols/http-proxy';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Connection } from './connection';
import type { Flow } from './flow';

/** Interim responses before the final one; an origin that sends more is playing with us. */
const MAX_INTERIM = 16;
const EMPTY = Buffer.alloc(0);
const NO_BODY = { kind: 'none' } as const;

export interface ExchangeOptions {
  connection: Connection;
  flow: Flow;
  request: ProxyRequest & { kind: 'forward' };
  done: (next: { keepClient: boolean; keepOrigin: boolean }) => void;
  failed: (reason: RefusalReason) => void;
  /** What to do when a kept connection was dead; null when it is a fresh one. */
  stale: (() => void) | null;
  upgraded: (fromOrigin: Buffer) => void;
}

export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #requestBody: BodyScanner;
  #requestDone: boolean;
  #unread: Buffer = EMPTY;
  #scanned = 0;
  #interim = 0;
  #heard = false;
  #responseBody: BodyScanner | null = null;
  #responseDone = false;
  #untilClose = false;
  #keepOrigin = false;
  #keepClient: boolean;
  #over = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.#requestBody = new BodyScanner(options.request.framing);
    this.#requestDone = options.request.framing.kind === 'none';
    this.#keepClient = options.request.keepAlive;
  }

  start(): void {
    const { flow, request } = this.#options;
    if (flow.early.length > 0) {
      // It answered before it was asked, through a chain's last hop.
      this.#break('origin-bad-response');
      return;
    }
    flow.up.send(request.head);
    if (this.#options.connection.down.idle) flow.origin.resume();
  }

  get wantsBody(): boolean {
    return !this.#requestDone && !this.#over;
  }

  get readyForBody(): boolean {
    return this.#options.flow.up.idle;
  }

  /** Passes on what of `bytes` belongs to the request's body; answers how many bytes that were. */
  body(bytes: Buffer): number {
    const { connection, flow } = this.#options;
    connection.touch();
    const progress = this.#requestBody.scan(bytes, piece => flow.up.send(piece));
    if (progress.kind === 'more') return bytes.length;
    if (progress.kind === 'bad') {
      this.#break('bad-framing');
      return bytes.length;
    }
    this.#requestDone = true;
    this.#endIfWhole();
    return progress.used;
  }

  clientEnd(): void {
    // A client that ends inside its body has given up; one that ends behind it still wants its answer.
    if (!this.#requestDone) this.#options.connection.cut();
    else this.#keepClient = false;
  }

  clientDrained(): void {
    this.#options.connection.touch();
    this.#options.flow.origin.resume();
  }

  /** False when the client is slow: reading stops until `clientDrained`. */
  originData(bytes: Buffer): boolean {
    const { connection, flow } = this.#options;
    connection.touch();
    this.#heard = true;
    this.#read(bytes);
    return !flow.closed && connection.down.idle;
  }

  /** The origin has ended or is gone; `clean` when it ended by itself and not by a reset. */
  originEnd(clean: boolean): void {
    if (this.#over) return;
    const { request, stale } = this.#options;
    this.#keepOrigin = false;
    if (this.#untilClose && clean) {
      this.#responseDone = true;
      this.#end();
    } else if (this.#responseDone) this.#end();
    else if (!this.#heard && stale && request.repeatable) {
      this.#over = true;
      stale();
    } else this.#break('origin-closed');
  }

  timedOut(): void {
    this.#break('origin-timeout');
  }

  #read(bytes: Buffer): void {
    let rest = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    this.#unread = EMPTY;
    while (!this.#responseBody) {
      const found = findHeadEnd(rest, this.#scanned);
      if (found.kind === 'more') {
        this.#scanned = rest.length;
        this.#unread = Buffer.from(rest);
        return;
      }
      this.#scanned = 0;
      const head = found.kind === 'end' ? parseResponseHead(rest.subarray(0, found.end)) : null;
      if (!head || found.kind !== 'end') {
        this.#break('origin-bad-response');
        return;
      }
      rest = rest.subarray(found.end);
      if (head.status >= 200) {
        if (!this.#begin(head)) return;
      } else if (head.status === 101) {
        this.#upgrade(head, rest);
        return;
      } else if (!this.#passInterim(head)) return;
    }
    this.#passBody(rest);
  }

  #passInterim(head: ResponseHead): boolean {
    this.#interim += 1;
    if (this.#interim > MAX_INTERIM) {
      this.#break('origin-bad-response');
      return false;
    }
    const { connection, request } = this.#options;
    // HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
    if (request.minor === 1)
      connection.down.send(
        forwardedResponse(head, { framing: NO_BODY, close: false, bare: false, upgrade: false }),
      );
    return true;
  }

  #upgrade(head: ResponseHead, rest: Buffer): void {
    const { connection, request, upgraded } = this.#options;
    if (!request.upgrade || !head.fields.some(field => field.key === 'upgrade')) {
      this.#break('origin-bad-response');
      return;
    }
    this.#over = true;
    connection.down.send(
      forwardedResponse(head, { framing: NO_BODY, close: false, bare: false, upgrade: true }),
    );
    upgraded(rest);
  }

  /** False when the head is not acceptable. */
  #begin(head: ResponseHead): boolean {
    const { connection, request } = this.#options;
    const framing = responseFraming(head, request.method);
    if (!framing) {
      this.#break('origin-bad-response');
      return false;
    }
    const bare = framing.kind === 'chunked' && request.minor === 0;
    this.#untilClose = framing.kind === 'until-close';
    this.#keepOrigin = !this.#untilClose && request.minor === 1 && wantsKeepAlive(head);
    if (this.#untilClose || bare) this.#keepClient = false;
    this.#responseBody = new BodyScanner(framing, { bare });
    const close = !this.#keepClient;
    connection.down.send(forwardedResponse(head, { framing, close, bare, upgrade: false }));
    return true;
  }

  #passBody(bytes: Buffer): void {
    const { connection } = this.#options;
    if (this.#responseDone) {
      // Bytes behind a finished response belong to nothing that was asked.
      if (bytes.length > 0) this.#keepOrigin = false;
      return;
    }
    const progress = this.#responseBody?.scan(bytes, piece => connection.down.send(piece));
    if (progress?.kind === 'bad') {
      this.#break('origin-bad-response');
      return;
    }
    if (progress?.kind !== 'done') return;
    this.#responseDone = true;
    if (progress.used < bytes.length) this.#keepOrigin = false;
    this.#endIfWhole();
  }

  /** The next request may come when both bodies are through; an early answer lets the rest of the request pass. */
  #endIfWhole(): void {
    if (this.#responseDone && (this.#requestDone || !this.#keepClient || !this.#keepOrigin)) this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    const whole = this.#requestDone;
    this.#options.done({
      keepClient: this.#keepClient && whole,
      keepOrigin: this.#keepOrigin && whole && this.#keepClient,
    });
  }

  #break(reason: RefusalReason): void {
    if (this.#over) return;
    this.#over = true;
    const { connection, failed } = this.#options;
    if (!this.#responseBody) {
      failed(reason);
      return;
    }
    connection.lane.refused(reason);
    connection.cut(reason);
  }
}
