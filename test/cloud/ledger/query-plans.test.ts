/**
 * How the portal's usage queries read the ledger: by the index of the rollups, in the weeks that are asked for and no
 * others, and few pages. Plans and pages are the same on every machine, times are not; those are measured on 100
 * million records by test/bench/ledger-queries.ts.
 */
import assert from 'node:assert/strict';
import {
  selectByCredential,
  selectByModem,
  selectRows,
  selectSeries,
  selectTotal,
  type UsageFilter,
} from '@mastline/cloud/server/ledger/usage-sql';
import { cloudWorld } from '../../support/cloud-world';
import { type History, makeHistory } from '../../support/ledger-history';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const DAY_MS = 86_400_000;
/** A Monday: partitions of rollups are weeks. */
const UNTIL = Date.UTC(2026, 10, 23);
const WEEKS = 2;
const CREDENTIALS = 12;
/** A week of one credential: 24 hours × 7 days × 4 slots = 672 rows, in order on some 20 pages, and the way to them. */
const PAGES_A_WEEK = 60;

type Client = Parameters<typeof selectTotal>[0];
type Statement = (client: Client, filter: UsageFilter) => Promise<unknown>;

const STATEMENTS: [name: string, statement: Statement][] = [
  ['credential × modem × endpoint × hour', (client, filter) => selectRows(client, filter, 5000)],
  ['by hour', (client, filter) => selectSeries(client, filter, 'hour')],
  ['by credential', selectByCredential],
  ['by modem', selectByModem],
  ['total', selectTotal],
];

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Shared Hit Blocks'?: number;
  'Shared Read Blocks'?: number;
  Plans?: PlanNode[];
}

const test = suite('plans of usage queries');
const ledgers: { kind: string; database: TestDatabase; history: History }[] = [];

test.before(async () => {
  for (const kind of await databaseKinds()) {
    const database = await testDatabase(kind);
    const { services } = await cloudWorld(database.db, UNTIL);
    const history = await makeHistory({
      ...{ db: database.db, services, credentials: CREDENTIALS, credentialsPerOrganization: 6 },
      ...{ days: WEEKS * 7, until: UNTIL },
    });
    ledgers.push({ kind, database, history });
  }
});
test.after(async () => {
  for (const { database } of ledgers) await database.drop();
});

async function planOf(database: TestDatabase, statement: Statement, filter: UsageFilter): Promise<PlanNode> {
  const client = await database.db.pool.connect();
  try {
    let plan: PlanNode | undefined;
    const asking = {
      query: async (text: string, values: unknown[]) => {
        const { rows } = await client.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
          `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ${text}`,
          values,
        );
        plan = rows[0]?.['QUERY PLAN'][0]?.Plan;
        return { rows: [] };
      },
    };
    await statement(asking as unknown as Client, filter);
    assert.ok(plan);
    return plan;
  } finally {
    client.release();
  }
}

test('the history is what it should be', () => {
  assert.ok(ledgers.length > 0);
  for (const { history } of ledgers) {
    assert.equal(history.records, CREDENTIALS * WEEKS * 7 * 1440);
    assert.equal(history.rollups, CREDENTIALS * WEEKS * 7 * 24 * 4);
  }
});

for (const [name, statement] of STATEMENTS)
  test(`${name}: one week of one credential is read by index, from that week, in few pages`, async () => {
    for (const { kind, database, history } of ledgers) {
      const customer = history.customers[1];
      assert.ok(customer);
      const from = UNTIL - 14 * DAY_MS;
      const plan = await planOf(database, statement, {
        scope: { organizationId: customer.organization.id, everything: false, asHost: false },
        from: new Date(from),
        to: new Date(from + 7 * DAY_MS),
        credentialId: customer.credentialIds[3] ?? '',
        slotId: null,
      });
      const scans = nodesOf(plan).filter(node => node['Relation Name']?.startsWith('usage_'));
      assert.ok(scans.length > 0, `${kind}: ${JSON.stringify(plan)}`);
      for (const scan of scans) {
        assert.match(
          scan['Node Type'],
          /^(Bitmap Heap|Index|Index Only) Scan$/,
          `${kind}: ${JSON.stringify(scan)}`,
        );
        assert.match(scan['Relation Name'] ?? '', /^usage_rollups(_2026_11_09|_daily)$/);
      }
      const pages = (plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0);
      assert.ok(pages <= PAGES_A_WEEK, `${kind}: ${pages} pages: ${JSON.stringify(plan)}`);
    }
  });

test.run();

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}
