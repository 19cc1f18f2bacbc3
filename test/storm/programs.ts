/**
 * The programs of a storm, as `npm start` runs them: virtual modems, a cloud with its embedded database, an agent. What
 * they hold (processes, files) is counted here; what befalls them is storm.ts.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { SlotReport } from '@mastline/shared/domain/modem';
import Sqlite from 'better-sqlite3';
import { z } from 'zod';
import { agentStatus } from '../../installer/local/agent-client';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { logIn, type PortalClient } from '../../installer/local/portal-client';
import { freePorts } from '../../installer/local/ports';
import type { Program } from '../../installer/local/processes';
import { startAgent, startCloud } from '../../installer/local/product';
import type { LoadTarget } from '../support/load';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';
import type { StormModem } from './misfortunes';
import type { Bytes } from './traffic';

const STOP_MS = 10_000;
/** A loaded machine takes its time to make a database. */
const READY_MS = 150_000;
const WRONG_PIN = '9999';
const RIGHT_PIN = '1234';

export interface Programs {
  net: RunningNetwork;
  /** Slots as the agent sees them. */
  slots(): Promise<SlotReport[]>;
  /** Slots of which new flows leave now. */
  ready(): Promise<Set<number>>;
  /** Listeners that are open. */
  listening(): Promise<number>;
  /** Slots as the portal shows them. */
  shown(): Promise<ShownSlot[]>;
  /** A secret link that rotates the slot; made at the portal. */
  makeLink(slotId: string): Promise<string>;
  target(slot: number, tag: string): LoadTarget;
  /** Committed on the node, and what of it is still on its way. */
  spool(): Bytes & { pending: number };
  /** In the ledger, by slot. */
  ledger(): Promise<Map<number, Bytes>>;
  /** What each program holds now, by its name. */
  holdings(): Map<string, Holdings>;
  /** Sentences about programs that ended by themselves. */
  deaths: string[];
  agentPid: number;
  cloudPid: number;
  /** All in order; tells what did not end well, or is still there. */
  stop(): Promise<string[]>;
  /** At once, after something broke. */
  abandon(): Promise<void>;
  dataDir: DataDir;
}

export interface Holdings {
  /** The process and all that it started. */
  processes: number[];
  files: string[];
}

export interface ShownSlot {
  slot: number;
  slotId: string;
  state: string;
  reason: string;
  cause: string | null;
  exitAddress: string | null;
}

const Status = z.looseObject({
  slots: z.array(SlotReport),
  ways: z.array(z.looseObject({ slot: z.int(), ready: z.boolean() })),
});
const Overview = z.looseObject({
  modems: z.array(
    z.looseObject({
      slot: z.int(),
      slotId: z.string(),
      state: z.string(),
      reason: z.string(),
      cause: z.string().nullable(),
      exitAddress: z.string().nullable(),
    }),
  ),
});

export async function startPrograms(options: {
  dir: string;
  kind: 'namespaces' | 'rootless';
  modems: readonly StormModem[];
}): Promise<Programs> {
  const { modems } = options;
  const dataDir = openDataDir(options.dir);
  const begun = Date.now() - (Date.now() % 60_000);
  const deaths: string[] = [];
  let net: RunningNetwork | undefined;
  let cloud: Program | undefined;
  let agent: { program: Program; statusSocket: string } | undefined;
  const abandon = async () => {
    await agent?.program.stop(STOP_MS);
    await cloud?.stop(STOP_MS);
    await net?.stop();
    dataDir.release();
  };
  try {
    const network = await startVirtualNetwork(dataDir.at('simulators'), options.kind, ['--modems', '0']);
    net = network;
    for (const { slot, wish } of modems) {
      const made = await network.control('POST', '/modems', wish);
      if (made.slot !== slot) throw new Error(`modem ${slot} became slot ${String(made.slot)}`);
    }
    const ports = await freePorts(1 + 2 * modems.length);
    const [port = 0, ...endpointPorts] = ports;
    const cloudUrl = `http://127.0.0.1:${port}`;
    cloud = await startCloud({ dataDir, port, endpointPorts, slots: [...modems], readyDeadlineMs: READY_MS });
    void cloud.died.then(how => deaths.push(how));
    const { address: host, port: originPort } = network.ready.origin;
    const origin = { host, port: originPort };
    const demo = readDemo(dataDir.at('demo.json'));
    agent = await startAgent({
      dataDir,
      cloudUrl,
      simulators: { origin, echoUrls: network.ready.echoUrls },
      allowTargets: [],
      claimCode: demo.claimCode,
      readyDeadlineMs: READY_MS,
      more: {
        sims: modems.flatMap(({ slot, pin }) =>
          pin === 'none' ? [] : [{ slot, pin: pin === 'right' ? RIGHT_PIN : WRONG_PIN }],
        ),
      },
    });
    void agent.program.died.then(how => deaths.push(how));
    const portal = await logIn(cloudUrl, demo.login.email, demo.login.password);
    const programs = { net: network, cloud, agent: agent.program };
    const { statusSocket } = agent;
    const status = async () => Status.parse(await agentStatus(statusSocket));
    const endpointSlots = endpointSlotsOf(portal);
    return {
      net: network,
      slots: async () => (await status()).slots,
      ready: async () => new Set((await status()).ways.filter(one => one.ready).map(one => one.slot)),
      listening: async () => (await agentStatus(statusSocket)).listeners.filter(one => one.listening).length,
      shown: async () => Overview.parse(await portal.ask('overview.get', undefined)).modems,
      makeLink: async slotId => {
        const made = await portal.tell('rotationLinks.create', { slotId, name: 'storm' });
        return `${cloudUrl}/rotate/${z.looseObject({ token: z.string() }).parse(made).token}`;
      },
      target: (slot, tag) => {
        const [credential] = demo.credentials;
        if (credential === undefined) throw new Error('the demo has no credential');
        const index = modems.findIndex(one => one.slot === slot);
        return {
          proxy: { host: '127.0.0.1', port: endpointPorts[2 * index] ?? 0 },
          username: credential.username,
          secret: credential.secret,
          origin,
          tag,
        };
      },
      spool: () => readSpool(dataDir.at('agent', 'data', 'spool.db')),
      ledger: async () => {
        const slotOf = await endpointSlots();
        const sums = new Map<number, Bytes>();
        for (const { endpointId, upBytes, downBytes, flows } of (await portal.usageSince(begun)).byEndpoint) {
          const slot = slotOf.get(endpointId ?? '');
          if (slot === undefined) throw new Error(`usage of an endpoint that nobody made: ${endpointId}`);
          const sum = sums.get(slot) ?? { up: 0, down: 0, flows: 0 };
          sums.set(slot, { up: sum.up + upBytes, down: sum.down + downBytes, flows: sum.flows + flows });
        }
        return sums;
      },
      holdings: () =>
        new Map([
          ['agent', holdingsOf(programs.agent.pid)],
          ['cloud', holdingsOf(programs.cloud.pid)],
          ['simulators', holdingsOf(programs.net.child.pid ?? 0)],
        ]),
      deaths,
      agentPid: programs.agent.pid,
      cloudPid: programs.cloud.pid,
      stop: async () => {
        const all = [programs.agent.pid, programs.cloud.pid, programs.net.child.pid ?? 0].flatMap(familyOf);
        const problems: string[] = [];
        for (const program of [programs.agent, programs.cloud])
          if (!(await program.stop(STOP_MS))) problems.push(`the ${program.name} did not stop within 10 s`);
        const code = await programs.net.stop();
        if (code !== 0) problems.push(`the virtual network ended with ${code}`);
        dataDir.release();
        const left = all.filter(isThere);
        if (left.length > 0) problems.push(`left behind: processes ${left.join(', ')}`);
        return problems;
      },
      abandon,
      dataDir,
    };
  } catch (error) {
    await abandon();
    throw error;
  }
}

/** Which slot an endpoint leaves by: each has one. Asked once more when there is a new one. */
function endpointSlotsOf(portal: PortalClient): () => Promise<Map<string, number>> {
  return async () =>
    new Map((await portal.endpoints()).map(({ id, slots }) => [id, slots[0]?.slot ?? -1] as const));
}

/** The spool file as another reader sees it. */
function readSpool(path: string): Bytes & { pending: number } {
  const db = new Sqlite(path, { readonly: true });
  try {
    const row = db
      .prepare<[], { up: number; down: number; pending: number }>(
        `SELECT committed_up AS up, committed_down AS down,
           (SELECT count(*) FROM usage_open) + (SELECT count(*) FROM usage_sealed) AS pending FROM spool`,
      )
      .get();
    if (row === undefined) throw new Error('the spool has no sums');
    return { ...row, flows: 0 };
  } finally {
    db.close();
  }
}

/** A process and all that descend from it, as far as they are there. */
function familyOf(pid: number): number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap(thread =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
        .trim()
        .split(' ')
        .filter(Boolean)
        .map(Number),
    );
    return [pid, ...children.flatMap(familyOf)];
  } catch {
    // It has just ended.
    return [];
  }
}

function holdingsOf(pid: number): Holdings {
  const processes = familyOf(pid);
  const files = readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      const file = readlinkSync(`/proc/${pid}/fd/${fd}`);
      // The embedded database keeps a bounded number of its tables' files open, as they are used.
      return file.includes('/cloud/database/') ? [] : [file];
    } catch {
      // Closed since it was listed; the one that lists is among them.
      return [];
    }
  });
  return { processes, files };
}

function isThere(pid: number): boolean {
  try {
    // A zombie whose parent is about to look after it holds nothing.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
