/**
 * Short payloads of a busy AES-GCM stream, without a cipher object for each: keys that somebody presses, moves of a
 * game, the small records of TLS. Making the cipher, its output and its tag cost 4 µs by the payload, which is most of
 * what a byte through Shadowsocks took longer than through SOCKS5; GCM of up to four blocks is spelled out in one or two
 * (SP 800-38D sections 6.4 and 7.1):
 *
 *     C_i = P_i ^ E(nonce | 1 + i)      tag = E(nonce | 1) ^ ((C_1·H ^ C_2)·H … ^ C_n)·H² ^ L·H
 *
 * A key press is one byte, and only bits that can be there are multiplied: its C_1·H² has eight, L·H has seven.
 *
 * The same as what node:crypto makes, bit by bit (tested so). Lengths are gcm-lengths.ts, E is gcm-blocks.ts.
 */
import { FORGED, TAG_BYTES } from './aead';
import { type GcmBlocks, SHORT_BLOCKS, UNPREPARED } from './gcm-blocks';
import { addProduct, BLOCK_BYTES, multiplyInto, powersOf, squareOf, WORD_BITS } from './gcm-field';

/** Longer payloads are not for this file. */
export const SHORT_BYTES = SHORT_BLOCKS * BLOCK_BYTES;
const HASH_BITS = 128;
const WORD_BYTES = 4;
/**
 * The lengths block ends with the length in bits: of at most SHORT_BYTES bytes, in seven of its bits before the last
 * three. `shift` brings the length in bytes to the top of a word.
 */
const LENGTH_BITS = { first: HASH_BITS - 3 - 7, count: 7, shift: WORD_BITS - 7 };

// Used within one call and nowhere kept: one scratch array serves all streams of a thread.
const hashScratch = new Uint32Array(4);

/** A piece of memory. */
export interface Span<Bytes extends Uint8Array = Buffer> {
  readonly bytes: Bytes;
  readonly from: number;
  readonly to: number;
}

export class GcmPayloads {
  readonly #blocks: GcmBlocks;
  /** x^i·H and x^i·H², 2 KiB each. */
  readonly #powers: Uint32Array;
  readonly #squares: Uint32Array;

  constructor(blocks: GcmBlocks) {
    this.#blocks = blocks;
    this.#powers = powersOf(blocks.hashKey, HASH_BITS);
    this.#squares = powersOf(squareOf(blocks.hashKey, this.#powers), HASH_BITS);
  }

  /** Writes ciphertext and tag of at most SHORT_BYTES at `at`; gives back where they end, or UNPREPARED. */
  seal(plain: Uint8Array, out: Buffer, at: number): number {
    const base = this.#blocks.payload();
    if (base === UNPREPARED) return UNPREPARED;
    const length = plain.length;
    this.#mask({ bytes: plain, from: 0, to: length }, base, { out, at });
    this.#tagOf(out, at, { length, base });
    for (let word = 0; word < 4; word += 1) out.writeUInt32BE(hashScratch[word] ?? 0, at + length + word * 4);
    return at + length + TAG_BYTES;
  }

  /** Writes the plaintext of a unit at `at`; gives back where it ends, or FORGED (nothing is written then) or UNPREPARED. */
  open(unit: Span, out: Buffer, at: number): number {
    const base = this.#blocks.payload();
    if (base === UNPREPARED) return UNPREPARED;
    const { bytes, from } = unit;
    const length = unit.to - from - TAG_BYTES;
    this.#tagOf(bytes, from, { length, base });
    let difference = 0;
    for (let word = 0; word < 4; word += 1)
      difference |= (hashScratch[word] ?? 0) ^ bytes.readUInt32BE(from + length + word * 4);
    if (difference !== 0) return FORGED;
    this.#mask({ bytes, from, to: from + length }, base, { out, at });
    return at + length;
  }

  #mask(plain: Span<Uint8Array>, base: number, to: { out: Buffer; at: number }): void {
    const { bytes, from } = plain;
    const { out, at } = to;
    const keys = this.#blocks.bytes;
    const first = base + BLOCK_BYTES;
    const length = plain.to - from;
    for (let byte = 0; byte < length; byte += 1)
      out[at + byte] = (bytes[from + byte] ?? 0) ^ (keys[first + byte] ?? 0);
  }

  /** The tag of `length` bytes of ciphertext behind `from`, in `hashScratch`. */
  #tagOf(sealed: Uint8Array, from: number, of: { length: number; base: number }): void {
    const { length, base } = of;
    hashScratch.fill(0);
    if (length <= BLOCK_BYTES) this.#onlyBlock(sealed, from, length);
    else this.#allBlocks(sealed, from, length);
    const { first, count, shift } = LENGTH_BITS;
    addProduct(hashScratch, length << shift, count, this.#powers, first);
    const blocks = this.#blocks.bytes;
    for (let word = 0; word < 4; word += 1)
      hashScratch[word] = (hashScratch[word] ?? 0) ^ blocks.readUInt32BE(base + word * 4);
  }

  /** C_1·H², of the bytes that there are. */
  #onlyBlock(sealed: Uint8Array, from: number, length: number): void {
    for (let word = 0; word * WORD_BYTES < length; word += 1) {
      const at = word * WORD_BYTES;
      const bytes = Math.min(WORD_BYTES, length - at);
      addProduct(hashScratch, wordAt(sealed, from + at, bytes), bytes * 8, this.#squares, word * WORD_BITS);
    }
  }

  /** ((C_1·H ^ C_2)·H … ^ C_n)·H² */
  #allBlocks(sealed: Uint8Array, from: number, length: number): void {
    for (let block = 0; block < length; block += BLOCK_BYTES) {
      const end = Math.min(length - block, BLOCK_BYTES);
      for (let word = 0; word * WORD_BYTES < end; word += 1) {
        const at = word * WORD_BYTES;
        const bytes = Math.min(WORD_BYTES, end - at);
        hashScratch[word] = (hashScratch[word] ?? 0) ^ wordAt(sealed, from + block + at, bytes);
      }
      const isLast = block + BLOCK_BYTES >= length;
      multiplyInto(hashScratch, isLast ? this.#squares : this.#powers);
    }
  }
}

/** So many bytes, at most four, as the highest of a word. */
function wordAt(bytes: Uint8Array, at: number, count: number): number {
  let word = 0;
  for (let byte = 0; byte < count; byte += 1) word |= (bytes[at + byte] ?? 0) << (24 - 8 * byte);
  return word;
}
