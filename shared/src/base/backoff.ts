/**
 * How long to wait before the next try: doubles from `firstMs` to `maxMs`, with full jitter so that ten thousand
 * nodes do not come back in the same second (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
 * Pure but for its counter: the random source is handed in, the waiting is the caller's.
 */
export class Backoff {
  #failures = 0;
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;

  constructor(options: {
    firstMs: number;
    maxMs: number;
    random?: () => number;
  }) {
    this.#firstMs = options.firstMs;
    this.#maxMs = options.maxMs;
    this.#random = options.random ?? Math.random;
  }

  /** Milliseconds to wait now: at least half of the first step, so that a tight loop is impossible. */
  nextMs(): number {
    const ceiling = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.max(this.#firstMs / 2, Math.round(ceiling * this.#random()));
  }

  /** To be called on success: the next wait is short again. */
  reset(): void {
    this.#failures = 0;
  }

  get failures(): number {
    return this.#failures;
  }
}
