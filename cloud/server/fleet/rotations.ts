/**
 * Rotations as the cloud knows them: asked for here, told by nodes. One row an id; a node's word comes late rather than
 * never, and is the last. Who may ask is fleet/rotation-api.ts and rotation-links.ts.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type pg from 'pg';
import type { Database } from '../db/database';
import { withTenantSql } from '../db/tenant';
import type { Scope } from '../identity/scope';
import type { Services } from '../rpc/context';
import type { NodeIdentity } from './node-reports';
import { UNANSWERED_AFTER_MS } from './rotation-orders';
import type { RotationMethodView, RotationView } from './rotation-views';
import { visibleSlots } from './visible';

/** Kept so long; requests that were refused, a day. */
const KEEP_MS = 90 * 86_400_000;
const KEEP_REFUSED_MS = 86_400_000;
const SHOWN = 20;
/** Of one modem, for the figures of its methods. */
const COUNTED = 500;
/** The largest that a column takes. A node that says more lies. */
const MAX_INT = 2_147_483_647;

/** A slot that somebody may see. */
export interface SlotPlace {
  slotId: string;
  nodeId: string;
  /** The host whose modem it is. */
  organizationId: string;
  number: number;
}

interface RotationRow {
  id: string;
  node_id: string;
  slot_number: number;
  asked_for: string;
  asked_at: Date;
  deadline_at: Date | null;
  ended_at: Date | null;
  outcome: RotationView['outcome'];
  reason: string;
  method: string | null;
  old_address: string | null;
  new_address: string | null;
  took_ms: number | null;
  attempts: number | null;
  carrier: string | null;
  retry_after_ms: number | null;
}

/** The slot with this id, or on this place of a node, if the scope may see it. Throws `fleet/no-such-slot`. */
export async function findSlot(
  db: Pick<Database, 'pool'>,
  scope: Scope,
  of: { slotId: string } | { nodeId: string; number: number },
): Promise<SlotPlace> {
  const [condition, values] =
    'slotId' in of
      ? ['s.id = $2', [of.slotId]]
      : ['s.node_id = $2 AND s.number = $3', [of.nodeId, of.number]];
  const { rows } = await withTenantSql(db, scope.organizationId, client =>
    client.query<{ id: string; node_id: string; organization_id: string; number: number }>(
      `SELECT s.id, s.node_id, n.organization_id, s.number FROM slots s JOIN nodes n ON n.id = s.node_id
        WHERE n.retired_at IS NULL AND ${condition} AND ${visibleSlots(scope)}`,
      [scope.organizationId, ...values],
    ),
  );
  const [row] = rows;
  if (row === undefined)
    throw new CodedError('fleet/no-such-slot', `no slot ${JSON.stringify(of)} for ${scope.organizationId}`, {
      userMessage: 'There is no such modem, or it serves you no more.',
    });
  return { slotId: row.id, nodeId: row.node_id, organizationId: row.organization_id, number: row.number };
}

/** Asks the slot's node for another address. One that is under way is joined, not doubled. */
export async function startRotation(
  services: Services,
  slot: SlotPlace,
  by: { askedFor: 'user' | 'link'; id: string },
): Promise<RotationView> {
  const { db, clock, rotations } = services;
  const at = clock.now();
  const id = uuidv7(at);
  const running = await withTenantSql(db, slot.organizationId, async client => {
    // Two who ask at once come one after the other, so that the second finds what the first has asked for.
    await client.query('SELECT 1 FROM slots WHERE organization_id = $1 AND id = $2 FOR UPDATE', [
      slot.organizationId,
      slot.slotId,
    ]);
    const [found] = await selectRows(client, slot, {
      condition: 'AND ended_at IS NULL AND deadline_at > $4',
      values: [new Date(at)],
      limit: 1,
    });
    if (found !== undefined) return found;
    await client.query(
      `INSERT INTO rotations (organization_id, id, node_id, slot_number, asked_for, asked_by_id, asked_at, deadline_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        ...[slot.organizationId, id, slot.nodeId, slot.number, by.askedFor, by.id],
        ...[new Date(at), new Date(at + UNANSWERED_AFTER_MS)],
      ],
    );
    return null;
  });
  if (running !== null) return viewOf(running, at);
  // After the row: the answer may be faster than the database.
  const delivery = await rotations.send(slot.nodeId, { id, slot: slot.number, askedFor: by.askedFor });
  if (delivery !== 'sent')
    await withTenantSql(db, slot.organizationId, client =>
      client.query(
        "UPDATE rotations SET ended_at = $3, outcome = 'unavailable', reason = $4 WHERE organization_id = $1 AND id = $2",
        [slot.organizationId, id, new Date(at), WHY_NOT[delivery]],
      ),
    );
  return readRotation(services, slot, id);
}

const WHY_NOT = {
  offline: 'the node is not connected to the cloud',
  unsupported: 'the agent on this node is too old for rotations by request: update it',
  unreachable: 'the node is not connected to this process of the cloud, and the others cannot be reached now',
} as const;

/** One rotation of a slot; throws `fleet/no-such-rotation`. */
export async function readRotation(
  services: Pick<Services, 'db' | 'clock'>,
  slot: SlotPlace,
  id: string,
): Promise<RotationView> {
  const [row] = await readRows(services.db, slot, 'AND id = $4', [id], 1);
  if (row === undefined)
    throw new CodedError('fleet/no-such-rotation', `no rotation ${id} of slot ${slot.slotId}`, {
      userMessage: 'There is no such rotation of this modem. It may be too old.',
    });
  return viewOf(row, services.clock.now());
}

/** The same, once it has ended, or after `ms`. */
export async function awaitRotation(
  services: Services,
  slot: SlotPlace,
  of: { id: string; ms: number },
): Promise<RotationView> {
  const now = await readRotation(services, slot, of.id);
  if (now.outcome !== null || of.ms <= 0) return now;
  const ended = services.rotations.ended(of.id, of.ms);
  // It may have ended after the look and before the wait.
  const meanwhile = await readRotation(services, slot, of.id);
  if (meanwhile.outcome !== null) return meanwhile;
  await ended;
  return readRotation(services, slot, of.id);
}

/** Newest first, without those that were only refused. */
export async function recentRotations(
  services: Pick<Services, 'db' | 'clock'>,
  slot: SlotPlace,
): Promise<{ rotations: RotationView[]; methods: RotationMethodView[] }> {
  const rows = await readRows(services.db, slot, "AND outcome IS DISTINCT FROM 'unavailable'", [], COUNTED);
  const now = services.clock.now();
  return { rotations: rows.slice(0, SHOWN).map(row => viewOf(row, now)), methods: methodsOf(rows) };
}

/**
 * Writes what a node says came of rotations; gives the ids that it need not tell again. One that was refused is only an
 * answer: without a question it is no news.
 */
export async function noteRotations(
  services: Pick<Services, 'db' | 'clock'>,
  node: NodeIdentity,
  records: readonly RotationRecord[],
): Promise<string[]> {
  const latest = services.clock.now() + 60_000;
  const each = [...new Map(records.map(record => [record.id, record])).values()];
  const ended = each.map(record => Math.min(record.endedAt, latest));
  await withTenantSql(services.db, node.organizationId, client =>
    client.query(NOTE, [
      node.organizationId,
      node.nodeId,
      each.map(record => record.id),
      each.map(record => record.slot),
      each.map(record => record.askedFor),
      each.map((record, i) => new Date(Math.max(0, (ended[i] ?? 0) - Math.min(record.tookMs, MAX_INT)))),
      ended.map(at => new Date(at)),
      each.map(record => record.outcome),
      each.map(record => record.reason),
      each.map(record => record.method),
      each.map(record => record.oldAddress),
      each.map(record => record.newAddress),
      each.map(record => Math.min(record.tookMs, MAX_INT)),
      each.map(record => record.attempts),
      each.map(record => record.carrier),
      each.map(record => (record.retryAfterMs === null ? null : Math.min(record.retryAfterMs, MAX_INT))),
    ]),
  );
  return each.map(record => record.id);
}

// A node's word about another node's rotation changes nothing.
const NOTE = `
INSERT INTO rotations AS t (organization_id, node_id, id, slot_number, asked_for, asked_at, ended_at, outcome, reason,
                            method, old_address, new_address, took_ms, attempts, carrier, retry_after_ms)
SELECT $1, $2, r.* FROM unnest($3::uuid[], $4::int[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[], $16::int[])
  AS r (id, slot_number, asked_for, asked_at, ended_at, outcome, reason, method, old_address, new_address, took_ms,
        attempts, carrier, retry_after_ms)
 WHERE r.outcome <> 'unavailable' OR EXISTS (SELECT 1 FROM rotations k WHERE k.id = r.id AND k.node_id = $2)
ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, outcome = excluded.outcome, reason = excluded.reason,
    method = excluded.method, old_address = excluded.old_address, new_address = excluded.new_address,
    took_ms = excluded.took_ms, attempts = excluded.attempts, carrier = excluded.carrier,
    retry_after_ms = excluded.retry_after_ms
 WHERE t.node_id = $2`;

/** Forgets old ones, and gives up waiting for those that no node will answer; says how many of each. */
export async function tidyRotations(
  db: Pick<Database, 'pool'>,
  now: number,
): Promise<{ forgotten: number; unanswered: number }> {
  const gone = await db.pool.query(
    "DELETE FROM rotations WHERE asked_at < $1 OR (outcome = 'unavailable' AND asked_at < $2)",
    [new Date(now - KEEP_MS), new Date(now - KEEP_REFUSED_MS)],
  );
  const lost = await db.pool.query(
    `UPDATE rotations SET ended_at = deadline_at, outcome = 'unanswered', reason = $2
      WHERE ended_at IS NULL AND deadline_at < $1`,
    [new Date(now), UNANSWERED],
  );
  return { forgotten: gone.rowCount ?? 0, unanswered: lost.rowCount ?? 0 };
}

const UNANSWERED = 'the node did not say what came of it';

function readRows(
  db: Pick<Database, 'pool'>,
  slot: SlotPlace,
  condition: string,
  values: readonly unknown[],
  limit: number,
): Promise<RotationRow[]> {
  return withTenantSql(db, slot.organizationId, client =>
    selectRows(client, slot, { condition, values, limit }),
  );
}

async function selectRows(
  client: Pick<pg.ClientBase, 'query'>,
  slot: SlotPlace,
  of: { condition: string; values: readonly unknown[]; limit: number },
): Promise<RotationRow[]> {
  const { rows } = await client.query<RotationRow>(
    `SELECT id, node_id, slot_number, asked_for, asked_at, deadline_at, ended_at, outcome, reason, method, old_address,
            new_address, took_ms, attempts, carrier, retry_after_ms
       FROM rotations WHERE organization_id = $1 AND node_id = $2 AND slot_number = $3 ${of.condition}
      ORDER BY asked_at DESC, id DESC LIMIT ${of.limit}`,
    [slot.organizationId, slot.nodeId, slot.number, ...of.values],
  );
  return rows;
}

function viewOf(row: RotationRow, now: number): RotationView {
  const isLost = row.ended_at === null && row.deadline_at !== null && row.deadline_at.getTime() <= now;
  return {
    id: row.id,
    slot: row.slot_number,
    // Which credential it was is its owner's business, and others may look.
    askedFor: row.asked_for.split(' ', 1)[0] ?? '',
    askedAt: row.asked_at.getTime(),
    endedAt: (isLost ? row.deadline_at : row.ended_at)?.getTime() ?? null,
    outcome: isLost ? 'unanswered' : row.outcome,
    reason: isLost ? UNANSWERED : row.reason,
    method: row.method,
    oldAddress: row.old_address,
    newAddress: row.new_address,
    tookMs: row.took_ms,
    attempts: row.attempts,
    carrier: row.carrier,
    retryAfterMs: row.retry_after_ms,
  };
}

/** By the method that was tried last, which is the one that worked if any did. */
function methodsOf(rows: readonly RotationRow[]): RotationMethodView[] {
  const groups = new Map<string, RotationRow[]>();
  for (const row of rows) {
    if (row.method === null) continue;
    const key = JSON.stringify([row.method, row.carrier]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map(group => {
    const times = group
      .filter(row => row.outcome === 'rotated')
      .map(row => row.took_ms ?? 0)
      .sort((a, b) => a - b);
    const rank = (share: number) => times[Math.max(0, Math.ceil(share * times.length) - 1)] ?? null;
    return {
      method: group[0]?.method ?? '',
      carrier: group[0]?.carrier ?? null,
      tries: group.length,
      rotated: times.length,
      collisions: group.filter(row => row.outcome === 'collision').length,
      p50Ms: rank(0.5),
      p95Ms: rank(0.95),
    };
  });
}
