/**
 * What came of usage batches, noted per node in memory for a few seconds and then written for all nodes at once: where
 * each spool stands against the ledger, what was stored, doubled, missing, refused. For eyes and alarms, never the base
 * of a bill: a process that dies takes the last seconds of it along, the ledger itself is exact without it. Holds each
 * node that sent since the last write once, hence is bounded by the nodes there are.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import type { Log } from '../log';
import type { Batch, BatchOutcome } from './record-batch';
import { type MinuteCounts, type NodeNote, type Standing, writeNotes } from './watch-sql';

/** Ten thousand nodes that send all the time are one statement in so long. */
export const WATCH_FLUSH_MS = 10_000;
/** Codes of ours are few; a mistake must not grow a map. */
const MAX_CODES = 64;

const nothing = (): MinuteCounts => ({
  batches: 0,
  stored: 0,
  duplicates: 0,
  gaps: 0,
  refused: 0,
  unattributed: 0,
});

export class IngestWatch {
  readonly #db: Pick<Database, 'pool'>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #timer: Timer;
  #nodes = new Map<string, NodeNote>();
  #total = nothing();
  #refusals = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { db: Pick<Database, 'pool'>; clock: Clock; log: Log }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#timer = options.clock.every(WATCH_FLUSH_MS, () => void this.flush());
  }

  /** A node said hello: `lastSequence` is what its spool has, `mark` what the ledger has of it. */
  greeted(
    node: { nodeId: string; organizationId: string },
    spool: { epoch: string; lastSequence: number; mark: number },
  ): void {
    this.#stands(this.#note(node.nodeId, node.organizationId), {
      epoch: spool.epoch,
      mark: spool.mark,
      announced: spool.lastSequence,
      lastPeriodStart: null,
      at: this.#clock.now(),
    });
  }

  /** A batch was answered. `ahead` is how many records its node is known to have beyond it. */
  answered(batch: Batch, ahead: number, outcome: BatchOutcome): void {
    const note = this.#note(batch.nodeId, batch.hostOrganizationId);
    this.#total.batches += 1;
    const last = batch.records.at(-1);
    const standing = {
      epoch: batch.epoch,
      mark: 0,
      announced: (last?.sequence ?? 0) + ahead,
      lastPeriodStart: null,
      at: this.#clock.now(),
    };
    switch (outcome.is) {
      case 'stored':
        for (const counts of [note, this.#total]) {
          counts.stored += outcome.stored;
          counts.duplicates += outcome.duplicates;
          counts.unattributed += outcome.unattributed;
        }
        this.#stands(note, {
          ...standing,
          mark: outcome.mark,
          lastPeriodStart: outcome.stored > 0 && last !== undefined ? last.periodStart : null,
        });
        return;
      case 'gap':
        for (const counts of [note, this.#total]) counts.gaps += 1;
        this.#refused('ledger/gap');
        this.#stands(note, { ...standing, mark: outcome.expected - 1 });
        return;
      case 'refused':
        for (const counts of [note, this.#total]) counts.refused += 1;
        this.#refused(outcome.code);
        // What such a batch says is not believed: where its node stands is as before.
        return;
      default:
        outcome satisfies never;
    }
  }

  /** Writes what is noted. Never rejects: what cannot be written is kept for the next time. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#flush());
    return this.#writing;
  }

  async close(): Promise<void> {
    this.#timer.cancel();
    await this.flush();
  }

  #note(nodeId: string, organizationId: string): NodeNote {
    let note = this.#nodes.get(nodeId);
    if (note === undefined) {
      note = { nodeId, organizationId, ...nothing(), standing: undefined };
      this.#nodes.set(nodeId, note);
    }
    return note;
  }

  #stands(note: NodeNote, now: Standing): void {
    const { standing } = note;
    note.standing =
      standing === undefined || standing.epoch !== now.epoch
        ? now
        : {
            ...now,
            mark: Math.max(standing.mark, now.mark),
            announced: Math.max(standing.announced, now.announced),
            lastPeriodStart: now.lastPeriodStart ?? standing.lastPeriodStart,
          };
  }

  #refused(code: string): void {
    if (this.#refusals.has(code) || this.#refusals.size < MAX_CODES)
      this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
  }

  async #flush(): Promise<void> {
    if (this.#nodes.size === 0) return;
    const [nodes, total, refusals] = [this.#nodes, this.#total, this.#refusals];
    this.#nodes = new Map();
    this.#total = nothing();
    this.#refusals = new Map();
    try {
      await inTransaction(this.#db, client =>
        writeNotes(client, { nodes: [...nodes.values()], total, refusals }, new Date(this.#clock.now())),
      );
    } catch (error) {
      this.#keep(nodes, total, refusals);
      this.#log.warn({ err: error }, 'figures of ingest could not be written; trying again');
    }
  }

  /** Adds what could not be written to what was noted since. */
  #keep(nodes: Map<string, NodeNote>, total: MinuteCounts, refusals: Map<string, number>): void {
    for (const old of nodes.values()) {
      const note = this.#note(old.nodeId, old.organizationId);
      add(note, old);
      const since = note.standing;
      note.standing = old.standing;
      if (since !== undefined) this.#stands(note, since);
    }
    add(this.#total, total);
    for (const [code, batches] of refusals)
      this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + batches);
  }
}

function add(sum: MinuteCounts, more: MinuteCounts): void {
  sum.batches += more.batches;
  sum.stored += more.stored;
  sum.duplicates += more.duplicates;
  sum.gaps += more.gaps;
  sum.refused += more.refused;
  sum.unattributed += more.unattributed;
}
