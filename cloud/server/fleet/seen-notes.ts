/**
 * When nodes were last seen, written a few seconds late and for all of them at once: ten thousand nodes that say "still
 * here" are one statement. A crash forgets seconds of it and nothing else. What nodes say beyond that is
 * node-reports.ts.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Database } from '../db/database';
import type { Log } from '../log';

export const SEEN_FLUSH_MS = 5_000;

export class SeenNotes {
  readonly #db: Pick<Database, 'pool'>;
  readonly #log: Log;
  readonly #timer: Timer;
  /** Node id → epoch milliseconds. Holds each node once, hence bounded by the nodes there are. */
  #seen = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { db: Pick<Database, 'pool'>; clock: Clock; log: Log }) {
    this.#db = options.db;
    this.#log = options.log;
    this.#timer = options.clock.every(SEEN_FLUSH_MS, () => {
      this.#writing = this.#writing.then(() => this.#flush());
    });
  }

  note(nodeId: string, at: number): void {
    this.#seen.set(nodeId, at);
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    this.#timer.cancel();
    await this.#writing;
    await this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#seen.size === 0) return;
    const seen = this.#seen;
    this.#seen = new Map();
    try {
      await this.#db.pool.query(
        // Rows are taken in the order of their ids, as hellos do (rollout/greeting-facts.ts): nobody waits in a circle.
        `WITH held AS (
           SELECT n.id, x.ms FROM nodes n JOIN unnest($1::uuid[], $2::float8[]) AS x (id, ms) ON n.id = x.id
            WHERE n.last_seen_at IS NULL OR n.last_seen_at < to_timestamp(x.ms / 1000.0)
            ORDER BY n.id FOR UPDATE OF n
         )
         UPDATE nodes n SET last_seen_at = to_timestamp(held.ms / 1000.0) FROM held WHERE n.id = held.id`,
        [[...seen.keys()], [...seen.values()]],
      );
    } catch (error) {
      // What was noted since is newer; the rest is tried again.
      for (const [nodeId, at] of seen) if (!this.#seen.has(nodeId)) this.#seen.set(nodeId, at);
      this.#log.warn({ err: error }, 'when nodes were seen could not be written; trying again');
    }
  }
}

/** Nodes that were here within a week: how many may be expected to come back after a restart. */
export async function countRecentNodes(db: Pick<Database, 'pool'>): Promise<number> {
  const { rows } = await db.pool.query<{ count: string }>(
    "SELECT count(*) AS count FROM nodes WHERE retired_at IS NULL AND last_seen_at > now() - interval '7 days'",
  );
  return Number(rows[0]?.count ?? 0);
}
