/**
 * How fast the portal's usage screens are answered from a large ledger: a database of its own is filled with a month
 * of usage, then random credentials are asked for, each for the first time, by the very statements of the portal.
 *
 *     npm run bench:ledger [-- --records 100000000 --days 30 --queries 40 --json FILE --explain --keep NAME]
 *     npm run bench:ledger -- --reuse NAME [--queries 40 --seed 2 --json FILE --explain]
 *
 * The disk's cache of the system is emptied before (root may), and every credential is asked for once, so that what is
 * timed reads from the disk. The plan of the first statement is shown with the pages that it read, with `--explain` those
 * of all. 100 million records take about 25 GB and half an hour to make; both go away at the end, unless `--keep` names a
 * database that they stay in. `--reuse` asks such a one, after migrating it and putting its weeks in order as the cloud's job does.
 */
import { writeFileSync } from 'node:fs';
import type { Database } from '@mastline/cloud/server/db/database';
import { queryUsage } from '@mastline/cloud/server/ledger/query';
import {
  selectByCredential,
  selectByModem,
  selectRows,
  selectSeries,
  selectTotal,
  type UsageFilter,
} from '@mastline/cloud/server/ledger/usage-sql';
import { MAX_USAGE_ROWS } from '@mastline/cloud/server/ledger/views';
import { cloudWorld, type World } from '../support/cloud-world';
import { readFlags } from '../support/flags';
import { type History, makeHistory, readHistory } from '../support/ledger-history';
import { keptDatabase, testDatabase } from '../support/postgres';
import { seeded } from '../support/random';

const flags = readFlags({
  records: { type: 'string', default: '1000000' },
  days: { type: 'string', default: '30' },
  queries: { type: 'string', default: '40' },
  seed: { type: 'string', default: '1' },
  json: { type: 'string' },
  explain: { type: 'boolean', default: false },
  keep: { type: 'string' },
  reuse: { type: 'string' },
});
const DAY_MS = 86_400_000;
const DAYS = positive('days');
const QUERIES = positive('queries');
const CREDENTIALS = Math.max(1, Math.round(positive('records') / (DAYS * 1440)));

function positive(name: 'records' | 'days' | 'queries'): number {
  const value = Number(flags[name]);
  if (Number.isInteger(value) && value > 0) return value;
  console.error(`--${name}: must be a whole number from 1 on`);
  process.exit(2);
}

type Client = Parameters<typeof selectTotal>[0];

const STATEMENTS: Record<string, (client: Client, filter: UsageFilter) => Promise<unknown>> = {
  'credential × modem × endpoint × hour': (client, filter) => selectRows(client, filter, MAX_USAGE_ROWS + 1),
  'by hour': (client, filter) => selectSeries(client, filter, 'hour'),
  'by credential': selectByCredential,
  'by modem': selectByModem,
  total: selectTotal,
};

async function main(): Promise<void> {
  const { keep, reuse } = flags;
  const database =
    keep === undefined && reuse === undefined
      ? await testDatabase('server')
      : await keptDatabase(reuse ?? keep ?? '', { there: reuse !== undefined });
  try {
    const { db } = database;
    const { services } = await cloudWorld(db);
    const history = reuse === undefined ? await filled(db, services) : await readHistory(db);
    const { from, until } = history;
    const { rows: sizes } = await db.pool.query<{ size: string }>(
      'SELECT pg_size_pretty(pg_database_size(current_database())) AS size',
    );
    console.log(
      `${history.records.toLocaleString('en')} records, ${history.rollups.toLocaleString('en')} hourly rollups, ${sizes[0]?.size}`,
    );
    await db.pool.query('CHECKPOINT');
    const cold = emptySystemCache();
    console.log(
      cold ? 'the system’s disk cache was emptied' : 'the disk cache is warm: only root may empty it',
    );

    const credentials = history.customers.reduce((sum, each) => sum + each.credentialIds.length, 0);
    const random = seeded(Number(flags.seed));
    const chosen = new Set<string>();
    const asked: { organization: History['customers'][number]['organization']; id: string }[] = [];
    while (asked.length < Math.min(QUERIES * 2, credentials)) {
      const customer = history.customers[Math.floor(random() * history.customers.length)];
      const id = customer?.credentialIds[Math.floor(random() * customer.credentialIds.length)];
      if (customer === undefined || id === undefined || chosen.has(id)) continue;
      chosen.add(id);
      asked.push({ organization: customer.organization, id });
    }
    // Half of them by single statements, each credential by one only: the second would find what the first has read.
    const names = Object.keys(STATEMENTS);
    const times = new Map<string, number[]>([...names, 'the whole screen'].map(name => [name, []]));
    const plans = new Map<string, string>();
    const half = Math.ceil(asked.length / 2);
    for (const [i, { organization, id }] of asked.entries()) {
      const filter: UsageFilter = {
        scope: { organizationId: organization.id, everything: false, asHost: false },
        ...{ from: new Date(from), to: new Date(until), credentialId: id, slotId: null },
      };
      const name = i < half ? (names[i % names.length] ?? '') : 'the whole screen';
      const client = await db.pool.connect();
      try {
        if (name !== 'the whole screen') {
          const before = performance.now();
          if (i < names.length) plans.set(name, await explained(client, name, filter));
          else await STATEMENTS[name]?.(client, filter);
          times.get(name)?.push(performance.now() - before);
          continue;
        }
      } finally {
        client.release();
      }
      const before = performance.now();
      const query = { from, to: until, groupBy: 'hour', credentialId: id } as const;
      const view = await queryUsage(services, organization, query);
      times.get(name)?.push(performance.now() - before);
      if (view.total.flows === 0) throw new Error('a credential of the history has no usage');
    }
    const [rows = ''] = names;
    for (const [name, plan] of plans)
      if (flags.explain || name === rows) console.log(`\n── ${name}\n${plan}`);
    console.log('\nms                                        p50      p95      max   asked');
    const figures = [...times].map(([name, all]) => ({ name, asked: all.length, ...spread(all) }));
    for (const { name, asked: count, p50, p95, max } of figures)
      console.log(
        `${name.padEnd(38)} ${p50.toFixed(1).padStart(8)} ${p95.toFixed(1).padStart(8)} ${max.toFixed(1).padStart(8)} ${String(count).padStart(6)}`,
      );
    if (flags.json)
      writeFileSync(
        flags.json,
        `${JSON.stringify({ records: history.records, rollups: history.rollups, cold, figures }, null, 2)}\n`,
      );
  } finally {
    await database.drop();
  }
}

async function filled(db: Database, services: World['services']): Promise<History> {
  const begun = performance.now();
  return makeHistory({
    ...{ db, services, credentials: CREDENTIALS, credentialsPerOrganization: 10, days: DAYS },
    until: Math.floor(Date.now() / DAY_MS) * DAY_MS,
    onDay: (done, records) =>
      console.log(
        `day ${done} of ${DAYS}: ${records.toLocaleString('en')} records, ${Math.round((performance.now() - begun) / 1000)} s`,
      ),
  });
}

async function explained(client: Client, name: string, filter: UsageFilter): Promise<string> {
  const lines: string[] = [];
  const asking = {
    query: async (text: string, values: unknown[]) => {
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(
        `EXPLAIN (ANALYZE, BUFFERS) ${text}`,
        values,
      );
      lines.push(...rows.map(row => row['QUERY PLAN']));
      return { rows: [] };
    },
  };
  await STATEMENTS[name]?.(asking as unknown as Client, filter);
  return lines.join('\n');
}

/** True when the system did it; PostgreSQL's own buffers hold but a fraction of the ledger. */
function emptySystemCache(): boolean {
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    return true;
  } catch {
    return false;
  }
}

function spread(values: readonly number[]): { p50: number; p95: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

await main();
process.exit(0);
