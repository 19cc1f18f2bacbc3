/**
 * Short payloads of a busy AES-GCM stream, without a cipher object for each: keys that somebody presses, moves of a
 * game, the small records of TLS. Making the cipher, its output and its tag cost 4 µs by the payload, which is most of
 * what a byte through Shadowsocks took longer than through SOCKS5; GCM of up to four blocks is spelled out in about one
 * (SP 800-38D sections 6.4 and 7.1):
 *
 *     C_i = P_i ^ E(nonce | 1 + i)      tag = E(nonce | 1) ^ (…(C_1·H ^ C_2)·H … ^ L)·H
 *
 * The same as what node:crypto makes, bit by bit (tested so). Lengths are gcm-lengths.ts, E is gcm-blocks.ts.
 */
import { FORGED, TAG_BYTES } from './aead';
import { type GcmBlocks, SHORT_BLOCKS, UNPREPARED } from './gcm-blocks';
import { BLOCK_BYTES, multiplyInto, powersOf } from './gcm-field';

/** Longer payloads are not for this file. */
export const SHORT_BYTES = SHORT_BLOCKS * BLOCK_BYTES;
const HASH_BITS = 128;

// Used within one call and nowhere kept: one scratch array serves all streams of a thread.
const hashScratch = new Uint32Array(4);

export class GcmPayloads {
  readonly #blocks: GcmBlocks;
  /** H·x^i, 2 KiB. */
  readonly #powers: Uint32Array;

  constructor(blocks: GcmBlocks) {
    this.#blocks = blocks;
    this.#powers = powersOf(blocks.hashKey, HASH_BITS);
  }

  /** Writes ciphertext and tag of at most SHORT_BYTES at `at`; gives back where they end, or UNPREPARED. */
  seal(plain: Uint8Array, out: Buffer, at: number): number {
    const base = this.#blocks.payload();
    if (base === UNPREPARED) return UNPREPARED;
    const length = plain.length;
    this.#mask(plain, length, { out, at, base });
    this.#tagOf(out, at, { length, base });
    for (let word = 0; word < 4; word += 1) out.writeUInt32BE(hashScratch[word] ?? 0, at + length + word * 4);
    return at + length + TAG_BYTES;
  }

  /** Writes the plaintext of `sealed` at `at`; gives back where it ends, or FORGED (nothing is written then) or UNPREPARED. */
  open(sealed: Buffer, out: Buffer, at: number): number {
    const base = this.#blocks.payload();
    if (base === UNPREPARED) return UNPREPARED;
    const length = sealed.length - TAG_BYTES;
    this.#tagOf(sealed, 0, { length, base });
    let difference = 0;
    for (let word = 0; word < 4; word += 1)
      difference |= (hashScratch[word] ?? 0) ^ sealed.readUInt32BE(length + word * 4);
    if (difference !== 0) return FORGED;
    this.#mask(sealed, length, { out, at, base });
    return at + length;
  }

  #mask(input: Uint8Array, length: number, to: { out: Buffer; at: number; base: number }): void {
    const { out, at } = to;
    const keys = this.#blocks.bytes;
    const first = to.base + BLOCK_BYTES;
    for (let byte = 0; byte < length; byte += 1)
      out[at + byte] = (input[byte] ?? 0) ^ (keys[first + byte] ?? 0);
  }

  /** The tag of `length` bytes of ciphertext behind `from`, in `hashScratch`. */
  #tagOf(sealed: Buffer, from: number, of: { length: number; base: number }): void {
    const { length, base } = of;
    hashScratch.fill(0);
    for (let block = 0; block < length; block += BLOCK_BYTES) {
      const end = Math.min(length - block, BLOCK_BYTES);
      for (let byte = 0; byte < end; byte += 1) {
        const word = byte >> 2;
        hashScratch[word] =
          (hashScratch[word] ?? 0) ^ ((sealed[from + block + byte] ?? 0) << (24 - 8 * (byte & 3)));
      }
      multiplyInto(hashScratch, this.#powers);
    }
    hashScratch[3] = (hashScratch[3] ?? 0) ^ (length * 8);
    multiplyInto(hashScratch, this.#powers);
    const blocks = this.#blocks.bytes;
    for (let word = 0; word < 4; word += 1)
      hashScratch[word] = (hashScratch[word] ?? 0) ^ blocks.readUInt32BE(base + word * 4);
  }
}
