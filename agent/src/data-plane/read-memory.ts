/**
 * What the flows of a thread read into: one large piece of memory that all share, one after the other, of which each
 * flow is shown as much as suits it. A large read costs half of a small one by the byte, but a receiver that does not
 * keep up leaves us with a copy of what it did not take (outlet.ts), of up to one read. So a flow begins small, has a
 * longer view as long as it fills it and its receiver takes it all, and goes back when it does not.
 *
 * A flow's view is set when it reads and used when it reads next, whatever has happened to the others meanwhile; hence
 * the cap on large views, and not only on what is held. At worst flows hold LARGE_FLOWS whole reads and a middle one
 * each.
 */
import type { HoldMemory } from './hold-memory';

/** How much of the memory a flow is shown. */
export const SMALL = 0;
export const MIDDLE = 1;
const LARGE = 2;
export type View = typeof SMALL | typeof MIDDLE | typeof LARGE;

const SMALL_BYTES = 16 * 1024;
const MIDDLE_BYTES = 64 * 1024;
/** Flows that may have the whole memory in view at once. */
const LARGE_FLOWS = 16;
/** With more than this held for slow receivers nobody gets a large, or even a middle, view. */
const HELD_FOR_LARGE = 4 * 1024 * 1024;
const HELD_FOR_MIDDLE = 8 * 1024 * 1024;

/** A flow that may have all of the memory in view. */
export interface LargeReader {
  /** Whose window its bytes take from; null while it has no flow. */
  readonly slot: number | null;
  /** Reads nothing until `wake`. */
  rest(): void;
  wake(): void;
}

type Views = readonly [Buffer, Buffer, Buffer];

export class ReadMemory {
  readonly #views: Views;
  /** The same views, cut down to whole chunks of so many bytes. */
  readonly #cut = new Map<number, Views>();
  readonly #hold: Pick<HoldMemory, 'heldBytes'>;
  readonly #large: LargeReader[] = [];
  #resting: number[] = [];

  /** `bytes`: the most for one read. `hold`: where the thread keeps what receivers have not taken. */
  constructor(bytes: number, hold: Pick<HoldMemory, 'heldBytes'>) {
    const whole = Buffer.allocUnsafeSlow(bytes);
    this.#views = [whole.subarray(0, SMALL_BYTES), whole.subarray(0, MIDDLE_BYTES), whole];
    this.#hold = hold;
  }

  /** The memory behind a view; the same object each time. With `chunk`, a multiple of it (or all, where that is less). */
  view(view: View, chunk = 1): Buffer {
    if (chunk === 1) return this.#views[view];
    let cut = this.#cut.get(chunk);
    if (!cut) {
      const [small, middle, large] = this.#views;
      cut = [wholeChunks(small, chunk), wholeChunks(middle, chunk), wholeChunks(large, chunk)];
      this.#cut.set(chunk, cut);
    }
    return cut[view];
  }

  /** For a flow that has filled what it may use of its view, `bytes`, and whose receiver took everything. */
  longer(view: View, bytes: number, reader: LargeReader): View {
    // Who reads less than half of it, for the sake of a limit, would only take a longer one away from others.
    if (view === LARGE || 2 * bytes <= this.#views[view].length) return view;
    const held = this.#hold.heldBytes;
    if (view === SMALL) return held < HELD_FOR_MIDDLE ? MIDDLE : SMALL;
    if (held >= HELD_FOR_LARGE || this.#large.length >= LARGE_FLOWS) return view;
    this.#large.push(reader);
    if (reader.slot !== null && this.#resting.includes(reader.slot)) reader.rest();
    return LARGE;
  }

  /** For a flow that does not need as long a view, or whose receiver did not take everything. */
  shorter(view: View, reader: LargeReader): View {
    this.release(view, reader);
    return view === LARGE ? MIDDLE : SMALL;
  }

  /** Whether so few bytes came that the next shorter view would have done. */
  suitsShorter(view: View, bytes: number): boolean {
    return view === LARGE && bytes < this.#views[MIDDLE].length;
  }

  /** For a flow that is over. */
  release(view: View, reader: LargeReader): void {
    if (view !== LARGE) return;
    this.#large.splice(this.#large.indexOf(reader), 1);
    reader.wake();
  }

  /** A slot waits for the disk: what its flows with large views read now would only be copied and held. */
  rest(slot: number): void {
    if (this.#resting.includes(slot)) return;
    this.#resting.push(slot);
    for (const reader of this.#large) if (reader.slot === slot) reader.rest();
  }

  wake(slot: number): void {
    if (!this.#resting.includes(slot)) return;
    this.#resting = this.#resting.filter(other => other !== slot);
    for (const reader of [...this.#large]) if (reader.slot === slot) reader.wake();
  }

  wakeAll(): void {
    for (const slot of this.#resting) this.wake(slot);
  }
}

function wholeChunks(memory: Buffer, chunk: number): Buffer {
  return memory.length < chunk ? memory : memory.subarray(0, memory.length - (memory.length % chunk));
}
