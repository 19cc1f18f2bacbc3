/**
 * How long an HTTP/1 body is (RFC 9112 section 6) and where it ends in the stream. Lengths that contradict each
 * other, repeated lengths and unknown codings are errors in requests and in responses. The scanner says which bytes
 * to pass on: chunked bodies are framed anew, without extensions, so that nobody behind us reads them otherwise.
 *
 *     chunk    | size in hex [; extension] CRLF | size bytes | CRLF |     last chunk has size 0
 *     trailer  | field CRLF … | CRLF |
 */
import { type HeaderField, listOf, parseField } from './http-head';

export type Framing =
  | { kind: 'none' }
  | { kind: 'length'; bytes: number }
  | { kind: 'chunked' }
  /** Responses only: the body ends with the connection. */
  | { kind: 'until-close' };

const NONE: Framing = { kind: 'none' };

/** Framing of a request, or null when it is ambiguous (to be refused as `bad-framing`). */
export function requestFraming(head: { minor: 0 | 1; fields: readonly HeaderField[] }): Framing | null {
  const framing = declaredFraming(head);
  return framing === 'undeclared' ? NONE : framing;
}

/** Framing of a final response to `method`, or null when it is malformed. */
export function responseFraming(
  head: { minor: 0 | 1; status: number; fields: readonly HeaderField[] },
  method: string,
): Framing | null {
  const framing = declaredFraming(head);
  if (framing === null) return null;
  if (method === 'HEAD' || head.status === 204 || head.status === 304) return NONE;
  return framing === 'undeclared' ? { kind: 'until-close' } : framing;
}

function declaredFraming(head: {
  minor: 0 | 1;
  fields: readonly HeaderField[];
}): Framing | 'undeclared' | null {
  const lengths = head.fields.filter(field => field.key === 'content-length');
  const coded = head.fields.some(field => field.key === 'transfer-encoding');
  if (coded) {
    const codings = listOf(head.fields, 'transfer-encoding');
    if (lengths.length > 0 || head.minor === 0) return null;
    return codings.length === 1 && codings[0] === 'chunked' ? { kind: 'chunked' } : null;
  }
  const [length] = lengths;
  if (!length) return 'undeclared';
  if (lengths.length > 1 || !/^[0-9]{1,15}$/.test(length.value)) return null;
  const bytes = Number(length.value);
  return bytes === 0 ? NONE : { kind: 'length', bytes };
}

/** Bytes of a chunk's size line and of one trailer line; and of all trailers of a body. */
const MAX_CHUNK_LINE = 1024;
const MAX_TRAILER_BYTES = 8 * 1024;

export type BodyProgress =
  /** All input was taken; more is to come. */
  | { kind: 'more' }
  /** The body is whole; `used` bytes of the input belonged to it. */
  | { kind: 'done'; used: number }
  | { kind: 'bad' };

type ChunkState = 'size' | 'data' | 'data-end' | 'trailer';

const MORE: BodyProgress = { kind: 'more' };
const BAD: BodyProgress = { kind: 'bad' };
const CRLF = Buffer.from('\r\n');
const LF = 10;

/** Fields that must not come in a trailer (RFC 9110 section 6.5.1): they frame, route or authenticate. */
const NOT_IN_TRAILER = new Set([
  'transfer-encoding',
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
  'host',
  'trailer',
  'te',
  'connection',
  'proxy-connection',
  'keep-alive',
  'upgrade',
  'authorization',
  'proxy-authorization',
  'proxy-authenticate',
  'cookie',
  'set-cookie',
  'cache-control',
  'expect',
  'max-forwards',
]);

/** Follows one body through the stream. Pieces given to `pass` are views into the input or small buffers of ours. */
export class BodyScanner {
  #state: ChunkState = 'size';
  #left: number;
  #line = '';
  #trailerBytes = 0;
  readonly #framing: Framing;
  readonly #bare: boolean;

  /** `bare`: pass on the data of chunks without their frames, for a peer that speaks HTTP/1.0. */
  constructor(framing: Framing, options: { bare?: boolean } = {}) {
    this.#framing = framing;
    this.#left = framing.kind === 'length' ? framing.bytes : 0;
    this.#bare = options.bare ?? false;
  }

  /** Takes the next bytes and calls `pass` with what goes on to the other side. */
  scan(bytes: Buffer, pass: (piece: Buffer) => void): BodyProgress {
    switch (this.#framing.kind) {
      case 'none':
        return { kind: 'done', used: 0 };
      case 'until-close':
        if (bytes.length > 0) pass(bytes);
        return MORE;
      case 'length': {
        const used = Math.min(this.#left, bytes.length);
        this.#left -= used;
        if (used > 0) pass(used === bytes.length ? bytes : bytes.subarray(0, used));
        return this.#left === 0 ? { kind: 'done', used } : MORE;
      }
      case 'chunked':
        return this.#scanChunks(bytes, pass);
    }
  }

  #scanChunks(bytes: Buffer, pass: (piece: Buffer) => void): BodyProgress {
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === 'data') {
        const used = Math.min(this.#left, bytes.length - at);
        this.#left -= used;
        pass(bytes.subarray(at, at + used));
        at += used;
        if (this.#left === 0) this.#state = 'data-end';
        continue;
      }
      const newline = bytes.indexOf(LF, at);
      const end = newline === -1 ? bytes.length : newline + 1;
      if (this.#line.length + (end - at) > MAX_CHUNK_LINE) return BAD;
      this.#line += bytes.toString('latin1', at, end);
      at = end;
      if (newline === -1) return this.#state === 'data-end' && !'\r\n'.startsWith(this.#line) ? BAD : MORE;
      if (!this.#line.endsWith('\r\n')) return BAD;
      const line = this.#line.slice(0, -2);
      this.#line = '';
      const outcome = this.#takeLine(line, pass);
      if (outcome === 'bad') return BAD;
      if (outcome === 'done') return { kind: 'done', used: at };
    }
    return MORE;
  }

  #takeLine(line: string, pass: (piece: Buffer) => void): 'on' | 'done' | 'bad' {
    if (this.#state === 'data-end') {
      if (line !== '') return 'bad';
      if (!this.#bare) pass(CRLF);
      this.#state = 'size';
      return 'on';
    }
    if (this.#state === 'size') {
      // 12 hex digits stay below 2^48: a safe integer, and more than any body.
      const match = /^([0-9A-Fa-f]{1,12})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/.exec(line);
      if (!match) return 'bad';
      this.#left = Number.parseInt(match[1] ?? '', 16);
      if (!this.#bare) pass(Buffer.from(`${this.#left.toString(16)}\r\n`));
      this.#state = this.#left === 0 ? 'trailer' : 'data';
      return 'on';
    }
    if (line === '') {
      if (!this.#bare) pass(CRLF);
      return 'done';
    }
    this.#trailerBytes += line.length;
    const field = parseField(line);
    if (!field || this.#trailerBytes > MAX_TRAILER_BYTES) return 'bad';
    if (!this.#bare && !NOT_IN_TRAILER.has(field.key))
      pass(Buffer.from(`${field.name}: ${field.value}\r\n`, 'latin1'));
    return 'on';
  }
}
