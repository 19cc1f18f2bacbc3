/**
 * A client that speaks SOCKS5: steps of the parser (shared/protocols/socks5.ts) become writes, an authentication and
 * a flow, or an association (socks5-udp-session.ts). BIND is refused.
 */
import { socks5Refusal } from '@mastline/shared/protocols/refusal';
import { SOCKS5_CONNECTED, Socks5Handshake, type Socks5Step } from '@mastline/shared/protocols/socks5';
import type { Target } from '@mastline/shared/protocols/target';
import type { Connection } from './connection';
import { Lingering } from './lingering';
import { type Guest, knownBySource, logIn } from './login';
import type { FlowOutcome } from './opening';
import { Socks5UdpSession } from './socks5-udp-session';

const EMPTY = Buffer.alloc(0);

export class Socks5Session extends Lingering {
  readonly #connection: Connection;
  readonly #handshake: Socks5Handshake;
  #guest: Guest | null;
  /** Bytes behind the request, read before the way was open. Null as long as there is no request. */
  #ahead: Buffer | null = null;

  constructor(connection: Connection) {
    super(connection);
    this.#connection = connection;
    this.#guest = knownBySource(connection.lane.policy, connection.endpointId, connection.source);
    this.#handshake = new Socks5Handshake({ withoutPassword: this.#guest !== null });
  }

  override clientData(bytes: Buffer): void {
    if (this.#ahead !== null) {
      this.#keep(bytes);
      return;
    }
    this.#handshake.feed(bytes);
    for (;;) {
      const step = this.#handshake.next();
      switch (step.kind) {
        case 'more':
          return;
        case 'reply':
          this.#connection.down.send(step.bytes, false);
          break;
        case 'authenticate': {
          this.#guest = logIn(this.#connection.lane.policy, step.username, step.secret);
          this.#handshake.authenticated(this.#guest !== null);
          break;
        }
        case 'request':
          this.#begin(step);
          return;
        case 'refuse':
          this.#connection.refuse(step.reason, step.bytes);
          return;
      }
    }
  }

  #begin(request: Socks5Step & { kind: 'request' }): void {
    const connection = this.#connection;
    const guest = this.#guest;
    // BIND would open a port of the modem's address to the world; carriers' NAT would not let it work anyway.
    if (!guest || request.command === 'bind') {
      connection.refuse('command-not-supported', socks5Refusal('command-not-supported'));
      return;
    }
    if (request.command === 'udp-associate') {
      void new Socks5UdpSession(connection, guest).begin();
      return;
    }
    this.#keep(request.surplus);
    const { target } = request;
    connection.openFlow(target, guest, outcome => this.#opened(outcome, target, guest));
  }

  /** What comes before the way is open is kept, and not more than one read of it. */
  #keep(bytes: Buffer): void {
    this.#ahead = this.#ahead?.length ? Buffer.concat([this.#ahead, bytes]) : Buffer.from(bytes);
    if (bytes.length > 0) this.#connection.socket.pause();
  }

  #opened(outcome: FlowOutcome, target: Target, guest: Guest): void {
    const connection = this.#connection;
    if (connection.closed) return;
    if (!outcome.ok) {
      connection.noteRefusal(target, guest, outcome.reason);
      connection.refuse(outcome.reason, socks5Refusal(outcome.reason));
      return;
    }
    connection.down.send(SOCKS5_CONNECTED, false);
    connection.tunnel(outcome.flow, { fromClient: this.#ahead ?? EMPTY });
  }

  override clientEnd(): void {
    // A client may send request, data and end in one go and only then read.
    if (this.#ahead === null) this.#connection.cut();
  }

  override timedOut(): void {
    // A request that did not come has no reply; one that came and got no modem in time has none either.
    if (this.#ahead === null) this.#connection.refuse('handshake-timeout', EMPTY);
    else this.#connection.cut();
  }

  override originClosed(): void {
    this.#connection.cut();
  }
}
