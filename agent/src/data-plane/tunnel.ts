/**
 * The relay: bytes of the client to the target and back, until both sides have ended. Each direction stops reading
 * while its receiver is slow, and an end is passed on behind the last byte (half-close), since one direction's end is
 * not the connection's. Writing and counting is outlet.ts.
 */
import type { Connection } from './connection';
import type { Flow } from './flow';
import type { Session } from './session';

export class Tunnel implements Session {
  readonly #connection: Connection;
  readonly #flow: Flow;

  constructor(connection: Connection, flow: Flow) {
    this.#connection = connection;
    this.#flow = flow;
  }

  clientData(bytes: Buffer): void {
    this.#connection.touch();
    if (!this.#flow.up.send(bytes)) this.#connection.socket.pause();
  }

  originDrained(): void {
    this.#connection.touch();
    this.#connection.socket.resume();
  }

  clientEnd(): void {
    this.#flow.up.finish();
  }

  originData(bytes: Buffer): boolean {
    this.#connection.touch();
    return this.#connection.down.send(bytes);
  }

  clientDrained(): void {
    this.#connection.touch();
    if (this.#flow.closed) this.#leave();
    else this.#flow.origin.resume();
  }

  originEnd(): void {
    this.#connection.down.finish();
  }

  originClosed(hadError: boolean): void {
    // A reset is passed on as one: a clean end would make half a download look whole.
    if (hadError) this.#connection.cut();
    else if (this.#connection.down.idle) this.#leave();
  }

  /**
   * The origin had said all, and then would hear no more. A client that is still sending, or was stopped from it, gets
   * the rest of the answer and a moment to close; what it says goes nowhere.
   */
  #leave(): void {
    if (!this.#connection.clientEnded) this.#connection.finish();
  }

  timedOut(): void {
    this.#connection.cut();
  }
}
