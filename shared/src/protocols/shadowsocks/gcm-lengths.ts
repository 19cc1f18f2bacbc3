/**
 * The length units of a busy AES-GCM stream, without a cipher object for each. A unit is two bytes and a tag, and
 * node:crypto makes a new cipher for every nonce: that cost as much as sealing 6 KiB, for every 16 KiB chunk. GCM of
 * two bytes is small enough to be spelled out (NIST SP 800-38D sections 6.4 and 7.1):
 *
 *     C = length ^ E(nonce | 2)      tag = E(nonce | 1) ^ C·H² ^ L·H      H = E(0), L = the lengths block
 *
 * E comes from one AES-ECB cipher that lives as long as the stream and makes many blocks in one call. C has 16 bits,
 * so C·H² is a sum of 16 precomputed values, each taken or not by a mask: no branch and no table index depends on a
 * secret. What it makes is the same, bit by bit, as what node:crypto makes (tested so); chunks.ts uses it once a
 * stream has proved to be busy. ChaCha20-Poly1305 has no such form.
 */
import { type Cipher, createCipheriv } from 'node:crypto';
import { type Aead, FORGED, TAG_BYTES } from './aead';

/** Units prepared by one call of the block cipher. */
const BATCH = 16;
/** E(nonce | 1) and E(nonce | 2). */
const UNIT_BLOCK_BYTES = 32;
const BLOCK_BYTES = 16;
/** Between two lengths a stream seals one payload. */
const NONCE_STEP = 2;
/** A length is 16 bits of ciphertext. */
const BITS = 16;

const EMPTY = Buffer.alloc(0);
// Used within one call and nowhere kept: two scratch buffers serve all streams of a thread.
const tagScratch = new Uint32Array(4);
const counterScratch = Buffer.alloc(BATCH * UNIT_BLOCK_BYTES);

export class GcmLengths {
  readonly #aead: Aead;
  readonly #block: Cipher;
  /** x^i·H² for the 16 bits of a ciphertext, four words each. */
  readonly #powers = new Uint32Array(BITS * 4);
  /** L·H. */
  readonly #suffix: Uint32Array;
  #blocks: Buffer = EMPTY;
  #used = BATCH;
  /** Low word of the nonce that comes next in `#blocks`. */
  #nextLow = 0;

  /** Follows the nonce of `aead`, which the caller counts on as ever. */
  constructor(aead: Aead) {
    this.#aead = aead;
    this.#block = createCipheriv(
      aead.cipher === 'aes-128-gcm' ? 'aes-128-ecb' : 'aes-256-ecb',
      aead.key,
      null,
    );
    this.#block.setAutoPadding(false);
    const hash = wordsOf(this.#block.update(Buffer.alloc(BLOCK_BYTES)));
    // 16 bits of ciphertext, no associated data: bit 123 of the lengths block, which is x^123.
    this.#suffix = multiply(hash, Uint32Array.of(0, 0, 0, 0x10));
    let power = multiply(hash, hash);
    for (let bit = 0; bit < BITS; bit += 1) {
      this.#powers.set(power, bit * 4);
      power = timesX(power);
    }
  }

  /** Writes the unit of `length` at `at`; gives back where it ends. */
  seal(length: number, out: Buffer, at: number): number {
    const base = this.#next();
    const sealed = length ^ this.#blocks.readUInt16BE(base + BLOCK_BYTES);
    this.#tagOf(sealed, base);
    out.writeUInt16BE(sealed, at);
    for (let word = 0; word < 4; word += 1) out.writeUInt32BE(tagScratch[word] ?? 0, at + 2 + word * 4);
    return at + 2 + TAG_BYTES;
  }

  /** The length in `unit` (18 bytes), or FORGED. */
  open(unit: Buffer): number {
    const base = this.#next();
    const sealed = unit.readUInt16BE(0);
    this.#tagOf(sealed, base);
    let difference = 0;
    for (let word = 0; word < 4; word += 1)
      difference |= (tagScratch[word] ?? 0) ^ unit.readUInt32BE(2 + word * 4);
    return difference === 0 ? sealed ^ this.#blocks.readUInt16BE(base + BLOCK_BYTES) : FORGED;
  }

  #tagOf(sealed: number, base: number): void {
    const powers = this.#powers;
    const suffix = this.#suffix;
    let [a, b, c, d] = [suffix[0] ?? 0, suffix[1] ?? 0, suffix[2] ?? 0, suffix[3] ?? 0];
    for (let bit = 0; bit < BITS; bit += 1) {
      const mask = -((sealed >> (15 - bit)) & 1);
      const at = bit * 4;
      a ^= (powers[at] ?? 0) & mask;
      b ^= (powers[at + 1] ?? 0) & mask;
      c ^= (powers[at + 2] ?? 0) & mask;
      d ^= (powers[at + 3] ?? 0) & mask;
    }
    const blocks = this.#blocks;
    tagScratch[0] = a ^ blocks.readUInt32BE(base);
    tagScratch[1] = b ^ blocks.readUInt32BE(base + 4);
    tagScratch[2] = c ^ blocks.readUInt32BE(base + 8);
    tagScratch[3] = d ^ blocks.readUInt32BE(base + 12);
  }

  /** Where the blocks for the nonce of now stand. */
  #next(): number {
    const low = this.#aead.nonce.readUInt32LE(0);
    if (this.#used === BATCH || low !== this.#nextLow) this.#prepare();
    const base = this.#used * UNIT_BLOCK_BYTES;
    this.#used += 1;
    this.#nextLow = (low + NONCE_STEP) >>> 0;
    return base;
  }

  #prepare(): void {
    const { nonce } = this.#aead;
    const counters = counterScratch;
    for (let unit = 0; unit < BATCH; unit += 1) {
      const at = unit * UNIT_BLOCK_BYTES;
      counters.set(nonce, at);
      // The low 48 bits of the counter: a stream of 2^48 chunks would take centuries.
      counters.writeUIntLE((nonce.readUIntLE(0, 6) + unit * NONCE_STEP) % 2 ** 48, at, 6);
      counters.writeUInt32BE(1, at + 12);
      counters.copy(counters, at + BLOCK_BYTES, at, at + 12);
      counters.writeUInt32BE(2, at + BLOCK_BYTES + 12);
    }
    this.#blocks = this.#block.update(counters);
    this.#used = 0;
  }
}

function wordsOf(block: Buffer): Uint32Array {
  return Uint32Array.of(
    block.readUInt32BE(0),
    block.readUInt32BE(4),
    block.readUInt32BE(8),
    block.readUInt32BE(12),
  );
}

/** Multiplication by x in GCM's field: a shift to the right, since its first bit is the lowest power. */
function timesX(value: Uint32Array): Uint32Array {
  const [a = 0, b = 0, c = 0, d = 0] = value;
  const carry = -(d & 1) & 0xe1000000;
  return Uint32Array.of(
    (a >>> 1) ^ carry,
    (b >>> 1) | (a << 31),
    (c >>> 1) | (b << 31),
    (d >>> 1) | (c << 31),
  );
}

/** Multiplication in GCM's field (SP 800-38D section 6.3), in constant time. Twice a stream. */
function multiply(left: Uint32Array, right: Uint32Array): Uint32Array {
  const product = new Uint32Array(4);
  let power = left;
  for (let bit = 0; bit < 128; bit += 1) {
    const mask = -(((right[bit >> 5] ?? 0) >>> (31 - (bit & 31))) & 1);
    for (let word = 0; word < 4; word += 1)
      product[word] = (product[word] ?? 0) ^ ((power[word] ?? 0) & mask);
    power = timesX(power);
  }
  return product;
}
