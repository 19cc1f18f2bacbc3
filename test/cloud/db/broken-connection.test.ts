/** A database server that breaks connections off fails what was under way and nothing else. */
import assert from 'node:assert/strict';
import { inTransaction } from '@mastline/cloud/server/db/transaction';
import { databaseKinds, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('broken database connections');
const name =
  'one that breaks between two statements of a transaction fails it; the process and the pool go on';

if ((await databaseKinds()).includes('server'))
  test(name, async () => {
    const { db, drop } = await testDatabase('server');
    try {
      const transaction = inTransaction(db, async client => {
        const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        const gone = new Promise(resolve => client.once('end', resolve));
        await db.pool.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
        await gone;
        await client.query('SELECT 1');
      });
      await assert.rejects(transaction);
      const { rows } = await db.pool.query<{ n: number }>('SELECT 1 AS n');
      assert.equal(rows[0]?.n, 1);
    } finally {
      await drop();
    }
  });
else test.skip(name, 'no PostgreSQL answers at 127.0.0.1:5432');

test.run();
