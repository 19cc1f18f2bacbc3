/**
 * The length units of a busy AES-GCM stream, without a cipher object for each. A unit is two bytes and a tag, and
 * node:crypto makes a new cipher for every nonce: that cost as much as sealing 6 KiB, for every 16 KiB chunk. GCM of
 * two bytes is small enough to be spelled out (NIST SP 800-38D sections 6.4 and 7.1):
 *
 *     C = length ^ E(nonce | 2)      tag = E(nonce | 1) ^ C·H² ^ L·H      H = E(0), L = the lengths block
 *
 * E comes from gcm-blocks.ts. C has 16 bits, so C·H² is a sum of 16 precomputed values, each taken or not by a mask: no
 * branch and no table index depends on a secret. What it makes is the same, bit by bit, as what node:crypto makes
 * (tested so); chunks.ts uses it once a stream has proved to be busy. ChaCha20-Poly1305 has no such form. Payloads of a
 * few bytes have: gcm-payloads.ts.
 */
import { type Aead, FORGED, TAG_BYTES } from './aead';
import { GcmBlocks } from './gcm-blocks';
import { addProduct, BLOCK_BYTES, powersOf, squareOf, WORD_BITS } from './gcm-field';

/** A length is 16 bits of ciphertext. */
const BITS = 16;
const HASH_BITS = 128;

// Used within one call and nowhere kept: one scratch array serves all streams of a thread.
const tagScratch = new Uint32Array(4);

export class GcmLengths {
  readonly blocks: GcmBlocks;
  /** x^i·H² for the 16 bits of a ciphertext, four words each. */
  readonly #powers: Uint32Array;
  /** L·H. */
  readonly #suffix: Uint32Array;

  /** Follows the nonce of `aead`, which the caller counts on as ever. */
  constructor(aead: Aead) {
    this.blocks = new GcmBlocks(aead);
    const hash = this.blocks.hashKey;
    const powers = powersOf(hash, HASH_BITS);
    // 16 bits of ciphertext, no associated data: bit 123 of the lengths block, which is x^123.
    this.#suffix = powers.slice(4 * 123, 4 * 124);
    this.#powers = powersOf(squareOf(hash, powers), BITS);
  }

  /** Writes the unit of `length` at `at`; gives back where it ends. */
  seal(length: number, out: Buffer, at: number): number {
    const base = this.blocks.length();
    const sealed = length ^ this.blocks.bytes.readUInt16BE(base + BLOCK_BYTES);
    this.#tagOf(sealed, base);
    out.writeUInt16BE(sealed, at);
    for (let word = 0; word < 4; word += 1) out.writeUInt32BE(tagScratch[word] ?? 0, at + 2 + word * 4);
    return at + 2 + TAG_BYTES;
  }

  /** The length in the unit (18 bytes) that begins at `from`, or FORGED. */
  open(bytes: Buffer, from: number): number {
    const base = this.blocks.length();
    const sealed = bytes.readUInt16BE(from);
    this.#tagOf(sealed, base);
    let difference = 0;
    for (let word = 0; word < 4; word += 1)
      difference |= (tagScratch[word] ?? 0) ^ bytes.readUInt32BE(from + 2 + word * 4);
    return difference === 0 ? sealed ^ this.blocks.bytes.readUInt16BE(base + BLOCK_BYTES) : FORGED;
  }

  #tagOf(sealed: number, base: number): void {
    tagScratch.set(this.#suffix);
    addProduct(tagScratch, sealed << (WORD_BITS - BITS), BITS, this.#powers, 0);
    const blocks = this.blocks.bytes;
    for (let word = 0; word < 4; word += 1)
      tagScratch[word] = (tagScratch[word] ?? 0) ^ blocks.readUInt32BE(base + word * 4);
  }
}
