/**
 * An outlet (outlet.ts) whose bytes are sealed on their way: Shadowsocks toward a client, or toward a hop of a chain.
 * What is sent is plaintext, what the kernel takes is sealed, and the bill is about plaintext: `SealedPurse` converts
 * between the two, exactly, also where a write ends within a chunk.
 *
 * Only one piece is sealed at a time, since its map of plaintext to wire holds until the next. What comes meanwhile
 * waits as plaintext; senders stop when they are told to, so that this is at most what they had in hand.
 */
import type { WindowWaiter } from './meter';
import { type Direction, Outlet, type Purse, type Way } from './outlet';
import { ShortViews } from './short-views';
import type { Wire } from './wire';

/** Seals plaintext; shared/protocols/shadowsocks/stream.ts explains the three. */
export interface Sealing {
  bound(plainBytes: number): number;
  seal(plain: Buffer, out: Buffer): number;
  payloadWithin(sealedBytes: number): number;
}

/** Memory that is free again when the call that asked for it returns. */
export type SealMemory = (bytes: number) => Buffer;

const EMPTY = Buffer.alloc(0);
/** Views of short sealed pieces, shared by all outlets of the thread as the memory behind them mostly is. */
const shortViews = new ShortViews();

export class SealedOutlet implements Way {
  readonly #inner: Outlet;
  readonly #sealing: Sealing;
  readonly #memory: SealMemory;
  readonly #onDrained: () => void;
  readonly #waiting: { bytes: Buffer; billable: boolean }[] = [];
  #purse: SealedPurse | null = null;
  /** Of purses before this one. */
  #carriedBefore = 0;
  #finishing = false;
  #closed = false;

  constructor(
    to: { socket: Wire; direction: Direction; sealing: Sealing; memory: SealMemory },
    on: { drained: () => void; broken: () => void },
  ) {
    this.#sealing = to.sealing;
    this.#memory = to.memory;
    this.#onDrained = on.drained;
    this.#inner = new Outlet(to.socket, to.direction, {
      drained: () => this.#goOn(),
      broken: () => {
        this.close();
        on.broken();
      },
    });
  }

  set account(account: Purse | null) {
    this.#carriedBefore = this.carried;
    this.#purse = account && new SealedPurse(account, this.#sealing);
    this.#inner.account = this.#purse;
  }

  get account(): Purse | null {
    return this.#purse;
  }

  /** Plaintext. */
  get carried(): number {
    return this.#carriedBefore + (this.#purse?.carried ?? 0);
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#inner.idle;
  }

  get finishing(): boolean {
    return this.#finishing;
  }

  send(bytes: Buffer, billable = true): boolean {
    if (this.#closed) return false;
    if (this.idle) return this.#seal(bytes, billable);
    this.#waiting.push({ bytes: Buffer.from(bytes), billable });
    return false;
  }

  /** Sends the stream's head without waiting for a first byte: the target may be the one that speaks first. */
  begin(): void {
    this.send(EMPTY, false);
  }

  finish(): void {
    this.#finishing = true;
    if (this.#waiting.length === 0) this.#inner.finish();
  }

  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#inner.close();
  }

  #seal(bytes: Buffer, billable: boolean): boolean {
    const out = this.#memory(this.#sealing.bound(bytes.length));
    const sealed = this.#sealing.seal(bytes, out);
    this.#purse?.begin();
    return this.#inner.send(shortViews.of(out, sealed), billable);
  }

  #goOn(): void {
    let sent = true;
    while (sent && this.#waiting.length > 0) {
      const next = this.#waiting.shift();
      if (next) sent = this.#seal(next.bytes, next.billable);
    }
    if (this.#waiting.length > 0) return;
    if (this.#finishing) this.#inner.finish();
    else if (sent) this.#onDrained();
  }
}

/** An account as an outlet of sealed bytes sees it: asked about wire bytes, it takes and counts their plaintext. */
class SealedPurse implements Purse {
  readonly #account: Purse;
  readonly #sealing: Sealing;
  /** Wire bytes of the piece that the kernel has, and the plaintext in them. */
  #sent = 0;
  #counted = 0;
  #grantedWire = 0;
  #grantedPayload = 0;
  carried = 0;

  constructor(account: Purse, sealing: Sealing) {
    this.#account = account;
    this.#sealing = sealing;
  }

  /** A new piece was sealed. */
  begin(): void {
    this.#sent = 0;
    this.#counted = 0;
  }

  take(want: number): number {
    const payload = this.#payloadIn(want);
    const got = payload === 0 ? 0 : this.#account.take(payload);
    this.#grantedPayload = got;
    this.#grantedWire = got === payload ? want : this.#wireFor(want, got);
    return this.#grantedWire;
  }

  giveBack(wire: number): void {
    const kept = this.#grantedWire - wire;
    const payload = this.#payloadIn(kept);
    this.#account.giveBack(this.#grantedPayload - payload);
    this.#grantedWire = kept;
    this.#grantedPayload = payload;
  }

  countUp(wire: number): void {
    const payload = this.#advance(wire);
    if (payload > 0) this.#account.countUp(payload);
  }

  countDown(wire: number): void {
    const payload = this.#advance(wire);
    if (payload > 0) this.#account.countDown(payload);
  }

  wait(waiter: WindowWaiter): void {
    this.#account.wait(waiter);
  }

  stopWaiting(waiter: WindowWaiter): void {
    this.#account.stopWaiting(waiter);
  }

  #advance(wire: number): number {
    const payload = this.#payloadIn(wire);
    this.#sent += wire;
    this.#counted += payload;
    this.carried += payload;
    return payload;
  }

  /** Plaintext in the next `wire` bytes. */
  #payloadIn(wire: number): number {
    return this.#sealing.payloadWithin(this.#sent + wire) - this.#counted;
  }

  /** The most of the next `want` wire bytes that hold no more than `payload` of plaintext. */
  #wireFor(want: number, payload: number): number {
    let low = 0;
    let high = want;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#payloadIn(middle) <= payload) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Several layers of sealing as one; the first layer gets the plaintext, the last makes what is sent. */
export class SealStack implements Sealing {
  readonly #layers: readonly Sealing[];
  readonly #memories: readonly [SealMemory, SealMemory];

  /** Layers alternate between the two memories; the caller's `out` must be neither. */
  constructor(layers: readonly Sealing[], memories: readonly [SealMemory, SealMemory]) {
    this.#layers = layers;
    this.#memories = memories;
  }

  bound(plainBytes: number): number {
    return this.#layers.reduce((bytes, layer) => layer.bound(bytes), plainBytes);
  }

  seal(plain: Buffer, out: Buffer): number {
    let bytes = plain;
    let written = 0;
    this.#layers.forEach((layer, at) => {
      const memory = this.#memories[at % 2 === 0 ? 0 : 1];
      const into = at === this.#layers.length - 1 ? out : memory(layer.bound(bytes.length));
      written = layer.seal(bytes, into);
      bytes = into.subarray(0, written);
    });
    return written;
  }

  payloadWithin(sealedBytes: number): number {
    return this.#layers.reduceRight((bytes, layer) => layer.payloadWithin(bytes), sealedBytes);
  }
}
