/**
 * The rows of a usage screen, credential × modem × endpoint × hour: whose names they bear and in which order they come.
 * How they are read is query-plans.test.ts; whose they may be, test/cloud/tenancy.test.ts.
 */
import assert from 'node:assert/strict';
import { queryUsage } from '@mastline/cloud/server/ledger/query';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { cloudWorld, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const HOUR_MS = 3_600_000;
const T0 = Date.UTC(2026, 10, 23, 10);
/** What the ledger knows nobody by. */
const NOBODY = '0';

const test = suite('rows of a usage screen');
const worlds: { kind: string; database: TestDatabase; world: World }[] = [];

interface Put {
  hour: number;
  credential?: string;
  slot: number;
  up: number;
}

test.before(async () => {
  for (const kind of await databaseKinds()) {
    const database = await testDatabase(kind);
    const world = await cloudWorld(database.db);
    const { acme } = world;
    const { prisma, pool } = database.db;
    const organizationId = acme.customer.active.id;
    const other = await prisma.credential.findUniqueOrThrow({ where: { id: acme.credentialId } });
    const { key: _, ...copy } = other;
    const added = await prisma.credential.create({
      data: { ...copy, id: uuidv7(T0), name: 'A second one', username: 'second' } as never,
    });
    const keyOf = async (table: 'nodes' | 'endpoints' | 'credentials', id: string) =>
      (await pool.query<{ key: string }>(`SELECT key FROM ${table} WHERE id = $1`, [id])).rows[0]?.key;
    const node = await keyOf('nodes', acme.node.id);
    const endpoint = await keyOf('endpoints', acme.endpointId);
    const keys: Record<string, string | undefined> = {
      first: await keyOf('credentials', acme.credentialId),
      second: await keyOf('credentials', added.id),
    };
    const put: Put[] = [
      { hour: T0, credential: 'first', slot: 2, up: 1 },
      { hour: T0, credential: 'first', slot: 1, up: 2 },
      { hour: T0, credential: 'second', slot: 1, up: 3 },
      { hour: T0, slot: 1, up: 4 },
      { hour: T0 + HOUR_MS, credential: 'first', slot: 1, up: 5 },
    ];
    for (const { hour, credential, slot, up } of put)
      await pool.query(
        `INSERT INTO usage_rollups (hour, organization_id, host_organization_id, node_key, endpoint_key, credential_key,
                                    modem_key, slot, up_bytes, down_bytes, flows, last_period_start)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, 0, 1, $1)`,
        [
          ...[new Date(hour), organizationId, acme.host.active.id, node],
          ...(credential === undefined ? [NOBODY, NOBODY] : [endpoint, keys[credential]]),
          ...[slot, up],
        ],
      );
    worlds.push({ kind, database, world });
  }
});
test.after(async () => {
  for (const { database } of worlds) await database.drop();
});

const range = { from: T0, to: T0 + 2 * HOUR_MS, groupBy: 'hour' as const };

test('the newest hour comes first, within it credentials by name and modems by number, the unknown last', async () => {
  for (const { kind, world } of worlds) {
    const { rows, rowsCut } = await queryUsage(world.services, world.acme.customer.active, range);
    assert.equal(rowsCut, false);
    assert.deepEqual(
      rows.map(row => [(row.hour - T0) / HOUR_MS, row.credentialName, row.slot, row.upBytes]),
      [
        [1, 'Acme Crawl credential', 1, 5],
        [0, 'A second one', 1, 3],
        [0, 'Acme Crawl credential', 1, 2],
        [0, 'Acme Crawl credential', 2, 1],
        [0, 'Unattributed', 1, 4],
      ],
      kind,
    );
    assert.ok(rows.every(row => row.nodeName === 'Acme box'));
    assert.equal(rows[0]?.credentialId, world.acme.credentialId);
    assert.equal(rows.at(-1)?.endpointName, 'Unknown endpoint');
  }
});

test('the host of the modem sees the bytes, and neither credentials nor endpoints of its customers', async () => {
  for (const { kind, world } of worlds) {
    const { rows } = await queryUsage(world.services, world.acme.host.active, range);
    assert.deepEqual(
      rows.map(row => [
        (row.hour - T0) / HOUR_MS,
        row.credentialName,
        row.endpointName,
        row.slot,
        row.upBytes,
      ]),
      [
        [1, 'Customers', 'Customer endpoint', 1, 5],
        [0, 'Customers', 'Customer endpoint', 1, 2 + 3 + 4],
        [0, 'Customers', 'Customer endpoint', 2, 1],
      ],
      kind,
    );
  }
});

test('another customer sees none of them', async () => {
  for (const { world } of worlds)
    assert.deepEqual((await queryUsage(world.services, world.rival.customer.active, range)).rows, []);
});

test.run();
