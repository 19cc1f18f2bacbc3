/**
 * A modem behind a byte stream: a Unix socket, or libmbim's mbim-proxy on its abstract socket. Node before 22 (libuv
 * before 1.48) pads abstract names to their full length and so misses the proxy's; there a `socat` child carries the
 * bytes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { type MbimTransport, type TransportListener, WRITE_DEADLINE_MS } from './transport';

const CONNECT_DEADLINE_MS = 5_000;
const KILL_AFTER_MS = 1_000;
/** What a failing child says is one line. */
const MAX_SAID_CHARACTERS = 500;
const PROXY_NAME = 'mbim-proxy';

/** Connects to a Unix socket that speaks MBIM. Throws `mbim/no-device`. */
export async function connectUnixSocket(path: string, clock: Clock): Promise<MbimTransport> {
  const socket = connect({ path });
  try {
    await withDeadline(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      }),
      CONNECT_DEADLINE_MS,
      `connecting to ${shown(path)}`,
      clock,
    );
  } catch (error) {
    socket.destroy();
    throw new CodedError('mbim/no-device', `${shown(path)}: ${messageOf(error)}`, {
      retryable: true,
      cause: error,
    });
  }
  return new StreamTransport(shown(path), {
    clock,
    readable: socket,
    writable: socket,
    free: () => void socket.destroy(),
  });
}

export interface ProxyOptions {
  clock: Clock;
  /** Abstract name without its leading NUL. */
  socketName?: string;
  /** How to run socat; another namespace needs `['ip', 'netns', 'exec', name, 'socat']`. */
  socat?: readonly [string, ...string[]];
  /** Whether this Node can name the socket itself; by the version of libuv when left out. */
  direct?: boolean;
}

/** Connects to mbim-proxy; the device to open is told to it by the session. Throws `mbim/no-proxy`. */
export async function connectProxy(options: ProxyOptions): Promise<MbimTransport> {
  const name = options.socketName ?? PROXY_NAME;
  if (options.direct ?? canNameAbstractSockets(process.versions.uv)) {
    try {
      return await connectUnixSocket(`\0${name}`, options.clock);
    } catch (error) {
      throw noProxy(messageOf(error), error);
    }
  }
  const [command, ...before] = options.socat ?? ['socat'];
  const child = spawn(command, [...before, 'STDIO', `ABSTRACT-CONNECT:${name}`], { stdio: 'pipe' });
  let said = '';
  child.stderr.on('data', chunk => {
    said = `${said}${chunk}`.slice(0, MAX_SAID_CHARACTERS);
  });
  try {
    await withDeadline(
      new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      }),
      CONNECT_DEADLINE_MS,
      `starting ${command}`,
      options.clock,
    );
  } catch (error) {
    throw new CodedError('mbim/no-proxy', `${command}: ${messageOf(error)}`, {
      cause: error,
      userMessage: `mbim-proxy is reached through "${command}" on this version of Node, which cannot be started. Install it: apt-get install -y socat`,
    });
  }
  return new StreamTransport(`@${name}`, {
    clock: options.clock,
    readable: child.stdout,
    writable: child.stdin,
    free: () => endChild(child, options.clock),
    whyGone: () => said.trim(),
  });
}

/** True from libuv 1.48 on. */
export function canNameAbstractSockets(libuv: string | undefined): boolean {
  const [major = 0, minor = 0] = (libuv ?? '').split('.').map(Number);
  return major > 1 || (major === 1 && minor >= 48);
}

interface StreamParts {
  clock: Clock;
  readable: Readable;
  writable: Writable;
  free: () => void;
  whyGone?: () => string;
}

/** Not exported as a class of its own: the functions above are the ways to get one. */
class StreamTransport implements MbimTransport {
  readonly name: string;
  readonly #parts: StreamParts;
  #listener: TransportListener | undefined;
  #open = true;

  constructor(name: string, parts: StreamParts) {
    this.name = name;
    this.#parts = parts;
    // Listened to from the start: a stream that breaks before the session listens must not throw.
    for (const stream of new Set([parts.readable, parts.writable])) {
      stream.on('error', error => this.#lost(messageOf(error)));
      stream.on('close', () => this.#lost('closed by the other side'));
    }
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
    this.#parts.readable.on('data', (chunk: Buffer) => {
      if (this.#open) listener.bytes(chunk);
    });
    // What broke before anybody listened is told now.
    if (!this.#open) queueMicrotask(() => listener.gone(this.#reason('closed by the other side')));
  }

  expect(): void {
    // Streams tell by themselves.
  }

  async send(frame: Buffer): Promise<void> {
    if (!this.#open) throw new CodedError('mbim/gone', this.#reason('closed'), { retryable: true });
    try {
      await withDeadline(
        new Promise<void>((resolve, reject) => {
          this.#parts.writable.write(frame, error => (error ? reject(error) : resolve()));
        }),
        WRITE_DEADLINE_MS,
        `a write to ${this.name}`,
        this.#parts.clock,
      );
    } catch (error) {
      const stuck = error instanceof CodedError;
      throw new CodedError(stuck ? 'mbim/write-stuck' : 'mbim/gone', `${this.name}: ${messageOf(error)}`, {
        retryable: true,
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#parts.free();
  }

  #lost(why: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#parts.free();
    this.#listener?.gone(this.#reason(why));
  }

  #reason(why: string): string {
    const said = this.#parts.whyGone?.() ?? '';
    return `${this.name}: ${said === '' ? why : said}`;
  }
}

/** Its standard input ends, then it is told, then made to. */
function endChild(child: ChildProcess, clock: Clock): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  let killer: Timer | undefined;
  child.once('exit', () => killer?.cancel());
  child.kill('SIGTERM');
  killer = clock.after(KILL_AFTER_MS, () => child.kill('SIGKILL'));
}

/** `mbim/no-proxy`, with what a person can do. */
export function noProxy(why: string, cause: unknown): CodedError {
  return new CodedError('mbim/no-proxy', `mbim-proxy: ${why}`, {
    retryable: true,
    cause,
    userMessage: 'mbim-proxy does not answer. It runs while ModemManager or mbimcli -p uses a modem.',
  });
}

function shown(path: string): string {
  return path.startsWith('\0') ? `@${path.slice(1)}` : path;
}
