/**
 * `npm run simulate`: a fleet of protocol-true agents against a real cloud process, with a live summary, and at the end
 * the ledger held against what the agents committed. Exit code 1 when a record was lost, doubled or charged wrongly,
 * or when nodes did not come back.
 *
 *     npm run simulate -- --nodes 10000 --modems 4 --seconds 120 [--json FILE]      all flags: knobs.ts
 *
 * The run: nodes come up (ramp), then the time is shared by three thirds: all there; some offline; all back, before which
 * the cloud is restarted, if it is to be. Then no more records, until every spool is acknowledged.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '@mastline/cloud/server/db/database';
import { CodedError } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { PERIOD_MS } from '@mastline/shared/domain/usage-period';
import { pino } from 'pino';
import { cloudBuilt } from '../../support/build-cloud';
import { testDatabase } from '../../support/postgres';
import { checkLedger } from './check-ledger';
import { CloudProcess } from './cloud-process';
import { enrolFleet } from './enrol-fleet';
import type { FleetShape } from './identity';
import { type Knobs, readKnobs } from './knobs';
import { curveText, median, percentile, probe } from './measures';
import type { FromGenerator, GeneratorFigures, ToGenerator } from './messages';

/** The first greetings write what each node has; how fast that goes is the database's disk's. */
const RAMP_SPARE_MS = 300_000;
const SETTLE_DEADLINE_MS = 180_000;
const RESULT_DEADLINE_MS = 60_000;
/** Spools that hold a tenth of a commit of all: what came up with the nodes is stored. */
const CAUGHT_UP = 0.1;

type Result = Extract<FromGenerator, { is: 'result' }>;

interface Generator {
  child: ChildProcess;
  last: GeneratorFigures | undefined;
  result: Promise<Result>;
  tell(message: ToGenerator): void;
}

/** What is kept over the run. */
const run = {
  /** Times of answers to /healthz while nodes came back, milliseconds. */
  answerMs: [] as number[],
  reconnectSeconds: [] as number[],
  refusals: {} as Record<string, number>,
  curve: [] as { second: number; connected: number }[],
  faults: [] as string[],
  welcomes: 0,
};

const wait = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
const round = (value: number, digits = 1) => Math.round(value * 10 ** digits) / 10 ** digits;

async function simulate(knobs: Knobs): Promise<boolean> {
  await cloudBuilt();
  const database = await testDatabase(knobs.database);
  const cloud = new CloudProcess({ dataDir: database.dataDir, databaseUrl: database.databaseUrl });
  const generators: Generator[] = [];
  try {
    const begunAt = performance.now();
    await enrolFleet(database.db, { seed: knobs.seed, nodes: knobs.nodes, at: new Date() });
    say(`enrolled ${knobs.nodes} nodes in ${round((performance.now() - begunAt) / 1000)} s`);
    if (database.databaseUrl === null) await database.disconnect();
    const url = await cloud.start();
    const idleRss = cloud.rss();
    const shape: FleetShape = {
      seed: knobs.seed,
      modems: knobs.modems,
      startMs: Date.now() - (Date.now() % PERIOD_MS),
      everyMs: knobs.every * 1000,
    };
    for (let place = 0; place < knobs.generators; place += 1)
      generators.push(generator(knobs, { shape, url, place }));

    const figures = () => sumOf(generators);
    const cpuBefore = cloud.cpuSeconds();
    const rampMs = (knobs.nodes / knobs.rampPerSecond) * 1000;
    await watch({
      cloud,
      figures,
      knobs,
      label: 'coming up',
      ms: rampMs + RAMP_SPARE_MS,
      until: () => figures().connected >= knobs.nodes * 0.995,
    });
    let connected = figures().connected;
    await watch({
      ...{ cloud, figures, knobs, label: 'catching up', ms: SETTLE_DEADLINE_MS },
      until: now => now.committed - now.acknowledged < knobs.nodes * knobs.modems * CAUGHT_UP,
    });

    const third = (knobs.seconds * 1000) / 3;
    const rss: number[] = [];
    const steadyAt = performance.now();
    const steadyFrom = figures().acknowledged;
    const cpuSteady = cloud.cpuSeconds();
    await watch({
      ...{ cloud, figures, knobs, label: 'all there', ms: third },
      each: now => {
        rss.push(cloud.rss());
        connected = Math.max(connected, now.connected);
      },
    });
    const steadySeconds = (performance.now() - steadyAt) / 1000;
    const steadyRate = (figures().acknowledged - steadyFrom) / steadySeconds;
    const cpuPerSecond = (cloud.cpuSeconds() - cpuSteady) / steadySeconds;
    for (const each of generators) each.tell({ is: 'offline' });
    await watch({ cloud, figures, knobs, label: 'some offline', ms: third });
    for (const each of generators) each.tell({ is: 'online' });

    let backSeconds: number | null = null;
    let rssAgain: number | null = null;
    run.reconnectSeconds.length = 0;
    if (knobs.restart !== 'none') {
      say(`the cloud is ${knobs.restart === 'kill' ? 'killed' : 'stopped'} and started again`);
      const downAt = performance.now();
      await cloud.stop(knobs.restart === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await cloud.start();
      const startedAt = performance.now();
      say(`it was away for ${round((startedAt - downAt) / 1000)} s`);
      const probing = probe(`${url}/healthz`, fault => run.faults.push(fault));
      await watch({
        cloud,
        figures,
        knobs,
        label: 'coming back',
        ms: Math.max(third, 120_000),
        each: now =>
          run.curve.push({ second: round((performance.now() - startedAt) / 1000), connected: now.connected }),
        // The churn knob keeps a few on their way at any time.
        until: now => now.connected >= knobs.nodes * 0.99,
      });
      run.answerMs = await probing.end();
      say(`connected by second: ${curveText(run.curve)}`);
      if (figures().connected >= knobs.nodes * 0.99)
        backSeconds = round((performance.now() - startedAt) / 1000);
      const again: number[] = [];
      const all = { cloud, figures, knobs, label: 'all back', ms: third };
      await watch({ ...all, each: () => again.push(cloud.rss()) });
      rssAgain = (median(again) - idleRss) / Math.max(1, figures().connected);
    } else await watch({ cloud, figures, knobs, label: 'all back', ms: third });
    const reconnects = [...run.reconnectSeconds];

    for (const each of generators) each.tell({ is: 'settle' });
    await watch({
      cloud,
      figures,
      knobs,
      label: 'settling',
      ms: SETTLE_DEADLINE_MS,
      until: now => now.acknowledged === now.committed,
    });
    const cpu = cloud.cpuSeconds() - (knobs.restart === 'none' ? cpuBefore : 0);
    for (const each of generators) each.tell({ is: 'stop' });
    const results = await withDeadline(
      Promise.all(generators.map(each => each.result)),
      RESULT_DEADLINE_MS,
      'hearing of the generators what they committed',
    );
    if (database.databaseUrl === null) await cloud.stop('SIGTERM');
    const db = database.databaseUrl === null ? await reopened(database.dataDir) : database.db;
    const verdict = await checkLedger(db, {
      seed: knobs.seed,
      committed: results.flatMap(each => each.committed),
      acknowledged: results.flatMap(each => each.acknowledged),
      liars: new Set(results.flatMap(each => each.liars)),
    });
    if (db !== database.db) await db.close();
    const committed = results.flatMap(each => each.committed).reduce((sum, each) => sum + each, 0);
    const acknowledged = results.flatMap(each => each.acknowledged).reduce((sum, each) => sum + each, 0);
    const report = {
      nodes: knobs.nodes,
      /** The most at one time, while all were to be there: some always dial anew. */
      connected,
      /**
       * By how much the process is larger than when it had just become ready, for each node: the median of the time in which
       * all are there, have been greeted, are caught up with and send their usage. What the process loads after it was
       * ready, whether nodes come or not, is counted as theirs: some 20 MB, which tells with few nodes.
       */
      rssBytesPerNode: Math.round((median(rss) - idleRss) / Math.max(1, connected)),
      rssBytes: median(rss),
      rssBytesIdle: idleRss,
      /** The same of the process that was started again: nothing of its nodes was new to it. */
      rssBytesPerNodeAfterRestart: rssAgain === null ? null : Math.round(rssAgain),
      recordsPerSecond: round(steadyRate),
      cloudCpuPerSecond: round(cpuPerSecond, 2),
      committed,
      acknowledged,
      lost: verdict.lost,
      doubled: verdict.doubled,
      wrongNodes: verdict.wrongNodes.length,
      rollupDifference: verdict.rollupDifference,
      reconnectSecondsP95: round(percentile(reconnects, 0.95)),
      reconnectSecondsMax: round(percentile(reconnects, 1)),
      backAfterRestartSeconds: backSeconds,
      /** How long anybody else waited for an answer of the cloud while the nodes came back. */
      answerMsP95: round(percentile(run.answerMs, 0.95)),
      answerMsMax: round(percentile(run.answerMs, 1)),
      curve: run.curve,
      refusals: run.refusals,
      cloudCpuSeconds: round(cpu),
      database: knobs.database,
      knobs,
    };
    const problems = [
      ...run.faults,
      ...(connected < knobs.nodes * 0.995 ? [`only ${connected} of ${knobs.nodes} nodes connected`] : []),
      ...(acknowledged < committed ? [`${committed - acknowledged} records were never acknowledged`] : []),
      ...(verdict.lost > 0 ? [`${verdict.lost} records are lost`] : []),
      ...(verdict.doubled > 0 ? [`${verdict.doubled} records are doubled`] : []),
      ...(verdict.wrongNodes.length > 0
        ? [`${verdict.wrongNodes.length} nodes are wrong: ${verdict.wrongNodes.slice(0, 5).join('; ')}`]
        : []),
      ...(verdict.rollupDifference === '0' ? [] : [`rollups differ by ${verdict.rollupDifference}`]),
      ...(knobs.restart !== 'none' && backSeconds === null
        ? ['nodes did not come back after the restart']
        : []),
    ];
    if (knobs.json !== undefined)
      writeFileSync(knobs.json, `${JSON.stringify({ ...report, problems }, null, 2)}\n`);
    const { curve: _curve, knobs: _knobs, ...shown } = report;
    console.log(JSON.stringify(shown, null, 2));
    for (const problem of problems) console.error(`✗ ${problem}`);
    return problems.length === 0;
  } finally {
    for (const { child } of generators) if (child.connected) child.kill('SIGKILL');
    await cloud.stop('SIGKILL');
    await database.drop();
  }
}

function generator(knobs: Knobs, of: { shape: FleetShape; url: string; place: number }): Generator {
  const { shape, url, place } = of;
  const child = fork(join(import.meta.dirname, 'generator.ts'), {
    execArgv: ['--import', 'tsx', '--max-old-space-size=4096'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const share = knobs.nodes / knobs.generators;
  const made: Generator = {
    child,
    last: undefined,
    tell: message => void child.send(message),
    result: new Promise((resolve, reject) => {
      child.on('message', (message: FromGenerator) => {
        if (message.is === 'result') resolve(message);
        else if (message.is === 'fault') run.faults.push(message.message);
        else {
          made.last = message;
          run.welcomes += message.welcomes;
          run.reconnectSeconds.push(...message.reconnectSeconds);
          for (const [code, count] of Object.entries(message.refusals))
            run.refusals[code] = (run.refusals[code] ?? 0) + count;
        }
      });
      child.once('exit', code => reject(new Error(`a generator ended with code ${code}`)));
    }),
  };
  made.result.catch(error => run.faults.push(String(error)));
  made.tell({
    is: 'begin',
    shape,
    knobs,
    from: Math.round(place * share),
    to: Math.round((place + 1) * share),
    url,
    place,
  });
  return made;
}

interface Sum {
  connected: number;
  committed: number;
  acknowledged: number;
}

function sumOf(generators: readonly Generator[]): Sum {
  const add = (of: (figures: GeneratorFigures) => number) =>
    generators.reduce((sum, each) => sum + (each.last === undefined ? 0 : of(each.last)), 0);
  return {
    connected: add(each => each.connected),
    committed: add(each => each.committed),
    acknowledged: add(each => each.acknowledged),
  };
}

/** A line a second (on a terminal; else one in ten) for `ms`, or until the condition holds. */
async function watch(options: {
  cloud: CloudProcess;
  figures: () => Sum;
  knobs: Knobs;
  label: string;
  ms: number;
  until?: (now: Sum) => boolean;
  each?: (now: Sum) => void;
}): Promise<void> {
  const { cloud, figures, knobs, label, ms, until, each } = options;
  const end = performance.now() + ms;
  let before = figures();
  let cpu = cloud.cpuSeconds();
  for (let second = 0; performance.now() < end && run.faults.length === 0; second += 1) {
    await wait(1000);
    const now = figures();
    each?.(now);
    const spent = cloud.cpuSeconds();
    const line =
      `${label.padEnd(12)} ${String(now.connected).padStart(6)}/${knobs.nodes} connected  ` +
      `${String(now.acknowledged - before.acknowledged).padStart(6)} records/s  ${now.committed - now.acknowledged} in spools  ` +
      `cloud ${round(cloud.rss() / 1048576, 0)} MiB, ${round((spent - cpu) * 100, 0)} % CPU`;
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line}`);
    else if (second % 10 === 0) console.log(line);
    before = now;
    cpu = Math.min(spent, cloud.cpuSeconds());
    if (until?.(now) === true) break;
  }
  if (process.stdout.isTTY) process.stdout.write('\n');
}

function reopened(dataDir: string) {
  return openDatabase({ databaseUrl: null, dataDir, log: pino({ level: 'silent' }) });
}

const say = (text: string) => console.log(text);
// A fault ends every wait, and what was started is ended and dropped as at the end of a run.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => run.faults.push(`interrupted by ${signal}`));

try {
  const sound = await simulate(readKnobs(process.argv.slice(2)));
  process.exit(sound ? 0 : 1);
} catch (error) {
  console.error(error instanceof CodedError ? error.userMessage : error);
  process.exit(1);
}
