/**
 * A short chaos on PostgreSQL and one on PGlite; `npm run chaos` makes longer ones. CHAOS_SEED in the environment changes
 * what befalls. That judge and link would notice is shown in chaos/ by tests of their own.
 */
import * as assert from 'uvu/assert';
import { buildAll } from '../../installer/local/build';
import { runChaos } from '../chaos/chaos';
import { postgresPrograms } from '../chaos/own-postgres';
import { suite } from '../support/suite';
import { missingTools } from '../support/tools';

const SEED = Number(process.env.CHAOS_SEED ?? 2027);
/** Of seed 2027 these meet each fault: those of several processes and their database on PostgreSQL. */
const ROUNDS = { server: 3, embedded: 3 };
const FIRST = { server: 1, embedded: 1 };
const test = suite('a short chaos');

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
});

for (const database of ['server', 'embedded'] as const) {
  const name = `${ROUNDS[database]} rounds of seed ${SEED}, ${database} database: the ledger is exact after each`;
  if (database === 'server' && postgresPrograms() === undefined) {
    test.skip(name, 'initdb and postgres missing: sudo apt-get install -y postgresql');
    continue;
  }
  const noNats = database === 'server' ? missingTools(['nats-server']) : undefined;
  if (noNats !== undefined) {
    test.skip(name, noNats);
    continue;
  }
  test(
    name,
    async () => {
      const report = await runChaos({
        database,
        seed: SEED,
        rounds: ROUNDS[database],
        firstRound: FIRST[database],
        say: line => console.log(line),
      });
      console.log(JSON.stringify(report));
      assert.equal(report.problems, []);
      assert.is(report.rounds, ROUNDS[database]);
      assert.ok(report.committed.down > 1024 * 1024, 'there was load');
    },
    { deadlineMs: 400_000 },
  );
}

test.run();
