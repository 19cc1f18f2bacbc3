/**
 * THE FAST PATH'S ONE SECRET, kept in this file: Node's own TCP handles, as `net` uses them, without the streams on
 * top. Everything else of the data plane sees sockets (wire.ts) and does not know which kind it has.
 *
 * Why: measured on Node 20, connect + 1 byte + close through two `net.Socket`s costs 2.6 times the CPU of the same
 * through two handles, and a download 1.8 times: two Duplex streams with their states, ticks and events are most of
 * what a proxied connection costs. And accepted sockets have no documented `onread`, so each of their reads would
 * allocate 64 KiB.
 *
 * What is undocumented: `process.binding('tcp_wrap')` and `('stream_wrap')` (deprecated in the documentation only,
 * DEP0111; there since 0.x), and `server._handle.onconnection`. Shapes are checked when the file is loaded; where one
 * is missing, `rawTcp` is null and plain `net` serves, slower and otherwise the same (the tests run both ways).
 * MASTLINE_PLAIN_SOCKETS=1 chooses that too.
 */
import type { Server } from 'node:net';

/** A request that libuv carries out; `oncomplete` gets a negative errno, or 0. */
export interface HandleRequest {
  oncomplete: (this: HandleRequest, status: number) => void;
  /** Ours: whom to tell. Null once told, as with a handle's owner. */
  owner?: unknown;
  buffer?: Uint8Array;
}

export interface TcpHandle {
  readonly fd: number;
  /** Called after each read; how much came is `rawTcp.lastRead()`. What it returns is the memory of the next read. */
  onread: (this: TcpHandle) => Uint8Array | undefined;
  /** Ours: whoever the handle belongs to; null once it is closed. So callbacks need no closure for each connection. */
  owner?: unknown;
  useUserBuffer(memory: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: HandleRequest, bytes: Uint8Array): number;
  shutdown(request: HandleRequest): number;
  setNoDelay(on: boolean): number;
  bind(address: string, port: number): number;
  bind6(address: string, port: number, flags: number): number;
  connect(request: HandleRequest, address: string, port: number): number;
  connect6(request: HandleRequest, address: string, port: number): number;
  getpeername(into: { address?: string; port?: number }): number;
  getsockname(into: { address?: string; port?: number }): number;
  close(done?: (this: TcpHandle) => void): void;
  reset(done?: (this: TcpHandle) => void): number;
}

export interface RawTcp {
  create(): TcpHandle;
  connectRequest(): HandleRequest;
  writeRequest(): HandleRequest;
  shutdownRequest(): HandleRequest;
  /** Bytes of the read that `onread` is told of, or a negative errno (-4095 is the end). */
  lastRead(): number;
  /** Whether the last `writeBuffer` is still under way. */
  lastWriteIsPending(): boolean;
}

const METHODS = [
  'useUserBuffer',
  'readStart',
  'readStop',
  'writeBuffer',
  'shutdown',
  'setNoDelay',
  'bind',
  'bind6',
  'connect',
  'connect6',
  'getpeername',
  'getsockname',
  'close',
  'reset',
] as const;

export const rawTcp: RawTcp | null = process.env.MASTLINE_PLAIN_SOCKETS === '1' ? null : findRawTcp();

function findRawTcp(): RawTcp | null {
  const tcp = bindingOf('tcp_wrap');
  const stream = bindingOf('stream_wrap');
  if (!tcp || !stream) return null;
  const { TCP, TCPConnectWrap, constants } = tcp;
  const { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = stream;
  if (!isClass<TcpHandle>(TCP) || !isClass<HandleRequest>(TCPConnectWrap)) return null;
  if (!isClass<HandleRequest>(WriteWrap) || !isClass<HandleRequest>(ShutdownWrap)) return null;
  if (!(streamBaseState instanceof Int32Array)) return null;
  if (typeof kReadBytesOrError !== 'number' || typeof kLastWriteWasAsync !== 'number') return null;
  const kind = (constants as { SOCKET?: unknown } | undefined)?.SOCKET;
  if (typeof kind !== 'number' || !METHODS.every(name => typeof TCP.prototype[name] === 'function'))
    return null;
  return {
    create: () => new TCP(kind),
    connectRequest: () => new TCPConnectWrap(),
    writeRequest: () => new WriteWrap(),
    shutdownRequest: () => new ShutdownWrap(),
    lastRead: () => streamBaseState[kReadBytesOrError] ?? 0,
    lastWriteIsPending: () => streamBaseState[kLastWriteWasAsync] !== 0,
  };
}

function bindingOf(name: string): Record<string, unknown> | null {
  const { binding } = process as unknown as { binding?: (name: string) => Record<string, unknown> };
  try {
    return typeof binding === 'function' ? binding.call(process, name) : null;
  } catch {
    // No such binding in this Node: plain sockets are the answer, not a fault.
    return null;
  }
}

type Class<T> = { new (kind?: number): T; prototype: Record<string, unknown> };

function isClass<T>(value: unknown): value is Class<T> {
  return typeof value === 'function' && typeof value.prototype === 'object';
}

/**
 * Hands every connection of a listening `server` on as a bare handle instead of as a `net.Socket`; `noDelay` says
 * whether its small writes go out at once already. `backlog`: what the port was opened with. False when that cannot be
 * done; the server's "connection" event then goes on as ever. An accept that fails loses its connection.
 */
export function takeHandles(
  server: Server,
  backlog: number,
  accepted: (handle: TcpHandle, noDelay: boolean) => void,
): boolean {
  const listening: unknown = '_handle' in server ? server._handle : null;
  if (!rawTcp || typeof listening !== 'object' || listening === null || !('onconnection' in listening))
    return false;
  const isInherited = inheritsNoDelay(listening);
  // Those that the kernel completed before the port had the option, which are the first to be accepted.
  let without = backlog + 1;
  listening.onconnection = (status: number, handle: TcpHandle | undefined) => {
    if (status !== 0 || !handle) return;
    if (without > 0) without -= 1;
    accepted(handle, isInherited && without === 0);
  };
  return true;
}

/** Gives a port TCP_NODELAY; whether its connections have it then. Linux makes them as copies of the port. */
function inheritsNoDelay(listening: object): boolean {
  if (process.platform !== 'linux' || !('setNoDelay' in listening)) return false;
  const { setNoDelay } = listening;
  return typeof setNoDelay === 'function' && setNoDelay.call(listening, true) === 0;
}
