/**
 * Reads HTTP/1.1 requests for the bundled origin: the head as a value, the body as chunks. It owns no socket; bytes
 * come from `ByteSource`. The server that answers is `origin.ts`.
 */
import { CodedError } from '@mastline/shared/base/coded-error';

/** Longest request head that is read, in bytes. */
export const MAX_HEAD_BYTES = 16 * 1024;
/** Longest line of a chunked body's framing, in bytes. */
const MAX_CHUNK_LINE_BYTES = 256;

export type BodyFraming = { kind: 'none' } | { kind: 'length'; bytes: number } | { kind: 'chunked' };

export interface RequestHead {
  method: string;
  path: string;
  query: URLSearchParams;
  /** Names in lower case; repeated fields are joined by a comma. */
  headers: Map<string, string>;
  framing: BodyFraming;
  keepAlive: boolean;
  expectContinue: boolean;
}

/** Parses a request head without its closing empty line. Throws `origin/bad-request` naming what is wrong. */
export function parseHead(text: string): RequestHead {
  const lines = text.split('\r\n');
  const match = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(lines[0] ?? '');
  if (!match) throw bad('the request line is not "METHOD target HTTP/1.x"');
  const [, method = '', target = '', minor] = match;
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (!field) throw bad('a header line is not "Name: value"');
    const name = (field[1] ?? '').toLowerCase();
    const before = headers.get(name);
    headers.set(name, before === undefined ? (field[2] ?? '') : `${before}, ${field[2] ?? ''}`);
  }
  const url = URL.parse(target, 'http://origin') ?? undefined;
  if (!url) throw bad('the request target is not a path or a URL');
  const connection = headers.get('connection')?.toLowerCase() ?? '';
  return {
    method,
    path: url.pathname,
    query: url.searchParams,
    headers,
    framing: framingOf(headers),
    keepAlive: minor === '1' ? !/\bclose\b/.test(connection) : /\bkeep-alive\b/.test(connection),
    expectContinue: headers.get('expect')?.toLowerCase() === '100-continue',
  };
}

function framingOf(headers: Map<string, string>): BodyFraming {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  // RFC 9112 6.1: both at once is how requests are smuggled.
  if (coding !== undefined && length !== undefined)
    throw bad('Content-Length and Transfer-Encoding exclude each other');
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked') throw bad('Transfer-Encoding is not "chunked"');
    return { kind: 'chunked' };
  }
  if (length === undefined) return { kind: 'none' };
  const bytes = Number(length);
  if (!/^\d+$/.test(length) || !Number.isSafeInteger(bytes)) throw bad('Content-Length is not a byte count');
  return { kind: 'length', bytes };
}

export type ByteRange =
  | { kind: 'whole' }
  | { kind: 'part'; first: number; last: number }
  | { kind: 'beyond' };

/** `Range` of a representation of `size` bytes (RFC 9110 14.1.2). Several ranges or nonsense mean the whole. */
export function parseRange(header: string | undefined, size: number): ByteRange {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return { kind: 'whole' };
  if (match[1] === '') {
    const suffix = Number(match[2]);
    if (suffix === 0 || size === 0) return { kind: 'beyond' };
    return { kind: 'part', first: Math.max(0, size - suffix), last: size - 1 };
  }
  const first = Number(match[1]);
  const last = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (match[2] !== '' && Number(match[2]) < first) return { kind: 'whole' };
  return first >= size ? { kind: 'beyond' } : { kind: 'part', first, last };
}

/** Bytes in the order they came, with whatever was read too far kept for the next request. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks;
  }

  /** Next request head, or null when the peer ended between requests. */
  async head(): Promise<RequestHead | null> {
    const text = await this.#until('\r\n\r\n', MAX_HEAD_BYTES, true);
    return text === null ? null : parseHead(text);
  }

  /** The body's payload, chunk by chunk, framing taken off. Must be read to its end before the next `head()`. */
  async *body(framing: BodyFraming): AsyncGenerator<Buffer> {
    if (framing.kind === 'length') yield* this.#exactly(framing.bytes);
    if (framing.kind !== 'chunked') return;
    for (;;) {
      const line = (await this.#until('\r\n', MAX_CHUNK_LINE_BYTES, false)) ?? '';
      const digits = line.split(';', 1)[0]?.trim() ?? '';
      if (!/^[0-9a-fA-F]{1,12}$/.test(digits)) throw bad('a chunk size is not hexadecimal');
      const size = Number.parseInt(digits, 16);
      if (size === 0) break;
      yield* this.#exactly(size);
      if ((await this.#until('\r\n', 2, false)) !== '') throw bad('a chunk is longer than its size says');
    }
    // Trailer fields end with an empty line.
    while ((await this.#until('\r\n', MAX_HEAD_BYTES, false)) !== '');
  }

  async *#exactly(bytes: number): AsyncGenerator<Buffer> {
    let left = bytes;
    while (left > 0) {
      if (this.#held.length === 0 && !(await this.#more())) throw bad('the body ended early');
      const part = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  async #until(mark: string, limit: number, mayEnd: boolean): Promise<string | null> {
    for (;;) {
      const at = this.#held.indexOf(mark);
      if (at > limit || (at < 0 && this.#held.length > limit + mark.length))
        throw bad(`more than ${limit} bytes before the end of a line or head`);
      if (at >= 0) {
        const text = this.#held.toString('latin1', 0, at);
        this.#held = this.#held.subarray(at + mark.length);
        return text;
      }
      const atStart = this.#held.length === 0;
      if (!(await this.#more())) {
        if (mayEnd && atStart) return null;
        throw bad('the request ended early');
      }
    }
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done) return false;
    this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    return true;
  }
}

function bad(what: string): CodedError {
  return new CodedError('origin/bad-request', what);
}
