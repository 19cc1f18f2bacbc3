/**
 * Cuts a byte stream (pty, socket) into MBIM frames by their length field; messages may be glued together or arrive
 * a byte at a time. Bytes that cannot begin a frame are dropped one by one until some can, and counted. Owns no
 * socket. What to do about a frame that never becomes whole is the session's business (`discard`).
 */
import { type Frame, HEADER_BYTES, readFrame, readHeader } from './frame';

export class FrameSplitter {
  #held: Buffer = Buffer.alloc(0);
  #dropped = 0;

  /** Frames that are whole now. What is held stays below one frame (`MAX_FRAME_BYTES`). */
  push(bytes: Buffer): Frame[] {
    let rest = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const frames: Frame[] = [];
    while (rest.length >= HEADER_BYTES) {
      const header = readHeader(rest);
      if (header === undefined) {
        rest = rest.subarray(1);
        this.#dropped += 1;
        continue;
      }
      if (rest.length < header.length) break;
      frames.push(readFrame(Buffer.from(rest.subarray(0, header.length))));
      rest = rest.subarray(header.length);
    }
    // A copy, so that a held tail does not keep a large read alive.
    this.#held = Buffer.from(rest);
    return frames;
  }

  /** Bytes that wait for the rest of their frame. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** Bytes dropped so far because no frame begins with them. */
  get droppedBytes(): number {
    return this.#dropped;
  }

  /** Forgets what is held; it counts as dropped. */
  discard(): void {
    this.#dropped += this.#held.length;
    this.#held = Buffer.alloc(0);
  }
}
