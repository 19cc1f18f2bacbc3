/**
 * Takes down what nodes say of their slots' days and compares it with the ledger, at each report and again by a job,
 * since both sides may still change. Over the bound (judge.ts) an alert is raised; it is resolved by itself when the
 * day comes out even. A day told twice or late changes nothing that a later word has said.
 */
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type pg from 'pg';
import { countOf } from '../db/counts';
import { withTenantSql } from '../db/tenant';
import type { NodeIdentity } from '../fleet/node-reports';
import { isAway } from '../ledger/batch-writer';
import type { Services } from '../rpc/context';
import { type Judgement, judgeDay } from './judge';

/** Days that are taken from nodes, before today; agents keep 40. */
const TAKEN_DAYS = 45;
/** Days, and alerts that were resolved, are kept so long. */
const KEPT_DAYS = 400;
/** A day that came out even is looked at again so long: a copied node may add to the ledger later. */
const LOOKED_AT_AGAIN_DAYS = 3;
/** The largest that a column of counts takes. A node that says more lies. */
const MAX_INT = 2_147_483_647;
export const DIFFERENCE = 'ledger/difference';

type Parts = Pick<Services, 'db' | 'clock' | 'log'>;

interface DayKey {
  slot: number;
  day: Date;
}

/** What a node said; of slots that the cloud knows, and of days that may be. Resolves when it is in the database. */
export async function noteSlotDays(
  parts: Parts,
  node: Pick<NodeIdentity, 'nodeId' | 'organizationId'>,
  report: { at: number; oldestPending: number | null; days: readonly SlotDay[] },
): Promise<void> {
  const now = parts.clock.now();
  const today = dayOf(now);
  const days = report.days.filter(({ day }) => day <= today + DAY_MS && day >= today - TAKEN_DAYS * DAY_MS);
  if (days.length < report.days.length)
    parts.log.warn(
      { nodeId: node.nodeId, days: report.days.length - days.length },
      'days that are too old or yet to come were told, and are not taken',
    );
  if (days.length === 0) return;
  // A node whose clock runs ahead must not make days look over that are not.
  const told = { ...report, at: Math.min(report.at, now), days };
  const keys = days.map(({ slot, day }) => ({ slot, day: new Date(day) }));
  await withTenantSql(parts.db, node.organizationId, async client => {
    await writeDays(client, node, told);
    await compare(client, parts, { ...node, keys });
  });
}

/**
 * Compares again what is not settled, and what lately was. Returns how many days were looked at, how many raise an alarm,
 * and how many nodes could not be compared: what one of them made up must not keep the others from it.
 */
export async function compareAgain(parts: Parts): Promise<{ days: number; alarms: number; failed: number }> {
  const today = dayOf(parts.clock.now());
  const { rows } = await parts.db.pool.query<{ node_id: string; organization_id: string }>(
    `SELECT DISTINCT node_id, organization_id FROM slot_days
      WHERE day >= $1 AND (state <> 'even' OR day >= $2) ORDER BY node_id`,
    [new Date(today - TAKEN_DAYS * DAY_MS), new Date(today - LOOKED_AT_AGAIN_DAYS * DAY_MS)],
  );
  const done = { days: 0, alarms: 0, failed: 0 };
  for (const { node_id: nodeId, organization_id: organizationId } of rows)
    try {
      const judged = await compareNode(parts, { nodeId, organizationId, today });
      done.days += judged.length;
      done.alarms += judged.filter(one => one.state === 'alarm').length;
    } catch (error) {
      // The database's absence is everybody's: the job is tried again as a whole.
      if (isAway(error)) throw error;
      parts.log.error({ err: error, nodeId }, 'the days of a node could not be compared');
      done.failed += 1;
    }
  return done;
}

function compareNode(
  parts: Parts,
  { nodeId, organizationId, today }: { nodeId: string; organizationId: string; today: number },
): Promise<Judged[]> {
  return withTenantSql(parts.db, organizationId, async client => {
    const { rows: open } = await client.query<{ slot_number: number; day: Date }>(
      `SELECT slot_number, day FROM slot_days
          WHERE organization_id = $1 AND node_id = $2 AND day >= $3 AND (state <> 'even' OR day >= $4)`,
      [
        ...[organizationId, nodeId],
        ...[new Date(today - TAKEN_DAYS * DAY_MS), new Date(today - LOOKED_AT_AGAIN_DAYS * DAY_MS)],
      ],
    );
    const keys = open.map(({ slot_number: slot, day }) => ({ slot, day }));
    return compare(client, parts, { nodeId, organizationId, keys });
  });
}

/** Alerts that are not resolved, of all organizations, by code and cause. */
export async function openAlerts(
  db: Services['db'],
): Promise<{ code: string; cause: string; open: number }[]> {
  const { rows } = await db.pool.query<{ code: string; cause: string; open: number }>(
    'SELECT code, cause, count(*)::int AS open FROM alerts WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2',
  );
  return rows;
}

/** Removes what is older than 400 days. Returns the number of days removed. */
export async function forgetSlotDays(parts: Pick<Services, 'db' | 'clock'>): Promise<number> {
  const before = new Date(parts.clock.now() - KEPT_DAYS * DAY_MS);
  await parts.db.pool.query('DELETE FROM alerts WHERE resolved_at < $1', [before]);
  const { rowCount } = await parts.db.pool.query('DELETE FROM slot_days WHERE day < $1', [before]);
  return rowCount ?? 0;
}

async function writeDays(
  client: pg.PoolClient,
  node: Pick<NodeIdentity, 'nodeId' | 'organizationId'>,
  told: { at: number; oldestPending: number | null; days: readonly SlotDay[] },
): Promise<void> {
  const rows = told.days.map(one => ({
    ...{
      slot: one.slot,
      day: new Date(one.day),
      imei: one.imei,
      interface: one.interface,
      driver: one.driver,
    },
    ...{ relayed_up: one.relayed.up, relayed_down: one.relayed.down },
    ...{ committed_up: one.committed.up, committed_down: one.committed.down },
    ...{ carried_up: one.carried?.up ?? null, carried_down: one.carried?.down ?? null },
    ...{ packets_up: one.packets.up, packets_down: one.packets.down },
    ...{ own_up: one.own.up, own_down: one.own.down },
    ...{ unseen_up: one.unseen.up, unseen_down: one.unseen.down },
    ...{ unattributed_up: one.unattributed.up, unattributed_down: one.unattributed.down },
    ...{ crashes: Math.min(one.crashes, MAX_INT), resets: Math.min(one.resets, MAX_INT) },
  }));
  const set = COLUMNS.map(column => `${column} = excluded.${column}`).join(', ');
  // Days of slots that the cloud knows nothing of are left out: a node could fill the table with them.
  await client.query(
    `INSERT INTO slot_days AS d (organization_id, node_id, reported_at, oldest_pending, slot_number, day, ${COLUMNS.join(', ')})
     SELECT DISTINCT ON (t.slot, t.day) $1::uuid, $2::uuid, $3::timestamptz, $4::timestamptz, t.slot, t.day, ${COLUMNS.map(column => `t.${column}`).join(', ')}
       FROM jsonb_to_recordset($5::jsonb) AS t (slot integer, day timestamptz, imei text, interface text, driver text,
              relayed_up bigint, relayed_down bigint, committed_up bigint, committed_down bigint, carried_up bigint,
              carried_down bigint, packets_up bigint, packets_down bigint, own_up bigint, own_down bigint, unseen_up bigint,
              unseen_down bigint, unattributed_up bigint, unattributed_down bigint, crashes integer, resets integer)
       JOIN slots s ON s.node_id = $2 AND s.number = t.slot
      ORDER BY t.slot, t.day
     ON CONFLICT (node_id, slot_number, day) DO UPDATE
        SET reported_at = excluded.reported_at, oldest_pending = excluded.oldest_pending, ${set}
      WHERE d.reported_at <= excluded.reported_at AND d.organization_id = $1`,
    [
      ...[node.organizationId, node.nodeId, new Date(told.at)],
      ...[told.oldestPending === null ? null : new Date(told.oldestPending)],
      JSON.stringify(rows).replaceAll('\\u0000', ''),
    ],
  );
}

const COLUMNS = [
  ...['imei', 'interface', 'driver', 'relayed_up', 'relayed_down', 'committed_up', 'committed_down'],
  ...['carried_up', 'carried_down', 'packets_up', 'packets_down', 'own_up', 'own_down', 'unseen_up'],
  ...['unseen_down', 'unattributed_up', 'unattributed_down', 'crashes', 'resets'],
];

interface ToldRow {
  slot_number: number;
  day: Date;
  reported_at: Date;
  oldest_pending: Date | null;
  relayed: string;
  committed: string;
  carried: string | null;
  packets: string;
  own: string;
  unseen: string;
  unattributed: string;
  crashes: number;
  resets: number;
  ledger_up: string;
  ledger_down: string;
}

interface Judged extends Judgement {
  slot: number;
  day: Date;
  ledgerUp: number;
  ledgerDown: number;
}

/** Compares these days of one node. */
async function compare(
  client: pg.PoolClient,
  { clock, log }: Parts,
  of: { nodeId: string; organizationId: string; keys: readonly DayKey[] },
): Promise<Judged[]> {
  const { nodeId, organizationId, keys } = of;
  // In one order for all who compare, so that two never wait for each other.
  const { rows } = await client.query<ToldRow>(
    `WITH told AS (
       SELECT d.* FROM slot_days d JOIN unnest($3::integer[], $4::timestamptz[]) AS k (slot, day)
           ON d.slot_number = k.slot AND d.day = k.day
        WHERE d.organization_id = $1 AND d.node_id = $2 ORDER BY d.slot_number, d.day FOR UPDATE OF d),
     ledger AS (
       SELECT u.slot, u.day, sum(u.up_bytes) AS up, sum(u.down_bytes) AS down FROM usage_rollups_daily u
        WHERE u.node_key = (SELECT key FROM nodes WHERE id = $2) AND u.day = ANY ($4::timestamptz[]) GROUP BY 1, 2)
     SELECT t.slot_number, t.day, t.reported_at, t.oldest_pending, t.crashes, t.resets,
            t.relayed_up::numeric + t.relayed_down AS relayed, t.committed_up::numeric + t.committed_down AS committed,
            t.carried_up::numeric + t.carried_down AS carried, t.packets_up::numeric + t.packets_down AS packets,
            t.own_up::numeric + t.own_down AS own, t.unseen_up::numeric + t.unseen_down AS unseen,
            t.unattributed_up::numeric + t.unattributed_down AS unattributed,
            coalesce(l.up, 0) AS ledger_up, coalesce(l.down, 0) AS ledger_down
       FROM told t LEFT JOIN ledger l ON l.slot = t.slot_number AND l.day = t.day ORDER BY t.slot_number, t.day`,
    [organizationId, nodeId, keys.map(one => one.slot), keys.map(one => one.day)],
  );
  const judged = rows.map((row): Judged => {
    const ledgerUp = countOf(row.ledger_up);
    const ledgerDown = countOf(row.ledger_down);
    // A node's figures may be any: where they are past 2^53 their last digits do not matter.
    const judgement = judgeDay({
      day: row.day.getTime(),
      reportedAt: row.reported_at.getTime(),
      oldestPending: row.oldest_pending?.getTime() ?? null,
      ledger: ledgerUp + ledgerDown,
      committed: Number(row.committed),
      relayed: Number(row.relayed),
      carried: row.carried === null ? null : Number(row.carried),
      own: Number(row.own),
      unseen: Number(row.unseen),
      unattributed: Number(row.unattributed),
      packets: Number(row.packets),
      ...{ crashes: row.crashes, resets: row.resets },
    });
    return { ...judgement, slot: row.slot_number, day: row.day, ledgerUp, ledgerDown };
  });
  if (judged.length === 0) return judged;
  const now = clock.now();
  await client.query(
    `UPDATE slot_days d SET ledger_up = j.up, ledger_down = j.down, difference = j.difference, state = j.state,
            cause = j.cause, judged_at = $3
       FROM unnest($4::integer[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[])
              AS j (slot, day, up, down, difference, state, cause)
      WHERE d.organization_id = $1 AND d.node_id = $2 AND d.slot_number = j.slot AND d.day = j.day`,
    [
      ...[organizationId, nodeId, new Date(now), judged.map(one => one.slot), judged.map(one => one.day)],
      ...[judged.map(one => one.ledgerUp), judged.map(one => one.ledgerDown)],
      ...[judged.map(one => Math.trunc(one.difference)), judged.map(one => one.state)],
      judged.map(one => one.cause),
    ],
  );
  for (const one of await raise(client, of, { judged, now }))
    log.warn(
      {
        nodeId,
        slot: one.slot,
        day: one.day.toISOString().slice(0, 10),
        bytes: one.difference,
        cause: one.cause,
      },
      'ledger and modem are more than 1 % apart',
    );
  return judged;
}

/** Raises an alert for each alarm and resolves those that are none any more. Gives those that are new or have another cause. */
async function raise(
  client: pg.PoolClient,
  { nodeId, organizationId }: { nodeId: string; organizationId: string },
  { judged, now }: { judged: readonly Judged[]; now: number },
): Promise<Judged[]> {
  const keyOf = (one: Judged) => `reconciliation:${nodeId}:${one.slot}:${one.day.toISOString().slice(0, 10)}`;
  await client.query(
    `UPDATE alerts SET resolved_at = $2, updated_at = $2
      WHERE organization_id = $1 AND key = ANY ($3::text[]) AND resolved_at IS NULL`,
    [organizationId, new Date(now), judged.filter(one => one.state === 'even').map(keyOf)],
  );
  const alarms = judged.filter(one => one.state === 'alarm');
  const fresh: Judged[] = [];
  for (const one of alarms) {
    const { rowCount } = await client.query(
      `INSERT INTO alerts AS a (organization_id, id, node_id, key, code, severity, cause, subject_kind, subject_id, details,
                                since, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, 'slot', $8, $9, $10, $10)
       ON CONFLICT (key) DO UPDATE
          SET cause = excluded.cause, severity = excluded.severity, details = excluded.details, updated_at = excluded.updated_at,
              since = CASE WHEN a.resolved_at IS NULL THEN a.since ELSE excluded.since END, resolved_at = NULL
        WHERE a.organization_id = $1 AND (a.resolved_at IS NOT NULL OR a.cause <> excluded.cause)`,
      [
        ...[organizationId, uuidv7(now), nodeId, keyOf(one), DIFFERENCE],
        ...[one.cause === 'ledger-exceeds' ? 'critical' : 'warning', one.cause, `${nodeId}:${one.slot}`],
        JSON.stringify({ day: one.day.getTime(), slot: one.slot, difference: Math.trunc(one.difference) }),
        new Date(now),
      ],
    );
    if (rowCount === 1) fresh.push(one);
  }
  return fresh;
}
