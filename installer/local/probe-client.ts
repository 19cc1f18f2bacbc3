/**
 * A proxy client of its own for `--once`: SOCKS5, HTTP CONNECT and absolute form, written from the RFCs and counting
 * every payload byte it sends and receives. It shares no code with the agent's codecs, so that a mistake there cannot
 * hide in both.
 */
import { connect, type Socket } from 'node:net';
import { CodedError } from '@mastline/shared/base/coded-error';

export type Form = 'socks5' | 'http connect' | 'http absolute';

export interface ProbeTarget {
  form: Form;
  proxy: { host: string; port: number };
  username: string;
  secret: string;
  /** The bundled origin. */
  origin: { host: string; port: number };
}

export interface ProbeResult {
  /** Address the origin saw. */
  exitAddress: string;
  /** Payload bytes as `shared/domain/usage.ts` defines them, counted at the ends of the flow. */
  upBytes: number;
  downBytes: number;
}

const DEADLINE_MS = 15_000;

/** One request through one endpoint. Throws `once/…` with what the proxy or the origin answered. */
export async function probe(target: ProbeTarget): Promise<ProbeResult> {
  const socket = connect({ host: target.proxy.host, port: target.proxy.port });
  const timer = setTimeout(
    () => socket.destroy(new CodedError('once/deadline', `no answer after ${DEADLINE_MS} ms`)),
    DEADLINE_MS,
  );
  const reader = new Reader(socket);
  try {
    await once(socket);
    return target.form === 'http absolute'
      ? await absolute(target, socket, reader)
      : await tunnelled(target, socket, reader);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function tunnelled(target: ProbeTarget, socket: Socket, reader: Reader): Promise<ProbeResult> {
  if (target.form === 'socks5') await openSocks5(target, socket, reader);
  else await openConnect(target, socket, reader);
  const { host, port } = target.origin;
  const request = Buffer.from(
    `GET /ip HTTP/1.1\r\nHost: ${host}:${port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n`,
  );
  socket.write(request);
  const response = await reader.toEnd();
  return { exitAddress: originAnswer(response).address, upBytes: request.length, downBytes: response.length };
}

/** In absolute form the proxy rewrites the request's head: only the origin can say how many bytes reached it. */
async function absolute(target: ProbeTarget, socket: Socket, reader: Reader): Promise<ProbeResult> {
  const { host, port } = target.origin;
  socket.write(
    `GET http://${host}:${port}/ip HTTP/1.1\r\nHost: ${host}:${port}\r\nAccept: application/json\r\n` +
      `Proxy-Authorization: Basic ${basic(target)}\r\nConnection: close\r\n\r\n`,
  );
  const response = await reader.toEnd();
  const answer = originAnswer(response);
  return { exitAddress: answer.address, upBytes: answer.requestBytes, downBytes: response.length };
}

/** RFC 1928 sections 3 and 4, RFC 1929 section 2. */
async function openSocks5(target: ProbeTarget, socket: Socket, reader: Reader): Promise<void> {
  socket.write(Buffer.from([5, 1, 2]));
  const method = await reader.take(2);
  if (method[0] !== 5 || method[1] !== 2)
    throw new CodedError('once/socks5', `the proxy chose method ${method[1]} instead of user and password`);
  const user = Buffer.from(target.username);
  const password = Buffer.from(target.secret);
  socket.write(
    Buffer.concat([Buffer.from([1, user.length]), user, Buffer.from([password.length]), password]),
  );
  const granted = await reader.take(2);
  if (granted[1] !== 0) throw new CodedError('once/socks5', 'the proxy refused user and password');
  const name = Buffer.from(target.origin.host);
  const port = Buffer.alloc(2);
  port.writeUInt16BE(target.origin.port);
  socket.write(Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), name, port]));
  const reply = await reader.take(4);
  if (reply[1] !== 0) throw new CodedError('once/socks5', `the proxy answered with reply code ${reply[1]}`);
  await reader.take((reply[3] === 4 ? 16 : 4) + 2);
}

async function openConnect(target: ProbeTarget, socket: Socket, reader: Reader): Promise<void> {
  const authority = `${target.origin.host}:${target.origin.port}`;
  socket.write(
    `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: Basic ${basic(target)}\r\n\r\n`,
  );
  const head = (await reader.through('\r\n\r\n')).toString('latin1');
  if (!/^HTTP\/1\.[01] 200 /.test(head))
    throw new CodedError('once/connect', `the proxy answered "${head.split('\r\n')[0]}"`);
}

const basic = (target: ProbeTarget) => Buffer.from(`${target.username}:${target.secret}`).toString('base64');

function originAnswer(response: Buffer): { address: string; requestBytes: number } {
  const text = response.toString('utf8');
  const end = text.indexOf('\r\n\r\n');
  if (!/^HTTP\/1\.1 200 /.test(text) || end < 0)
    throw new CodedError('once/origin', `the answer was "${text.split('\r\n')[0]}"`);
  const body: unknown = JSON.parse(text.slice(end + 4));
  if (typeof body !== 'object' || body === null || !('ip' in body) || !('bytesReceived' in body))
    throw new CodedError('once/origin', 'the origin did not say which address it saw');
  return { address: String(body.ip), requestBytes: Number(body.bytesReceived) };
}

function once(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
}

/** Reads a socket by demand. Bytes that come early wait here; the answers are small. */
class Reader {
  #held = Buffer.alloc(0);
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    socket.on('data', chunk => {
      this.#held = Buffer.concat([this.#held, chunk]);
      this.#wake?.();
    });
    socket.on('error', error => {
      this.#error = error;
      this.#wake?.();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  async take(count: number): Promise<Buffer> {
    await this.#until(() => this.#held.length >= count);
    return this.#cut(count);
  }

  async through(mark: string): Promise<Buffer> {
    await this.#until(() => this.#held.includes(mark));
    return this.#cut(this.#held.indexOf(mark) + mark.length);
  }

  async toEnd(): Promise<Buffer> {
    while (!this.#ended && !this.#error) await this.#more();
    if (this.#error) throw this.#error;
    return this.#cut(this.#held.length);
  }

  #cut(count: number): Buffer {
    const part = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    return part;
  }

  async #until(ready: () => boolean): Promise<void> {
    while (!ready()) {
      if (this.#error) throw this.#error;
      if (this.#ended) throw new CodedError('once/closed', 'the proxy closed the connection');
      await this.#more();
    }
  }

  #more(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }
}
