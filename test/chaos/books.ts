/**
 * What each side holds, read as a stranger would: the spool's file, the ledger's tables (or the portal, of a database that
 * lets nobody else in), the origin's own count. What must hold between them is judge.ts.
 */
import Sqlite from 'better-sqlite3';
import pg from 'pg';
import { z } from 'zod';
import type { PortalClient } from '../../installer/local/portal-client';
import type { Bytes, LedgerNumbers } from './judge';
import { Hopeless, settled, within } from './patience';
import { describePlan, type RoundPlan } from './plan';

/** The agent commits at least every 2 seconds; a loaded machine may be late. */
const QUIET_MS = 4_000;

export interface BookSources {
  spoolFile: string;
  /** Undefined: the ledger lies in the cloud's own database. */
  postgresUrl: string | undefined;
  portal: PortalClient;
  origin: { host: string; port: number };
  /** Grows by a sentence for each program that ended without having been asked to. */
  unasked: readonly string[];
}

export class Books {
  readonly #of: BookSources;
  readonly #begun = Date.now() - (Date.now() % 60_000);

  constructor(of: BookSources) {
    this.#of = of;
  }

  /**
   * The spool's sums once nothing of it is on the way and the ledger holds the same: at once when they are `good`, else
   * when they have stayed so for longer than the agent may keep usage uncommitted.
   */
  untilSettled(plan: RoundPlan, good: (sums: Bytes) => boolean): Promise<Bytes> {
    let last = '';
    let rest: { up: number; down: number; since: number } | undefined;
    return within(
      `round ${plan.round} (${describePlan(plan)}): everything committed is in the ledger`,
      async () => {
        // What has died by itself will not bring anything anywhere.
        const { unasked } = this.#of;
        if (unasked.length > 0) throw new Hopeless(unasked.join('; '));
        const spool = this.#readSpool();
        const total = await this.#ledgerTotal();
        last = `spool ${JSON.stringify(spool)}, ledger ${JSON.stringify(total)}`;
        if (spool.pending > 0 || total.up !== spool.up || total.down !== spool.down) {
          rest = undefined;
          return undefined;
        }
        const { up, down } = spool;
        if (good({ up, down })) return { up, down };
        if (rest?.up !== up || rest.down !== down) rest = { up, down, since: performance.now() };
        return performance.now() - rest.since > QUIET_MS ? { up, down } : undefined;
      },
      () => last,
    );
  }

  /** The spool file as another reader sees it. */
  #readSpool(): Bytes & { pending: number } {
    const db = new Sqlite(this.#of.spoolFile, { readonly: true });
    try {
      const row = db
        .prepare<[], Bytes & { pending: number }>(
          `SELECT committed_up AS up, committed_down AS down,
             (SELECT count(*) FROM usage_open) + (SELECT count(*) FROM usage_sealed) AS pending FROM spool`,
        )
        .get();
      if (row === undefined) throw new Error('the spool has no sums');
      return row;
    } finally {
      db.close();
    }
  }

  /** By SQL where one can: a cloud whose clock jumps gives nodes its time, and they their records. */
  async #ledgerTotal(): Promise<Bytes> {
    if (this.#of.postgresUrl !== undefined) {
      const [row] = await this.#ask<{ up: string; down: string }>(
        'SELECT coalesce(sum(up_bytes), 0) AS up, coalesce(sum(down_bytes), 0) AS down FROM usage_rollups',
      );
      return { up: Number(row?.up), down: Number(row?.down) };
    }
    const { total } = await this.#of.portal.usageSince(this.#begun);
    return { up: total.upBytes, down: total.downBytes };
  }

  /** Read from the tables themselves; the embedded database lets nobody in beside the cloud. */
  async ledgerNumbers(): Promise<LedgerNumbers[]> {
    if (this.#of.postgresUrl === undefined) return [];
    const rows = await this.#ask<Record<keyof LedgerNumbers, string>>(
      `SELECT m.epoch, m.mark, count(r.sequence) AS records, count(DISTINCT r.sequence) AS numbers,
         coalesce(min(r.sequence), 0) AS lowest, coalesce(max(r.sequence), 0) AS highest
       FROM usage_marks m LEFT JOIN usage_records r ON r.mark_key = m.key GROUP BY m.key, m.epoch, m.mark`,
    );
    return rows.map(({ epoch, ...row }) => ({
      epoch,
      mark: Number(row.mark),
      records: Number(row.records),
      numbers: Number(row.numbers),
      lowest: Number(row.lowest),
      highest: Number(row.highest),
    }));
  }

  async #ask<T extends pg.QueryResultRow>(statement: string): Promise<T[]> {
    const client = new pg.Client({
      connectionString: this.#of.postgresUrl ?? '',
      connectionTimeoutMillis: 10_000,
    });
    // Broken while nothing is asked: the next question says so.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<T>(statement)).rows;
    } finally {
      await client.end();
    }
  }

  /** Raw bytes that the origin's kernel gave and took on the connections of a round, once they stay as they are. */
  originCounts(tag: string): Promise<{ received: number; sent: number }> {
    return settled(() => this.#originCounts(tag));
  }

  async #originCounts(tag: string): Promise<{ received: number; sent: number }> {
    const { host, port } = this.#of.origin;
    const answer = await fetch(`http://${host}:${port}/report?id=${tag}`, {
      signal: AbortSignal.timeout(10_000),
    });
    const { connections } = OriginReport.parse(await answer.json());
    return {
      received: connections.reduce((sum, one) => sum + one.bytesReceived, 0),
      sent: connections.reduce((sum, one) => sum + one.bytesSent, 0),
    };
  }
}

const OriginReport = z.looseObject({
  connections: z.array(z.looseObject({ bytesReceived: z.int(), bytesSent: z.int() })),
});
