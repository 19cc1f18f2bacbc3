/**
 * The chunked body of a Shadowsocks stream, both editions: after the header, pairs of sealed units.
 *
 *     | length, 2 bytes big-endian | tag 16 | payload | tag 16 | …      (SIP004; SIP022 section 3.1.2)
 *
 * Bytes in, bytes out, into memory of the caller's; nothing is allocated per call unless a chunk is cut by a read,
 * and then only as much as has come. Salts and headers are in stream.ts, stream-2022.ts and their servers.
 */
import { CodedError } from '../../base/coded-error';
import { type Aead, FORGED, TAG_BYTES } from './aead';
import { UNPREPARED } from './gcm-blocks';
import { GcmLengths } from './gcm-lengths';
import { GcmPayloads, SHORT_BYTES, type Span } from './gcm-payloads';
import type { ShadowsocksMethod } from './methods';

/** A sealed length: two bytes and a tag. */
export const LENGTH_UNIT_BYTES: number = 2 + TAG_BYTES;
/** What a chunk costs above its payload. */
export const CHUNK_OVERHEAD_BYTES: number = LENGTH_UNIT_BYTES + TAG_BYTES;
/** What `open` says when the stream cannot be trusted any further; `cause` tells why. */
export const BROKEN = -1;

/** Why a stream ended that should not have. For logs and counters; the peer is told nothing. */
export type BrokenCause = 'forged' | 'bad-length' | 'bad-header' | 'clock-skew' | 'replayed';

/**
 * Lengths that a stream seals or opens before it counts as busy and gets a `GcmLengths`, which costs about 10 µs and
 * 2 KiB and saves about 4 µs a chunk, and when a short payload comes a `GcmPayloads`, 6 KiB more and up to 4 µs less a
 * chunk. Short flows never pay for them.
 */
const BUSY_AFTER_LENGTHS = 8;

const EMPTY = Buffer.alloc(0);
// Units are made one at a time on one thread: two scratch bytes serve all streams.
const lengthScratch = Buffer.alloc(2);

/** Null until the stream is busy, and always null for ciphers that have no short way. */
function lengthsOnceBusy(aead: Aead, done: number): GcmLengths | null {
  return done < BUSY_AFTER_LENGTHS || aead.cipher === 'chacha20-poly1305' ? null : new GcmLengths(aead);
}

export class ChunkSealer {
  readonly aead: Aead;
  readonly #maxPayload: number;
  #lengths: GcmLengths | null = null;
  #short: GcmPayloads | null = null;
  #lengthsDone = 0;

  constructor(method: ShadowsocksMethod, aead: Aead) {
    this.aead = aead;
    this.#maxPayload = method.maxPayload;
  }

  /** Seals all of `plain` as chunks behind `at`; gives back where they end. */
  seal(plain: Uint8Array, out: Buffer, at: number): number {
    let end = at;
    for (let from = 0; from < plain.length; from += this.#maxPayload) {
      const to = Math.min(plain.length, from + this.#maxPayload);
      const whole = from === 0 && to === plain.length;
      end = this.#length(to - from, out, end);
      end = this.#payload(whole ? plain : plain.subarray(from, to), out, end);
    }
    return end;
  }

  #payload(plain: Uint8Array, out: Buffer, at: number): number {
    if (!this.#lengths || plain.length > SHORT_BYTES) return this.unit(plain, out, at);
    this.#short ??= new GcmPayloads(this.#lengths.blocks);
    const end = this.#short.seal(plain, out, at);
    if (end === UNPREPARED) return this.unit(plain, out, at);
    this.aead.advance();
    return end;
  }

  #length(length: number, out: Buffer, at: number): number {
    this.#lengths ??= lengthsOnceBusy(this.aead, this.#lengthsDone);
    if (this.#lengths) {
      const end = this.#lengths.seal(length, out, at);
      this.aead.advance();
      return end;
    }
    this.#lengthsDone += 1;
    lengthScratch.writeUInt16BE(length, 0);
    return this.unit(lengthScratch, out, at);
  }

  /** Seals one unit and counts the nonce on. Headers are units too. */
  unit(plain: Uint8Array, out: Buffer, at: number): number {
    const end = this.aead.seal(plain, out, at);
    this.aead.advance();
    return end;
  }
}

export class ChunkOpener {
  readonly #aead: Aead;
  readonly #maxPayload: number;
  #lengths: GcmLengths | null = null;
  #short: GcmPayloads | null = null;
  #lengthsDone = 0;
  /** Plaintext bytes of the payload that comes next; null while its length comes next. */
  #payloadBytes: number | null = null;
  /** The beginning of a unit that was cut by a read. */
  #held: Buffer = EMPTY;
  #heldBytes = 0;
  #cause: BrokenCause | null = null;

  /** `payloadBytes`: the length is known already (a header told it), so a payload comes first. */
  constructor(method: ShadowsocksMethod, aead: Aead, payloadBytes: number | null = null) {
    this.#aead = aead;
    this.#maxPayload = method.maxPayload;
    this.#payloadBytes = payloadBytes;
  }

  get cause(): BrokenCause | null {
    return this.#cause;
  }

  /** True while the next thing to come is a payload whose length has been read. */
  get insideChunk(): boolean {
    return this.#payloadBytes !== null || this.#heldBytes > 0;
  }

  /** Room that `out` needs in a call of `open` with that many bytes. */
  bound(inputBytes: number): number {
    return this.#heldBytes + inputBytes;
  }

  /**
   * Opens what is whole in `input` and keeps the rest. Gives back how many plaintext bytes it wrote to the front of
   * `out`, or BROKEN, after which it is always BROKEN. `input` may be reused after the call; `out` may not overlap
   * it. Throws `shadowsocks/no-room` when `out` is shorter than `bound` says.
   */
  open(input: Buffer, out: Buffer): number {
    if (this.#cause !== null) return BROKEN;
    requireRoom(out, this.bound(input.length));
    let from = 0;
    let written = 0;
    for (;;) {
      const need = this.#unitBytes();
      if (this.#heldBytes + input.length - from < need) break;
      let bytes = input;
      let begin = from;
      if (this.#heldBytes > 0) {
        const missing = need - this.#heldBytes;
        this.#hold(input, from, from + missing);
        bytes = this.#held;
        begin = 0;
        from += missing;
      } else from += need;
      const after =
        this.#payloadBytes === null
          ? this.#openLength(bytes, begin, written)
          : this.#openPayload({ bytes, from: begin, to: begin + need }, out, written);
      this.#heldBytes = 0;
      if (after === BROKEN) {
        this.#held = EMPTY;
        return BROKEN;
      }
      written = after;
    }
    if (from < input.length) this.#hold(input, from, input.length);
    // An idle flow must not keep the buffer that its last cut chunk needed.
    else if (this.#heldBytes === 0) this.#held = EMPTY;
    return written;
  }

  #unitBytes(): number {
    return this.#payloadBytes === null ? LENGTH_UNIT_BYTES : this.#payloadBytes + TAG_BYTES;
  }

  #openLength(bytes: Buffer, from: number, written: number): number {
    const length = this.#lengthAt(bytes, from);
    if (length === FORGED) return this.#break('forged');
    this.#aead.advance();
    if (length > this.#maxPayload) return this.#break('bad-length');
    this.#payloadBytes = length;
    return written;
  }

  #lengthAt(bytes: Buffer, from: number): number {
    this.#lengths ??= lengthsOnceBusy(this.#aead, this.#lengthsDone);
    if (this.#lengths) return this.#lengths.open(bytes, from);
    this.#lengthsDone += 1;
    const unit = bytes.subarray(from, from + LENGTH_UNIT_BYTES);
    return this.#aead.open(unit, lengthScratch, 0) === FORGED ? FORGED : lengthScratch.readUInt16BE(0);
  }

  #openPayload(unit: Span, out: Buffer, at: number): number {
    let end = this.#openShort(unit, out, at);
    if (end === UNPREPARED) end = this.#aead.open(unit.bytes.subarray(unit.from, unit.to), out, at);
    if (end === FORGED) return this.#break('forged');
    this.#aead.advance();
    this.#payloadBytes = null;
    return end;
  }

  #openShort(unit: Span, out: Buffer, at: number): number {
    if (!this.#lengths || unit.to - unit.from - TAG_BYTES > SHORT_BYTES) return UNPREPARED;
    this.#short ??= new GcmPayloads(this.#lengths.blocks);
    return this.#short.open(unit, out, at);
  }

  /** Keeps `input[from, to)`. Room grows with what has come, not with what a length promises. */
  #hold(input: Buffer, from: number, to: number): void {
    const total = this.#heldBytes + to - from;
    if (total > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.min(Math.max(total, 2 * this.#held.length), this.#unitBytes()),
      );
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(input.subarray(from, to), this.#heldBytes);
    this.#heldBytes = total;
  }

  #break(cause: BrokenCause): number {
    this.#cause = cause;
    return BROKEN;
  }
}

/** Throws `shadowsocks/no-room`: a fault of the caller's, found before anything is lost. */
export function requireRoom(out: Buffer, bytes: number): void {
  if (out.length < bytes)
    throw new CodedError(
      'shadowsocks/no-room',
      `output has ${out.length} bytes, this call may need ${bytes}`,
    );
}
