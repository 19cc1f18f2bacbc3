/**
 * Three whole cloud processes on one PostgreSQL database and one NATS, as they are shipped: what a cloud does by itself
 * is done once for each time that it is due, whoever does it. The processes look by their own clocks, every 15 s and at no
 * request of ours; that a time is over is made by moving what was done into the past, in the database.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { buildAll } from '../../installer/local/build';
import { type Program, startProgram } from '../../installer/local/processes';
import { eventually } from '../support/eventually';
import { type OwnNats, startOwnNats } from '../support/own-nats';
import { databaseKinds, type TestDatabase, testDatabase } from '../support/postgres';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('jobs of three clouds', { needs: ['nats-server'] });
const MAIN = join(import.meta.dirname, '../../cloud/dist/main.js');
const PROCESSES = 3;
const START_DEADLINE_MS = 60_000;
const STOP_MS = 5_000;
const DEADLINE = { deadlineMs: 90_000 };
const DAY_MS = 86_400_000;
/** cloud/server/jobs/schedule.ts. */
const JOBS = [
  ...['admissions', 'forget-connections', 'forget-runs', 'forget-watched', 'order-rollups', 'partitions'],
  ...['reconciliation', 'retention', 'rotations', 'sessions'],
];

let folder: Awaited<ReturnType<typeof tempDir>>;
let database: TestDatabase;
let nats: OwnNats;
let db: pg.Client;
let clouds: Program[] = [];

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('three-clouds');
  database = await testDatabase('server');
  await database.disconnect();
  nats = await startOwnNats();
  db = new pg.Client({ connectionString: database.databaseUrl ?? '' });
  await db.connect();
  // Who asked for which run, also those that did not get it: without that nobody could tell that all three have looked.
  await db.query(`
    CREATE TABLE asked (job text, due_at timestamptz, process_id text);
    CREATE FUNCTION note_asked() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO asked VALUES (NEW.job, NEW.due_at, NEW.process_id); RETURN NEW; END';
    CREATE TRIGGER asked BEFORE INSERT ON job_runs FOR EACH ROW EXECUTE FUNCTION note_asked()`);
});
test.after(async () => {
  for (const cloud of clouds) await cloud.stop(STOP_MS);
  await db?.end();
  await nats?.kill();
  await database?.drop();
  await folder?.remove();
});

const logFile = (at: number) => join(folder.path, `cloud-${at}.log`);

/** All at once, so that they also meet at their beginning. */
async function startAll(): Promise<void> {
  const secretKey = randomBytes(32).toString('base64');
  clouds = await Promise.all(
    Array.from({ length: PROCESSES }, (_, at) =>
      startProgram({
        name: `cloud-${at}`,
        script: MAIN,
        args: ['--data-dir', join(folder.path, `cloud-${at}`), '--port', '0'],
        logFile: logFile(at),
        readyDeadlineMs: START_DEADLINE_MS,
        env: {
          NODE_ENV: 'production',
          DATABASE_URL: database.databaseUrl ?? '',
          NATS_URL: nats.url,
          MASTLINE_SECRET_KEY: secretKey,
        },
      }),
    ),
  );
}

interface Run {
  job: string;
  due_at: Date;
  process_id: string;
  attempts: number;
  outcome: string | null;
}

async function runs(): Promise<Run[]> {
  const { rows } = await db.query<Run>(
    'SELECT job, due_at, process_id, attempts, outcome FROM job_runs ORDER BY job, due_at',
  );
  return rows;
}

/** Runs by job, as the processes themselves say in their logs: the database could not show one that was done twice. */
function saidDone(): Map<string, number> {
  const done = new Map<string, number>();
  for (let at = 0; at < PROCESSES; at += 1)
    for (const line of readFileSync(logFile(at), 'utf8').split('\n')) {
      const said: { msg?: string; job?: string } = line.startsWith('{') ? JSON.parse(line) : {};
      assert.ok(said.msg !== 'job failed; it is tried again when its lease is over', line);
      if (said.msg === 'job done' && said.job) done.set(said.job, (done.get(said.job) ?? 0) + 1);
    }
  return done;
}

/** Waits until the newest run of each job is done and so many processes have asked for it. Gives those runs. */
async function allDone(processes: number): Promise<Run[]> {
  let newest: Run[] = [];
  await eventually(async () => {
    const { rows } = await db.query<Run & { askers: number }>(
      `SELECT DISTINCT ON (j.job) j.*, (SELECT count(DISTINCT a.process_id)::int FROM asked a
                                         WHERE a.job = j.job AND a.due_at = j.due_at) AS askers
         FROM job_runs j ORDER BY j.job, j.due_at DESC`,
    );
    newest = rows;
    return (
      rows.length === JOBS.length && rows.every(row => row.outcome === 'done' && row.askers >= processes)
    );
  }, `all jobs are done, and ${processes} processes have asked for each`);
  return newest;
}

/** Each was begun as often as the database says, and what is done was done once. */
async function agree(): Promise<void> {
  const begun = new Map<string, number>();
  for (const { job, attempts } of await runs()) begun.set(job, (begun.get(job) ?? 0) + attempts);
  await eventually(
    () => JOBS.every(job => (saidDone().get(job) ?? 0) >= (begun.get(job) ?? 0)),
    'the logs say so, too',
  );
  assert.deepEqual([...saidDone()].sort(), [...begun].sort());
}

test(
  'three that start at once do each job once, though all three ask for it',
  async () => {
    await startAll();
    const done = await allDone(PROCESSES);
    assert.deepEqual(
      done.map(run => [run.job, run.attempts]),
      JOBS.map(job => [job, 1]),
    );
    await agree();
  },
  DEADLINE,
);

test(
  'when they are due again each is done once more, and what it was to do is done once',
  async () => {
    await db.query("UPDATE job_runs SET due_at = due_at - interval '1 day'");
    // One thing for a job to find: a run that nobody remembers any longer.
    await db.query(
      `INSERT INTO job_runs (job, due_at, process_id, started_at, lease_until)
       VALUES ('of long ago', $1, 'one of long ago', $1, $1)`,
      [new Date(Date.now() - 40 * DAY_MS)],
    );
    await db.query('TRUNCATE asked');
    const done = await allDone(PROCESSES);
    assert.deepEqual(
      done.map(run => [run.job, run.attempts]),
      JOBS.map(job => [job, 1]),
    );
    const { rows } = await db.query("SELECT detail FROM job_runs WHERE detail = '1 runs forgotten'");
    assert.equal(rows.length, 1);
    await agree();
  },
  DEADLINE,
);

test(
  'what a process that was killed had begun is done by one of the others, once',
  async () => {
    await clouds[0]?.kill();
    // As it would lie there a minute later: begun, and its lease over.
    const { rows: begun } = await db.query<{ job: string; due_at: Date }>(
      `UPDATE job_runs j SET finished_at = NULL, outcome = NULL, detail = NULL, lease_until = now() - interval '1 second'
        WHERE due_at = (SELECT max(due_at) FROM job_runs l WHERE l.job = j.job) RETURNING job, due_at`,
    );
    assert.equal(begun.length, JOBS.length);
    await db.query('TRUNCATE asked');
    const done = await allDone(PROCESSES - 1);
    for (const run of done) {
      const isIts = begun.some(one => one.job === run.job && one.due_at.getTime() === run.due_at.getTime());
      // Where an hour has begun meanwhile, its run is a new one.
      assert.equal(run.attempts, isIts ? 2 : 1, run.job);
    }
    await agree();
  },
  DEADLINE,
);

if (!(await databaseKinds()).includes('server'))
  test.skip('all of the above', 'no PostgreSQL answers at 127.0.0.1:5432');
test.run();
