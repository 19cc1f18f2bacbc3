/**
 * The key stream of a busy AES-GCM stream, ahead of its use: E(nonce | counter) for the next nonces, from one AES-ECB
 * cipher that lives as long as the stream and makes many blocks in one call. Chunks take two nonces each, a length's
 * and a payload's. Blocks for payloads are made only while short ones come (gcm-payloads.ts), since long ones are
 * node:crypto's business.
 */
import { type Cipher, createCipheriv } from 'node:crypto';
import type { Aead } from './aead';
import { BLOCK_BYTES, wordsOf } from './gcm-field';

/** Chunks prepared by one call of the block cipher. */
const BATCH = 16;
/** Between two lengths a stream seals one payload. */
const NONCE_STEP = 2;
/** For a length: what masks its tag, and what masks itself. */
const LENGTH_BLOCKS = 2;
/** Blocks of text in a payload that counts as short. */
export const SHORT_BLOCKS = 4;
const PAYLOAD_BLOCKS = 1 + SHORT_BLOCKS;
/** What says that no blocks are there for a payload. */
export const UNPREPARED = -2;

const EMPTY = Buffer.alloc(0);
// Used within one call and nowhere kept: one scratch buffer serves all streams of a thread.
const counters = Buffer.from(new ArrayBuffer(BATCH * (LENGTH_BLOCKS + PAYLOAD_BLOCKS) * BLOCK_BYTES));
/** The same as words of this machine's byte order: blocks are copied by them, not by their bytes. */
const counterWords = new Uint32Array(counters.buffer, counters.byteOffset, counters.length / 4);
/** What a block's counter, big-endian, is as such a word. */
const COUNTS = new Uint32Array(1 + PAYLOAD_BLOCKS);
for (const [block] of COUNTS.entries())
  new DataView(COUNTS.buffer).setUint32(block * COUNTS.BYTES_PER_ELEMENT, block);

export class GcmBlocks {
  /** E(0), the key of GCM's hash. */
  readonly hashKey: Uint32Array;
  /** What `length` and `payload` tell places in. */
  bytes: Buffer = EMPTY;
  readonly #aead: Aead;
  readonly #block: Cipher;
  #used = BATCH;
  #withPayloads = false;
  /** A short payload came since the last batch. */
  #wantsPayloads = false;
  /** Low words of the nonces of the chunk under way, and of the next one's length. */
  #payloadLow = -1;
  #nextLow = 0;
  #base = 0;

  /** Follows the nonce of `aead`, which the caller counts on as ever. */
  constructor(aead: Aead) {
    this.#aead = aead;
    const name = aead.cipher === 'aes-128-gcm' ? 'aes-128-ecb' : 'aes-256-ecb';
    this.#block = createCipheriv(name, aead.key, null);
    this.#block.setAutoPadding(false);
    this.hashKey = wordsOf(this.#block.update(Buffer.alloc(BLOCK_BYTES)));
  }

  /** Where E(nonce | 1) and E(nonce | 2) stand, for the length that comes now. */
  length(): number {
    const low = this.#aead.nonce.readUInt32LE(0);
    const lacking = this.#wantsPayloads && !this.#withPayloads;
    if (this.#used === BATCH || low !== this.#nextLow || lacking) this.#prepare();
    this.#base = this.#used * this.#chunkBytes;
    this.#used += 1;
    this.#payloadLow = (low + 1) >>> 0;
    this.#nextLow = (low + NONCE_STEP) >>> 0;
    return this.#base;
  }

  /** The same for the short payload behind that length, with SHORT_BLOCKS from E(nonce | 2) on; or UNPREPARED. */
  payload(): number {
    this.#wantsPayloads = true;
    const isNext = this.#aead.nonce.readUInt32LE(0) === this.#payloadLow;
    return isNext && this.#withPayloads ? this.#base + LENGTH_BLOCKS * BLOCK_BYTES : UNPREPARED;
  }

  get #chunkBytes(): number {
    return (LENGTH_BLOCKS + (this.#withPayloads ? PAYLOAD_BLOCKS : 0)) * BLOCK_BYTES;
  }

  #prepare(): void {
    this.#withPayloads = this.#wantsPayloads;
    this.#wantsPayloads = false;
    const { nonce } = this.#aead;
    // The low 48 bits of the counter: a stream of 2^48 chunks would take centuries.
    const first = nonce.readUIntLE(0, 6);
    let at = 0;
    for (let unit = 0; unit < BATCH * NONCE_STEP; unit += 1) {
      const isPayload = unit % NONCE_STEP === 1;
      if (isPayload && !this.#withPayloads) continue;
      const blocks = isPayload ? PAYLOAD_BLOCKS : LENGTH_BLOCKS;
      counters.set(nonce, at);
      counters.writeUIntLE((first + unit) % 2 ** 48, at, 6);
      const begin = at / 4;
      const [low, middle, high] = [
        counterWords[begin] ?? 0,
        counterWords[begin + 1] ?? 0,
        counterWords[begin + 2] ?? 0,
      ];
      for (let block = 1; block <= blocks; block += 1) {
        const word = at / 4;
        counterWords[word] = low;
        counterWords[word + 1] = middle;
        counterWords[word + 2] = high;
        counterWords[word + 3] = COUNTS[block] ?? 0;
        at += BLOCK_BYTES;
      }
    }
    this.bytes = this.#block.update(counters.subarray(0, at));
    this.#used = 0;
  }
}
