/** Shipped profiles in the database: what holds is in the audit log and what is there is what holds, or neither. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { shipProfile, withdrawProfile } from '@mastline/cloud/server/fleet/profiles';
import { cloudWorld, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/fleet: profiles');
const PROFILE = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../firmware-profiles/huawei/e3372h-320.json'), 'utf8'),
);

for (const kind of await databaseKinds()) {
  let database: TestDatabase;
  let world: World;

  test(`${kind}: opens`, async () => {
    database = await testDatabase(kind);
    world = await cloudWorld(database.db, Date.UTC(2026, 10, 23, 12));
  });

  const count = async (statement: string) => Number((await database.db.pool.query(statement)).rows[0]?.n);
  const shipped = () => count('SELECT count(*) AS n FROM shipped_profiles');
  const entries = () => count("SELECT count(*) AS n FROM audit_entries WHERE action LIKE 'profile.%'");

  test(`${kind}: shipped, shipped again, withdrawn: each is written down once, and all nodes are told`, async () => {
    const { services, operator } = world;
    world.changedNodes.length = 0;
    const { id } = await shipProfile(services, operator, PROFILE);
    await shipProfile(services, operator, PROFILE);
    assert.deepEqual([await shipped(), await entries()], [1, 2]);
    assert.deepEqual(new Set(world.changedNodes), new Set([world.acme.node.id, world.rival.node.id]));
    await withdrawProfile(services, operator, id);
    assert.deepEqual([await shipped(), await entries()], [0, 3]);
    await assert.rejects(withdrawProfile(services, operator, id), /no shipped profile/);
    assert.equal(await entries(), 3);
  });

  test(`${kind}: what cannot be written down is not shipped`, async () => {
    const { services, operator } = world;
    const pool = database.db.pool;
    // As when the disk is full between the two.
    await pool.query(
      "ALTER TABLE audit_entries ADD CONSTRAINT no_room CHECK (at < now() - interval '100 years') NOT VALID",
    );
    const before = await entries();
    await assert.rejects(shipProfile(services, operator, PROFILE));
    await pool.query('ALTER TABLE audit_entries DROP CONSTRAINT no_room');
    assert.deepEqual([await shipped(), await entries()], [0, before]);
  });

  test(`${kind}: closes`, () => database.drop());
}

test.run();
