/**
 * One direction of a Shadowsocks TCP stream as its user sees it: plaintext in, sealed bytes out (`StreamSealer`), and
 * the other way round (`StreamOpener`, `ResponseOpener`). The first bytes differ by edition and role and are made by
 * a head that aead-stream.ts or stream-2022.ts hands in; all that follows is chunks.ts.
 */
import { TAG_BYTES } from './aead';
import {
  BROKEN,
  type BrokenCause,
  CHUNK_OVERHEAD_BYTES,
  type ChunkOpener,
  type ChunkSealer,
  requireRoom,
} from './chunks';
import type { ShadowsocksMethod } from './methods';

/** What the longest head costs: salt, eight identity headers, both request headers with address and padding. */
const HEAD_BOUND_BYTES = 2048;

/** Room that sealing `plainBytes` may need, head included. */
export function sealedBound(method: ShadowsocksMethod, plainBytes: number): number {
  return (
    HEAD_BOUND_BYTES + plainBytes + (Math.ceil(plainBytes / method.maxPayload) + 1) * CHUNK_OVERHEAD_BYTES
  );
}

/**
 * Writes the first bytes of a stream to the front of `out` and seals what it takes of `plain` into them. The payload
 * bytes stand together at the end of what it wrote, before the last tag.
 */
export type HeadSealer = (plain: Buffer, out: Buffer) => { written: number; took: number };

/** Whoever can open sealed bytes in order: `open` as in chunks.ts. */
export interface StreamOpener {
  /** Room that `out` needs in a call of `open` with that many bytes. */
  bound(inputBytes: number): number;
  /** Plaintext bytes written to the front of `out`, or BROKEN (and then for ever). */
  open(input: Buffer, out: Buffer): number;
  /** Why it is broken; null while it is not. */
  readonly cause: BrokenCause | null;
}

export interface ShadowsocksStream {
  sealer: StreamSealer;
  opener: StreamOpener;
}

export class StreamSealer {
  readonly #method: ShadowsocksMethod;
  readonly #chunks: ChunkSealer;
  #head: HeadSealer | null;
  #lastFront = 0;
  #lastFirst = 0;
  #lastPlain = 0;

  constructor(method: ShadowsocksMethod, chunks: ChunkSealer, head: HeadSealer) {
    this.#method = method;
    this.#chunks = chunks;
    this.#head = head;
  }

  /** Room that `out` needs in a call of `seal` with that many bytes. */
  bound(plainBytes: number): number {
    return sealedBound(this.#method, plainBytes);
  }

  /**
   * Seals all of `plain` into the front of `out` and gives back how many bytes that made. The first call makes the
   * head too, which belongs into one write with what follows (SIP022 section 3.1.3). `plain` may be empty then.
   * Throws `shadowsocks/no-room` when `out` is shorter than `bound` says.
   */
  seal(plain: Buffer, out: Buffer): number {
    requireRoom(out, this.bound(plain.length));
    const max = this.#method.maxPayload;
    const head = this.#head;
    this.#lastPlain = plain.length;
    if (head === null) {
      this.#lastFront = CHUNK_OVERHEAD_BYTES - TAG_BYTES;
      this.#lastFirst = Math.min(max, plain.length);
      return this.#chunks.seal(plain, out, 0);
    }
    const { written, took } = head(plain, out);
    this.#head = null;
    this.#lastFront = took === 0 ? written + CHUNK_OVERHEAD_BYTES - TAG_BYTES : written - took - TAG_BYTES;
    this.#lastFirst = took === 0 ? Math.min(max, plain.length) : took;
    return took === plain.length ? written : this.#chunks.seal(plain.subarray(took), out, written);
  }

  /**
   * How many bytes of the plaintext of the last `seal` are in the first `sealedBytes` of what it made. So a meter
   * can count payload by what the kernel took, also where that ends within a chunk.
   */
  payloadWithin(sealedBytes: number): number {
    const inFirst = Math.min(Math.max(0, sealedBytes - this.#lastFront), this.#lastFirst);
    const rest = sealedBytes - this.#lastFront - this.#lastFirst - TAG_BYTES;
    if (rest <= 0) return inFirst;
    const max = this.#method.maxPayload;
    const period = max + CHUNK_OVERHEAD_BYTES;
    const front = CHUNK_OVERHEAD_BYTES - TAG_BYTES;
    const whole = Math.floor(rest / period) * max;
    const part = Math.min(Math.max(0, (rest % period) - front), max);
    return Math.min(inFirst + whole + part, this.#lastPlain);
  }
}

/** Reads the head of a response when all of it is there. */
export interface ResponseHead {
  bytes: number;
  read(head: Buffer): ChunkOpener | BrokenCause;
}

/** What a client reads: a head that tells the key, then chunks. */
export class ResponseOpener implements StreamOpener {
  readonly #head: ResponseHead;
  #held: Buffer | null;
  #heldBytes = 0;
  #chunks: ChunkOpener | null = null;
  #cause: BrokenCause | null = null;

  constructor(head: ResponseHead) {
    this.#head = head;
    this.#held = Buffer.allocUnsafeSlow(head.bytes);
  }

  get cause(): BrokenCause | null {
    return this.#cause ?? this.#chunks?.cause ?? null;
  }

  bound(inputBytes: number): number {
    return this.#chunks ? this.#chunks.bound(inputBytes) : inputBytes;
  }

  open(input: Buffer, out: Buffer): number {
    if (this.#chunks) return this.#chunks.open(input, out);
    if (this.#cause !== null || this.#held === null) return BROKEN;
    const took = Math.min(input.length, this.#head.bytes - this.#heldBytes);
    this.#held.set(input.subarray(0, took), this.#heldBytes);
    this.#heldBytes += took;
    if (this.#heldBytes < this.#head.bytes) return 0;
    const read = this.#head.read(this.#held);
    this.#held = null;
    if (typeof read === 'string') {
      this.#cause = read;
      return BROKEN;
    }
    this.#chunks = read;
    return read.open(input.subarray(took), out);
  }
}
