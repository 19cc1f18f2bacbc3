/**
 * Which slot each session of a customer has, and how often it asked for another address. Memory that all threads
 * share: a session's connections come to any of them. A table of buckets with a lock each; the sections under it take
 * a microsecond. Sessions are named by a hash, since names have any length.
 *
 * A session lives while a flow of it runs, and its time-to-live longer. When a bucket is full, the session without a
 * flow that would end first makes room; when all of them have flows, the new one is not kept and goes where its name
 * leads (choose-modem.ts), which is the same slot as long as the same modems can carry.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';

const BUCKETS = 2_048;
const WAYS = 8;
/** Sessions that can be kept at once. */
export const MAX_SESSIONS: number = BUCKETS * WAYS;

const KEY_WORDS = 4;
const SLOT = 4;
const OPEN = 5;
const UNTIL = 6;
const ROTATE = 7;
const WORDS = 8;

/** Reserved; used page by page as sessions come. */
export const SESSION_TABLE_BYTES: number = (BUCKETS + BUCKETS * WAYS * WORDS) * 4;

/** A session's place in the table. */
export type SessionKey = Int32Array;

/** `session` null: what the credential keeps without one. */
export function sessionKey(of: {
  endpointId: string;
  credentialId: string;
  session: string | null;
}): SessionKey {
  const text = JSON.stringify([of.endpointId, of.credentialId, of.session]);
  const digest = createHash('sha256').update(text).digest();
  // The first word is never 0: that is how an empty place looks.
  return Int32Array.of(
    digest.readInt32LE(0) | 1,
    digest.readInt32LE(4),
    digest.readInt32LE(8),
    digest.readInt32LE(12),
  );
}

export class SessionTable {
  readonly #locks: Int32Array;
  readonly #cells: Int32Array;
  /** The wall clock, the only one that threads share. A jump of it ends sessions early or late, which harms nobody. */
  readonly #clock: Pick<Clock, 'now'>;

  constructor(memory: SharedArrayBuffer, clock: Pick<Clock, 'now'>) {
    this.#locks = new Int32Array(memory, 0, BUCKETS);
    this.#cells = new Int32Array(memory, BUCKETS * 4, BUCKETS * WAYS * WORDS);
    this.#clock = clock;
  }

  /** Slot of a session that is alive; null when it has none. */
  slotOf(key: SessionKey): number | null {
    return this.#locked(key, bucket => {
      const at = this.#find(bucket, key);
      return at < 0 || this.#word(at, SLOT) === 0 ? null : this.#word(at, SLOT) - 1;
    });
  }

  /** A flow of the session begins on `slot`. True when it is kept: `ended` must follow. */
  began(key: SessionKey, slot: number, ttlMs: number): boolean {
    return this.#locked(key, bucket => {
      const at = this.#claim(bucket, key);
      if (at < 0) return false;
      this.#cells[at + SLOT] = slot + 1;
      this.#cells[at + OPEN] = this.#word(at, OPEN) + 1;
      this.#cells[at + UNTIL] = this.#seconds(ttlMs);
      return true;
    });
  }

  /** A flow that `began` said true for is over. */
  ended(key: SessionKey, ttlMs: number): void {
    this.#locked(key, bucket => {
      const at = this.#find(bucket, key);
      if (at < 0) return;
      this.#cells[at + OPEN] = Math.max(0, this.#word(at, OPEN) - 1);
      this.#cells[at + UNTIL] = this.#seconds(ttlMs);
    });
  }

  /** Remembers `count` when it is higher than what was; gives back what was, or null when it is not higher. */
  raise(key: SessionKey, count: number, ttlMs: number): number | null {
    return this.#locked(key, bucket => {
      const at = this.#claim(bucket, key);
      // Without a place nothing can be remembered, and asking for nothing is better than asking each time.
      if (at < 0 || count <= this.#word(at, ROTATE)) return null;
      const before = this.#word(at, ROTATE);
      this.#cells[at + ROTATE] = count;
      this.#cells[at + UNTIL] = Math.max(this.#word(at, UNTIL), this.#seconds(ttlMs));
      return before;
    });
  }

  /** Takes `raise` back. */
  lower(key: SessionKey, count: number): void {
    this.#locked(key, bucket => {
      const at = this.#find(bucket, key);
      if (at >= 0) this.#cells[at + ROTATE] = count;
    });
  }

  #seconds(fromNowMs: number): number {
    return Math.ceil((this.#clock.now() + fromNowMs) / 1000) | 0;
  }

  #word(at: number, word: number): number {
    return this.#cells[at + word] ?? 0;
  }

  #isOver(at: number): boolean {
    const now = Math.floor(this.#clock.now() / 1000) | 0;
    return this.#word(at, OPEN) === 0 && this.#word(at, UNTIL) - now <= 0;
  }

  /** Where the session stands, if it is alive; -1 otherwise. */
  #find(bucket: number, key: SessionKey): number {
    for (let way = 0; way < WAYS; way += 1) {
      const at = (bucket * WAYS + way) * WORDS;
      if (this.#holds(at, key)) return this.#isOver(at) ? -1 : at;
    }
    return -1;
  }

  #holds(at: number, key: SessionKey): boolean {
    for (let word = 0; word < KEY_WORDS; word += 1) if (this.#cells[at + word] !== key[word]) return false;
    return true;
  }

  /** Where the session stands, or a place made for it; -1 when all places have flows. */
  #claim(bucket: number, key: SessionKey): number {
    const known = this.#find(bucket, key);
    if (known >= 0) return known;
    let free = -1;
    for (let way = 0; way < WAYS; way += 1) {
      const at = (bucket * WAYS + way) * WORDS;
      if (this.#word(at, 0) === 0 || this.#holds(at, key)) {
        free = at;
        break;
      }
      if (this.#word(at, OPEN) > 0) continue;
      if (free < 0 || this.#word(at, UNTIL) - this.#word(free, UNTIL) < 0) free = at;
    }
    if (free < 0) return -1;
    this.#cells.fill(0, free, free + WORDS);
    this.#cells.set(key, free);
    return free;
  }

  /** A thread that dies ends the process (lane-thread.ts), so a lock is always let go of. */
  #locked<T>(key: SessionKey, act: (bucket: number) => T): T {
    const bucket = ((key[0] ?? 0) >>> 1) & (BUCKETS - 1);
    while (Atomics.compareExchange(this.#locks, bucket, 0, 1) !== 0);
    try {
      return act(bucket);
    } finally {
      Atomics.store(this.#locks, bucket, 0);
    }
  }
}
