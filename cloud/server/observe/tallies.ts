/**
 * What this process counts of itself, in plain numbers: a count costs an addition, and nothing is kept per node or per
 * person. metrics-page.ts turns it into Prometheus' text when somebody asks; what the System page shows is summed up
 * over processes by insight/process-reports.ts. Knows no domain: the parts count in here.
 */

/** Labels of one counter. Ours are few and fixed; a mistake must not grow memory with what peers send. */
const MAX_LABELS = 128;
const OVERFLOW = 'other';

/** Upper bounds in seconds; one more bucket holds what is above. */
export const BATCH_BOUNDS: readonly number[] = [
  0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20,
];
export const REQUEST_BOUNDS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A counter with one label, or with several joined by a space: `job outcome`. */
export class Counts {
  readonly #values = new Map<string, number>();

  add(label: string, by = 1): void {
    const known = this.#values.get(label);
    if (known !== undefined) this.#values.set(label, known + by);
    else if (this.#values.size < MAX_LABELS) this.#values.set(label, by);
    else this.#values.set(OVERFLOW, (this.#values.get(OVERFLOW) ?? 0) + by);
  }

  of(label: string): number {
    return this.#values.get(label) ?? 0;
  }

  entries(): [string, number][] {
    return [...this.#values];
  }
}

/** How long things took: one count per bucket, and the sum in seconds. */
export class Latencies {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sumSeconds = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array(bounds.length + 1).fill(0);
  }

  note(ms: number): void {
    const seconds = ms / 1000;
    let at = 0;
    while (at < this.bounds.length && seconds > (this.bounds[at] ?? 0)) at += 1;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.sumSeconds += seconds;
  }
}

/** Latencies by label. */
export class LatenciesBy {
  readonly #bounds: readonly number[];
  readonly #values = new Map<string, Latencies>();

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  note(label: string, ms: number): void {
    const name = this.#values.has(label) || this.#values.size < MAX_LABELS ? label : OVERFLOW;
    let latencies = this.#values.get(name);
    if (latencies === undefined) {
      latencies = new Latencies(this.#bounds);
      this.#values.set(name, latencies);
    }
    latencies.note(ms);
  }

  entries(): [string, Latencies][] {
    return [...this.#values];
  }
}

/** One of these per process, handed to whatever counts. */
export class Tallies {
  /** Upgrades of agents: `admitted`, or the code of the refusal. */
  readonly upgrades = new Counts();
  /** Messages of agents by kind: `unknown` for a kind not known here, `refused` for what is no message. */
  readonly messagesIn = new Counts();
  /** Messages to agents by kind; `desired-state` is a push of settings. */
  readonly messagesOut = new Counts();
  /** What agents sent and was not taken, by stable code: frames, and batches of usage. */
  readonly refusals = new Counts();
  /** Sessions that ended, by WebSocket close code. */
  readonly closes = new Counts();
  /** From the arrival of a frame with usage to its acknowledgement. */
  readonly batches = new Latencies(BATCH_BOUNDS);
  /** Usage records: `stored`, `duplicate`, `unattributed` (those are stored too). */
  readonly records = new Counts();
  /** Runs of jobs here: `job outcome`. */
  readonly jobs = new Counts();
  /** HTTP requests: `route status`. */
  readonly requests = new Counts();
  readonly requestSeconds = new LatenciesBy(REQUEST_BOUNDS);
  /** Procedures by the name of their router. */
  readonly procedures = new LatenciesBy(REQUEST_BOUNDS);
}
