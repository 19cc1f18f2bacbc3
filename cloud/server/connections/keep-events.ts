/**
 * Batches of what nodes remember, kept once: in one transaction the stream's mark is held, what is at or below it is
 * dropped, the rest is stored and the mark moves. A gap is nothing to be refused here, as it is with usage: numbers in
 * between were dropped on the node. How much a node may send is event-rate.ts.
 */
import type { FlowSummary } from '@mastline/shared/domain/flow-summary';
import type { NodeEvent } from '@mastline/shared/domain/node-event';
import type { Database } from '../db/database';
import { inTransaction } from '../db/transaction';
import {
  insertEvents,
  insertFlows,
  lockEventMark,
  MAX_EVENT_EPOCHS_PER_DAY,
  moveEventMark,
  type StreamOf,
} from './event-sql';

const DAY_MS = 86_400_000;
/** Nobody keeps anything longer (retention.ts), so what is older is not stored at all. */
export const MAX_EVENT_AGE_MS = 366 * DAY_MS;
/** A node's clock may be so wrong; what lies further ahead happened now. */
const MAX_AHEAD_MS = 60_000;

export type EventBatch = StreamOf & { first: number; droppedEvents: number } & (
    | { stream: 'events'; items: readonly NodeEvent[] }
    | { stream: 'flows'; items: readonly FlowSummary[] }
  );

export type KeepOutcome =
  /** `foreign`: named what does not belong to the node; flows are dropped for that, events lose the name. */
  | { is: 'kept'; mark: number; kept: number; duplicates: number; foreign: number; stale: number }
  | { is: 'refused'; code: 'events/implausible' | 'events/too-many-epochs'; message: string };

/** `now` is the cloud's clock, epoch milliseconds. */
export function keepEvents(db: Pick<Database, 'pool'>, batch: EventBatch, now: number): Promise<KeepOutcome> {
  const last = batch.first + batch.items.length - 1;
  if (batch.first > Number.MAX_SAFE_INTEGER - batch.items.length)
    return Promise.resolve({
      is: 'refused',
      code: 'events/implausible',
      message: `numbers from ${batch.first} on are too large`,
    });
  const at = new Date(now);
  return inTransaction(db, async (client): Promise<KeepOutcome> => {
    const mark = await lockEventMark(client, batch, at);
    if (mark === undefined)
      return {
        is: 'refused',
        code: 'events/too-many-epochs',
        message: `more than ${MAX_EVENT_EPOCHS_PER_DAY} starts of this agent within a day`,
      };
    const duplicates = Math.min(batch.items.length, Math.max(0, mark - batch.first + 1));
    let kept = 0;
    let foreign = 0;
    let stale = 0;
    if (batch.stream === 'flows') {
      const fresh = timely(batch.items.slice(duplicates), 'endedAt', now);
      stale = batch.items.length - duplicates - fresh.length;
      kept = fresh.length === 0 ? 0 : await insertFlows(client, batch.nodeId, fresh);
      foreign = fresh.length - kept;
    } else {
      const fresh = timely(batch.items.slice(duplicates), 'at', now);
      stale = batch.items.length - duplicates - fresh.length;
      kept = fresh.length;
      foreign = kept === 0 ? 0 : await insertEvents(client, batch.nodeId, fresh);
    }
    const moved = Math.max(mark, last);
    await moveEventMark(client, batch, {
      mark: moved,
      dropped: batch.droppedEvents,
      foreign,
      stale,
      at,
    });
    return { is: 'kept', mark: moved, kept, duplicates, foreign, stale };
  });
}

/** Without what is too old; what lies ahead is of now. */
function timely<Field extends 'at' | 'endedAt', Item extends Record<Field, number>>(
  items: readonly Item[],
  field: Field,
  now: number,
): Item[] {
  return items
    .filter(item => item[field] >= now - MAX_EVENT_AGE_MS)
    .map(item => (item[field] > now + MAX_AHEAD_MS ? { ...item, [field]: now } : item));
}
