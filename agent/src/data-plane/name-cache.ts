/**
 * Answers of name servers, kept while they hold. Bounded in entries and in bytes: a customer who asks for a million
 * names pushes others' out and costs no more memory. Pure: time is a parameter. Who asks, and what is kept for how
 * long, is resolver.ts.
 */
/** What is said of a name, and for one family of addresses at a time. */
export type NameAnswer =
  | { kind: 'found'; addresses: readonly string[] }
  /** `exists`: the name does, and has no such address. */
  | { kind: 'none'; exists: boolean }
  | { kind: 'failed'; reason: 'resolver-failed' | 'resolver-timeout' };

export const MAX_ENTRIES = 1_024;
/** By the estimate below; an entry of a usual name is 300 bytes. */
export const MAX_BYTES: number = 256 * 1024;
/** Two map slots and three objects. */
const ENTRY_BYTES = 200;

interface Entry {
  answer: NameAnswer;
  untilMs: number;
  bytes: number;
}

export class NameCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What is known of `key` at `nowMs`. */
  get(key: string, nowMs: number): NameAnswer | null {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    this.#entries.delete(key);
    if (nowMs >= entry.untilMs) {
      this.#bytes -= entry.bytes;
      return null;
    }
    // The map remembers the order: what was asked for last goes last.
    this.#entries.set(key, entry);
    return entry.answer;
  }

  keep(key: string, answer: NameAnswer, untilMs: number): void {
    const bytes = bytesOf(key, answer);
    this.#forget(key);
    this.#entries.set(key, { answer, untilMs, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#bytes <= MAX_BYTES) return;
      this.#forget(oldest);
    }
  }

  #forget(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

function bytesOf(key: string, answer: NameAnswer): number {
  const addresses = answer.kind === 'found' ? answer.addresses : [];
  return addresses.reduce((sum, address) => sum + address.length + 32, ENTRY_BYTES + key.length);
}
