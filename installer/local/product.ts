/**
 * The three programs of a whole Mastline on one machine, each started with what it needs: simulators, cloud, agent.
 * `npm start` runs them in order (start.ts); system tests start, kill and restart them one by one.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import type { DataDir } from './demo';
import { type Program, startProgram } from './processes';

const root = join(import.meta.dirname, '../..');
export const START_DEADLINE_MS = 120_000;

const SimulatorsReady = z.looseObject({
  kind: z.enum(['namespaces', 'rootless']),
  why: z.string(),
  origin: z.looseObject({ address: z.string(), port: z.int() }),
  echoUrls: z.array(z.string()),
  slots: z.array(z.looseObject({ slot: z.int() })).min(1),
});

export interface Simulators {
  program: Program;
  kind: 'namespaces' | 'rootless';
  why: string;
  origin: { host: string; port: number };
  echoUrls: string[];
  /** As the agent's configuration takes them. */
  slots: { slot: number; [field: string]: unknown }[];
}

export async function startSimulators(options: {
  dataDir: DataDir;
  kind: 'auto' | 'namespaces' | 'rootless';
  modems: number;
  started?: (program: Program) => void;
}): Promise<Simulators> {
  const { dataDir } = options;
  const program = await startProgram({
    name: 'simulators',
    script: join(root, 'test/dist/simulators/main.js'),
    args: [
      ...['--kind', options.kind],
      ...['--modems', String(options.modems)],
      ...['--state-dir', dataDir.at('simulators')],
    ],
    logFile: dataDir.at('logs', 'simulators.log'),
    readyDeadlineMs: START_DEADLINE_MS,
  });
  options.started?.(program);
  const ready = parseOrExplain(
    SimulatorsReady,
    program.ready,
    'what the simulators said',
    'start/simulators',
  );
  const { kind, why, echoUrls, slots } = ready;
  return {
    program,
    kind,
    why,
    echoUrls,
    slots,
    origin: { host: ready.origin.address, port: ready.origin.port },
  };
}

/** The cloud with its demo: one SOCKS5 and one HTTP endpoint for each slot, on `endpointPorts` in that order. */
export async function startCloud(options: {
  dataDir: DataDir;
  port: number;
  endpointPorts: number[];
  slots: { slot: number }[];
  /** The bundled origin's echo service, for the portal's curl commands. */
  echoUrl?: string | undefined;
  env?: NodeJS.ProcessEnv;
  readyDeadlineMs?: number;
  started?: (program: Program) => void;
}): Promise<Program> {
  const { dataDir } = options;
  const wish = dataDir.at('cloud', 'demo-wish.json');
  // Modems that were added by hand have no ports of their own.
  const served = options.slots.slice(0, Math.floor(options.endpointPorts.length / 2));
  const endpoints = served.flatMap(({ slot }, index) =>
    (['socks5', 'http'] as const).map((protocol, which) => ({
      name: `Modem ${slot} ${protocol === 'socks5' ? 'SOCKS5' : 'HTTP'}`,
      protocols: [protocol],
      listen: { host: '127.0.0.1', port: options.endpointPorts[2 * index + which] },
      slots: [slot],
    })),
  );
  const request = {
    output: dataDir.at('demo.json'),
    nodeName: hostname(),
    nodeId: enrolledNode(dataDir),
    endpoints,
  };
  writeFileSync(wish, JSON.stringify(request), { mode: 0o600 });
  const program = await startProgram({
    name: 'cloud',
    script: join(root, 'cloud/dist/main.js'),
    args: ['--data-dir', dataDir.at('cloud'), '--port', String(options.port), '--demo-seed', wish],
    logFile: dataDir.at('logs', 'cloud.log'),
    env: {
      NODE_ENV: 'production',
      ...(options.echoUrl === undefined ? {} : { MASTLINE_ECHO_URL: options.echoUrl }),
      ...options.env,
    },
    readyDeadlineMs: options.readyDeadlineMs ?? START_DEADLINE_MS,
  });
  options.started?.(program);
  return program;
}

/** The agent, enrolled on the way when a claim code is given. */
export async function startAgent(options: {
  dataDir: DataDir;
  cloudUrl: string;
  simulators: Pick<Simulators, 'origin' | 'echoUrls'>;
  allowTargets: string[];
  claimCode: string | null;
  /** Further fields of its configuration. */
  more?: Record<string, unknown>;
  env?: NodeJS.ProcessEnv;
  readyDeadlineMs?: number;
  started?: (program: Program) => void;
}): Promise<{ program: Program; statusSocket: string }> {
  const { dataDir, simulators } = options;
  const { host, port } = simulators.origin;
  const config = dataDir.at('agent', 'agent.json');
  const content = {
    dataDir: dataDir.at('agent', 'data'),
    cloud: { url: options.cloudUrl },
    slots: [],
    virtual: dataDir.at('simulators'),
    echoUrls: simulators.echoUrls,
    speedTest: { downUrl: `http://${host}:${port}/bytes/{bytes}`, upUrl: `http://${host}:${port}/sink` },
    allowTargets: [`${host}:${port}`, ...options.allowTargets],
    ...options.more,
  };
  writeFileSync(config, JSON.stringify(content, null, 2), { mode: 0o600 });
  const claim =
    options.claimCode === null ? [] : ['--claim', options.claimCode, '--consent-by', userInfo().username];
  const program = await startProgram({
    name: 'agent',
    script: join(root, 'agent/dist/main.js'),
    args: ['run', '--config', config, ...claim],
    logFile: dataDir.at('logs', 'agent.log'),
    ...(options.env === undefined ? {} : { env: options.env }),
    readyDeadlineMs: options.readyDeadlineMs ?? START_DEADLINE_MS,
  });
  options.started?.(program);
  return { program, statusSocket: String(program.ready.statusSocket) };
}

/** Who the agent on this data directory is; null before it was enrolled. */
function enrolledNode(dataDir: DataDir): string | null {
  const file = dataDir.at('agent', 'data', 'identity.json');
  if (!existsSync(file)) return null;
  const identity = z.looseObject({ nodeId: z.string() });
  return parseOrExplain(identity, JSON.parse(readFileSync(file, 'utf8')), file, 'start/identity').nodeId;
}
