/**
 * An HTTP proxy as offices have them: CONNECT only, with or without credentials, plain or over TLS, and hostile on
 * request. What the agent's link goes through in tests.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export class FakeProxy {
  /** `host:port` of each CONNECT that was let through. */
  readonly tunnels: string[] = [];
  /** `Proxy-Authorization` of each CONNECT, `''` for none. */
  readonly authorizations: string[] = [];
  /** `name:password`; undefined for anybody. */
  credentials: string | undefined;
  /** Takes the CONNECT and says nothing. */
  hangs = false;
  /** Written raw instead of an answer. */
  rawAnswer: string | undefined;
  readonly #server: Server;
  readonly #secure: boolean;
  readonly #open = new Set<Duplex>();

  constructor(tls?: { key: string; cert: string }) {
    this.#secure = tls !== undefined;
    this.#server = tls ? createSecureServer(tls) : createServer();
    this.#server.on('connection', (socket: Socket) => this.#own(socket));
    this.#server.on('connect', (request, socket, head) => this.#connect(request, socket, head));
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** The proxy's address, with `userinfo` (`name:password`, percent-encoded) in it. */
  url(userinfo?: string): string {
    const { port } = this.#server.address() as AddressInfo;
    return `${this.#secure ? 'https' : 'http'}://${userinfo === undefined ? '' : `${userinfo}@`}127.0.0.1:${port}`;
  }

  get open(): number {
    return this.#open.size;
  }

  /** Ends every tunnel. */
  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #connect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const authorization = request.headers['proxy-authorization'] ?? '';
    this.authorizations.push(authorization);
    if (this.hangs) {
      // Reads on, or it would never hear that the client has gone (sockets of an HTTP server stay half-open).
      socket.resume().on('end', () => socket.destroy());
      return;
    }
    if (this.rawAnswer !== undefined) {
      socket.end(this.rawAnswer);
      return;
    }
    const wanted = this.credentials && `Basic ${Buffer.from(this.credentials, 'utf8').toString('base64')}`;
    if (wanted !== undefined && authorization !== wanted) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n');
      return;
    }
    const place = new URL(`http://${request.url}`);
    const upstream = connect({ host: place.hostname, port: Number(place.port || 80) });
    this.#own(upstream);
    upstream.on('error', () => socket.destroy());
    upstream.on('connect', () => {
      this.tunnels.push(String(request.url));
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      if (head.length > 0) upstream.write(head);
      socket.pipe(upstream).pipe(socket);
    });
    socket.on('close', () => upstream.destroy());
    upstream.on('close', () => socket.destroy());
  }

  #own(socket: Duplex): void {
    this.#open.add(socket);
    socket.on('close', () => this.#open.delete(socket));
    socket.on('error', () => socket.destroy());
  }
}
