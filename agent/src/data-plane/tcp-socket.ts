/**
 * A TCP connection on a bare handle (tcp-handle.ts says why): reads into memory that all flows of a thread share,
 * is written to by kernel-write.ts, and tells what happens by the events of `net.Socket` (wire.ts). What it leaves
 * out is what costs: no stream state, no queue (one write may be under way, to learn when a full kernel has room).
 */
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { type LargeReader, type ReadMemory, SMALL, type View } from './read-memory';
import { type HandleRequest, rawTcp, type TcpHandle } from './tcp-handle';
import type { Wire } from './wire';

/** libuv's number for "the other side has ended"; it is no error of the system. */
const UV_EOF = -4095;

export interface TcpReader {
  /** Memory for the next read, as much of it as `view` allows. */
  memory: (view: View) => Uint8Array;
  /** Decides how long a view is; left out, it stays small. */
  views?: Pick<ReadMemory, 'longer' | 'shorter' | 'suitsShorter' | 'release'>;
  /** False stops reading until `resume`. Left out: "data" is emitted. */
  take?: (bytes: Buffer) => boolean;
}

/** The other end, as the system names it. */
export interface Peer {
  address?: string;
  port?: number;
}

export class TcpSocket extends EventEmitter implements Wire, LargeReader {
  destroyed = false;
  readableEnded = false;
  writableLength = 0;
  /** Descriptor while open, else -1. */
  fd: number;
  readonly #handle: TcpHandle;
  readonly #reader: TcpReader;
  #memory: Uint8Array;
  #view: View = SMALL;
  #slot: number | null = null;
  #reading = false;
  /** Not read from, whatever the owner wants. */
  #resting = false;
  #ending = false;
  #shutDown = false;
  #hadError = false;
  #peer: Peer | null;

  /** Takes over a connected handle. Nothing is read before `resume`. `peer`: the other end, where it is known. */
  constructor(handle: TcpHandle, reader: TcpReader, peer: Peer | null = null) {
    super();
    this.#peer = peer;
    this.#handle = handle;
    this.#reader = reader;
    this.#memory = reader.memory(SMALL);
    this.fd = handle.fd;
    handle.owner = this;
    handle.onread = onRead;
    handle.setNoDelay(true);
    handle.useUserBuffer(this.#memory);
  }

  /** The slot of the flow that it belongs to now. */
  get slot(): number | null {
    return this.#slot;
  }

  set slot(slot: number | null) {
    if (slot === this.#slot) return;
    this.#slot = slot;
    // It may have rested for the other one.
    this.wake();
  }

  get remoteAddress(): string | undefined {
    return this.#peerName().address;
  }

  /** Asked for seldom, so not kept. */
  get localAddress(): string | undefined {
    const name: { address?: string } = {};
    if (!this.destroyed) this.#handle.getsockname(name);
    return name.address;
  }

  get localPort(): number | undefined {
    const name: { port?: number } = {};
    if (!this.destroyed) this.#handle.getsockname(name);
    return name.port;
  }

  get remotePort(): number | undefined {
    return this.#peerName().port;
  }

  pause(): this {
    if (!this.#reading) return this;
    this.#reading = false;
    if (!this.destroyed && !this.#resting) this.#handle.readStop();
    return this;
  }

  resume(): this {
    if (this.#reading || this.destroyed || this.readableEnded) return this;
    this.#reading = true;
    if (!this.#resting) this.#readOn();
    return this;
  }

  rest(): void {
    if (this.#resting) return;
    this.#resting = true;
    if (this.#reading && !this.destroyed) this.#handle.readStop();
  }

  wake(): void {
    if (!this.#resting) return;
    this.#resting = false;
    if (this.#reading && !this.destroyed) this.#readOn();
  }

  #readOn(): void {
    const status = this.#handle.readStart();
    if (status !== 0) this.destroy(errorOf(status));
  }

  /** One at a time: the caller waits for `done`, which also comes when the socket is destroyed meanwhile. */
  write(bytes: Uint8Array, done: (error?: Error | null) => void): boolean {
    if (this.destroyed || !rawTcp) {
      process.nextTick(done, errorOf('EPIPE'));
      return false;
    }
    const request = rawTcp.writeRequest();
    request.buffer = bytes;
    request.oncomplete = status => this.#written(bytes.length, status, done);
    this.writableLength += bytes.length;
    const status = this.#handle.writeBuffer(request, bytes);
    // A write that is through already, or could not begin, calls back all the same, but not within this call.
    if (status !== 0 || !rawTcp.lastWriteIsPending())
      process.nextTick(() => this.#written(bytes.length, status, done));
    return false;
  }

  end(): this {
    if (this.#ending || this.destroyed) return this;
    this.#ending = true;
    if (this.writableLength === 0) this.#shut();
    return this;
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this;
    this.#dead(error);
    this.#handle.close(onClosed);
    return this;
  }

  resetAndDestroy(): this {
    if (this.destroyed) return this;
    this.#dead();
    // Refused while an end is on its way; then that end must do.
    if (this.#handle.reset(onClosed) !== 0) this.#handle.close(onClosed);
    return this;
  }

  /**
   * The same connection as a `net.Socket`, for what needs one (TLS); this one is of no use afterwards. `unread` is
   * what came already and the new owner is to see.
   */
  toNetSocket(unread: Uint8Array): Socket {
    this.pause();
    this.#peerName();
    this.destroyed = true;
    this.#reader.views?.release(this.#view, this);
    this.removeAllListeners();
    this.#handle.owner = null;
    const options = { handle: this.#handle, allowHalfOpen: true, manualStart: true };
    const socket = new Socket(options);
    if (unread.length > 0) socket.unshift(Buffer.from(unread));
    return socket;
  }

  /** Called when the handle is gone. */
  closed(): void {
    this.emit('close', this.#hadError);
  }

  /** Called by the handle. */
  read(length: number): Uint8Array | undefined {
    if (length === 0 || this.destroyed) return undefined;
    if (length < 0) {
      this.#reading = false;
      if (length === UV_EOF) this.#ended();
      else this.destroy(errorOf(length));
      return undefined;
    }
    const memory = this.#memory;
    const isFull = length === memory.length;
    const bytes =
      isFull && memory instanceof Buffer ? memory : Buffer.from(memory.buffer, memory.byteOffset, length);
    const { take } = this.#reader;
    if (!take) this.emit('data', bytes);
    else if (!take(bytes)) this.pause();
    if (this.destroyed) return undefined;
    this.#look(length, isFull);
    const next = this.#reader.memory(this.#view);
    if (next === memory) return undefined;
    this.#memory = next;
    return next;
  }

  /** Chooses the view of the next read. Whoever does not read on has a receiver that did not take everything. */
  #look(length: number, isFull: boolean): void {
    const { views } = this.#reader;
    if (!views) return;
    if (!this.#reading || views.suitsShorter(this.#view, length))
      this.#view = views.shorter(this.#view, this);
    else if (isFull) this.#view = views.longer(this.#view, length, this);
  }

  #ended(): void {
    this.readableEnded = true;
    this.#handle.readStop();
    this.emit('end');
    if (this.#shutDown) this.destroy();
  }

  #shut(): void {
    // With both directions over, closing says the end as well as a shutdown would, and nothing unread turns it
    // into a reset.
    if (this.readableEnded || !rawTcp) {
      this.destroy();
      return;
    }
    const request = rawTcp.shutdownRequest();
    request.owner = this;
    request.oncomplete = onShutDown;
    const status = this.#handle.shutdown(request);
    if (status < 0) this.destroy(errorOf(status));
  }

  /** Called when the other side can see the end. */
  shutDown(status: number): void {
    this.#shutDown = true;
    if (status !== 0) this.destroy(errorOf(status));
    else if (this.readableEnded) this.destroy();
  }

  #written(length: number, status: number, done: (error?: Error | null) => void): void {
    this.writableLength -= length;
    if (status !== 0) {
      const error = errorOf(status);
      done(error);
      this.destroy(error);
      return;
    }
    done();
    if (this.#ending && this.writableLength === 0 && !this.destroyed) this.#shut();
  }

  #dead(error?: Error): void {
    this.destroyed = true;
    this.fd = -1;
    this.#reading = false;
    this.#reader.views?.release(this.#view, this);
    if (!error) return;
    this.#hadError = true;
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }

  #peerName(): Peer {
    if (this.#peer) return this.#peer;
    this.#peer = {};
    if (!this.destroyed) this.#handle.getpeername(this.#peer);
    return this.#peer;
  }
}

function onClosed(this: TcpHandle): void {
  const socket = this.owner as TcpSocket;
  this.owner = null;
  socket.closed();
}

function onConnected(this: HandleRequest, status: number): void {
  const settle = this.owner as (status: number) => void;
  this.owner = null;
  settle(status);
}

function onShutDown(this: HandleRequest, status: number): void {
  const socket = this.owner as TcpSocket;
  this.owner = null;
  socket.shutDown(status);
}

function onRead(this: TcpHandle): Uint8Array | undefined {
  return (this.owner as TcpSocket).read(rawTcp?.lastRead() ?? 0);
}

/** An error with its code, from a negative errno or a code. */
function errorOf(status: number | string): Error {
  const code = typeof status === 'string' ? status : codeOfStatus(status);
  return Object.assign(new Error(code), { code });
}

/** The system's name of a negative errno: `ECONNREFUSED`. */
function codeOfStatus(status: number): string {
  return status === UV_EOF ? 'EOF' : getSystemErrorName(status);
}

export interface TcpTarget {
  /** An IPv4 or IPv6 literal. */
  address: string;
  port: number;
  /** To bind, of the same family; null lets the kernel choose. */
  localAddress: string | null;
}

/**
 * Connects. `settled` gets the socket, which does not read before `resume`, or the code of the error; it may be called
 * before this returns. The answer gives up, and `settled` is then not called. Throws when `rawTcp` is null.
 */
export function connectTcp(
  target: TcpTarget,
  reader: TcpReader,
  settled: (outcome: TcpSocket | string) => void,
): () => void {
  if (!rawTcp) throw new Error('bare handles are not to be had in this Node');
  const { address, port, localAddress } = target;
  const isV6 = address.includes(':');
  const handle = rawTcp.create();
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    handle.close();
  };
  const fail = (status: number) => {
    close();
    settled(codeOfStatus(status));
    return close;
  };
  if (localAddress !== null) {
    const status = isV6 ? handle.bind6(localAddress, 0, 0) : handle.bind(localAddress, 0);
    if (status !== 0) return fail(status);
  }
  const request = rawTcp.connectRequest();
  request.owner = (status: number) => {
    if (!open) return;
    if (status !== 0) {
      fail(status);
      return;
    }
    open = false;
    settled(new TcpSocket(handle, reader));
  };
  request.oncomplete = onConnected;
  const status = isV6 ? handle.connect6(request, address, port) : handle.connect(request, address, port);
  return status === 0 ? close : fail(status);
}
