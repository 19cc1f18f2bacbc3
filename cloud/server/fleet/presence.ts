/**
 * Which nodes are connected, and what they say of the moment: to this process, and to others as far as those tell
 * (cluster/). Live figures only: in memory, never the base of a bill. The gateway writes, screens read.
 */
import type { SlotFigures } from '@mastline/shared/domain/modem';

/** Figures older than this, or than two and a half of the node's intervals, are shown as zero: it has stopped. */
export const FIGURES_LIFETIME_MS = 10_000;
/** Somebody looks at figures of nodes elsewhere as long as the last look is not older: live feeds look every 5 s. */
const LOOK_LIFETIME_MS = 12_000;

interface Entry {
  /** Interval between reports that the node was asked for, milliseconds. */
  everyMs: number;
  receivedAtMonotonicMs: number;
  figures: readonly SlotFigures[];
}

const NO_FIGURES: readonly SlotFigures[] = [];

export class Presence {
  readonly #online = new Map<string, Entry>();
  /** Nodes that other processes hold, by process; told by the cluster. */
  readonly #elsewhere = new Map<string, Set<string>>();
  /** Figures of nodes that other processes hold. */
  readonly #reported = new Map<string, Entry>();
  #expected = 0;
  readonly #listeners = new Set<() => void>();
  readonly #moveListeners = new Set<(nodeId: string, order: number | null) => void>();
  readonly #reportListeners = new Set<(nodeId: string) => void>();
  #lookedElsewhereMs = Number.NEGATIVE_INFINITY;
  readonly #monotonicMs: () => number;

  constructor(clock: { monotonicMs(): number }) {
    this.#monotonicMs = () => clock.monotonicMs();
  }

  /** Nodes connected to this process. */
  get size(): number {
    return this.#online.size;
  }

  /** Nodes that may be expected here: those connected, or as many as were seen of late, whatever is more. */
  get expected(): number {
    return Math.max(this.#online.size, this.#expected);
  }

  expect(nodes: number): void {
    this.#expected = nodes;
  }

  /** `order`: of the node's sessions the one with the highest is the newest. */
  connected(nodeId: string, order = 0): void {
    this.#online.set(nodeId, { everyMs: 0, receivedAtMonotonicMs: 0, figures: NO_FIGURES });
    for (const listener of this.#moveListeners) listener(nodeId, order);
    this.changed();
  }

  disconnected(nodeId: string): void {
    if (!this.#online.delete(nodeId)) return;
    for (const listener of this.#moveListeners) listener(nodeId, null);
    this.changed();
  }

  /** Calls `listener` when a node came to this process (with its session's order) or left it (null). */
  onMove(listener: (nodeId: string, order: number | null) => void): () => void {
    this.#moveListeners.add(listener);
    return () => this.#moveListeners.delete(listener);
  }

  /** Calls `listener` when a node of this process sent figures. */
  onReport(listener: (nodeId: string) => void): () => void {
    this.#reportListeners.add(listener);
    return () => this.#reportListeners.delete(listener);
  }

  /** What a node of this process said last. */
  said(nodeId: string): { everyMs: number; figures: readonly SlotFigures[] } | undefined {
    return this.#online.get(nodeId);
  }

  /** Somebody here looks at figures of nodes that other processes hold. */
  get looksElsewhere(): boolean {
    return this.#monotonicMs() - this.#lookedElsewhereMs <= LOOK_LIFETIME_MS;
  }

  /** The node was asked to report so often. */
  reportsEvery(nodeId: string, everyMs: number): void {
    const entry = this.#online.get(nodeId);
    if (entry !== undefined) entry.everyMs = everyMs;
  }

  report(nodeId: string, figures: readonly SlotFigures[]): void {
    const entry = this.#online.get(nodeId);
    if (entry === undefined) return;
    entry.receivedAtMonotonicMs = this.#monotonicMs();
    entry.figures = figures;
    for (const listener of this.#reportListeners) listener(nodeId);
    this.changed();
  }

  /** What another process holds now; an empty set forgets it. Figures of those nodes come by `reportElsewhere`. */
  elsewhere(process: string, nodeIds: ReadonlySet<string>): void {
    if (nodeIds.size === 0) this.#elsewhere.delete(process);
    else this.#elsewhere.set(process, new Set(nodeIds));
    for (const nodeId of this.#reported.keys()) if (!this.isOnline(nodeId)) this.#reported.delete(nodeId);
    this.changed();
  }

  /** One node came to, or left, another process. */
  movedElsewhere(process: string, nodeId: string, isThere: boolean): void {
    let nodes = this.#elsewhere.get(process);
    if (nodes === undefined) {
      if (!isThere) return;
      nodes = new Set();
      this.#elsewhere.set(process, nodes);
    }
    if (isThere) nodes.add(nodeId);
    else nodes.delete(nodeId);
    if (!this.isOnline(nodeId)) this.#reported.delete(nodeId);
    this.changed();
  }

  /** Figures of a node that another process holds. */
  reportElsewhere(nodeId: string, everyMs: number, figures: readonly SlotFigures[]): void {
    if (!this.isOnline(nodeId)) return;
    this.#reported.set(nodeId, { everyMs, receivedAtMonotonicMs: this.#monotonicMs(), figures });
    this.changed();
  }

  isOnline(nodeId: string): boolean {
    if (this.#online.has(nodeId)) return true;
    for (const nodes of this.#elsewhere.values()) if (nodes.has(nodeId)) return true;
    return false;
  }

  /** Figures of one slot; undefined when there are none that are fresh. */
  figures(nodeId: string, slot: number): SlotFigures | undefined {
    const here = this.#online.get(nodeId);
    if (here === undefined && this.isOnline(nodeId)) this.#lookedElsewhereMs = this.#monotonicMs();
    const entry = here ?? this.#reported.get(nodeId);
    if (entry === undefined) return undefined;
    const lifetimeMs = Math.max(FIGURES_LIFETIME_MS, 2.5 * entry.everyMs);
    if (this.#monotonicMs() - entry.receivedAtMonotonicMs > lifetimeMs) return undefined;
    return entry.figures.findLast(each => each.slot === slot);
  }

  /** Tells those who look (the live feed) that something is new: also after ingest and modem reports. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after changes; returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
