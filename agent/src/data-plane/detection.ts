/**
 * The first bytes of a client decide who serves it: 0x16 begins TLS (RFC 8446 section 5.1) and no other protocol
 * here, 5 and 4 are SOCKS, and no HTTP method begins with a control byte. Shadowsocks has ports of its own.
 */
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { httpRefusal } from '@mastline/shared/protocols/refusal';
import type { Connection } from './connection';
import { HttpSession } from './http-session';
import { Lingering } from './lingering';
import { TLS_HANDSHAKE } from './secure-wire';
import type { Session } from './session';
import { ShadowsocksSession } from './shadowsocks-session';
import { Socks5Session } from './socks5-session';

/** Control bytes end here; all protocols but HTTP begin with one. */
const FIRST_TEXT_BYTE = 0x20;

/** Who listens to a client of `endpoint` first. */
export function firstSession(connection: Connection, endpoint: Endpoint): Session {
  const codec = connection.lane.shadowsocks.codec(endpoint.id);
  if (!codec) return new Detection(connection, endpoint, false);
  connection.protocol = 'shadowsocks';
  return new ShadowsocksSession(connection, codec);
}

class Detection extends Lingering {
  readonly #connection: Connection;
  readonly #endpoint: Endpoint;

  readonly #inTls: boolean;

  constructor(connection: Connection, endpoint: Endpoint, inTls: boolean) {
    super(connection);
    this.#inTls = inTls;
    this.#connection = connection;
    this.#endpoint = endpoint;
  }

  override clientData(bytes: Buffer): void {
    this.#connection.idle = false;
    // RFC 9112 section 2.2 lets a request begin with an empty line.
    const first = bytes[0] ?? 0;
    const looksLikeHttp = first >= FIRST_TEXT_BYTE || first === 0x0d || first === 0x0a;
    const spoken = this.#endpoint.protocols;
    const tls = this.#inTls ? null : this.#connection.lane.certificates.context(this.#endpoint.id);
    if (tls && first === TLS_HANDSHAKE) {
      const inside = new Detection(this.#connection, this.#endpoint, true);
      this.#connection.secure(tls, bytes, inside);
      return;
    }
    const mayGoOn = !(tls && this.#endpoint.tls?.required);
    if (mayGoOn && (looksLikeHttp ? spoken.includes('http') : spoken.includes('socks5'))) {
      const protocol = looksLikeHttp ? 'http' : 'socks5';
      this.#connection.protocol = this.#inTls ? `${protocol}-tls` : protocol;
      const session = looksLikeHttp ? new HttpSession(this.#connection) : new Socks5Session(this.#connection);
      this.#connection.become(session);
      session.clientData(bytes);
      return;
    }
    const answer = looksLikeHttp
      ? httpRefusal('unsupported-protocol', { keepAlive: false })
      : Buffer.alloc(0);
    this.#connection.refuse('unsupported-protocol', answer);
  }

  override timedOut(): void {
    this.#connection.refuse('handshake-timeout', Buffer.alloc(0));
  }

  override clientEnd(): void {
    this.#connection.cut();
  }
}
