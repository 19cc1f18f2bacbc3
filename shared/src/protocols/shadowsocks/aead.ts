/**
 * One key, one nonce, and the two things done with them: seal and open. Output goes into memory of the caller's.
 * node:crypto offers no cipher that can be used again with another nonce and none that writes into a given buffer,
 * so a call costs one cipher object and one copy; what can be kept (key object, nonce, options) is kept, and what the
 * cipher gave out is freed (cipher-output.ts).
 * Frames are chunks.ts and the packet files.
 */
import {
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
  type KeyObject,
} from 'node:crypto';
import { moveOutput } from './cipher-output';
import type { CipherName } from './methods';

export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;
/** What `open` says when the tag does not fit. */
export const FORGED = -1;

/**
 * Larger pieces are given to the cipher in slices: every output is fresh memory, and 16 KiB of it is copied while it
 * is still in the nearest cache (13 to 33 % cheaper than 64 KiB at once in some runs, no different in others).
 */
const SLICE_BYTES = 16 * 1024;
const OPTIONS = { authTagLength: TAG_BYTES };

// The typings have an overload per cipher family and none for a name of either; both return the same shape.
const newCipher = createCipheriv as (
  name: CipherName,
  key: KeyObject | Buffer,
  nonce: Uint8Array,
  options: typeof OPTIONS,
) => CipherGCM;
const newDecipher = createDecipheriv as (
  name: CipherName,
  key: KeyObject | Buffer,
  nonce: Uint8Array,
  options: typeof OPTIONS,
) => DecipherGCM;

export class Aead {
  /** Zero at first. Streams count it up; packets write it. */
  readonly nonce: Buffer = Buffer.alloc(NONCE_BYTES);
  readonly cipher: CipherName;
  readonly key: KeyObject | Buffer;

  constructor(cipher: CipherName, key: KeyObject | Buffer) {
    this.cipher = cipher;
    this.key = key;
  }

  /** The next nonce of a stream: a little-endian counter (SIP004). 2^96 units are never reached. */
  advance(): void {
    const nonce = this.nonce;
    for (let at = 0; at < NONCE_BYTES; at += 1) {
      const byte = ((nonce[at] ?? 0) + 1) & 0xff;
      nonce[at] = byte;
      if (byte !== 0) return;
    }
  }

  /** Writes ciphertext and tag at `at`; gives back where they end. `out` may not overlap `plain`. */
  seal(plain: Uint8Array, out: Buffer, at: number): number {
    const cipher = newCipher(this.cipher, this.key, this.nonce, OPTIONS);
    const end = this.#run(cipher, plain, at, out);
    cipher.final();
    out.set(cipher.getAuthTag(), end);
    return end + TAG_BYTES;
  }

  /** The same for a plaintext in two parts (header and payload), which then need not be put together first. */
  sealPair(head: Uint8Array, body: Uint8Array, into: { out: Buffer; at: number }): number {
    const { out, at } = into;
    const cipher = newCipher(this.cipher, this.key, this.nonce, OPTIONS);
    const end = this.#run(cipher, body, this.#run(cipher, head, at, out), out);
    cipher.final();
    out.set(cipher.getAuthTag(), end);
    return end + TAG_BYTES;
  }

  /**
   * Writes the plaintext of `sealed` (ciphertext and tag) at `at`; gives back where it ends, or FORGED. What stands
   * in `out` behind `at` after FORGED is not authentic: it must not be used.
   */
  open(sealed: Uint8Array, out: Buffer, at: number): number {
    const bodyBytes = sealed.length - TAG_BYTES;
    if (bodyBytes < 0) return FORGED;
    const decipher = newDecipher(this.cipher, this.key, this.nonce, OPTIONS);
    decipher.setAuthTag(sealed.subarray(bodyBytes));
    const end = this.#run(decipher, sealed.subarray(0, bodyBytes), at, out);
    try {
      decipher.final();
    } catch {
      // final throws for exactly one reason here: the tag does not fit. That is an answer, not a fault.
      out.fill(0, at, end);
      return FORGED;
    }
    return end;
  }

  /** The plaintext in memory of its own, without a copy; null when the tag does not fit. For datagrams. */
  openOwned(sealed: Uint8Array): Buffer | null {
    const bodyBytes = sealed.length - TAG_BYTES;
    if (bodyBytes < 0) return null;
    const decipher = newDecipher(this.cipher, this.key, this.nonce, OPTIONS);
    decipher.setAuthTag(sealed.subarray(bodyBytes));
    const plain = decipher.update(sealed.subarray(0, bodyBytes));
    try {
      decipher.final();
    } catch {
      return null;
    }
    return plain;
  }

  #run(cipher: CipherGCM | DecipherGCM, input: Uint8Array, at: number, out: Buffer): number {
    const length = input.length;
    if (length <= SLICE_BYTES) return moveOutput(cipher.update(input), out, at);
    let end = at;
    for (let from = 0; from < length; from += SLICE_BYTES)
      end = moveOutput(cipher.update(input.subarray(from, Math.min(length, from + SLICE_BYTES))), out, end);
    return end;
  }
}
