/**
 * The agent's end of HTTP/1.1 and WebSocket (RFC 6455) over a plain socket, as lean as ten thousand of them beside the
 * cloud and its database on two cores ask for: one question with a short answer, one upgrade, whole text frames, masked
 * as clients must. Knows no messages: that is fleet-agent.ts. The real agent has `ws`.
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

/** RFC 6455 section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;
/** What the cloud says before frames begin, and the longest frame of it that a fleet must take, bytes. */
const MAX_HEAD_BYTES = 16_384;
const MAX_FRAME_BYTES = 4 * 1024 * 1024;
const CLOSE_DEADLINE_MS = 2_000;

export interface Place {
  host: string;
  port: number;
  localAddress: string;
}

export interface HttpAnswer {
  status: number;
  retryAfter: string | undefined;
  body: string;
}

/** `POST path` with a JSON body over a connection of its own; rejects when there is no whole answer in time. */
export function postJson(
  place: Place,
  of: { path: string; body: string; deadlineMs: number },
): Promise<HttpAnswer> {
  const { path, body, deadlineMs } = of;
  return new Promise((resolve, reject) => {
    const socket = connect(place);
    let got: Buffer = Buffer.alloc(0);
    socket.setNoDelay(true).setTimeout(deadlineMs, () => socket.destroy(new Error('no answer in time')));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection broke before the answer')));
    socket.on('data', chunk => {
      got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
      const answer = readAnswer(got);
      if (answer === 'more') return;
      socket.destroy();
      if (answer === 'bad') reject(new Error('what came is no HTTP answer'));
      else resolve(answer);
    });
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: ${place.host}:${place.port}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nAccept: application/json\r\nConnection: close\r\n\r\n${body}`,
    );
  });
}

interface Head {
  status: number;
  bytes: number;
  field(name: string): string | undefined;
}

function readHead(got: Buffer): Head | 'more' | 'bad' {
  const end = got.indexOf('\r\n\r\n');
  if (end < 0) return got.length > MAX_HEAD_BYTES ? 'bad' : 'more';
  const text = got.toString('latin1', 0, end);
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1];
  if (status === undefined) return 'bad';
  return {
    status: Number(status),
    bytes: end + 4,
    field: name => new RegExp(`\r\n${name}: *([^\r]*)`, 'i').exec(text)?.[1],
  };
}

function readAnswer(got: Buffer): HttpAnswer | 'more' | 'bad' {
  const head = readHead(got);
  if (head === 'more' || head === 'bad') return head;
  const length = Number(head.field('content-length') ?? 'NaN');
  if (!Number.isInteger(length) || length > MAX_HEAD_BYTES) return 'bad';
  if (got.length < head.bytes + length) return 'more';
  return {
    status: head.status,
    retryAfter: head.field('retry-after'),
    body: got.toString('utf8', head.bytes, head.bytes + length),
  };
}

export interface LinkEvents {
  opened(): void;
  text(text: string): void;
  /** The cloud said no instead of upgrading. */
  refused(answer: HttpAnswer): void;
  /** Called once, whatever happened: the code of a close frame, or 1006 without one (RFC 6455 section 7.1.5). */
  ended(code: number, detail: string): void;
}

export class LeanLink {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  readonly #accept: string;
  #got: Buffer | undefined;
  #isOpen = false;
  #isClosing = false;
  #code = 1006;
  #detail = '';

  constructor(place: Place, authorization: string, events: LinkEvents) {
    this.#events = events;
    const key = randomBytes(16).toString('base64');
    this.#accept = createHash('sha1').update(`${key}${GUID}`).digest('base64');
    this.#socket = connect(place);
    this.#socket.setNoDelay(true);
    this.#socket.on('data', chunk => this.#read(chunk));
    this.#socket.on('error', error => {
      this.#detail = error.message;
    });
    this.#socket.on('close', () => events.ended(this.#code, this.#detail));
    this.#socket.write(
      `GET /agent HTTP/1.1\r\nHost: ${place.host}:${place.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\nAuthorization: ${authorization}\r\n\r\n`,
    );
  }

  send(text: string): void {
    if (this.#isOpen && !this.#isClosing) this.#frame(OPCODE.text, Buffer.from(text));
  }

  /** Says goodbye; the socket is cut when the cloud does not answer. */
  close(code: number): void {
    if (!this.#isOpen || this.#isClosing) {
      this.terminate();
      return;
    }
    this.#isClosing = true;
    const body = Buffer.alloc(2);
    body.writeUInt16BE(code);
    this.#frame(OPCODE.close, body);
    this.#socket.setTimeout(CLOSE_DEADLINE_MS, () => this.#socket.destroy());
  }

  /** Gone without a word, as a modem goes. */
  terminate(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let got = this.#got === undefined ? chunk : Buffer.concat([this.#got, chunk]);
    this.#got = undefined;
    if (!this.#isOpen) {
      const head = readHead(got);
      if (head === 'more') this.#got = got;
      else if (head === 'bad') this.#fail('what came is no HTTP answer');
      else if (head.status !== 101) this.#readRefusal(got);
      else if (head.field('sec-websocket-accept') !== this.#accept) this.#fail('a wrong accept header');
      else {
        got = got.subarray(head.bytes);
        this.#isOpen = true;
        this.#events.opened();
      }
    }
    if (this.#isOpen) this.#readFrames(got);
  }

  #readRefusal(got: Buffer): void {
    const answer = readAnswer(got);
    if (answer === 'more') this.#got = got;
    else if (answer === 'bad') this.#fail('what came is no HTTP answer');
    else {
      this.#events.refused(answer);
      this.#socket.destroy();
    }
  }

  #readFrames(from: Buffer): void {
    let got = from;
    while (got.length > 0 && !this.#socket.destroyed) {
      const frame = readFrame(got);
      if (frame === 'more') {
        // A copy: a view would keep the whole buffer of the read.
        this.#got = Buffer.from(got);
        return;
      }
      if (frame === 'bad') {
        this.#fail('a frame that no cloud of ours sends');
        return;
      }
      got = got.subarray(frame.bytes);
      this.#take(frame.opcode, frame.body);
    }
  }

  #take(opcode: number, body: Buffer): void {
    if (opcode === OPCODE.text) {
      if (!this.#isClosing) this.#events.text(body.toString('utf8'));
    } else if (opcode === OPCODE.ping) this.#frame(OPCODE.pong, body);
    else if (opcode === OPCODE.close) {
      this.#code = body.length >= 2 ? body.readUInt16BE(0) : 1005;
      this.#detail = body.toString('utf8', 2);
      if (!this.#isClosing) this.#frame(OPCODE.close, body.subarray(0, 2));
      this.#socket.end();
      this.#socket.setTimeout(CLOSE_DEADLINE_MS, () => this.#socket.destroy());
    }
  }

  #fail(detail: string): void {
    this.#detail = detail;
    this.#socket.destroy();
  }

  #frame(opcode: number, body: Buffer): void {
    const { length } = body;
    const head = length < 126 ? 6 : length < 65_536 ? 8 : 14;
    const frame = Buffer.allocUnsafe(head + length);
    frame[0] = 0x80 | opcode;
    if (head === 6) frame[1] = 0x80 | length;
    else if (head === 8) {
      frame[1] = 0x80 | 126;
      frame.writeUInt16BE(length, 2);
    } else {
      frame[1] = 0x80 | 127;
      frame.writeBigUInt64BE(BigInt(length), 2);
    }
    frame.writeUInt32BE((Math.random() * 2 ** 32) >>> 0, head - 4);
    for (let i = 0; i < length; i += 1)
      frame[head + i] = (body[i] as number) ^ (frame[head - 4 + (i & 3)] as number);
    this.#socket.write(frame);
  }
}

/** One whole frame of a server: never masked, never in parts (the cloud splits no message). */
function readFrame(got: Buffer): { opcode: number; bytes: number; body: Buffer } | 'more' | 'bad' {
  if (got.length < 2) return 'more';
  const [first = 0, second = 0] = got;
  if ((first & 0xf0) !== 0x80 || (second & 0x80) !== 0) return 'bad';
  const short = second & 0x7f;
  const head = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (got.length < head) return 'more';
  const length = short < 126 ? short : short === 126 ? got.readUInt16BE(2) : Number(got.readBigUInt64BE(2));
  if (length > MAX_FRAME_BYTES) return 'bad';
  if (got.length < head + length) return 'more';
  return { opcode: first & 0x0f, bytes: head + length, body: got.subarray(head, head + length) };
}
