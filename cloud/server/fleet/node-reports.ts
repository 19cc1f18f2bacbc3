/**
 * What a node says of itself, written down: when it was seen, its slots and modems, the exit addresses they have had.
 * A node writes its own rows only, by its authenticated id; modems are found by IMEI within its host. Plain SQL, whole
 * reports at once: after a restart ten thousand nodes report within a minute, most of them nothing new.
 */
import { createHash } from 'node:crypto';
import type { SlotReport } from '@mastline/shared/domain/modem';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type pg from 'pg';
import { Gather } from '../db/gather';
import { withTenantSql } from '../db/tenant';
import type { Turns } from '../db/turns';
import type { Services } from '../rpc/context';

export interface NodeIdentity {
  nodeId: string;
  /** The host that owns it. */
  organizationId: string;
}

/** Names what a report says, however long it is; to tell a report from the one before. */
export function reportDigest(reports: readonly SlotReport[]): string {
  return createHash('sha1').update(JSON.stringify(reports)).digest('base64');
}

/** Nodes whose slots one statement reads, and reports that wait for one. */
const MOST_AT_ONCE = 128;
const MOST_WAITING = 8_192;

/**
 * Writes a modem report: all slots of the node; one that is no longer named becomes absent. A report that says what is
 * written already changes nothing: false.
 */
export type ApplyModemReport = (node: NodeIdentity, reports: readonly SlotReport[]) => Promise<boolean>;

/** `turns`: for reports that have something new. What is known is asked for many nodes at once. */
export function modemReports(services: Pick<Services, 'db' | 'clock'>, turns: Turns): ApplyModemReport {
  const known = new Gather<NodeIdentity, KnownSlots>({
    most: MOST_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: nodes => readSlots(services.db.pool, nodes),
  });
  return async (node, reports) => {
    const slots = await known.ask(node);
    const { changed, gone } = differences(slots, reports);
    if (changed.length === 0 && gone.length === 0) return false;
    const at = new Date(services.clock.now());
    await turns.take(() =>
      withTenantSql(services.db, node.organizationId, async client => {
        // Twin reports of one node, from a session and the one it replaces, come one after the other.
        await client.query('UPDATE nodes SET last_seen_at = $3 WHERE organization_id = $1 AND id = $2', [
          node.organizationId,
          node.nodeId,
          at,
        ]);
        if (changed.length > 0) await writeSlots(client, node, { reports: changed, at });
        if (gone.length > 0) await client.query(MAKE_ABSENT, [node.organizationId, node.nodeId, gone, at]);
      }),
    );
    return true;
  };
}

/** What of a report is not written yet, and numbers of slots that it no longer names. */
function differences(
  known: KnownSlots,
  reports: readonly SlotReport[],
): { changed: SlotReport[]; gone: number[] } {
  // A report that names a slot twice means its last word.
  const bySlot = new Map(reports.map(report => [report.slot, report]));
  return {
    changed: [...bySlot.values()].filter(report => !isKnown(known.get(report.slot), report)),
    gone: [...known]
      .filter(([number, row]) => !bySlot.has(number) && row.state !== 'absent')
      .map(([number]) => number),
  };
}

type KnownSlots = ReadonlyMap<number, KnownSlot>;

interface KnownSlot {
  number: number;
  usb_path: string;
  interface: string | null;
  source_address: string | null;
  state: string;
  reason: string;
  cause: string | null;
  /** When the last attempt to bring it back ended. */
  recovered_at: string | null;
  exit_address: string | null;
  model: string | null;
  firmware: string | null;
  virtual: boolean;
  imei: string | null;
}

async function readSlots(
  client: Pick<pg.Pool, 'query'>,
  nodes: readonly NodeIdentity[],
): Promise<KnownSlots[]> {
  const { rows } = await client.query<KnownSlot & { place: number }>(
    `SELECT x.place::int AS place, s.number, s.usb_path, s.interface, s.source_address, s.state, s.reason, s.cause,
            s.recovery ->> 'at' AS recovered_at, s.exit_address, s.model, s.firmware, s.virtual, m.imei
       FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS x (organization_id, node_id, place)
       JOIN slots s ON s.organization_id = x.organization_id AND s.node_id = x.node_id
       LEFT JOIN modems m ON m.id = s.modem_id`,
    [nodes.map(each => each.organizationId), nodes.map(each => each.nodeId)],
  );
  const known = nodes.map(() => new Map<number, KnownSlot>());
  for (const { place, ...row } of rows) known[place - 1]?.set(row.number, row);
  return known;
}

function isKnown(row: KnownSlot | undefined, report: SlotReport): boolean {
  return (
    row !== undefined &&
    row.usb_path === report.usbPath &&
    row.interface === report.interface &&
    row.source_address === report.sourceAddress &&
    row.state === report.state &&
    row.reason === report.reason &&
    row.cause === (report.cause ?? null) &&
    row.recovered_at === (report.recovery ? String(report.recovery.at) : null) &&
    row.exit_address === report.exitAddress &&
    row.imei === report.imei &&
    row.model === report.model &&
    row.firmware === report.firmware &&
    row.virtual === report.virtual
  );
}

function writeSlots(
  client: pg.ClientBase,
  node: NodeIdentity,
  of: { reports: readonly SlotReport[]; at: Date },
): Promise<unknown> {
  const { reports, at } = of;
  const now = at.getTime();
  return client.query(WRITE_SLOTS, [
    node.organizationId,
    node.nodeId,
    at,
    reports.map(() => uuidv7(now)),
    reports.map(each => each.slot),
    reports.map(each => each.usbPath),
    reports.map(each => each.interface),
    reports.map(each => each.sourceAddress),
    reports.map(each => each.state),
    reports.map(each => each.reason),
    reports.map(each => each.exitAddress),
    reports.map(each => each.imei),
    reports.map(each => each.model),
    reports.map(each => each.firmware),
    reports.map(each => each.virtual),
    reports.map(() => uuidv7(now)),
    reports.map(() => uuidv7(now)),
    reports.map(each => each.cause ?? null),
    reports.map(each => (each.recovery ? JSON.stringify(each.recovery) : null)),
  ]);
}

/** Of one slot; older ones go. */
export const KEPT_RECOVERIES = 20;

/**
 * Slots as reported, their modems (found by IMEI within the host), and the history of exit addresses: one open row per
 * slot while it has an address, closed when address or modem changes.
 */
const WRITE_SLOTS = `
WITH r AS (
  SELECT * FROM unnest($4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                       $12::text[], $13::text[], $14::text[], $15::boolean[], $16::uuid[], $17::uuid[],
                       $18::text[], $19::jsonb[])
    AS r (id, number, usb_path, interface, source_address, state, reason, exit_address, imei, model, firmware, virtual,
          new_modem_id, address_id, cause, recovery)
), m AS (
  INSERT INTO modems (id, organization_id, imei, model, firmware, virtual, first_seen_at, last_seen_at)
  SELECT DISTINCT ON (imei) new_modem_id, $1, imei, model, firmware, virtual, $3, $3
    FROM r WHERE imei IS NOT NULL ORDER BY imei, number
  ON CONFLICT (organization_id, imei) DO UPDATE SET model = excluded.model, firmware = excluded.firmware,
    virtual = excluded.virtual, last_seen_at = excluded.last_seen_at
  RETURNING id, imei
), s AS (
  INSERT INTO slots AS s (id, organization_id, node_id, number, usb_path, interface, source_address, state, reason,
                          cause, recovery, recoveries, state_since, exit_address, modem_id, model, firmware, virtual, last_seen_at)
  SELECT r.id, $1, $2, r.number, r.usb_path, r.interface, r.source_address, r.state, r.reason, r.cause, r.recovery,
         CASE WHEN r.recovery IS NULL THEN '[]' ELSE jsonb_build_array(r.recovery) END, $3,
         r.exit_address, m.id, r.model, r.firmware, r.virtual, $3
    FROM r LEFT JOIN m ON m.imei = r.imei ORDER BY r.number
  ON CONFLICT (node_id, number) DO UPDATE SET usb_path = excluded.usb_path, interface = excluded.interface,
    source_address = excluded.source_address, state = excluded.state, reason = excluded.reason,
    cause = excluded.cause, recovery = excluded.recovery,
    recoveries = CASE
      WHEN excluded.recovery IS NULL OR excluded.recovery -> 'at' IS NOT DISTINCT FROM s.recoveries -> 0 -> 'at'
      THEN s.recoveries
      ELSE jsonb_path_query_array(jsonb_build_array(excluded.recovery) || s.recoveries, '$[0 to ${KEPT_RECOVERIES - 1}]')
    END,
    state_since = CASE WHEN s.state = excluded.state THEN s.state_since ELSE excluded.state_since END,
    exit_address = excluded.exit_address, modem_id = excluded.modem_id, model = excluded.model,
    firmware = excluded.firmware, virtual = excluded.virtual, last_seen_at = excluded.last_seen_at
  RETURNING id, number, modem_id, exit_address
), closed AS (
  UPDATE modem_addresses a SET until = $3 FROM s
   WHERE a.organization_id = $1 AND a.slot_id = s.id AND a.until IS NULL
     AND (a.address IS DISTINCT FROM s.exit_address OR a.modem_id IS DISTINCT FROM s.modem_id)
)
INSERT INTO modem_addresses (id, organization_id, slot_id, modem_id, address, since)
SELECT r.address_id, $1, s.id, s.modem_id, s.exit_address, $3
  FROM s JOIN r ON r.number = s.number
 WHERE s.exit_address IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM modem_addresses a
                    WHERE a.slot_id = s.id AND a.until IS NULL AND a.address = s.exit_address
                      AND a.modem_id IS NOT DISTINCT FROM s.modem_id)`;

const MAKE_ABSENT = `
WITH gone AS (
  UPDATE slots SET state = 'absent', reason = 'The node no longer reports this slot.', cause = NULL, state_since = $4,
                   exit_address = NULL, modem_id = NULL
   WHERE organization_id = $1 AND node_id = $2 AND number = ANY ($3::int[]) RETURNING id
)
UPDATE modem_addresses a SET until = $4 FROM gone
 WHERE a.organization_id = $1 AND a.slot_id = gone.id AND a.until IS NULL`;
