/** What a load balancer or a supervisor asks: alive is not ready. Against a whole cloud and its own pool of connections. */
import assert from 'node:assert/strict';
import { suite } from '../support/suite';
import { type TestCloud, testCloud } from '../support/test-cloud';

const test = suite('cloud: healthz and readyz');
let cloud: TestCloud;

test.before(async () => {
  cloud = await testCloud();
});
test.after(async () => cloud.stop());

async function ask(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${cloud.url}${path}`, { signal: AbortSignal.timeout(20_000) });
  return { status: response.status, text: await response.text() };
}

test('is ready while the database answers, and again after it did not', async () => {
  assert.deepEqual(await ask('/readyz'), { status: 200, text: 'ready\n' });
  const { pool } = cloud.services.db;
  // Every connection is taken, as by statements that hang: the question waits past its deadline.
  const taken = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()));
  try {
    assert.deepEqual(await ask('/readyz'), { status: 503, text: 'the database does not answer\n' });
    // A restart would not help: the process itself is well.
    assert.deepEqual(await ask('/healthz'), { status: 200, text: 'ok\n' });
  } finally {
    for (const client of taken) client.release();
  }
  assert.deepEqual(await ask('/readyz'), { status: 200, text: 'ready\n' });
});

test('is not ready for work on a schema that lacks something, and says so', async () => {
  const { pool } = cloud.services.db;
  const { rows } = await pool.query<{ migration_name: string; finished_at: Date }>(
    'UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = (SELECT max(migration_name) FROM _prisma_migrations) RETURNING migration_name',
  );
  assert.deepEqual(await ask('/readyz'), {
    status: 503,
    text: "the database lacks 1 of this version's migrations\n",
  });
  await pool.query('UPDATE _prisma_migrations SET finished_at = now() WHERE migration_name = $1', [
    rows[0]?.migration_name,
  ]);
  // A newer version that runs beside this one has added its own.
  await pool.query(
    `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
     VALUES ('x', 'x', '99990101000000_of_a_newer_one', now(), 1)`,
  );
  assert.deepEqual(await ask('/readyz'), { status: 200, text: 'ready\n' });
});

test.run();
