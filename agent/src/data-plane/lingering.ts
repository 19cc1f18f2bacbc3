/**
 * After a refusal, or behind the last answer: what the client still sends is thrown away until it closes, for at most
 * the linger time. Closing at once with unread bytes would reset the connection and take our answer with it.
 */
import type { Connection } from './connection';
import type { Session } from './session';

export class Lingering implements Session {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get resting(): boolean {
    return false;
  }

  clientData(_bytes: Buffer): void {}
  clientEnd(): void {}
  clientDrained(): void {}
  originData(_bytes: Buffer): boolean {
    return false;
  }
  originEnd(): void {}
  originClosed(_hadError: boolean): void {}
  originDrained(): void {}

  timedOut(): void {
    this.#connection.cut();
  }
}
