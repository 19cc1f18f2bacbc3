/**
 * The data plane alone: one file says what to listen on, who may use it and from which address flows leave, and is
 * read again at SIGHUP (standalone-reload.ts). No cloud, no modems' control; a host can try it, and it can be measured by itself. With a data directory usage is kept in the
 * same spool as on a node; without, it is counted and shown at the end.
 */
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { StandaloneConfig } from './config';
import { createDataPlane } from './data-plane/data-plane';
import { Firewall } from './data-plane/firewall';
import { threadCount } from './data-plane/thread-count';
import { createLog, type Log } from './observe/log';
import { logLevel } from './observe/log-level';
import type { MetricsServer } from './observe/metrics-server';
import type { UsageSink } from './ports';
import { planOf, type SlotNumbers } from './standalone-plan';
import { StandaloneReload } from './standalone-reload';
import { onHangUp, stopSignal } from './stop-signal';

/** Running flows have this long after SIGTERM; with the last commit it stays below 5 s. */
const GRACE_MS = 3_000;

/**
 * Serves `config`, read from `path`, until told to stop; reads it again at SIGHUP. Throws `standalone/no-listener`
 * when no port at all could be opened.
 */
export async function runStandalone(config: StandaloneConfig, path: string): Promise<void> {
  const log = createLog({ level: logLevel() });
  const numbers: SlotNumbers = new Map();
  const plan = planOf(config, numbers);
  const usage = await openUsage(config.dataDir, log);
  const plane = createDataPlane({
    sink: usage.sink,
    log: log.child('data-plane'),
    firewall: config.firewall ? new Firewall({ log: log.child('firewall') }) : undefined,
    threads: threadCount(config.threads, { parallelism: availableParallelism(), memoryBytes: totalmem() }),
    onFault: fault => {
      // What the dead thread had counted last is not known: start anew rather than serve and guess.
      log.error('a thread of the data plane is gone, stopping', { error: fault });
      process.exit(1);
    },
  });
  let metrics: MetricsServer | null = null;
  let file: StandaloneReload | null = null;
  try {
    if (config.metrics) {
      const { openMetricsServer } = await import('./observe/metrics-server');
      metrics = await openMetricsServer(config.metrics, () => plane.metrics());
    }
    const outcomes = await plane.apply(plan);
    const failed = outcomes.filter(outcome => outcome.problem !== null);
    if (failed.length === outcomes.length)
      throw new CodedError('standalone/no-listener', 'no listener could be opened', {
        userMessage: failed.map(outcome => `${outcome.endpointId}: ${outcome.problem?.message}`).join('\n'),
      });
    const listeners = config.listeners.map(({ name, protocols, host, port }) => ({
      name,
      protocols,
      host,
      port,
      listening: outcomes.some(outcome => outcome.endpointId === name && outcome.listening),
    }));
    // For programs, then for people.
    console.log(JSON.stringify({ ready: true, pid: process.pid, listeners }));
    for (const one of listeners)
      console.log(
        `${one.name}: ${one.listening ? `serving ${one.protocols.join(' and ')} on ${one.host} port ${one.port}` : 'not serving (see the log)'}`,
      );
    const reader = new StandaloneReload({ path, plane, numbers, log }, { config, plan });
    file = reader;
    const stopped = stopSignal();
    onHangUp(() => void reader.reload());
    log.info('stopping', { reason: await stopped });
  } finally {
    await file?.close();
    await metrics?.close();
    try {
      await plane.close(GRACE_MS);
    } finally {
      await usage.close();
    }
  }
  // The signal handlers of stopSignal would keep nothing alive, but standard input may.
  process.exit(0);
}

interface OpenUsage {
  sink: UsageSink;
  close(): Promise<void>;
}

async function openUsage(dataDir: string | undefined, log: Log): Promise<OpenUsage> {
  if (dataDir === undefined) return countedUsage();
  // SQLite is loaded only where it is used.
  const { lockDataDir } = await import('./spool/data-dir-lock');
  const { openUsageSpool } = await import('./spool/usage-spool');
  const lock = lockDataDir(dataDir);
  const spool = await openUsageSpool({
    path: join(dataDir, 'spool.db'),
    now: Date.now,
    log: log.child('spool'),
    onFault: fault => {
      // Whether the last commit is on disk is not known: nothing may be committed again by this process.
      log.error('the spool is gone, stopping', { error: fault });
      process.exit(1);
    },
  });
  return {
    sink: spool,
    async close() {
      await spool.close();
      lock.release();
    },
  };
}

/** Usage that is only added up, and shown at the end. */
function countedUsage(): OpenUsage {
  const totals = new Map<string, { upBytes: number; downBytes: number; flows: number }>();
  return {
    sink: {
      async commit(deltas) {
        for (const { credentialId, endpointId, upBytes, downBytes, flows } of deltas) {
          const name = `${credentialId} through ${endpointId}`;
          const total = totals.get(name) ?? { upBytes: 0, downBytes: 0, flows: 0 };
          totals.set(name, {
            upBytes: addBytes(total.upBytes, upBytes),
            downBytes: addBytes(total.downBytes, downBytes),
            flows: total.flows + flows,
          });
        }
      },
    },
    async close() {
      for (const [name, { upBytes, downBytes, flows }] of totals) {
        console.log(
          `${name}: ${flows} flows, ${formatBytes(upBytes)} up, ${formatBytes(downBytes)} down (${upBytes} and ${downBytes} bytes)`,
        );
      }
    },
  };
}
