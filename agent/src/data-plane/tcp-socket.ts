/**
 * A TCP connection on a bare handle (tcp-handle.ts says why): reads into memory that all flows of a thread share,
 * is written to by kernel-write.ts, and tells its owner what happens (wire.ts); the events of `net.Socket` are there
 * for who asks for them. What it leaves out is what costs: no stream state, no queue (one write may be under way, to
 * learn when a full kernel has room), no emitter and no callback of libuv's that nobody waits for.
 */
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { type LargeReader, type ReadMemory, SMALL, type View } from './read-memory';
import { ShortViews } from './short-views';
import { errorOf, UV_EOF } from './system-error';
import { type HandleRequest, rawTcp, type TcpHandle } from './tcp-handle';
import type { Wire, WireEvent, WireOwner } from './wire';
import { closedWithin, enter, leave } from './within-callback';

export interface TcpReader {
  /** Memory for the next read, as much of it as `view` allows. Asked before each, so it may change with the flow's pace. */
  memory(view: View): Uint8Array;
  /** Decides how long a view is; left out, it stays small. */
  views?: Pick<ReadMemory, 'longer' | 'shorter' | 'suitsShorter' | 'release'>;
  /** Gets what was read, valid during the call only. False stops reading until `resume`. Left out: the owner gets it. */
  take?(bytes: Buffer): boolean;
}

/** The other end, as the system names it. */
export interface Peer {
  address?: string;
  port?: number;
}

/** How a handle comes to its socket. */
export interface TcpBeginning {
  /** The other end, where it is known. */
  peer?: Peer;
  /** Small writes go out at once, whatever is under way. Else it is seen to where it would matter. */
  noDelay?: boolean;
  /** The handle reads already. */
  reads?: boolean;
}

/** What fits into one segment by any rule of TCP (RFC 9293 section 3.7.1): Nagle's algorithm does not delay it alone. */
const ONE_SEGMENT = 536;

/** Views of short reads, shared by all connections of the thread as the memory behind them is. */
const shortViews = new ShortViews();

export class TcpSocket implements Wire, LargeReader {
  /** Is told what happens. Null for one that nobody needs to hear of any more: then closing costs no callback. */
  owner: WireOwner | null = null;
  destroyed = false;
  readableEnded = false;
  writableLength = 0;
  /** Descriptor while open, else -1. */
  fd: number;
  readonly #handle: TcpHandle;
  readonly #reader: TcpReader;
  /** Made for who asks for events. */
  #events: EventEmitter | null = null;
  #memory: Uint8Array;
  #view: View = SMALL;
  #slot: number | null = null;
  /** The owner wants to read. */
  #reading = false;
  /** The handle reads. */
  #started: boolean;
  /** The kernel may hold a small write back behind another one (Nagle). */
  #delays: boolean;
  #wrote = false;
  /** Not read from, whatever the owner wants. */
  #resting = false;
  #ending = false;
  #shutDown = false;
  #hadError = false;
  #peer: Peer | null;

  /** Takes over a connected handle. Nothing is read before `resume`. */
  constructor(handle: TcpHandle, reader: TcpReader, { peer, noDelay, reads }: TcpBeginning = {}) {
    this.#peer = peer ?? null;
    this.#delays = noDelay !== true;
    this.#started = reads === true;
    this.#handle = handle;
    this.#reader = reader;
    this.#memory = reader.memory(SMALL);
    this.fd = handle.fd;
    handle.owner = this;
    handle.onread = onRead;
    handle.useUserBuffer(this.#memory);
  }

  /** Events of wire.ts, for who is not the owner. */
  on(event: WireEvent, listener: (...args: never[]) => void): this {
    this.#events ??= new EventEmitter();
    this.#events.on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  once(event: WireEvent, listener: (...args: never[]) => void): this {
    this.#events ??= new EventEmitter();
    this.#events.once(event, listener as (...args: unknown[]) => void);
    return this;
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
    this.#readAsWanted();
    return this;
  }

  resume(): this {
    if (this.#reading || this.destroyed || this.readableEnded) return this;
    this.#reading = true;
    this.#readAsWanted();
    return this;
  }

  rest(): void {
    if (this.#resting) return;
    this.#resting = true;
    this.#readAsWanted();
  }

  wake(): void {
    if (!this.#resting) return;
    this.#resting = false;
    this.#readAsWanted();
  }

  /** Starts or stops the handle's reading, where it is not as it should be. */
  #readAsWanted(): void {
    const wanted = this.#reading && !this.#resting;
    if (wanted === this.#started || this.destroyed || this.readableEnded) return;
    this.#started = wanted;
    if (!wanted) {
      this.#handle.readStop();
      return;
    }
    const status = this.#handle.readStart();
    if (status !== 0) this.destroy(errorOf(status));
  }

  /** Called with a handle that reads already, when its owner has had the chance to want that. */
  begun(): void {
    this.#readAsWanted();
  }

  /**
   * To be called before each write past this object, of so many bytes. The first goes out at once if it fits one
   * segment; from the second on the kernel is told not to hold small ones back. So a flow that only asks once is
   * spared the system call.
   */
  willWrite(length: number): void {
    if (this.#delays && (this.#wrote || length > ONE_SEGMENT)) {
      this.#delays = false;
      this.#handle.setNoDelay(true);
    }
    this.#wrote = true;
  }

  /** One at a time: the caller waits for `done`, which also comes when the socket is destroyed meanwhile. */
  write(bytes: Uint8Array, done: (error?: Error | null) => void): boolean {
    if (this.destroyed || !rawTcp) {
      process.nextTick(done, errorOf('EPIPE'));
      return false;
    }
    this.willWrite(bytes.length);
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
    this.#handle.close(this.#toldWhenClosed());
    return this;
  }

  resetAndDestroy(): this {
    if (this.destroyed) return this;
    this.#dead();
    // Refused while an end is on its way; then that end must do.
    const told = this.#toldWhenClosed();
    if (this.#handle.reset(told) !== 0) this.#handle.close(told);
    return this;
  }

  /**
   * How whoever listens hears of the close: at the end of the callback that we are in, if any, else by libuv.
   */
  #toldWhenClosed(): ((this: TcpHandle) => void) | undefined {
    if (!this.owner && !this.#events) return undefined;
    return closedWithin(this) ? undefined : onClosed;
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
    this.owner = null;
    this.#events = null;
    this.#handle.owner = null;
    const options = { handle: this.#handle, allowHalfOpen: true, manualStart: true };
    const socket = new Socket(options);
    if (unread.length > 0) socket.unshift(Buffer.from(unread));
    return socket;
  }

  /** Called when it is destroyed and whoever did that has returned. */
  closed(): void {
    this.owner?.wireClosed(this.#hadError);
    this.#events?.emit('close', this.#hadError);
  }

  /** Called by the handle. */
  read(length: number): Uint8Array | undefined {
    if (length === 0 || this.destroyed) return undefined;
    if (length < 0) {
      this.#reading = false;
      this.#started = false;
      if (length === UV_EOF) this.#ended();
      else this.destroy(errorOf(length));
      return undefined;
    }
    const memory = this.#memory;
    const isFull = length === memory.length;
    const bytes = isFull && memory instanceof Buffer ? memory : shortViews.of(memory, length);
    const reader = this.#reader;
    if (!reader.take) this.#tellData(bytes);
    else if (!reader.take(bytes)) this.pause();
    if (this.destroyed) return undefined;
    this.#look(length, isFull);
    const next = this.#reader.memory(this.#view);
    if (next === memory) return undefined;
    this.#memory = next;
    return next;
  }

  #tellData(bytes: Buffer): void {
    this.owner?.wireData?.(bytes);
    this.#events?.emit('data', bytes);
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
    this.owner?.wireEnded();
    this.#events?.emit('end');
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
    if (this.#events && this.#events.listenerCount('error') > 0) this.#events.emit('error', error);
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

function onShutDown(this: HandleRequest, status: number): void {
  const socket = this.owner as TcpSocket;
  this.owner = null;
  enter();
  try {
    socket.shutDown(status);
  } finally {
    leave();
  }
}

function onRead(this: TcpHandle): Uint8Array | undefined {
  enter();
  try {
    return (this.owner as TcpSocket).read(rawTcp?.lastRead() ?? 0);
  } finally {
    leave();
  }
}
