/** `npm run chaos -- --rounds 200 --seed 7`: exit code 0 only when the ledger was exact after every round. */
import { parseArgs } from 'node:util';
import { buildAll } from '../../installer/local/build';
import { findTool } from '../support/tools';
import { runChaos } from './chaos';
import { postgresPrograms } from './own-postgres';

const HELP = `npm run chaos -- [--rounds N] [--seed S] [--first N] [--database server|embedded]

Carries customers' traffic while agent, clouds, HAProxy, NATS and database are killed, the link between them is cut, left half-open and
stalled, batches are doubled, reordered, shortened and broken off, the agent's disk fills up and clocks jump. After
each round the ledger must hold what the spool committed, to the byte; what was carried may exceed it only by the
stated bound for each crash of the agent.

  --rounds N     how many rounds (20)
  --seed S       what befalls them; printed, so that a run can be had again (of the time)
  --first N      number of the first round: --seed S --first 17 --rounds 1 plays round 17 of seed S again (1)
  --database D   server: a PostgreSQL cluster of the run's own; embedded: PGlite (server where it is installed)

Ctrl-C ends the run after the round that is played. On PGlite there is one cloud process, no HAProxy and no NATS. The full disk needs
root, to mount a small one.`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    first: { type: 'string', default: '1' },
    database: { type: 'string', default: postgresPrograms() ? 'server' : 'embedded' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const wholeNumber = (name: 'rounds' | 'seed' | 'first', max: number): number => {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 1 && value <= max) return value;
  console.error(`--${name} must be a whole number from 1 to ${max}.`);
  process.exit(2);
};
const { database } = values;
if (database !== 'server' && database !== 'embedded') {
  console.error('--database must be server or embedded.');
  process.exit(2);
}
if (database === 'server' && postgresPrograms() === undefined) {
  console.error('PostgreSQL is not installed: sudo apt-get install -y postgresql, or --database embedded.');
  process.exit(2);
}
if (database === 'server' && findTool('nats-server') === undefined) {
  console.error('nats-server is not installed: sudo apt-get install -y nats-server, or --database embedded.');
  process.exit(2);
}
const options = {
  database,
  rounds: wholeNumber('rounds', 100_000),
  seed: wholeNumber('seed', 2 ** 31),
  firstRound: wholeNumber('first', 100_000),
  say: (line: string) => console.log(line),
} as const;
if (process.env.MASTLINE_BUILT !== '1') await buildAll();
console.log(`chaos: ${options.rounds} rounds, seed ${options.seed}, ${database} database`);
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    stopped = true;
    console.log('stopping after this round …');
  });
const report = await runChaos({ ...options, stopped: () => stopped }).catch((error: unknown) => {
  console.error(error);
  console.error(`Not weathered; again: --seed ${options.seed} --first N --rounds 1, N as named above`);
  process.exit(1);
});
console.log(JSON.stringify(report, null, 2));
for (const problem of report.problems) console.log(`✗ ${problem}`);
const last = options.firstRound + report.rounds - 1;
console.log(
  report.problems.length === 0
    ? `Exact after each of ${report.rounds} rounds.`
    : `Not exact; again: --seed ${report.seed} --first ${last} --rounds 1`,
);
process.exitCode = report.problems.length === 0 ? 0 : 1;
