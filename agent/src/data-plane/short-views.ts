/**
 * Views of the beginning of a piece of memory, made once for each length: handshakes and pings come by the thousand,
 * with few lengths, and a new `Buffer` for each read was 1 % of a connection. Not for long reads, which are of any
 * length. Who gets a view may look at it as long as at the bytes: during the call.
 */

/** Longer reads get a view of their own. */
const LONGEST = 512;

export class ShortViews {
  #memory: ArrayBufferLike | null = null;
  #offset = 0;
  #views: Buffer[] = [];

  /** The first `length` bytes of `memory`. */
  of(memory: Uint8Array, length: number): Buffer {
    if (length > LONGEST) return Buffer.from(memory.buffer, memory.byteOffset, length);
    if (memory.buffer !== this.#memory || memory.byteOffset !== this.#offset) {
      this.#memory = memory.buffer;
      this.#offset = memory.byteOffset;
      this.#views = [];
    }
    let view = this.#views[length];
    if (!view) {
      view = Buffer.from(memory.buffer, memory.byteOffset, length);
      this.#views[length] = view;
    }
    return view;
  }
}
