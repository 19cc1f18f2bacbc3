/**
 * Holds the ledger against what a fleet committed: every record once, with the bytes that it was given, charged to the
 * customer it belongs to and, where its node lied, to nobody but the host.
 */
import type { Database } from '@mastline/cloud/server/db/database';
import { customerOf, downBytesOf, epochOf, nodeIdOf, upBytesOf } from './identity';

export interface Spools {
  seed: number;
  /** By node: how many records there are, how many of them were acknowledged. */
  committed: readonly number[];
  acknowledged: readonly number[];
  liars: ReadonlySet<number>;
}

export interface Verdict {
  /** Acknowledged records that are not in the ledger. */
  lost: number;
  /** Records that are in it more than once, or that no node ever had. */
  doubled: number;
  /** Nodes whose bytes, owner or mark are not what they must be, each with what is wrong. */
  wrongNodes: string[];
  /** Bytes of the rollups less bytes of the records. */
  rollupDifference: string;
  records: number;
}

interface LedgerRow {
  node_id: string;
  epoch: string;
  mark: string;
  count: string;
  distinct_count: string;
  first: string | null;
  last: string | null;
  up: string;
  down: string;
  foreign_count: string;
  organizations: string[];
}

export async function checkLedger(db: Pick<Database, 'pool'>, spools: Spools): Promise<Verdict> {
  const { rows } = await db.pool.query<LedgerRow>(
    `SELECT m.node_id, m.epoch, m.mark, count(r.sequence) AS count, count(DISTINCT r.sequence) AS distinct_count,
            min(r.sequence) AS first, max(r.sequence) AS last, coalesce(sum(r.up_bytes), 0) AS up,
            coalesce(sum(r.down_bytes), 0) AS down, count(*) FILTER (WHERE r.unattributed IS NOT NULL) AS foreign_count,
            array_agg(DISTINCT r.organization_id) FILTER (WHERE r.unattributed IS NULL) AS organizations
       FROM usage_marks m LEFT JOIN usage_records r ON r.mark_key = m.key
      GROUP BY m.key, m.node_id, m.epoch, m.mark`,
  );
  const byNode = new Map(rows.map(row => [row.node_id, row]));
  const verdict: Verdict = { lost: 0, doubled: 0, wrongNodes: [], rollupDifference: '0', records: 0 };
  for (const [index, committed] of spools.committed.entries()) {
    const row = byNode.get(nodeIdOf(spools.seed, index));
    byNode.delete(nodeIdOf(spools.seed, index));
    const count = Number(row?.count ?? 0);
    const distinct = Number(row?.distinct_count ?? 0);
    const acknowledged = spools.acknowledged[index] ?? 0;
    verdict.records += count;
    verdict.lost += Math.max(0, acknowledged - distinct);
    verdict.doubled += count - distinct + Math.max(0, distinct - committed);
    if (row === undefined) continue;
    let up = 0;
    let down = 0;
    for (let sequence = 1; sequence <= distinct; sequence += 1) {
      up += upBytesOf(index, sequence);
      down += downBytesOf(index, sequence);
    }
    const owner = customerOf(spools.seed, index);
    const isLiar = spools.liars.has(index);
    const wrong = [
      ...(row.epoch === epochOf(spools.seed, index) ? [] : [`epoch ${row.epoch}`]),
      ...(Number(row.mark) === distinct ? [] : [`mark ${row.mark} with ${distinct} records`]),
      ...(distinct === 0 || (Number(row.first) === 1 && Number(row.last) === distinct)
        ? []
        : [`sequences ${row.first} to ${row.last}`]),
      ...(Number(row.up) === up && Number(row.down) === down ? [] : ['other bytes']),
      ...((row.organizations ?? []).every(each => each === owner) ? [] : ['charged to another customer']),
      ...(isLiar || Number(row.foreign_count) === 0 ? [] : [`${row.foreign_count} records without an owner`]),
    ];
    if (wrong.length > 0) verdict.wrongNodes.push(`node ${index}: ${wrong.join(', ')}`);
  }
  // Marks of nodes that are no part of the fleet.
  for (const nodeId of byNode.keys()) verdict.wrongNodes.push(`${nodeId} is no part of the fleet`);
  const { rows: sums } = await db.pool.query<{ difference: string }>(
    `SELECT (SELECT coalesce(sum(up_bytes + down_bytes + flows), 0) FROM usage_rollups)
          + (SELECT coalesce(sum(up_bytes + down_bytes + flows), 0) FROM usage_rollups_daily)
      - 2 * (SELECT coalesce(sum(up_bytes + down_bytes + flows), 0) FROM usage_records) AS difference`,
  );
  verdict.rollupDifference = sums[0]?.difference ?? '?';
  return verdict;
}
