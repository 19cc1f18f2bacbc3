/** When nodes were last seen: written late and together, never backwards, and in no circle with the hellos of the same nodes. */
import assert from 'node:assert/strict';
import { SEEN_FLUSH_MS, SeenNotes } from '@mastline/cloud/server/fleet/seen-notes';
import { greetingFacts } from '@mastline/cloud/server/rollout/greeting-facts';
import { loadSigner } from '@mastline/cloud/server/rollout/signing';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { fakeClock } from '../../support/clock';
import { addNode, cloudWorld, type World } from '../../support/cloud-world';
import { type TestDatabase, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud/fleet: when nodes were seen');
let database: TestDatabase;
let world: World;

test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
});
test.after(async () => database.drop());

const seenAt = async (id: string) => {
  const { rows } = await database.db.pool.query('SELECT last_seen_at FROM nodes WHERE id = $1', [id]);
  return rows[0]?.last_seen_at?.getTime();
};

test('the newest note of each node is written, with the next flush or at the end, and never an older one over it', async () => {
  const clock = fakeClock();
  const seen = new SeenNotes({ db: database.db, clock, log: world.services.log });
  const { id } = world.acme.node;
  const other = world.rival.node.id;
  const at = world.services.clock.now();
  seen.note(id, at + 1_000);
  seen.note(id, at + 2_000);
  seen.note(other, at + 3_000);
  await clock.advance(SEEN_FLUSH_MS);
  seen.note(other, at);
  await seen.close();
  assert.deepEqual([await seenAt(id), await seenAt(other)], [at + 2_000, at + 3_000]);
});

test('hellos and notes of the same nodes at the same time all succeed', async () => {
  const { services, acme } = world;
  const warned: string[] = [];
  const log = pino({ level: 'warn' }, { write: line => void warned.push(line) });
  const clock = fakeClock();
  const seen = new SeenNotes({ db: database.db, clock, log });
  const signer = await loadSigner(database.db, services.secrets, services.clock.now());
  // Two processes of one cloud.
  const processes = [1, 2].map(() => greetingFacts({ ...services, signer }));
  const nodes: string[] = [];
  for (let i = 0; i < 40; i += 1) nodes.push((await addNode(services, acme.host, `Box ${i}`)).id);
  const hello = {
    agentVersion: '1',
    bootId: 'b',
    now: 0,
    lastSequence: 0,
    running: { revision: 0, hash: null },
  };
  for (let round = 0; round < 10; round += 1) {
    const order = round % 2 === 0 ? nodes : [...nodes].reverse();
    const at = services.clock.now() + round * 1_000;
    for (const id of [...order].reverse()) seen.note(id, at);
    const [facts] = await Promise.all([
      Promise.all(
        processes.flatMap(read =>
          order.map(nodeId =>
            read({ nodeId, organizationId: acme.host.active.id }, { ...hello, epoch: uuidv7() }),
          ),
        ),
      ),
      clock.advance(SEEN_FLUSH_MS),
    ]);
    assert.ok(facts.every(each => each.mark === 0 && each.current === undefined));
  }
  await seen.close();
  assert.deepEqual(warned, []);
});

test.run();
