/**
 * The data plane alone: one file says what to listen on, who may use it and from which address flows leave. No cloud,
 * no modems' control; a host can try it, and it can be measured by itself. With a data directory usage is kept in the
 * same spool as on a node; without, it is counted and shown at the end.
 */
import { createHash } from 'node:crypto';
import { availableParallelism, networkInterfaces, totalmem } from 'node:os';
import { join } from 'node:path';
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import type { StandaloneConfig } from './config';
import { createDataPlane } from './data-plane/data-plane';
import { threadCount } from './data-plane/thread-count';
import { createLog, type Log } from './observe/log';
import { logLevel } from './observe/log-level';
import type { MetricsServer } from './observe/metrics-server';
import type { Egress, ServicePlan, UsageSink } from './ports';
import { shadowsocksServices } from './standalone-shadowsocks';
import { stopSignal } from './stop-signal';

/** Running flows have this long after SIGTERM; with the last commit it stays below 5 s. */
const GRACE_MS = 3_000;

/** Serves until told to stop. Throws `standalone/no-listener` when no port at all could be opened. */
export async function runStandalone(config: StandaloneConfig): Promise<void> {
  const log = createLog({ level: logLevel() });
  const plan = planOf(config);
  const usage = await openUsage(config.dataDir, log);
  const plane = createDataPlane({
    sink: usage.sink,
    log: log.child('data-plane'),
    threads: threadCount(config.threads, { parallelism: availableParallelism(), memoryBytes: totalmem() }),
    onFault: fault => {
      // What the dead thread had counted last is not known: start anew rather than serve and guess.
      log.error('a thread of the data plane is gone, stopping', { error: fault });
      process.exit(1);
    },
  });
  let metrics: MetricsServer | null = null;
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
    log.info('stopping', { reason: await stopSignal() });
  } finally {
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

/** The file as the plan that the data plane understands: each way out of it is a slot, numbered from 1. */
export function planOf(config: StandaloneConfig): ServicePlan {
  const egresses: Egress[] = [];
  const slots = new Map<string, number>();
  const slotOf = (egress: StandaloneConfig['listeners'][number]['egress']): number => {
    const key = JSON.stringify(egress);
    const known = slots.get(key);
    if (known !== undefined) return known;
    const slot = slots.size + 1;
    slots.set(key, slot);
    egresses.push({
      slot,
      sourceAddress: sourceAddressOf(egress),
      dnsServers: egress === 'direct' ? [] : egress.dnsServers,
      ready: true,
      imei: null,
      guarded: [],
    });
    return slot;
  };
  const { services } = shadowsocksServices(config);
  const endpoints: Endpoint[] = config.listeners.map(
    ({ name, protocols, host, port, egress, tls, chain }) => ({
      id: name,
      name,
      protocols,
      reach: 'direct',
      listen: { host, port },
      slots: [slotOf(egress)],
      shadowsocks: services.get(name),
      tls,
      chain,
    }),
  );
  const credentials: Credential[] = config.credentials.map(({ username, secret, verifier, listeners }) => ({
    id: username,
    username,
    verifier:
      verifier ??
      createHash('sha256')
        .update(secret ?? '')
        .digest('hex'),
    endpointIds: listeners ?? null,
    suspended: false,
  }));
  return { endpoints, credentials, egresses, allowTargets: config.allowTargets };
}

/** Binding an interface's address is what routes by it where the system has a rule for it; the file's author decides. */
function sourceAddressOf(egress: StandaloneConfig['listeners'][number]['egress']): string | null {
  if (egress === 'direct') return null;
  const interfaces = networkInterfaces();
  if ('interface' in egress) {
    const addresses = interfaces[egress.interface];
    const address = addresses?.find(one => one.family === 'IPv4') ?? addresses?.find(one => !one.scopeid);
    if (address) return address.address;
    throw new CodedError('standalone/no-interface', `interface ${egress.interface} has no address`, {
      userMessage: `The interface "${egress.interface}" does not exist or has no address. This machine has: ${Object.keys(interfaces).join(', ')}.`,
    });
  }
  const own = Object.values(interfaces).some(list => list?.some(one => one.address === egress.address));
  // All of 127.0.0.0/8 is local without being listed.
  if (own || egress.address.startsWith('127.')) return egress.address;
  throw new CodedError('standalone/no-address', `${egress.address} is not an address of this machine`, {
    userMessage: `Flows cannot leave from ${egress.address}: this machine has no such address.`,
  });
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
