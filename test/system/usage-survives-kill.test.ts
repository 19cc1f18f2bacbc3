/**
 * Usage under kill -9: cloud and agent, as `npm start` runs them, are killed in turn under load, again and again.
 * After each round the ledger must hold exactly what was committed to the spool; what was carried may exceed it only
 * by the stated bound for each crash of the agent (8 MiB a slot), by nothing when only the cloud died; and nothing is
 * ever charged that was not carried. `ROUNDS` and `SEED` in the environment change what is run.
 */
import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { z } from 'zod';
import { agentStatus } from '../../installer/local/agent-client';
import { buildAll } from '../../installer/local/build';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { logIn, type PortalClient } from '../../installer/local/portal-client';
import { freePorts } from '../../installer/local/ports';
import type { Program } from '../../installer/local/processes';
import { type Simulators, startAgent, startCloud, startSimulators } from '../../installer/local/product';
import { type LoadTarget, startLoad } from '../support/load';
import { seeded } from '../support/random';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const ROUNDS = Number(process.env.ROUNDS ?? 50);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const SLOTS = 2;
/** Design: a crash of the agent loses at most 2 seconds or 8 MiB a slot, whichever comes first. */
const LOSS_BOUND = SLOTS * 8 * 1024 * 1024;
const SETTLE_MS = 120_000;

interface Bytes {
  up: number;
  down: number;
}

const test = suite('usage under kill -9');
let folder: Awaited<ReturnType<typeof tempDir>>;
let dataDir: DataDir;
let simulators: Simulators;
let cloud: Program;
let agent: { program: Program; statusSocket: string };
let portal: PortalClient;
let ports: number[];
let cloudUrl: string;
const begun = Date.now() - (Date.now() % 60_000);

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('kill');
  dataDir = openDataDir(folder.path);
  ports = await freePorts(1 + 2 * SLOTS);
  cloudUrl = `http://127.0.0.1:${ports[0]}`;
  simulators = await startSimulators({ dataDir, kind: 'rootless', modems: SLOTS });
  await bringCloud();
  await bringAgent(readDemo(dataDir.at('demo.json')).claimCode);
  const demo = readDemo(dataDir.at('demo.json'));
  portal = await logIn(cloudUrl, demo.login.email, demo.login.password);
});

test.after(async () => {
  await agent?.program.stop(5_000);
  await cloud?.stop(5_000);
  await simulators?.program.stop(5_000);
  dataDir?.release();
  await folder?.remove();
});

test(
  `${ROUNDS} rounds (SEED=${SEED})`,
  async () => {
    const random = seeded(SEED);
    const demo = readDemo(dataDir.at('demo.json'));
    const credential = demo.credentials[0];
    assert.ok(credential);
    const targets = (tag: string): LoadTarget[] =>
      [1, 3].map(index => ({
        proxy: { host: '127.0.0.1', port: ports[index] ?? 0 },
        username: credential.username,
        secret: credential.secret,
        origin: simulators.origin,
        tag,
      }));
    await until('the endpoints are open', async () => {
      const { listeners } = await agentStatus(agent.statusSocket);
      return listeners.filter(one => one.listening).length === 2 * SLOTS;
    });

    let carried: Bytes = { up: 0, down: 0 };
    let charged: Bytes = { up: 0, down: 0 };
    let agentDeaths = 0;
    let largestLoss = 0;
    for (let round = 1; round <= ROUNDS; round += 1) {
      const victim = (['agent', 'cloud', 'agent', 'both'] as const)[round % 4] ?? 'agent';
      const tag = `round-${round}`;
      const load = startLoad(targets(tag), { clients: 6, random });
      await wait(150 + random() * 500);
      if (victim !== 'cloud') await agent.program.kill();
      if (victim !== 'agent') await cloud.kill();
      if (victim === 'cloud') await wait(random() * 300);
      await load.stop();
      // What the kernels still hold of killed flows reaches the origin or is dropped: let its counts come to rest.
      const origin = await settled(() => originCounts(tag), same);

      const cloudBack = victim === 'agent' ? Promise.resolve() : bringCloud();
      const agentBack = victim === 'cloud' ? Promise.resolve() : bringAgent(null);
      await Promise.all([cloudBack, agentBack]);
      if (victim !== 'cloud') agentDeaths += 1;

      const committed = await until(
        `round ${round} (${victim}): everything committed is in the ledger`,
        async () => {
          const spool = readSpool();
          const ledger = await ledgerTotal();
          return spool.pending === 0 && ledger.up === spool.up && ledger.down === spool.down
            ? spool
            : undefined;
        },
      );

      const roundCharged = { up: committed.up - charged.up, down: committed.down - charged.down };
      const received: Bytes = { up: origin.received, down: load.carried.received };
      const what = `round ${round} (${victim}), charged ${show(roundCharged)}, received ${show(received)}`;
      // Never more than the other ends' kernels gave or took for it.
      assert.ok(roundCharged.up <= load.carried.sent, `${what}: charged more up than clients sent`);
      assert.ok(roundCharged.down <= origin.sent, `${what}: charged more down than was sent`);
      const loss = received.up - roundCharged.up + (received.down - roundCharged.down);
      if (victim === 'cloud') {
        assert.deepEqual(roundCharged, received, `${what}: a crash of the cloud must cost nothing`);
        assert.equal(load.carried.broken, 0, `${what}: flows broke though only the cloud died`);
      } else assert.ok(loss <= LOSS_BOUND, `${what}: ${loss} bytes carried and not charged`);
      largestLoss = Math.max(largestLoss, loss);
      carried = { up: carried.up + received.up, down: carried.down + received.down };
      charged = { up: committed.up, down: committed.down };
    }
    console.log(
      `${ROUNDS} rounds, ${agentDeaths} deaths of the agent: carried ${show(carried)}, charged ${show(charged)}, ` +
        `largest loss in a round ${largestLoss} bytes (bound ${LOSS_BOUND})`,
    );
    assert.ok(carried.down > ROUNDS * 1024 * 1024, 'there was load');
  },
  { deadlineMs: 13 * 60_000 },
);

async function bringCloud(): Promise<void> {
  const [port = 0, ...endpointPorts] = ports;
  cloud = await startCloud({ dataDir, port, endpointPorts, slots: simulators.slots });
}

async function bringAgent(claimCode: string | null): Promise<void> {
  agent = await startAgent({ dataDir, cloudUrl, simulators, allowTargets: [], claimCode });
}

/** The spool file as another reader sees it: everything ever committed, and what the cloud has not confirmed. */
function readSpool(): Bytes & { pending: number } {
  const db = new Sqlite(dataDir.at('agent', 'data', 'spool.db'), { readonly: true });
  try {
    const row = db
      .prepare<[], { up: number; down: number; pending: number }>(
        `SELECT committed_up AS up, committed_down AS down,
           (SELECT count(*) FROM usage_open) + (SELECT count(*) FROM usage_sealed) AS pending FROM spool`,
      )
      .get();
    assert.ok(row);
    return row;
  } finally {
    db.close();
  }
}

async function ledgerTotal(): Promise<Bytes> {
  const { total } = await portal.usageSince(begun);
  return { up: total.upBytes, down: total.downBytes };
}

const Report = z.looseObject({
  connections: z.array(z.looseObject({ bytesReceived: z.int(), bytesSent: z.int() })),
});

/** Raw bytes that the origin's kernel gave and took on the connections of a round. */
async function originCounts(tag: string): Promise<{ received: number; sent: number }> {
  const { host, port } = simulators.origin;
  const answer = await fetch(`http://${host}:${port}/report?id=${tag}`, {
    signal: AbortSignal.timeout(5_000),
  });
  const { connections } = Report.parse(await answer.json());
  return {
    received: connections.reduce((sum, one) => sum + one.bytesReceived, 0),
    sent: connections.reduce((sum, one) => sum + one.bytesSent, 0),
  };
}

const same = (a: { received: number; sent: number }, b: { received: number; sent: number }) =>
  a.received === b.received && a.sent === b.sent;
const show = (bytes: Bytes) => `${bytes.up} up ${bytes.down} down`;

/** Asks until the same answer came three times in a row. */
async function settled<T>(ask: () => Promise<T>, equal: (a: T, b: T) => boolean): Promise<T> {
  let last = await ask();
  for (let alike = 1; alike < 3; ) {
    await wait(30);
    const next = await ask();
    alike = equal(next, last) ? alike + 1 : 1;
    last = next;
  }
  return last;
}

async function until<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const answer = await ask().catch(error => {
      if (performance.now() > deadline) throw error;
      return undefined;
    });
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline)
      throw new Error(
        `${what}: not within ${SETTLE_MS} ms; spool ${JSON.stringify(readSpool())}, ledger ${JSON.stringify(await ledgerTotal())}`,
      );
    await wait(50);
  }
}

test.run();
