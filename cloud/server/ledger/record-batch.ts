/**
 * Usage batches into the ledger, exactly once. In one transaction, for as many batches of as many nodes as there are:
 * hold the marks, drop what is at or below them, refuse gaps, store the rest with its rollups, move the marks. The
 * answer may be lost and a batch come again: then all of it is at or below the mark. Who groups batches is
 * batch-writer.ts.
 */
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { PERIOD_MS } from '@mastline/shared/domain/usage-period';
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import { type FreshBatch, insertRecords, lockMarks, type Mark, type StoredRecord } from './ingest-sql';

/** No modem carries more in a minute (18 Gbit/s); a record that says so is made up, and would only break sums. */
export const MAX_RECORD_BYTES = 2 ** 37;
export const MAX_RECORD_FLOWS = 10_000_000;
/** Periods outside of these, seen from the cloud's clock, are a node's wrong clock: stored in the present minute. */
export const MAX_PERIOD_AGE_MS = 400 * 86_400_000;
export const MAX_PERIOD_AHEAD_MS = 86_400_000;

export type BatchOutcome =
  | { is: 'stored'; mark: number; stored: number; duplicates: number; unattributed: number }
  /** Nothing was stored: records between are missing. */
  | { is: 'gap'; expected: number }
  /** A batch that no honest agent sends. */
  | {
      is: 'refused';
      code: 'ledger/not-consecutive' | 'ledger/implausible' | 'ledger/too-many-epochs';
      message: string;
    };

export interface Batch {
  nodeId: string;
  hostOrganizationId: string;
  epoch: string;
  records: readonly UsageRecord[];
}

/** Stores one batch; `now` is the cloud's clock, epoch milliseconds. */
export async function recordBatch(
  db: Pick<Database, 'pool'>,
  batch: Batch,
  now: number,
): Promise<BatchOutcome> {
  const [outcome] = await recordBatches(db, [batch], now);
  if (outcome === undefined) throw new Error('no outcome for a batch');
  return outcome;
}

/** Stores batches in the order given, all or, when the database fails, none; one outcome for each. */
export async function recordBatches(
  db: Pick<Database, 'pool'>,
  batches: readonly Batch[],
  now: number,
): Promise<BatchOutcome[]> {
  const outcomes: (BatchOutcome | undefined)[] = batches.map(
    batch => objectionTo(batch.records) ?? undefined,
  );
  const open = batches.filter((_, index) => outcomes[index] === undefined);
  const decided = open.length === 0 ? [] : await store(db, open, now);
  let next = 0;
  return outcomes.map(outcome => {
    const final = outcome ?? decided[next++];
    if (final === undefined) throw new Error('no outcome for a batch');
    return final;
  });
}

/** A mark as it moves while the batches of one transaction are gone through. */
interface Position {
  key: string;
  mark: number;
  moved: boolean;
}

function store(db: Pick<Database, 'pool'>, batches: readonly Batch[], now: number): Promise<BatchOutcome[]> {
  const at = new Date(now);
  return inTransaction(db, async client => {
    const epochs = new Map(batches.map(batch => [`${batch.nodeId} ${batch.epoch}`, batch]));
    const marks = await lockMarks(client, [...epochs.values()], at);
    const positions = new Map<string, Position | undefined>();
    for (const [index, name] of [...epochs.keys()].entries()) {
      const mark = marks[index];
      positions.set(name, mark && { ...mark, moved: false });
    }
    const fresh: FreshBatch[] = [];
    const places: (number | undefined)[] = [];
    const outcomes = batches.map(batch => {
      const position = positions.get(`${batch.nodeId} ${batch.epoch}`);
      const { outcome, records } = decide(batch, position);
      places.push(records.length > 0 && position ? fresh.length : undefined);
      if (records.length > 0 && position)
        fresh.push({
          nodeId: batch.nodeId,
          markKey: position.key,
          records: records.map(record => datedBy(record, now)),
        });
      return outcome;
    });
    if (fresh.length === 0) return outcomes;
    const moved: Mark[] = [...positions.values()].flatMap(each => (each?.moved ? [each] : []));
    const unattributed = await insertRecords(client, fresh, { marks: moved, at });
    return outcomes.map((outcome, index) => {
      const place = places[index];
      return outcome.is === 'stored' && place !== undefined
        ? { ...outcome, unattributed: unattributed[place] ?? 0 }
        : outcome;
    });
  });
}

/** What becomes of a batch at a mark, and which of its records are new; moves the position past them. */
function decide(
  batch: Batch,
  position: Position | undefined,
): { outcome: BatchOutcome; records: readonly UsageRecord[] } {
  if (position === undefined)
    return {
      outcome: {
        is: 'refused',
        code: 'ledger/too-many-epochs',
        message: 'this node began too many epochs today: its spool does not last. Come back later',
      },
      records: [],
    };
  const { mark } = position;
  const records = batch.records.filter(record => record.sequence > mark);
  const [first] = records;
  const last = records.at(-1);
  const duplicates = batch.records.length - records.length;
  if (first === undefined || last === undefined)
    return { outcome: { is: 'stored', mark, stored: 0, duplicates, unattributed: 0 }, records };
  if (first.sequence !== mark + 1) return { outcome: { is: 'gap', expected: mark + 1 }, records: [] };
  position.mark = last.sequence;
  position.moved = true;
  return {
    outcome: { is: 'stored', mark: last.sequence, stored: records.length, duplicates, unattributed: 0 },
    records,
  };
}

/** What is wrong with a batch whatever the ledger holds; null for nothing. Pure. */
export function objectionTo(
  records: readonly UsageRecord[],
): Extract<BatchOutcome, { is: 'refused' }> | null {
  let previous: number | undefined;
  for (const { sequence, upBytes, downBytes, flows } of records) {
    if (previous !== undefined && sequence !== previous + 1)
      return {
        is: 'refused',
        code: 'ledger/not-consecutive',
        message: `record ${sequence} follows ${previous}: sequences of a batch must be consecutive`,
      };
    if (upBytes > MAX_RECORD_BYTES || downBytes > MAX_RECORD_BYTES || flows > MAX_RECORD_FLOWS)
      return {
        is: 'refused',
        code: 'ledger/implausible',
        message: `record ${sequence} counts more than a minute can hold`,
      };
    previous = sequence;
  }
  return null;
}

/** A record whose period no working clock gives is kept in the present minute, with what it came with. Pure. */
export function datedBy(record: UsageRecord, now: number): StoredRecord {
  const early = record.periodStart < now - MAX_PERIOD_AGE_MS;
  const late = record.periodStart > now + MAX_PERIOD_AHEAD_MS;
  return early || late
    ? { ...record, periodStart: now - (now % PERIOD_MS), reportedPeriodStart: record.periodStart }
    : record;
}
