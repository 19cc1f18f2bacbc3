/**
 * The way out of one direction of a flow: window → kernel → meter. Bytes are written the moment they come and
 * counted by what the kernel took. When the kernel is full or the slot waits for the disk, the rest is copied and
 * the caller stops reading until `drained`; so a slow reader costs at most one read's worth of memory.
 *
 * To learn when a full socket takes bytes again, a few of them are given to its stream, whose callback tells. They
 * hold their share of the window while they wait, hence few: thousands of stalled flows must not fill a slot.
 */
import { holdMemory } from './hold-memory';
import { writeNow } from './kernel-write';
import type { WindowWaiter } from './meter';
import type { Wire } from './wire';

/** Given to the stream to be told when the kernel has room again. */
const PROBE_BYTES = 256;
/** The same where the stream is the only way to write (TLS): each piece should fill a record. */
const STREAM_PIECE_BYTES = 16 * 1024;

export type Direction = 'up' | 'down';

/** What an outlet asks for leave and counts into: an account (meter.ts), or one seen through a cipher (sealed-outlet.ts). */
export interface Purse {
  take(want: number): number;
  giveBack(bytes: number): void;
  countUp(bytes: number): void;
  countDown(bytes: number): void;
  wait(waiter: WindowWaiter): void;
  stopWaiting(waiter: WindowWaiter): void;
}

/** A way out as its users see it, whether bytes pass as they are or sealed. */
export interface Way {
  account: Purse | null;
  readonly idle: boolean;
  readonly finishing: boolean;
  /** Billable bytes that the kernel has taken since the beginning. */
  readonly carried: number;
  send(bytes: Buffer, billable?: boolean): boolean;
  finish(): void;
  close(): void;
}

interface Held {
  /** What is left of it, within `memory`. */
  bytes: Buffer;
  memory: Buffer;
  billable: boolean;
}

export class Outlet implements Way, WindowWaiter {
  /** Whose bytes these are; changed only while nothing is held. Null as long as only our own answers are sent. */
  account: Purse | null = null;
  carried = 0;
  readonly #socket: Wire;
  readonly #direction: Direction;
  readonly #onDrained: () => void;
  readonly #onBroken: () => void;
  readonly #held: Held[] = [];
  #pieceBytes = PROBE_BYTES;
  #inStream = false;
  /** The last write stopped for want of leave (the window, a limit), not of room in the kernel. */
  #short = false;
  #finishing = false;
  #closed = false;

  /** `drained`: everything held is gone, read on. `broken`: the receiver is gone, nothing more can be sent. */
  constructor(socket: Wire, direction: Direction, on: { drained: () => void; broken: () => void }) {
    this.#socket = socket;
    this.#direction = direction;
    this.#onDrained = on.drained;
    this.#onBroken = on.broken;
  }

  get idle(): boolean {
    return this.#held.length === 0 && !this.#inStream;
  }

  /** `finish` was called: the last byte is followed by an end. */
  get finishing(): boolean {
    return this.#finishing;
  }

  /**
   * Sends `bytes`, which only need to stay valid during the call. False: something is held, stop reading until
   * `drained`. Not billable are our own answers.
   */
  send(bytes: Buffer, billable = true): boolean {
    if (this.#closed) return false;
    const sent = this.idle ? this.#write(bytes, billable) : 0;
    if (sent === bytes.length) return true;
    if (this.#closed) return false;
    const left = bytes.length - sent;
    const memory = holdMemory.take(left);
    bytes.copy(memory, 0, sent);
    this.#held.push({ bytes: memory.subarray(0, left), memory, billable });
    if (this.#held.length === 1 && !this.#inStream) this.#awaitRoom();
    return false;
  }

  /** Half-closes the socket behind what is held. */
  finish(): void {
    if (this.#finishing) return;
    this.#finishing = true;
    if (this.idle && !this.#closed) this.#socket.end();
  }

  /** The flow is over: what is held is dropped and was never counted. */
  close(): void {
    this.#closed = true;
    // What the stream has is not ours to use again before it lets go of it, which nobody waits for.
    if (this.#inStream) this.#held.shift();
    while (this.#held.length > 0) this.#dropFirst();
    this.account?.stopWaiting(this);
  }

  /** Goes on with what is held; called when the kernel or the window has room. */
  pump(): void {
    while (!this.#closed && !this.#inStream) {
      const first = this.#held[0];
      if (!first) {
        if (this.#finishing) this.#socket.end();
        else this.#onDrained();
        return;
      }
      const sent = this.#write(first.bytes, first.billable);
      if (sent < first.bytes.length) {
        first.bytes = first.bytes.subarray(sent);
        if (!this.#closed) this.#awaitRoom();
        return;
      }
      this.#dropFirst();
    }
  }

  /** Writes as much as window and kernel take now. */
  #write(bytes: Buffer, billable: boolean): number {
    // Bytes of a handshake answer may still be in the stream: ours must not overtake them.
    this.#short = false;
    if (this.#socket.writableLength > 0) return 0;
    const granted = billable ? this.#take(bytes.length) : bytes.length;
    this.#short = granted < bytes.length;
    if (granted === 0) return 0;
    const written = writeNow(this.#socket, granted === bytes.length ? bytes : bytes.subarray(0, granted));
    if (written !== granted) this.#short = false;
    if (typeof written === 'number') {
      if (billable) this.#count(written, granted);
      return written;
    }
    if (billable) this.account?.giveBack(granted);
    if (written === 'unsupported') this.#pieceBytes = STREAM_PIECE_BYTES;
    else this.#break();
    return 0;
  }

  /** Arranges for `pump` to be called when there is room. */
  #awaitRoom(): void {
    const first = this.#held[0];
    if (!first) return;
    // Where leave was short the kernel need not be asked: whoever gives leave calls `pump`.
    if (this.#short && this.account) {
      this.account.wait(this);
      return;
    }
    const want = Math.min(first.bytes.length, this.#pieceBytes);
    const granted = first.billable ? this.#take(want) : want;
    if (granted === 0) {
      this.account?.wait(this);
      return;
    }
    this.#inStream = true;
    this.#socket.write(first.bytes.subarray(0, granted), error => {
      this.#inStream = false;
      // A write that was pending when its socket was destroyed calls back without an error: it was not carried.
      const carried = !error && !this.#closed && !this.#socket.destroyed;
      if (first.billable) this.#count(carried ? granted : 0, granted);
      if (!carried) return;
      if (granted === first.bytes.length) this.#dropFirst();
      else first.bytes = first.bytes.subarray(granted);
      this.pump();
    });
  }

  #dropFirst(): void {
    const first = this.#held.shift();
    if (first) holdMemory.giveBack(first.memory);
  }

  #take(want: number): number {
    return this.account ? this.account.take(want) : 0;
  }

  #count(written: number, granted: number): void {
    const account = this.account;
    if (!account) return;
    account.giveBack(granted - written);
    if (written === 0) return;
    this.carried += written;
    if (this.#direction === 'up') account.countUp(written);
    else account.countDown(written);
  }

  #break(): void {
    this.close();
    this.#onBroken();
  }
}
