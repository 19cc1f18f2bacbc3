/**
 * What one lane counts for its operator: flows, refusals, and how long dials and first bytes took. Plain numbers in
 * small arrays, so that counting costs an addition and no allocation; observe/metrics.ts gives them names when
 * somebody asks. Not the meter: nothing here is billed, and nothing of it is kept over a restart.
 */
import { LATENCY_BOUNDS_MS } from '../observe/latency-bounds';
import type { LaneFigures, LatencyFigures, OwnTraffic, PathFigures } from '../ports';

/** Durations in buckets, not cumulative. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(LATENCY_BOUNDS_MS.length + 1);
  #sumMs = 0;

  observe(ms: number): void {
    let at = 0;
    while (at < LATENCY_BOUNDS_MS.length && ms > (LATENCY_BOUNDS_MS[at] ?? 0)) at += 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sumMs += ms;
  }

  figures(): LatencyFigures {
    return { counts: [...this.#counts], sumMs: this.#sumMs };
  }
}

/** Flows of one protocol through one slot. */
export class PathMetrics {
  readonly slot: number;
  readonly protocol: string;
  flows = 0;
  openFlows = 0;
  upBytes = 0;
  downBytes = 0;
  readonly dial = new LatencyHistogram();
  /** From the request to the target's first byte. */
  readonly firstByte = new LatencyHistogram();

  constructor(slot: number, protocol: string) {
    this.slot = slot;
    this.protocol = protocol;
  }

  figures(): PathFigures {
    const { slot, protocol, flows, openFlows, upBytes, downBytes } = this;
    return {
      slot,
      protocol,
      flows,
      openFlows,
      upBytes,
      downBytes,
      dial: this.dial.figures(),
      firstByte: this.firstByte.figures(),
    };
  }
}

/** What this lane itself sent and received through one slot, beside what is billed; for reconciliation. */
export class OwnCount implements OwnTraffic {
  readonly slot: number;
  upBytes = 0;
  downBytes = 0;
  /** Of customers and of ours. */
  upDatagrams = 0;
  downDatagrams = 0;

  constructor(slot: number) {
    this.slot = slot;
  }
}

export class LaneMetrics {
  accepted = 0;
  /** Times that a flow stood still because its slot waited for the disk. */
  windowWaits = 0;
  readonly #paths = new Map<string, PathMetrics>();
  readonly #own = new Map<number, OwnCount>();
  readonly #refusals = new Map<string, number>();

  /** Slots × protocols: few, and they stay. */
  path(slot: number, protocol: string): PathMetrics {
    const name = `${slot} ${protocol}`;
    let path = this.#paths.get(name);
    if (!path) {
      path = new PathMetrics(slot, protocol);
      this.#paths.set(name, path);
    }
    return path;
  }

  own(slot: number): OwnCount {
    let own = this.#own.get(slot);
    if (!own) {
      own = new OwnCount(slot);
      this.#own.set(slot, own);
    }
    return own;
  }

  refused(reason: string): void {
    this.#refusals.set(reason, (this.#refusals.get(reason) ?? 0) + 1);
  }

  refusals(): Record<string, number> {
    return Object.fromEntries(this.#refusals);
  }

  figures(open: { connections: number; handshakes: number }): LaneFigures {
    return {
      accepted: this.accepted,
      connections: open.connections,
      handshakes: open.handshakes,
      windowWaits: this.windowWaits,
      refusals: this.refusals(),
      paths: [...this.#paths.values()].map(path => path.figures()),
      own: [...this.#own.values()].map(own => ({ ...own })),
    };
  }
}
