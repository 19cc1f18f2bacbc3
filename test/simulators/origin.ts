/**
 * The bundled origin: the web server at the far end of every demo and test. It says which address it saw and counts
 * raw bytes exactly, which is why it stands on `net` and not on `http`. It is no general web server: paths are
 * `/ip`, `/bytes/N`, `/echo`, `/sink` and `/report`.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { ConnectionBook, type ConnectionReport, type OriginReport } from './origin-report';
import { ByteSource, parseRange, type RequestHead } from './origin-request';

/** A connection without traffic for this long is closed. */
const IDLE_MS = 60_000;
/** Prime, so that a resume at a wrong offset shows. */
const PATTERN_BYTES = 65_521;
const PATTERN_REPEATS = 16;
/** Largest single write, in bytes. */
const WRITE_BYTES = PATTERN_BYTES * (PATTERN_REPEATS - 1);
/** Biggest N of `/bytes/N`: 1 TiB. */
const MAX_BYTES = 2 ** 40;

export interface OriginOptions {
  host: string;
  /** 0 takes a free port. */
  port: number;
  /** The address `/ip` reports for a peer; the peer's own when left out. */
  addressOf?: (remoteAddress: string) => string;
  /** False refuses the peer by a reset, as a carrier without service would. */
  accepts?: (remoteAddress: string) => boolean;
  /** False sends every request of the peer to the carrier's shop, as carriers do with SIMs that have no money left. */
  pays?: (remoteAddress: string) => boolean;
}

export interface Origin {
  url: string;
  address: string;
  port: number;
  /** Connections whose requests carried `?id=`, or all of them. */
  report(id: string | null): OriginReport;
  /** Resets the open connections of a peer. */
  cut(remoteAddress: string): void;
  close(): Promise<void>;
}

/** Starts the origin; rejects with the system's error (`EADDRINUSE`, `EADDRNOTAVAIL`) when it cannot listen. */
export async function startOrigin(options: OriginOptions): Promise<Origin> {
  const book = new ConnectionBook();
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    const remote = plain(socket.remoteAddress ?? '');
    if (options.accepts && !options.accepts(remote)) return void socket.resetAndDestroy();
    open.add(socket);
    const figures = book.open({ address: remote, port: socket.remotePort ?? 0 });
    socket.once('close', () => {
      open.delete(socket);
      figures.closedAt = Date.now();
    });
    void new Conversation({
      socket,
      book,
      figures,
      addressOf: options.addressOf ?? (address => address),
      pays: () => options.pays?.(remote) ?? true,
    }).run();
  });
  await listen(server, options);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the origin has no TCP address');
  return {
    url: `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`,
    address: bound.address,
    port: bound.port,
    report: id => book.report(id),
    cut: remoteAddress => {
      for (const socket of open)
        if (plain(socket.remoteAddress ?? '') === remoteAddress) socket.resetAndDestroy();
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

/** The byte that stands at `offset` of every `/bytes/N`. */
export function patternByte(offset: number): number {
  return pattern[offset % PATTERN_BYTES] ?? 0;
}

/** Where the carrier's page is; the name leads nowhere. */
const SHOP =
  'HTTP/1.1 302 Found\r\nlocation: http://shop.carrier.invalid/top-up\r\ncontent-length: 0\r\nconnection: close\r\n\r\n';

const pattern = (() => {
  const once = Buffer.alloc(PATTERN_BYTES);
  let state = 0x9e3779b9;
  for (let i = 0; i < PATTERN_BYTES; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    once[i] = state >>> 24;
  }
  return Buffer.concat(Array.from({ length: PATTERN_REPEATS }, () => once));
})();

interface Parts {
  socket: Socket;
  book: ConnectionBook;
  figures: ConnectionReport;
  addressOf: (remoteAddress: string) => string;
  pays: () => boolean;
}

/** One connection's life: requests in, answers out, in order. */
class Conversation {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { socket } = this.#parts;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    // Reading and writing report the same failure; this listener only keeps it from ending the process.
    socket.on('error', () => undefined);
    try {
      const source = new ByteSource(this.#counted());
      for (;;) {
        const head = await source.head();
        if (head === null) break;
        this.#parts.figures.requests += 1;
        if (!this.#parts.pays()) {
          this.#note(head);
          // What the peer still sends is read and thrown away below.
          await this.#write(SHOP);
          break;
        }
        await this.#answer(head, source);
        if (!head.keepAlive) break;
      }
      socket.end();
      if (socket.readable) socket.resume();
    } catch (error) {
      if (codeOf(error) === 'origin/bad-request' && socket.writable) {
        const text = `${messageOf(error)}\n`;
        socket.end(`HTTP/1.1 400 Bad Request\r\n${plainText(text)}connection: close\r\n\r\n${text}`);
        socket.resume();
        return;
      }
      // The peer went away: its connection is all there is to clean up.
      socket.destroy();
    }
  }

  async *#counted(): AsyncGenerator<Buffer> {
    for await (const chunk of this.#parts.socket.iterator({ destroyOnReturn: false })) {
      this.#parts.figures.bytesReceived += chunk.length;
      yield chunk;
    }
  }

  #note(head: RequestHead): void {
    const id = head.query.get('id');
    if (id !== null && head.path !== '/report') this.#parts.book.tag(this.#parts.figures.connection, id);
  }

  async #answer(head: RequestHead, source: ByteSource): Promise<void> {
    this.#note(head);
    if (head.expectContinue && head.framing.kind !== 'none')
      await this.#write('HTTP/1.1 100 Continue\r\n\r\n');
    if (head.path === '/echo') return this.#echo(head, source);
    let received = 0;
    for await (const part of source.body(head.framing)) received += part.length;
    const size = /^\/bytes\/(\d{1,13})$/.exec(head.path)?.[1];
    if (size !== undefined && Number(size) <= MAX_BYTES) return this.#bytes(head, Number(size));
    switch (head.path) {
      case '/ip':
        return this.#ip(head);
      case '/sink':
        return this.#json(head, { received });
      case '/report':
        return this.#json(head, this.#parts.book.report(head.query.get('id')));
      case '/':
        return this.#text(head, 200, 'Mastline origin: /ip /bytes/N /echo /sink /report?id=\n');
      default:
        return this.#text(head, 404, 'no such path; there are /ip /bytes/N /echo /sink /report\n');
    }
  }

  #ip(head: RequestHead): Promise<void> {
    const { figures, addressOf } = this.#parts;
    const ip = addressOf(figures.remoteAddress);
    if (head.query.get('format') === 'json' || /\bapplication\/json\b/.test(head.headers.get('accept') ?? ''))
      return this.#json(head, {
        ip,
        port: figures.remotePort,
        connection: figures.connection,
        // What has reached us on this connection so far, this request included: who asks through a proxy that
        // rewrites heads learns here what was really sent.
        bytesReceived: figures.bytesReceived,
      });
    return this.#text(head, 200, `${ip}\n`);
  }

  async #bytes(head: RequestHead, size: number): Promise<void> {
    const etag = `"pattern-${size}"`;
    const condition = head.headers.get('if-range');
    const range =
      condition === undefined || condition === etag
        ? parseRange(head.headers.get('range'), size)
        : ({ kind: 'whole' } as const);
    const fields = ['content-type: application/octet-stream', 'accept-ranges: bytes', `etag: ${etag}`];
    if (range.kind === 'beyond') {
      fields.push(`content-range: bytes */${size}`, 'content-length: 0');
      return this.#head(head, 416, fields);
    }
    const first = range.kind === 'part' ? range.first : 0;
    const end = range.kind === 'part' ? range.last + 1 : size;
    if (range.kind === 'part') fields.push(`content-range: bytes ${first}-${range.last}/${size}`);
    await this.#head(head, range.kind === 'part' ? 206 : 200, [...fields, `content-length: ${end - first}`]);
    if (head.method === 'HEAD') return;
    for (let at = first; at < end; ) {
      const length = Math.min(WRITE_BYTES, end - at);
      const from = at % PATTERN_BYTES;
      await this.#write(pattern.subarray(from, from + length));
      at += length;
    }
  }

  async #echo(head: RequestHead, source: ByteSource): Promise<void> {
    const type = head.headers.get('content-type') ?? 'application/octet-stream';
    const chunked = head.framing.kind === 'chunked';
    const length = head.framing.kind === 'length' ? head.framing.bytes : 0;
    await this.#head(head, 200, [
      `content-type: ${type}`,
      chunked ? 'transfer-encoding: chunked' : `content-length: ${length}`,
    ]);
    for await (const part of source.body(head.framing)) {
      if (head.method === 'HEAD') continue;
      if (chunked) await this.#write(`${part.length.toString(16)}\r\n`);
      await this.#write(part);
      if (chunked) await this.#write('\r\n');
    }
    if (chunked && head.method !== 'HEAD') await this.#write('0\r\n\r\n');
  }

  async #text(head: RequestHead, status: number, text: string): Promise<void> {
    await this.#head(head, status, plainText(text).trimEnd().split('\r\n'));
    if (head.method !== 'HEAD') await this.#write(text);
  }

  async #json(head: RequestHead, value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    await this.#head(head, 200, [
      'content-type: application/json',
      'cache-control: no-store',
      `content-length: ${Buffer.byteLength(text)}`,
    ]);
    if (head.method !== 'HEAD') await this.#write(text);
  }

  #head(head: RequestHead, status: number, fields: string[]): Promise<void> {
    const lines = [
      `HTTP/1.1 ${status} ${REASONS[status] ?? 'Status'}`,
      ...fields,
      `x-connection: ${this.#parts.figures.connection}`,
      `connection: ${head.keepAlive ? 'keep-alive' : 'close'}`,
    ];
    return this.#write(`${lines.join('\r\n')}\r\n\r\n`);
  }

  /** Writes and waits until the kernel has taken it all: back-pressure and exact counting in one. */
  #write(data: Buffer | string): Promise<void> {
    const { socket, figures } = this.#parts;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    return new Promise((resolve, reject) => {
      // A peer that resets may leave the callback of a destroyed socket uncalled: 'close' settles then.
      const onClose = () => reject(new Error('the peer went away'));
      socket.once('close', onClose);
      socket.write(bytes, error => {
        socket.off('close', onClose);
        if (error) return reject(error);
        figures.bytesSent += bytes.length;
        resolve();
      });
    });
  }
}

const REASONS: Record<number, string> = {
  200: 'OK',
  206: 'Partial Content',
  404: 'Not Found',
  416: 'Range Not Satisfiable',
};

function plainText(text: string): string {
  return `content-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(text)}\r\n`;
}

/** Without the prefix that a dual-stack socket puts before IPv4 addresses. */
function plain(address: string): string {
  return address.replace(/^::ffff:/, '');
}

function listen(server: Server, options: OriginOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host, port: options.port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
