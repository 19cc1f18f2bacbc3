/**
 * A client that speaks Shadowsocks over TCP. The codec (shared/protocols/shadowsocks) finds out who it is and what it
 * wants; then plaintext goes to the origin as through any tunnel, and what comes back is sealed by the connection's
 * way down (sealed-outlet.ts).
 *
 * A stranger learns nothing: no answer, and the same end whether too few bytes came or wrong ones. The connection is
 * read on and dropped at the handshake's deadline, or when its client ends it.
 */

import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type {
  ShadowsocksHandshake,
  ShadowsocksStep,
  SilentCause,
} from '@mastline/shared/protocols/shadowsocks/handshake';
import type { StreamOpener } from '@mastline/shared/protocols/shadowsocks/stream';
import type { Connection } from './connection';
import type { Flow } from './flow';
import { Lingering } from './lingering';
import { type Guest, guestOf } from './login';
import type { FlowOutcome } from './opening';
import type { ShadowsocksCodec } from './shadowsocks-ports';
import { ShortViews } from './short-views';
import { Tunnel } from './tunnel';

const EMPTY = Buffer.alloc(0);
/** Views of short opened pieces, shared by all tunnels of the thread as the memory behind them is. */
const shortViews = new ShortViews();

/** How silence is counted. The client is never told. */
const SILENCES: Readonly<Record<SilentCause, RefusalReason>> = {
  'unknown-user': 'bad-credentials',
  replayed: 'replayed',
  'clock-skew': 'clock-skew',
  'bad-header': 'bad-request',
  forged: 'bad-request',
  'over-budget': 'too-many-flows',
  'salts-full': 'too-many-flows',
};

type Request = ShadowsocksStep<string> & { kind: 'request' };

export class ShadowsocksSession extends Lingering {
  readonly #connection: Connection;
  readonly #codec: ShadowsocksCodec;
  readonly #handshake: ShadowsocksHandshake<string>;
  #at: 'handshake' | 'silent' | 'opening' = 'handshake';
  /** Sealed bytes behind the request, read before the way was open. */
  #ahead: Buffer = EMPTY;

  constructor(connection: Connection, codec: ShadowsocksCodec) {
    super(connection);
    this.#connection = connection;
    this.#codec = codec;
    this.#handshake = codec.handshake(connection.socket.remoteAddress ?? '');
  }

  override clientData(bytes: Buffer): void {
    if (this.#at === 'silent') return;
    this.#connection.idle = false;
    if (this.#at === 'opening') {
      // The socket is paused: at most the rest of one read comes here.
      this.#ahead = Buffer.concat([this.#ahead, bytes]);
      return;
    }
    const step = this.#handshake.feed(bytes);
    if (step.kind === 'more') return;
    if (step.kind === 'silent') {
      this.#at = 'silent';
      this.#connection.idle = true;
      this.#connection.noteRefused(SILENCES[step.cause]);
      return;
    }
    this.#at = 'opening';
    this.#connection.socket.pause();
    this.#open(step);
  }

  #open(request: Request): void {
    const connection = this.#connection;
    connection.sealDown(request.stream.sealer, this.#codec.method.maxPayload);
    const guest = guestOf(request.user);
    connection.openFlow(request.target, guest, outcome => this.#opened(outcome, request, guest));
  }

  #opened(outcome: FlowOutcome, request: Request, guest: Guest): void {
    const connection = this.#connection;
    if (connection.closed) return;
    if (!outcome.ok) {
      connection.noteRefusal(request.target, guest, outcome.reason);
      connection.refuse(outcome.reason, EMPTY);
      return;
    }
    const tunnel = new SealedTunnel(connection, outcome.flow, request.stream.opener);
    connection.become(tunnel);
    tunnel.begin(request.payload, this.#ahead);
  }

  override clientEnd(): void {
    // A client may send its request, its data and its end in one go and only then read.
    if (this.#at !== 'opening') this.#connection.cut();
  }

  override timedOut(): void {
    // Who was met with silence is counted already.
    if (this.#at === 'handshake') this.#connection.refuse('handshake-timeout', EMPTY);
    else this.#connection.cut();
  }

  override originClosed(): void {
    this.#connection.cut();
  }
}

class SealedTunnel extends Tunnel {
  readonly #connection: Connection;
  readonly #flow: Flow;
  readonly #opener: StreamOpener;

  constructor(connection: Connection, flow: Flow, opener: StreamOpener) {
    super(connection, flow);
    this.#connection = connection;
    this.#flow = flow;
    this.#opener = opener;
  }

  /** `payload` came with the request, `sealed` behind it. */
  begin(payload: Buffer, sealed: Buffer): void {
    const { early, origin } = this.#flow;
    if (early.length === 0 || this.originData(early)) origin.resume();
    if (payload.length > 0) super.clientData(payload);
    if (sealed.length > 0) this.clientData(sealed);
    if (this.#connection.closed) return;
    if (this.#flow.up.idle) this.#connection.socket.resume();
    if (this.#connection.clientEnded) this.clientEnd();
  }

  override clientData(sealed: Buffer): void {
    const out = this.#connection.lane.scratch.opened[0](this.#opener.bound(sealed.length));
    const opened = this.#opener.open(sealed, out);
    if (opened < 0) {
      this.#connection.lane.refused('bad-request');
      this.#break();
      return;
    }
    if (opened > 0) super.clientData(shortViews.of(out, opened));
    else this.#connection.touch();
  }

  override clientEnd(): void {
    // An end within a chunk is none that its sender made.
    if (this.#opener.bound(0) > 0) this.#break();
    else super.clientEnd();
  }

  /** Authentic bytes were passed on already, so the target must see that this is no end that its client made. */
  #break(): void {
    this.#flow.origin.resetAndDestroy();
    this.#connection.cut();
  }
}
