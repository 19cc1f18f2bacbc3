/**
 * The cloud as a process: flags and environment in, one JSON line on stdout when it is ready, logs on stderr, gone within
 * 3 seconds of SIGTERM or SIGINT. What it consists of is cloud.ts. `main.js rebuild-rollups [flags]` is a repair, see
 * ledger/rollups.ts.
 */
import './old-garbage';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { giveBackMemory } from '@mastline/shared/base/give-back-memory';
import { type Cloud, startCloud } from './cloud';
import { readConfig } from './config';
import { openDatabase } from './db/database';
import { migrate } from './db/migrate';
import { inTransaction } from './db/transaction';
import { giveBackWhenCalm } from './first-garbage';
import { rebuildRollups } from './ledger/rollups';
import { createLog } from './log';
import { startTracing } from './observe/tracing';
import { VERSION } from './version';

const STOP_DEADLINE_MS = 3_000;

async function main(): Promise<void> {
  if (process.argv[2] === 'rebuild-rollups') return rebuild(process.argv.slice(3));
  const config = readConfig(process.argv.slice(2), process.env);
  const log = createLog(config.logLevel);
  let cloud: Cloud | undefined;
  let stopping = false;
  const tracing = await startTracing({ env: process.env, version: VERSION, clock: systemClock, log });
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    // Nothing is served yet, and the database survives a start cut short.
    if (cloud === undefined) process.exit(0);
    const limit = setTimeout(() => {
      log.error('not stopped within the deadline; leaving');
      process.exit(1);
    }, STOP_DEADLINE_MS);
    const stopped = async () => {
      await cloud?.close();
      await tracing?.close();
    };
    stopped().then(
      () => {
        clearTimeout(limit);
        log.info('stopped');
        process.exit(0);
      },
      error => {
        log.error({ err: error }, 'stopping failed');
        process.exit(1);
      },
    );
  };
  // Before the line that says ready: whoever reads it may send a signal at once.
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // Whoever says so holds our standard input open as long as it lives (installer/local/processes.ts).
  if (process.env.MASTLINE_SUPERVISED === '1') process.stdin.resume().once('close', () => stop('SIGTERM'));

  cloud = await startCloud(config, log);
  const { gateway } = cloud;
  giveBackWhenCalm({
    clock: systemClock,
    arriving: () => gateway.arrivals.arriving,
    giveBack: giveBackMemory,
  });
  log.info({ url: cloud.url, database: cloud.services.db.kind }, 'cloud is ready');
  process.stdout.write(
    `${JSON.stringify({ ready: true, url: cloud.url, ...(cloud.metricsUrl && { metrics: cloud.metricsUrl }) })}\n`,
  );
}

/** Makes all rollups anew from the records and says on stdout how many there are and how many were wrong before. */
async function rebuild(flags: string[]): Promise<void> {
  const config = readConfig(flags, process.env);
  const log = createLog(config.logLevel);
  const db = await openDatabase({ databaseUrl: config.databaseUrl, dataDir: config.dataDir, log });
  try {
    await migrate(db);
    const rebuilt = await inTransaction(db, client => rebuildRollups(client));
    process.stdout.write(`${JSON.stringify(rebuilt)}\n`);
  } finally {
    await db.close();
  }
}

main().catch((error: unknown) => {
  // What a person can act on is a sentence; anything else is ours to fix and comes with its stack.
  if (error instanceof CodedError) process.stderr.write(`mastline cloud: ${error.userMessage}\n`);
  else process.stderr.write(`mastline cloud: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
