/**
 * Which packet numbers of a session have come: the highest, and a bit for each of the 2,048 below it (the ring of
 * RFC 6479). A number that came before, or that is older than the window, is not taken (SIP022 section 3.2.4).
 */
const WORDS = 65;
const WORD_BITS = 32;
/** One word less than the ring, which is the one being cleared. */
export const WINDOW_PACKETS: number = (WORDS - 1) * WORD_BITS;

export class PacketWindow {
  readonly #bits = new Uint32Array(WORDS);
  #highest = -1;

  /** Whether `number` could still be taken. Asked before a packet is opened, so that replays cost nothing. */
  isFresh(number: number): boolean {
    if (number > this.#highest) return true;
    if (number <= this.#highest - WINDOW_PACKETS) return false;
    return ((this.#bits[this.#word(number)] ?? 0) & (1 << (number % WORD_BITS))) === 0;
  }

  /** Takes the number of a packet that was authentic; false when it may not be taken (again). */
  take(number: number): boolean {
    if (!this.isFresh(number)) return false;
    if (number > this.#highest) {
      const from = Math.floor(this.#highest / WORD_BITS);
      const to = Math.floor(number / WORD_BITS);
      const steps = Math.min(to - from, WORDS);
      for (let step = 0; step < steps; step += 1) this.#bits[(to - step) % WORDS] = 0;
      this.#highest = number;
    }
    const word = this.#word(number);
    this.#bits[word] = (this.#bits[word] ?? 0) | (1 << (number % WORD_BITS));
    return true;
  }

  #word(number: number): number {
    return Math.floor(number / WORD_BITS) % WORDS;
  }
}
