/**
 * Many queries at once on the embedded database: each gets its own answer. (Two connections to pglite-socket 0.2.17
 * mix up unnamed statements under load: parameters of one query meet the text of another.)
 */
import assert from 'node:assert/strict';
import { openDatabase } from '@mastline/cloud/server/db/database';
import pino from 'pino';
import { cloudBuilt } from '../../support/build-cloud';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('embedded database');

test(
  'gives each of many concurrent queries and transactions its own answer',
  async () => {
    await cloudBuilt();
    const folder = await tempDir('embedded');
    const db = await openDatabase({
      databaseUrl: null,
      dataDir: folder.path,
      log: pino({ level: 'silent' }),
    });
    try {
      const queries = Array.from({ length: 400 }, async (_, n) => {
        // Texts of different shape and number of parameters, some inside a transaction.
        if (n % 4 === 3) {
          const client = await db.pool.connect();
          try {
            await client.query('BEGIN');
            const { rows } = await client.query('SELECT $1::int AS n', [n]);
            await client.query('COMMIT');
            return assert.equal(rows[0].n, n);
          } finally {
            client.release();
          }
        }
        const parameters = Array.from({ length: 1 + (n % 3) }, (_, i) => n + i);
        const columns = parameters.map((_, i) => `$${i + 1}::int AS c${i}`).join(', ');
        const { rows } = await db.pool.query(`SELECT ${columns}`, parameters);
        assert.deepEqual(Object.values(rows[0]), parameters);
      });
      await Promise.all(queries);
    } finally {
      await db.close();
      await folder.remove();
    }
  },
  { deadlineMs: 60_000 },
);

test.run();
