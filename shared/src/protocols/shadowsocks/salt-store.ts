/**
 * Remembers the salts that opened a stream (or, for AEAD, a packet), so that a recorded one does not open it again.
 * Exact, never a guess: a false "seen" would cut an honest client off (SIP022 section 3.1.4 forbids Bloom filters).
 *
 * Two generations of a fixed size. With `keepMs` (2022 edition: 60 s, beyond which the timestamp protects) a
 * generation is left only when it is that old, and a store that fills sooner says `full`: new streams are then
 * refused rather than replays let in. Without (AEAD has no timestamps) the oldest generation is forgotten when the
 * newest is full: the last `capacity` salts are always known, up to twice as many at times.
 *
 * The memory may be shared: all threads that serve one listener must look into one store, or a replay passes by the
 * thread that has not seen the first. Only pages that hold salts are ever touched.
 */
import { randomInt } from 'node:crypto';
import type { Clock } from '../../base/clock';
import { CodedError } from '../../base/coded-error';

export type SaltVerdict = 'new' | 'seen' | 'full';

/** SIP022 section 3.1.4. */
export const SALT_KEEP_MS = 60_000;
/** New streams (or AEAD packets) per generation: at 60 s a generation, 1,092 a second. Costs at most 5 MiB. */
export const SALT_CAPACITY = 65_536;

/** 32 is the longest salt; shorter ones are filled up with zeros. */
const ENTRY_BYTES = 32;
const LOCK = 0;
const CURRENT = 1;
const COUNT = 2;
const SECRET = 4;
const HEADER_WORDS = 8;
/** Spins before a thread sleeps for its turn; the section it waits for takes about a microsecond. */
const SPINS = 2_000;
/** Sleeps of a millisecond. A holder that has not let go by then was terminated inside: its lock is taken over. */
const LOCK_SLEEPS = 1_000;

export interface SaltStoreOptions {
  /** Salts per generation. */
  capacity: number;
  /** How long a salt is known at least; null: as long as there is room. */
  keepMs: number | null;
  clock: Pick<Clock, 'now'>;
}

/** Bytes of memory for `attachSaltStore`, to be allocated once (as SharedArrayBuffer where threads share). */
export function saltStoreBytes(capacity: number): number {
  return layoutOf(capacity).bytes;
}

/** A store in memory of its own, for one thread. */
export function createSaltStore(options: SaltStoreOptions): SaltStore {
  return attachSaltStore(new ArrayBuffer(saltStoreBytes(options.capacity)), options);
}

/** A store in `memory`, which is zero at first and the same for all threads that share it. */
export function attachSaltStore(
  memory: ArrayBuffer | SharedArrayBuffer,
  options: SaltStoreOptions,
): SaltStore {
  if (memory.byteLength < saltStoreBytes(options.capacity))
    throw new CodedError(
      'shadowsocks/no-room',
      `salt store memory is smaller than its capacity of ${options.capacity}`,
    );
  return new SaltStore(memory, options);
}

export class SaltStore {
  readonly #options: SaltStoreOptions;
  readonly #shared: boolean;
  readonly #header: Int32Array;
  /** When each generation began, epoch milliseconds. The wall clock, as in the timestamps that this completes. */
  readonly #began: Float64Array;
  /** Two open-addressed tables of entry numbers counted from 1. */
  readonly #slots: Int32Array[];
  readonly #salts: Buffer[];
  readonly #mask: number;
  readonly #entry: Buffer = Buffer.alloc(ENTRY_BYTES);

  constructor(memory: ArrayBuffer | SharedArrayBuffer, options: SaltStoreOptions) {
    const layout = layoutOf(options.capacity);
    this.#options = options;
    this.#shared = memory instanceof SharedArrayBuffer;
    this.#header = new Int32Array(memory, 0, HEADER_WORDS);
    this.#began = new Float64Array(memory, layout.began, 2);
    this.#slots = layout.slots.map(at => new Int32Array(memory, at, layout.slotCount));
    this.#salts = layout.salts.map(at => Buffer.from(memory, at, options.capacity * ENTRY_BYTES));
    this.#mask = layout.slotCount - 1;
  }

  /** Whether `salt` (at most 32 bytes) is new; from now on it is seen. To be asked only for what was authentic. */
  remember(salt: Uint8Array): SaltVerdict {
    this.#lock();
    try {
      return this.#remember(salt);
    } finally {
      this.#unlock();
    }
  }

  /** Salts known now, in both generations. */
  get size(): number {
    return (this.#header[COUNT] ?? 0) + (this.#header[COUNT + 1] ?? 0);
  }

  #remember(salt: Uint8Array): SaltVerdict {
    const entry = this.#entry;
    entry.fill(0);
    entry.set(salt);
    const hash = this.#hash(entry);
    const current = this.#header[CURRENT] ?? 0;
    if (this.#find(current, entry, hash) || this.#find(1 - current, entry, hash)) return 'seen';
    const generation = this.#generationWithRoom(current);
    if (generation === null) return 'full';
    this.#insert(generation, entry, hash);
    return 'new';
  }

  /** The generation to write to: the current one, or the other after forgetting it. */
  #generationWithRoom(current: number): number | null {
    const { capacity, keepMs, clock } = this.#options;
    const now = clock.now();
    const count = this.#header[COUNT + current] ?? 0;
    if (count === 0) this.#began[current] = now;
    const full = count >= capacity;
    const old = keepMs !== null && now - (this.#began[current] ?? now) >= keepMs;
    if (!full && !old) return current;
    if (full && keepMs !== null && !old) return null;
    const next = 1 - current;
    this.#slots[next]?.fill(0);
    this.#header[COUNT + next] = 0;
    this.#header[CURRENT] = next;
    this.#began[next] = now;
    return next;
  }

  #find(generation: number, entry: Buffer, hash: number): boolean {
    const slots = this.#slots[generation];
    const salts = this.#salts[generation];
    if (!slots || !salts || this.#header[COUNT + generation] === 0) return false;
    for (let at = hash & this.#mask; ; at = (at + 1) & this.#mask) {
      const number = slots[at] ?? 0;
      if (number === 0) return false;
      const from = (number - 1) * ENTRY_BYTES;
      if (salts.compare(entry, 0, ENTRY_BYTES, from, from + ENTRY_BYTES) === 0) return true;
    }
  }

  #insert(generation: number, entry: Buffer, hash: number): void {
    const slots = this.#slots[generation];
    const salts = this.#salts[generation];
    if (!slots || !salts) return;
    const number = (this.#header[COUNT + generation] ?? 0) + 1;
    salts.set(entry, (number - 1) * ENTRY_BYTES);
    let at = hash & this.#mask;
    while (slots[at] !== 0) at = (at + 1) & this.#mask;
    slots[at] = number;
    this.#header[COUNT + generation] = number;
  }

  /** Keyed by a secret of the store, so that nobody can choose salts that all fall into one run of slots. */
  #hash(entry: Buffer): number {
    if (this.#header[SECRET] === 0) this.#header[SECRET] = randomInt(1, 0x7fff_ffff);
    let hash = this.#header[SECRET] ?? 1;
    for (let at = 0; at < ENTRY_BYTES; at += 4) {
      hash = Math.imul(hash ^ entry.readInt32LE(at), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash >>> 0;
  }

  #lock(): void {
    if (!this.#shared) return;
    for (let spin = 0; spin < SPINS; spin += 1)
      if (Atomics.compareExchange(this.#header, LOCK, 0, 1) === 0) return;
    for (let sleeps = 0; sleeps < LOCK_SLEEPS; sleeps += 1) {
      if (Atomics.compareExchange(this.#header, LOCK, 0, 1) === 0) return;
      Atomics.wait(this.#header, LOCK, 1, 1);
    }
  }

  #unlock(): void {
    if (!this.#shared) return;
    Atomics.store(this.#header, LOCK, 0);
    Atomics.notify(this.#header, LOCK, 1);
  }
}

function layoutOf(capacity: number) {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > 1 << 24)
    throw new CodedError(
      'shadowsocks/bad-capacity',
      `salt capacity ${capacity} is not between 1 and ${1 << 24}`,
    );
  // At most half full, so that a search ends after a step or two.
  const slotCount = 2 ** Math.ceil(Math.log2(capacity * 2));
  const began = HEADER_WORDS * 4;
  const slots = [began + 16, began + 16 + slotCount * 4];
  const firstSalt = began + 16 + slotCount * 8;
  const salts = [firstSalt, firstSalt + capacity * ENTRY_BYTES];
  return { slotCount, began, slots, salts, bytes: firstSalt + 2 * capacity * ENTRY_BYTES };
}
