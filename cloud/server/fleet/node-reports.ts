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
import { inTransaction } from '../db/transaction';
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
/** Nodes whose news one transaction writes. */
const MOST_WRITTEN_AT_ONCE = 32;

/**
 * Writes a modem report: all slots of the node; one that is no longer named becomes absent. A report that says what is
 * written already changes nothing: false.
 */
export type ApplyModemReport = (node: NodeIdentity, reports: readonly SlotReport[]) => Promise<boolean>;

/** What of one node's report is to be written. */
interface News {
  node: NodeIdentity;
  changed: SlotReport[];
  /** Numbers of slots that it no longer names. */
  gone: number[];
}

/** `turns`: for reports that have something new. What is known is asked, and what is new written, for many nodes at once. */
export function modemReports(services: Pick<Services, 'db' | 'clock'>, turns: Turns): ApplyModemReport {
  const known = new Gather<NodeIdentity, KnownSlots>({
    most: MOST_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: nodes => readSlots(services.db.pool, nodes),
  });
  const written = new Gather<News, true>({
    most: MOST_WRITTEN_AT_ONCE,
    mostWaiting: MOST_WAITING,
    async ask(news) {
      const at = new Date(services.clock.now());
      for (const group of distinctNodes(news))
        await turns.take(() => inTransaction(services.db, client => writeNews(client, group, at)));
      return news.map(() => true);
    },
  });
  return async (node, reports) => {
    const slots = await known.ask(node);
    const news = { node, ...differences(slots, reports) };
    if (news.changed.length === 0 && news.gone.length === 0) return false;
    return written.ask(news);
  };
}

/** In groups that hold no node twice, in order: twin reports, from a session and the one it replaces, come one after the other. */
function distinctNodes(news: readonly News[]): News[][] {
  const groups: Map<string, News>[] = [];
  for (const each of news) {
    const last = groups.at(-1);
    if (last === undefined || last.has(each.node.nodeId)) groups.push(new Map([[each.node.nodeId, each]]));
    else last.set(each.node.nodeId, each);
  }
  return groups.map(group => [...group.values()]);
}

/** Rows of nodes are taken first and in the order of their ids, as everywhere: two processes never wait for each other. */
async function writeNews(client: pg.ClientBase, news: readonly News[], at: Date): Promise<void> {
  await client.query(
    `WITH held AS (
       SELECT n.id FROM nodes n JOIN unnest($1::uuid[], $2::uuid[]) AS x (organization_id, id)
           ON n.organization_id = x.organization_id AND n.id = x.id
        ORDER BY n.id FOR NO KEY UPDATE OF n
     )
     UPDATE nodes n SET last_seen_at = $3 FROM held WHERE n.id = held.id`,
    [news.map(({ node }) => node.organizationId), news.map(({ node }) => node.nodeId), at],
  );
  const changed = news.flatMap(({ node, changed }) => changed.map(report => ({ node, report })));
  if (changed.length > 0) await writeSlots(client, changed, at);
  const gone = news.flatMap(({ node, gone }) => gone.map(number => ({ node, number })));
  if (gone.length > 0)
    await client.query(MAKE_ABSENT, [
      gone.map(({ node }) => node.organizationId),
      gone.map(({ node }) => node.nodeId),
      gone.map(({ number }) => number),
      at,
    ]);
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
  exit_address6: string | null;
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
            s.recovery ->> 'at' AS recovered_at, s.exit_address, s.exit_address6, s.model, s.firmware, s.virtual, m.imei
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
    row.exit_address6 === (report.exitAddress6 ?? null) &&
    row.imei === report.imei &&
    row.model === report.model &&
    row.firmware === report.firmware &&
    row.virtual === report.virtual
  );
}

function writeSlots(
  client: pg.ClientBase,
  slots: readonly { node: NodeIdentity; report: SlotReport }[],
  at: Date,
): Promise<unknown> {
  const now = at.getTime();
  const of = <Value>(value: (report: SlotReport) => Value) => slots.map(({ report }) => value(report));
  return client.query(WRITE_SLOTS, [
    slots.map(({ node }) => node.organizationId),
    slots.map(({ node }) => node.nodeId),
    at,
    of(() => uuidv7(now)),
    of(each => each.slot),
    of(each => each.usbPath),
    of(each => each.interface),
    of(each => each.sourceAddress),
    of(each => each.state),
    of(each => each.reason),
    of(each => each.exitAddress),
    of(each => each.imei),
    of(each => each.model),
    of(each => each.firmware),
    of(each => each.virtual),
    of(() => uuidv7(now)),
    of(() => uuidv7(now)),
    of(each => each.cause ?? null),
    of(each => (each.recovery ? JSON.stringify(each.recovery) : null)),
    of(each => each.exitAddress6 ?? null),
    of(() => uuidv7(now)),
  ]);
}

/** Of one slot; older ones go. */
export const KEPT_RECOVERIES = 20;

/**
 * Slots as reported, their modems (found by IMEI within the host), and the history of exit addresses: one open row per
 * slot and family while it has an address, closed when address or modem changes.
 */
const WRITE_SLOTS = `
WITH r AS (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::boolean[], $16::uuid[],
                       $17::uuid[], $18::text[], $19::jsonb[], $20::text[], $21::uuid[])
    AS r (organization_id, node_id, id, number, usb_path, interface, source_address, state, reason, exit_address, imei, model, firmware, virtual,
          new_modem_id, address_id, cause, recovery, exit_address6, address6_id)
), m AS (
  INSERT INTO modems (id, organization_id, imei, model, firmware, virtual, first_seen_at, last_seen_at)
  SELECT DISTINCT ON (organization_id, imei) new_modem_id, organization_id, imei, model, firmware, virtual,
         $3::timestamptz, $3::timestamptz
    FROM r WHERE imei IS NOT NULL ORDER BY organization_id, imei, node_id, number
  ON CONFLICT (organization_id, imei) DO UPDATE SET model = excluded.model, firmware = excluded.firmware,
    virtual = excluded.virtual, last_seen_at = excluded.last_seen_at
  RETURNING id, organization_id, imei
), s AS (
  INSERT INTO slots AS s (id, organization_id, node_id, number, usb_path, interface, source_address, state, reason,
                          cause, recovery, recoveries, state_since, exit_address, exit_address6, modem_id, model, firmware, virtual, last_seen_at)
  SELECT r.id, r.organization_id, r.node_id, r.number, r.usb_path, r.interface, r.source_address, r.state, r.reason, r.cause, r.recovery,
         CASE WHEN r.recovery IS NULL THEN '[]' ELSE jsonb_build_array(r.recovery) END, $3,
         r.exit_address, r.exit_address6, m.id, r.model, r.firmware, r.virtual, $3
    FROM r LEFT JOIN m ON m.organization_id = r.organization_id AND m.imei = r.imei ORDER BY r.node_id, r.number
  ON CONFLICT (node_id, number) DO UPDATE SET usb_path = excluded.usb_path, interface = excluded.interface,
    source_address = excluded.source_address, state = excluded.state, reason = excluded.reason,
    cause = excluded.cause, recovery = excluded.recovery,
    recoveries = CASE
      WHEN excluded.recovery IS NULL OR excluded.recovery -> 'at' IS NOT DISTINCT FROM s.recoveries -> 0 -> 'at'
      THEN s.recoveries
      ELSE jsonb_path_query_array(jsonb_build_array(excluded.recovery) || s.recoveries, '$[0 to ${KEPT_RECOVERIES - 1}]')
    END,
    state_since = CASE WHEN s.state = excluded.state THEN s.state_since ELSE excluded.state_since END,
    exit_address = excluded.exit_address, exit_address6 = excluded.exit_address6, modem_id = excluded.modem_id, model = excluded.model,
    firmware = excluded.firmware, virtual = excluded.virtual, last_seen_at = excluded.last_seen_at
  RETURNING id, organization_id, node_id, number, modem_id, exit_address, exit_address6
), closed AS (
  UPDATE modem_addresses a SET until = $3 FROM s
   WHERE a.organization_id = s.organization_id AND a.slot_id = s.id AND a.until IS NULL
     AND ((a.address IS DISTINCT FROM s.exit_address AND a.address IS DISTINCT FROM s.exit_address6)
          OR a.modem_id IS DISTINCT FROM s.modem_id)
)
INSERT INTO modem_addresses (id, organization_id, slot_id, modem_id, address, since)
SELECT seen.id, s.organization_id, s.id, s.modem_id, seen.address, $3
  FROM s JOIN r ON r.node_id = s.node_id AND r.number = s.number,
       LATERAL (VALUES (r.address_id, s.exit_address), (r.address6_id, s.exit_address6)) AS seen (id, address)
 WHERE seen.address IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM modem_addresses a
                    WHERE a.slot_id = s.id AND a.until IS NULL AND a.address = seen.address
                      AND a.modem_id IS NOT DISTINCT FROM s.modem_id)`;

const MAKE_ABSENT = `
WITH x AS (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS x (organization_id, node_id, number)
), gone AS (
  UPDATE slots s SET state = 'absent', reason = 'The node no longer reports this slot.', cause = NULL, state_since = $4,
                     exit_address = NULL, exit_address6 = NULL, modem_id = NULL
    FROM x WHERE s.organization_id = x.organization_id AND s.node_id = x.node_id AND s.number = x.number
  RETURNING s.id, s.organization_id
)
UPDATE modem_addresses a SET until = $4 FROM gone
 WHERE a.organization_id = gone.organization_id AND a.slot_id = gone.id AND a.until IS NULL`;
