/** Setting quotas: one row a credential whatever comes at once, a count that stays, an audit entry only of what holds. */
import assert from 'node:assert/strict';
import { setCredentialQuota } from '@mastline/cloud/server/quota/quotas';
import type { QuotaSetting } from '@mastline/shared/domain/quota';
import { cloudWorld, type World } from '../../support/cloud-world';
import { databaseKinds, type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/quota: setting');
const T0 = Date.UTC(2026, 10, 23, 12);
const MONTHLY: QuotaSetting = { bytes: 1_000_000, period: { kind: 'monthly', billingDay: 15 } };
const ONCE: QuotaSetting = { bytes: 2_000_000, period: { kind: 'total' } };

for (const kind of await databaseKinds()) {
  let database: TestDatabase;
  let world: World;

  test(`${kind}: opens`, async () => {
    database = await testDatabase(kind);
    world = await cloudWorld(database.db, T0);
  });

  const set = (quota: QuotaSetting | null) =>
    setCredentialQuota(world.services, world.acme.customer, { id: world.acme.credentialId, quota });
  const rows = async (): Promise<Record<string, unknown>[]> =>
    (await database.db.pool.query('SELECT id, bytes, period, billing_day, period_start, used FROM quotas'))
      .rows;
  const entries = async () =>
    (await database.db.pool.query("SELECT details FROM audit_entries WHERE action = 'credential.quota'")).rows
      .length;

  test(`${kind}: many who set the first quota at once make one, and each is in the audit log`, async () => {
    world.changedNodes.length = 0;
    await Promise.all(Array.from({ length: 6 }, () => set(MONTHLY)));
    const [only, ...more] = await rows();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [Number(only?.bytes), only?.billing_day, only?.period_start],
      [1_000_000, 15, new Date(Date.UTC(2026, 10, 15))],
    );
    assert.equal(await entries(), 6);
    assert.deepEqual(new Set(world.changedNodes), new Set([world.acme.node.id]), 'its nodes are told');
  });

  test(`${kind}: a quota that is changed keeps what was counted, one that is removed forgets it`, async () => {
    await database.db.pool.query('UPDATE quotas SET used = 700000');
    const [before] = await rows();
    await set(ONCE);
    const [after] = await rows();
    assert.deepEqual(
      [after?.id, Number(after?.bytes), after?.period, after?.billing_day, Number(after?.used)],
      [before?.id, 2_000_000, 'total', null, 700_000],
    );
    await set(null);
    assert.deepEqual(await rows(), []);
    await set(ONCE);
    assert.equal(Number((await rows())[0]?.used), 0);
  });

  test(`${kind}: what could not be set is not in the audit log`, async () => {
    const [before, noted] = [await rows(), await entries()];
    // More than the column holds: no procedure lets it through, but the database's own word counts.
    await assert.rejects(set({ ...ONCE, bytes: 2 ** 63 }));
    assert.deepEqual([await rows(), await entries()], [before, noted]);
  });

  test(`${kind}: a rival’s credential has no quota of ours`, async () => {
    await assert.rejects(
      setCredentialQuota(world.services, world.acme.customer, { id: world.rival.credentialId, quota: ONCE }),
      /no credential/,
    );
    assert.equal((await rows()).length, 1);
  });

  test(`${kind}: closes`, () => database.drop());
}

test.run();
