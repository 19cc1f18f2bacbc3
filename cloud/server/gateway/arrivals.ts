/**
 * How many nodes may be on their way in at once, from the upgrade to the end of the greeting, and when the others are to
 * come back. Whoever is let in is served quickly; who is not costs an answer of two hundred bytes. So a process that ten
 * thousand nodes come back to stays responsive, and the pace follows what machine and database can do. The spread is
 * drawn here, since only the cloud knows how many there are: agents add but a little jitter (agent link-policy.ts).
 */

/** From here on challenges are refused: work enough for any machine, and a fraction of a second of it. */
export const MAX_ARRIVING = 256;
/** An event loop that is later than this has too much to do already: fewer are let in, and never fewer than the least. */
const BEARABLE_LAG_MS = 100;
const LEAST_ARRIVING = 16;
/** From here on upgrades are too; those with a challenge in hand come before new ones. */
export const MAX_ARRIVING_UPGRADES = 4 * MAX_ARRIVING;
/** What nodes are asked to spread over: so many a second. */
export const ARRIVALS_PER_SECOND = 400;
/** Few nodes are spread as well, and no number of them is told to stay away for longer. */
const LEAST_SPREAD_MS = 5_000;
const LONGEST_SPREAD_MS = 60_000;

/** Time over which so many nodes shall come, milliseconds. Pure. */
export function spreadMs(nodes: number): number {
  const fair = (nodes / ARRIVALS_PER_SECOND) * 1_000;
  return Math.min(LONGEST_SPREAD_MS, Math.max(LEAST_SPREAD_MS, fair));
}

export class Arrivals {
  readonly #expected: () => number;
  readonly #random: () => number;
  #arriving = 0;
  #limit = MAX_ARRIVING;
  #refused = 0;

  /** `expected`: nodes that may still come. */
  constructor(options: { expected: () => number; random?: () => number }) {
    this.#expected = options.expected;
    this.#random = options.random ?? Math.random;
  }

  /** On their way now. */
  get arriving(): number {
    return this.#arriving;
  }

  /** Told to come later, so far. */
  get refused(): number {
    return this.#refused;
  }

  /** Whether a challenge may be given out. */
  mayAsk(): boolean {
    return this.#arriving < this.#limit;
  }

  /** How late this process's event loop was of late, milliseconds. */
  noteLag(ms: number): void {
    const share = BEARABLE_LAG_MS / Math.max(BEARABLE_LAG_MS, ms);
    this.#limit = Math.max(LEAST_ARRIVING, Math.round(MAX_ARRIVING * share));
  }

  /** Takes a place; false when there is none. Each place taken is given back by `leave`. */
  enter(): boolean {
    if (this.#arriving >= MAX_ARRIVING_UPGRADES) return false;
    this.#arriving += 1;
    return true;
  }

  /** It is greeted, or gone. */
  leave(): void {
    this.#arriving -= 1;
  }

  /** Whole seconds for `Retry-After`, another one each time. */
  retryAfterSeconds(): number {
    this.#refused += 1;
    return Math.max(1, Math.ceil((this.#random() * spreadMs(this.#expected())) / 1_000));
  }
}
