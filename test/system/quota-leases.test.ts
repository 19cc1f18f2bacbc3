/**
 * One quota over three nodes, for real: a cloud, three agents with their spools, links and data planes, customers that
 * pull as much as they get through SOCKS5. The quota ends at its byte, wherever it was used.
 */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { thisBoot } from '@mastline/agent/control-plane/boot';
import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { type ControlPlane, controlPlane } from '@mastline/agent/control-plane/control-plane';
import { enrol } from '@mastline/agent/control-plane/enrolment';
import { quotaBook } from '@mastline/agent/control-plane/quota-book';
import { QuotaKeeper } from '@mastline/agent/control-plane/quota-keeper';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane } from '@mastline/agent/ports';
import { stateStore } from '@mastline/agent/spool/state-store';
import { type NodeSpool, openUsageSpool } from '@mastline/agent/spool/usage-spool';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import { createCaller } from '@mastline/cloud/server/router';
import { systemClock } from '@mastline/shared/base/clock';
import type { DesiredState } from '@mastline/shared/domain/desired-state';
import { ScriptedRotations } from '../agent/control-plane/rig';
import { openTunnel, socks5 } from '../agent/data-plane/clients';
import { type Origin, startOrigin } from '../agent/data-plane/rig';
import { agentBuilt } from '../support/build-agent';
import { addCredential, addEndpoint, viewer } from '../support/cloud-world';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type TestCloud, testCloud } from '../support/test-cloud';

const test = suite('one quota over several nodes');
const NODES = 3;
const MIB = 2 ** 20;
/** A customer's pace: this much at each beat. */
const BEAT_BYTES = 64 * 1024;
const BEAT_MS = 20;

/** One box: everything of an agent but radios. */
class Node {
  port = 0;
  state: DesiredState | null = null;
  plane!: DataPlane;
  control!: ControlPlane;
  spool!: NodeSpool;
  readonly #folder: Awaited<ReturnType<typeof tempDir>>;
  readonly #claimCode: string;
  nodeId = '';

  constructor(folder: Awaited<ReturnType<typeof tempDir>>, claimCode: string) {
    this.#folder = folder;
    this.#claimCode = claimCode;
  }

  async start(): Promise<void> {
    const store = stateStore(this.#folder.path, quietLog);
    const { identity } = await enrol({
      ...{ cloudUrl: cloud.url, claimCode: this.#claimCode, agentVersion: '0.1.0' },
      ...{ hostname: 'box', acceptedBy: 'a test', store, log: quietLog },
    });
    this.nodeId = identity.nodeId;
    const time = cloudTime(systemClock);
    const spool = await openUsageSpool({
      path: join(this.#folder.path, 'spool.db'),
      now: time.now,
      awaitsCorrection: true,
      log: quietLog,
      onFault: fault => {
        throw fault;
      },
    });
    const plane = createDataPlane({ sink: spool, log: quietLog });
    const quotas = new QuotaKeeper({
      ...{ spool, dataPlane: plane, metered: false, clock: systemClock, now: time.now, log: quietLog },
      book: quotaBook(this.#folder.path, quietLog),
      boot: thisBoot(),
    });
    this.spool = spool;
    this.plane = plane;
    this.control = controlPlane({
      ...{ agentVersion: '0.1.0', identity, store, spool, time, quotas, log: quietLog },
      deviceKey: await store.deviceKey(),
      apply: async state => {
        await quotas.adopt(state);
        this.state = state;
        return plane.apply({
          endpoints: state?.endpoints ?? [],
          credentials: state?.credentials ?? [],
          egresses: [{ slot: 0, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] }],
          allowTargets: ['127.0.0.0/8'],
        });
      },
      modems: { slots: () => [], onChange: () => undefined },
      rotations: new ScriptedRotations(),
      figures: () => plane.figures(),
    });
    await this.control.start();
  }

  async stop(): Promise<void> {
    await this.plane.close(0);
    await this.control.close(2_000);
    await this.spool.close();
  }

  async remove(): Promise<void> {
    await this.#folder.remove();
  }
}

let cloud: TestCloud;
let origin: Origin;
let api: ReturnType<typeof createCaller>;
let customerId: string;
let credential: { id: string; username: string; secret: string };
const nodes: Node[] = [];

test.before(async () => {
  await agentBuilt();
  cloud = await testCloud();
  origin = await startOrigin(socket => {
    const beat = setInterval(() => {
      if (socket.writableLength === 0) socket.write(Buffer.alloc(BEAT_BYTES));
    }, BEAT_MS);
    socket.on('close', () => clearInterval(beat)).resume();
  });
  const services = cloud.services as never;
  const host = await viewer(services, 'Hosts', 'host');
  const customer = await viewer(services, 'Customer', 'customer');
  customerId = customer.active.id;
  api = createCaller({ services: cloud.services, viewer: customer, sessionId: null, requestId: 'test' });
  const { id, secret } = await addCredential(services, customer);
  const [shown] = await api.credentials.list();
  credential = { id, secret, username: shown?.username ?? '' };
  for (let at = 0; at < NODES; at += 1) {
    const claim = await createClaim(cloud.services, {
      organizationId: host.active.id,
      nodeName: `Box ${at}`,
      createdById: null,
    });
    const node = new Node(await tempDir('quota-node'), claim.code);
    await node.start();
    nodes.push(node);
    node.port = await freePort();
    await addEndpoint(services, customer, node.nodeId, node.port);
    await cloud.pushDesiredState(node.nodeId);
  }
  await eventually(async () => nodes.every(node => node.state?.endpoints.length === 1), 'all nodes serve');
});

test.after(async () => {
  for (const node of nodes) await node.stop();
  for (const node of nodes) await node.remove();
  await origin?.close();
  await cloud?.stop();
});

interface Pull {
  socket: Socket;
  bytes: number;
  lastAt: number;
  endedAt: number | undefined;
}

/** A customer who takes all that comes. */
async function pull(node: Node): Promise<Pull> {
  const socket = await openTunnel(node.port, origin.port, credential);
  const pulled: Pull = { socket, bytes: 0, lastAt: performance.now(), endedAt: undefined };
  socket.on('data', chunk => {
    pulled.bytes += chunk.length;
    pulled.lastAt = performance.now();
  });
  socket.on('error', () => undefined);
  socket.resume();
  // A reset or, for a client whose kernel was not quick enough to tell, an end.
  for (const end of ['end', 'close'])
    socket.on(end, () => {
      pulled.endedAt ??= performance.now();
      socket.destroy();
    });
  return pulled;
}

const setQuota = (bytes: number) =>
  api.credentials.setQuota({ id: credential.id, quota: { bytes, period: { kind: 'total' } } });
const quota = async () => (await api.credentials.list())[0]?.quota;
const isServed = async (node: Node) => {
  const { reply, socket } = await socks5(node.port, { host: '127.0.0.1', port: origin.port }, credential);
  socket?.destroy();
  return reply === 0;
};

/** What the ledger has of the customer, bytes. */
async function ledger(): Promise<number> {
  const { rows } = await cloud.services.db.pool.query<{ bytes: string | null }>(
    'SELECT sum(up_bytes + down_bytes) AS bytes FROM usage_records WHERE organization_id = $1',
    [customerId],
  );
  return Number(rows[0]?.bytes ?? 0);
}

const BYTES = 24 * MIB + 4_321;

test(
  'it ends at its byte over all nodes, and open flows are cut at once',
  async () => {
    await setQuota(BYTES);
    await eventually(
      async () => nodes.every(node => node.state?.credentials[0]?.limits?.quota),
      'nodes know',
    );
    await eventually(async () => (await Promise.all(nodes.map(isServed))).every(Boolean), 'all nodes lend');
    const pulls = await Promise.all(nodes.map(pull));
    await eventually(async () => pulls.every(one => one.endedAt !== undefined), 'all flows are cut');
    const standing = pulls.map(one => Math.round((one.endedAt ?? 0) - one.lastAt));
    console.log(`cut ${standing.join(', ')} ms after the last byte`);
    await eventually(async () => (await ledger()) === BYTES, 'the ledger has the quota, to the byte');
    assert.ok(pulls.reduce((sum, one) => sum + one.bytes, 0) <= BYTES, 'and customers got no more');
    for (const node of nodes) assert.equal(await isServed(node), false, 'new flows are refused');
    await eventually(async () => (await quota())?.used === BYTES, 'the portal shows it used up');
    assert.equal((await quota())?.lent, 0);
  },
  { deadlineMs: 120_000 },
);

test(
  'a larger quota serves again at once; one node restarted, one whose cloud is gone go on with what they have',
  async () => {
    await setQuota(BYTES + 12 * MIB);
    await eventually(async () => (await Promise.all(nodes.map(isServed))).every(Boolean), 'all serve again');
    const [restarted, alone] = nodes;
    assert.ok(restarted && alone);
    const first = await Promise.all([pull(restarted), pull(alone)]);
    await eventually(async () => first.every(one => one.bytes > MIB / 2), 'both move bytes');
    for (const one of first) one.socket.destroy();
    await restarted.stop();
    await restarted.start();
    await eventually(async () => isServed(restarted), 'it serves after a restart');
    // From here on nobody hears the cloud.
    await cloud.gateway.close(1_000);
    const last = await Promise.all(nodes.map(pull));
    await eventually(async () => last.every(one => one.endedAt !== undefined), 'all are cut in the end');
    const committed = await Promise.all(nodes.map(async node => (await node.spool.position()).committed));
    const moved = committed.reduce((sum, one) => sum + one.upBytes + one.downBytes, 0);
    assert.ok(moved <= BYTES + 12 * MIB, `${moved} bytes were moved in all`);
  },
  { deadlineMs: 120_000 },
);

test.run();
