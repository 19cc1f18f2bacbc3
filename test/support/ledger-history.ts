/**
 * Weeks of usage in a ledger, made inside the database: what the portal's queries are measured on. Every credential
 * uses its node's slots in turn, ten minutes each, so that each minute is one record and each hour one rollup a slot.
 * Rollups are made by the statements of ingest, from rows that came in order of time. Reads nothing; who asks is
 * test/bench/ledger-queries.ts and the test of the queries' plans.
 */
import type { Database } from '@mastline/cloud/server/db/database';
import type { OrganizationView } from '@mastline/cloud/server/identity/viewer';
import { DAILY_OF, HOURLY_OF, ROLLUP_COLUMNS } from '@mastline/cloud/server/ledger/ingest-sql';
import { ensurePartitions, orderClosedWeeks } from '@mastline/cloud/server/ledger/partitions';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type pg from 'pg';
import { addNode, viewer, type World } from './cloud-world';

export interface HistoryOptions {
  db: Database;
  services: World['services'];
  /** A record a minute each. */
  credentials: number;
  credentialsPerOrganization: number;
  days: number;
  /** End of the history: UTC midnight, epoch milliseconds. */
  until: number;
  onDay?: (done: number, records: number) => void;
}

export interface History {
  /** Half-open, UTC midnights, epoch milliseconds. */
  from: number;
  until: number;
  records: number;
  rollups: number;
  /** One for each organization; each owns the credentials under its id. */
  customers: { organization: OrganizationView; credentialIds: string[] }[];
}

const DAY_MS = 86_400_000;
const MINUTES_A_DAY = 1440;
const SLOTS = 4;

/** Fills an empty ledger. The weeks that are over are put in order as the cloud's own job does. */
export async function makeHistory(options: HistoryOptions): Promise<History> {
  const { db, credentials, credentialsPerOrganization, days, until } = options;
  const from = until - days * DAY_MS;
  for (let at = from - 7 * DAY_MS; at <= until; at += 7 * DAY_MS) await ensurePartitions(db, at);
  const customers: History['customers'] = [];
  let records = 0;
  for (let made = 0; made < credentials; made += credentialsPerOrganization)
    customers.push(
      await addCustomer(options, customers.length, Math.min(credentialsPerOrganization, credentials - made)),
    );
  // A connection of its own: the pool's statements have a deadline, these take as long as they take.
  const client = await db.pool.connect();
  try {
    await client.query('SET statement_timeout = 0');
    await client.query(
      `CREATE TEMPORARY TABLE payers AS
       SELECT row_number() OVER (ORDER BY c.key) - 1 AS place, c.key AS credential_key, c.organization_id,
              e.key AS endpoint_key, n.key AS node_key, n.organization_id AS host_organization_id
         FROM credentials c JOIN endpoints e ON e.organization_id = c.organization_id JOIN nodes n ON n.id = e.node_id
        WHERE c.organization_id = ANY($1::uuid[])`,
      [customers.map(each => each.organization.id)],
    );
    for (let day = 0; day < days; day += 1) {
      records += await addDay(client, { day, at: new Date(from + day * DAY_MS) });
      options.onDay?.(day + 1, records);
    }
  } finally {
    // Not back into the pool: its settings and its temporary table are not for others.
    client.release(true);
  }
  return { from, until, records, rollups: await putInOrder(db, until), customers };
}

/** The history that another run made in this database, in order as weeks are kept now. */
export async function readHistory(db: Database): Promise<History> {
  const { rows: spans } = await db.pool.query<{ first: Date | null; last: Date | null }>(
    'SELECT min(day) AS first, max(day) AS last FROM usage_rollups_daily',
  );
  const { first, last } = spans[0] ?? {};
  if (!first || !last) throw new Error('this database holds no history: fill one with --keep');
  const until = last.getTime() + DAY_MS;
  const rollups = await putInOrder(db, until);
  const { rows: sums } = await db.pool.query<{ records: string }>(
    // Each record is one minute of one payer.
    'SELECT count(DISTINCT credential_key) * 1440 * count(DISTINCT day) AS records FROM usage_rollups_daily',
  );
  const { rows } = await db.pool.query<{ id: string; name: string; credentials: string[] }>(
    `SELECT o.id, o.name, array_agg(c.id::text ORDER BY c.key) AS credentials
       FROM organizations o JOIN credentials c ON c.organization_id = o.id
      WHERE EXISTS (SELECT FROM usage_rollups_daily d WHERE d.organization_id = o.id)
      GROUP BY o.id ORDER BY min(c.key)`,
  );
  const customers = rows.map(({ id, name, credentials }) => ({
    organization: { id, name, kinds: ['customer' as const], role: 'owner' as const },
    credentialIds: credentials,
  }));
  return { from: first.getTime(), until, records: Number(sums[0]?.records), rollups, customers };
}

/** Every week as the cloud's own job leaves it when it is over; how many hourly rollups there are. */
async function putInOrder(db: Database, until: number): Promise<number> {
  await orderClosedWeeks(db, until + 30 * DAY_MS);
  await db.pool.query('ANALYZE usage_rollups');
  await db.pool.query('ANALYZE usage_rollups_daily');
  const { rows } = await db.pool.query<{ rollups: string }>('SELECT count(*) AS rollups FROM usage_rollups');
  return Number(rows[0]?.rollups);
}

async function addCustomer(options: HistoryOptions, place: number, credentials: number) {
  const { db, services } = options;
  const customer = await viewer(services, `Customer ${place}`, 'customer');
  const host = await viewer(services, `Host ${place}`, 'host');
  const node = await addNode(services, host, `Box ${place}`);
  await db.prisma.endpoint.create({
    data: {
      id: uuidv7(),
      organizationId: customer.active.id,
      nodeId: node.id,
      name: `Endpoint ${place}`,
      protocols: ['socks5'],
      reach: 'direct',
      host: '127.0.0.1',
      port: 1080,
      slotNumbers: [0, 1, 2, 3],
    },
  });
  const credentialIds = Array.from({ length: credentials }, () => uuidv7());
  await db.prisma.credential.createMany({
    data: credentialIds.map((id, i) => ({
      id,
      organizationId: customer.active.id,
      name: `Credential ${i}`,
      username: `user-${place}-${i}`,
      secretSealed: services.secrets.seal('not used', `credential:${id}`),
      verifier: '0'.repeat(64),
    })),
  });
  return { organization: customer.active, credentialIds };
}

async function addDay(client: pg.PoolClient, { day, at }: { day: number; at: Date }): Promise<number> {
  await client.query('BEGIN');
  const { rowCount } = await client.query(
    `INSERT INTO usage_records (period_start, mark_key, sequence, organization_id, host_organization_id, node_key,
                                endpoint_key, credential_key, modem_key, slot, up_bytes, down_bytes, flows, received_at)
     SELECT $1::timestamptz + m * interval '1 minute', p.node_key, ($2::bigint * ${MINUTES_A_DAY} + m) * 1000000 + p.place,
            p.organization_id, p.host_organization_id, p.node_key, p.endpoint_key, p.credential_key, 0,
            (m / 10 + p.place) % ${SLOTS}, 1000 + (m * 7919 + p.place * 104729) % 100000,
            10000 + (m * 15485863 + p.place * 32452843) % 10000000, 1 + (m + p.place) % 9,
            $1::timestamptz + m * interval '1 minute' + interval '65 seconds'
       FROM generate_series(0::bigint, ${MINUTES_A_DAY - 1}) m CROSS JOIN payers p`,
    [at, day],
  );
  const ofDay = `(SELECT * FROM usage_records WHERE period_start >= $1::timestamptz
                    AND period_start < $1::timestamptz + interval '1 day') r`;
  // By the hour, as ingest leaves them before their week is put in order.
  await client.query(
    `INSERT INTO usage_rollups (hour, ${ROLLUP_COLUMNS}) SELECT * FROM (${HOURLY_OF(ofDay)}) h ORDER BY hour`,
    [at],
  );
  const hoursOfDay = `(SELECT * FROM usage_rollups WHERE hour >= $1::timestamptz
                         AND hour < $1::timestamptz + interval '1 day') r`;
  await client.query(`INSERT INTO usage_rollups_daily (day, ${ROLLUP_COLUMNS}) ${DAILY_OF(hoursOfDay)}`, [
    at,
  ]);
  await client.query('COMMIT');
  return rowCount ?? 0;
}
