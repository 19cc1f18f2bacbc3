/**
 * How fast the portal's usage screens are answered from a large ledger: a database of its own is filled with a month
 * of usage, then random credentials are asked for, each for the first time, by the very statements of the portal.
 *
 *     npm run bench:ledger [-- --records 100000000 --days 30 --queries 40 --json FILE --explain --keep NAME]
 *     npm run bench:ledger -- --reuse NAME [--queries 40 --seed 2 --json FILE --explain]
 *
 * The disk's cache of the system is emptied before (root may), and every credential is asked for once, so that what is
 * timed reads from the disk: `--queries` of each statement. The plan of the first statement is shown with the pages that it
 * read, with `--explain` those of all. 100 million records take about 25 GB and half an hour to make; both go away at the end, unless `--keep` names a
 * database that they stay in. `--reuse` asks such a one, after migrating it and putting its weeks in order as the cloud's job does.
 */
import { writeFileSync } from 'node:fs';
import type { Database } from '@mastline/cloud/server/db/database';
import { withTenantSql } from '@mastline/cloud/server/db/tenant';
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

    const { times, first, plans } = await askAll(services, history);
    const [rows = ''] = Object.keys(STATEMENTS);
    for (const [name, plan] of plans)
      if (flags.explain || name === rows) console.log(`\n── ${name}, the first of all\n${plan}`);
    console.log('\nms                                        p50      p95      max   asked   first of all');
    const figures = [...times].map(([name, all]) => ({
      ...{ name, asked: all.length, ...spread(all), first: first.get(name) ?? Number.NaN },
    }));
    for (const { name, asked, ...ms } of figures)
      console.log(
        `${name.padEnd(38)} ${shown(ms.p50)} ${shown(ms.p95)} ${shown(ms.max)} ${String(asked).padStart(6)} ${shown(ms.first)}`,
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

const SCREEN = 'the whole screen';
const shown = (ms: number) => ms.toFixed(1).padStart(8);

interface Answers {
  /** Milliseconds by statement. */
  times: Map<string, number[]>;
  /** Of the first of each statement, which are not among the times. */
  first: Map<string, number>;
  plans: Map<string, string>;
}

/**
 * Asks statement after statement in turn, each credential by one only: a second would find what the first has read. The
 * first of each is explained, and finds the connection without what it keeps of the catalogue: it is shown beside the others.
 */
async function askAll(services: World['services'], history: History): Promise<Answers> {
  const names = [...Object.keys(STATEMENTS), SCREEN];
  const answers: Answers = {
    times: new Map(names.map(name => [name, []])),
    first: new Map(),
    plans: new Map(),
  };
  for (const [i, asked] of chosenCredentials(history, names.length * (QUERIES + 1)).entries()) {
    const name = names[i % names.length] ?? '';
    const isFirst = i < names.length;
    const begun = performance.now();
    const plan = await askOne(services, { ...asked, name, history, explain: isFirst });
    const ms = performance.now() - begun;
    if (plan !== undefined) answers.plans.set(name, plan);
    if (isFirst) answers.first.set(name, ms);
    else answers.times.get(name)?.push(ms);
  }
  return answers;
}

type Organization = History['customers'][number]['organization'];

/** So many by chance, each once; fewer when there are no more. */
function chosenCredentials(history: History, count: number): { organization: Organization; id: string }[] {
  const all = history.customers.flatMap(({ organization, credentialIds }) =>
    credentialIds.map(id => ({ organization, id })),
  );
  const random = seeded(Number(flags.seed));
  const chosen: typeof all = [];
  while (chosen.length < count && all.length > 0)
    chosen.push(...all.splice(Math.floor(random() * all.length), 1));
  return chosen;
}

/** Asks one statement, or the screen; the plan when it was explained, which the screen never is. */
async function askOne(
  services: World['services'],
  of: { name: string; organization: Organization; id: string; history: History; explain: boolean },
): Promise<string | undefined> {
  const { name, organization, id, explain } = of;
  const { from, until } = of.history;
  if (name === SCREEN) {
    const query = { from, to: until, groupBy: 'hour', credentialId: id } as const;
    const view = await queryUsage(services, organization, query);
    if (view.total.flows === 0) throw new Error('a credential of the history has no usage');
    return undefined;
  }
  const filter: UsageFilter = {
    scope: { organizationId: organization.id, everything: false, asHost: false },
    ...{ from: new Date(from), to: new Date(until), credentialId: id, slotId: null },
  };
  return withTenantSql(services.db, organization.id, async client => {
    if (explain) return explained(client, name, filter);
    await STATEMENTS[name]?.(client, filter);
    return undefined;
  });
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
