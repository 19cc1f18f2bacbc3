/**
 * What a node remembers, all the way: customers' flows through a real data plane, journal and link into a real cloud,
 * and out of its API again; usage beside it exact; over a time without a cloud and a new run of the agent.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { type ControlPlane, controlPlane } from '@mastline/agent/control-plane/control-plane';
import { enrol } from '@mastline/agent/control-plane/enrolment';
import { EventJournal } from '@mastline/agent/control-plane/event-journal';
import { watchNode } from '@mastline/agent/control-plane/node-watch';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane } from '@mastline/agent/ports';
import { eventStore } from '@mastline/agent/spool/event-store';
import { stateStore } from '@mastline/agent/spool/state-store';
import { type NodeSpool, openUsageSpool } from '@mastline/agent/spool/usage-spool';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import { createCaller } from '@mastline/cloud/server/router';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import { rotationRecord, ScriptedRotations } from '../agent/control-plane/rig';
import { openTunnel, socks5 } from '../agent/data-plane/clients';
import { type Origin, readExactly, startOrigin } from '../agent/data-plane/rig';
import { agentBuilt } from '../support/build-agent';
import { addCredential, addEndpoint, viewer } from '../support/cloud-world';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type TestCloud, testCloud } from '../support/test-cloud';

const test = suite('connection log, all the way');

let cloud: TestCloud;
let origin: Origin;
let folder: Awaited<ReturnType<typeof tempDir>>;
let customer: ReturnType<typeof createCaller>;
let host: ReturnType<typeof createCaller>;
let claimCode = '';
let port = 0;
let node: Awaited<ReturnType<typeof startNode>>;
const login = { username: '', secret: '' };

test.before(async () => {
  await agentBuilt();
  cloud = await testCloud();
  folder = await tempDir('connection-log');
  // Says back what it hears.
  origin = await startOrigin(
    socket => void socket.on('data', bytes => socket.write(bytes)).on('end', () => socket.end()),
  );
  const services = cloud.services as never;
  const asHost = await viewer(services, 'Hosts', 'host');
  const asCustomer = await viewer(services, 'Customer', 'customer');
  const caller = (who: typeof asHost) =>
    createCaller({ services: cloud.services, viewer: who, sessionId: null, requestId: 'test' });
  customer = caller(asCustomer);
  host = caller(asHost);
  claimCode = (
    await createClaim(cloud.services, {
      organizationId: asHost.active.id,
      nodeName: 'Box',
      createdById: null,
    })
  ).code;
  login.secret = (await addCredential(services, asCustomer)).secret;
  login.username = (await customer.credentials.list())[0]?.username ?? '';
  node = await startNode();
  port = await freePort();
  await addEndpoint(services, asCustomer, node.nodeId, port);
  await cloud.services.settingsChanged([node.nodeId]);
  await eventually(() => node.endpoints() === 1);
});
test.after(async () => {
  await node.stop();
  await origin.close();
  await cloud.stop();
  await folder.remove();
});

/** Everything of an agent but radios, as node.ts joins it. */
async function startNode() {
  const store = stateStore(folder.path, quietLog);
  const { identity } = await enrol({
    ...{ cloudUrl: cloud.url, claimCode, agentVersion: '0.1.0', hostname: 'box', acceptedBy: 'a test' },
    ...{ store, log: quietLog },
  });
  const time = cloudTime(systemClock);
  const spool: NodeSpool = await openUsageSpool({
    path: join(folder.path, 'spool.db'),
    now: time.now,
    awaitsCorrection: true,
    log: quietLog,
    onFault: fault => {
      throw fault;
    },
  });
  const journal = new EventJournal({
    store: eventStore(join(folder.path, 'events.db'), systemClock),
    ...{ time, metered: false, clock: systemClock, log: quietLog },
  });
  let slots: SlotReport[] = [slot('connected')];
  const listeners: (() => void)[] = [];
  const modems = { slots: () => slots, onChange: (listener: () => void) => void listeners.push(listener) };
  const rotations = new ScriptedRotations();
  const note = watchNode({ journal, modems, rotations, spool });
  const plane: DataPlane = createDataPlane({ sink: spool, log: quietLog, note });
  let endpoints = 0;
  const control: ControlPlane = controlPlane({
    ...{ agentVersion: '0.1.0', identity, store, spool, time, journal, modems, rotations, log: quietLog },
    deviceKey: await store.deviceKey(),
    apply: async state => {
      const outcomes = await plane.apply({
        endpoints: state?.endpoints ?? [],
        credentials: state?.credentials ?? [],
        egresses: [{ slot: 0, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] }],
        allowTargets: ['127.0.0.0/8'],
      });
      endpoints = state?.endpoints.length ?? 0;
      return outcomes;
    },
    figures: () => plane.figures(),
  });
  await control.start();
  return {
    nodeId: identity.nodeId,
    rotations,
    endpoints: () => endpoints,
    becomes(next: SlotReport) {
      slots = [next];
      for (const listener of listeners) listener();
    },
    async stop() {
      await plane.close(0);
      await control.close(1_000);
      await journal.close();
      await spool.close();
    },
  };
}

function slot(state: SlotReport['state'], over: Partial<SlotReport> = {}): SlotReport {
  return {
    ...{ slot: 0, usbPath: '1-1', interface: 'wwan0', sourceAddress: null, state, reason: '' },
    ...{ exitAddress: '198.51.100.9', imei: '860000000000001', model: 'E3372', firmware: '1', virtual: true },
    ...over,
  };
}

/** One flow that carries as much each way. */
async function exchange(bytes: number): Promise<void> {
  const socket = await openTunnel(port, origin.port, login);
  socket.write(Buffer.alloc(bytes, 7));
  await readExactly(socket, bytes);
  socket.end();
}

const rows = async () => (await customer.connections.export({})).rows;

test('each flow is a line in its customer’s log, as large as the bill says, and refusals are lines too', async () => {
  for (let flow = 1; flow <= 5; flow += 1) await exchange(flow * 1_000);
  assert.notEqual((await socks5(port, { host: '192.168.99.1', port: 80 }, login)).reply, 0);
  await eventually(async () => (await rows()).length === 6);
  const all = await rows();
  const carried = all.filter(row => row.outcome === 'ok');
  assert.deepEqual(
    carried.map(row => row.upBytes).sort((a, b) => a - b),
    [1_000, 2_000, 3_000, 4_000, 5_000],
  );
  assert.ok(carried.every(row => row.upBytes === row.downBytes && row.host === '127.0.0.1'));
  assert.ok(carried.every(row => row.port === origin.port && row.slot === 0 && row.protocol === 'socks5'));
  const now = Date.now();
  assert.ok(all.every(row => row.endedAt <= now && row.endedAt > now - 600_000));
  assert.equal(all.find(row => row.outcome === 'private-target')?.host, '192.168.99.1');
  await eventually(async () => (await customer.usage.since({ from: now - 3_600_000 })).total.flows === 5);
  const { total } = await customer.usage.since({ from: now - 3_600_000 });
  assert.deepEqual(total, { upBytes: 15_000, downBytes: 15_000, flows: 5 });
});

test('the host reads what happened on its node, and what flowed without whose and where to', async () => {
  node.becomes(slot('failed', { cause: 'sim-out-of-credit', reason: 'The SIM has no credit left' }));
  node.rotations.end(rotationRecord({ slot: 0 }));
  const wrong = await openTunnelRefused();
  assert.notEqual(wrong, 0);
  const list = async () => (await host.events.list({ nodeId: node.nodeId })).rows;
  await eventually(async () => {
    const kinds = new Set((await list()).map(({ kind }) => kind));
    return ['modem-state', 'rotation', 'login-refused', 'private-target'].every(kind => kinds.has(kind));
  });
  const alarm = (await list()).find(({ severity }) => severity === 'alarm');
  assert.equal(alarm?.detail, 'failed: sim-out-of-credit, The SIM has no credit left');
  assert.equal((await list()).find(({ kind }) => kind === 'login-refused')?.source, '127.0.0.1');
  const carried = await host.connections.carried({ nodeId: node.nodeId });
  assert.ok(
    carried.rows.length >= 5 && carried.rows.every(row => !('host' in row) && !('credentialId' in row)),
  );
  assert.equal((await customer.events.list({ nodeId: node.nodeId })).rows.length, 0, 'not the customer’s');
});

const openTunnelRefused = async () =>
  (await socks5(port, { host: '127.0.0.1', port: origin.port }, { ...login, secret: 'wrong' })).reply;

test('what a customer does not want known does not leave the node', async () => {
  const { revision } = await stateOf();
  await customer.connections.setSettings({ connectionLogDays: 30, eventDays: 90, destinations: 'none' });
  await eventually(async () => (await stateOf()).revision > revision);
  await exchange(777);
  await eventually(async () => (await rows()).some(row => row.upBytes === 777));
  const row = (await rows()).find(one => one.upBytes === 777);
  assert.deepEqual([row?.host, row?.address, row?.port], [null, null, null]);
});

/** What the node says it runs. */
async function stateOf(): Promise<{ revision: number }> {
  const found = await cloud.services.db.prisma.node.findUniqueOrThrow({ where: { id: node.nodeId } });
  return { revision: found.runningRevision };
}

test('what ends while there is no cloud is told by the next run, once', async () => {
  // Its greeting is what the link waits for.
  await cloud.services.db.prisma.node.update({ where: { id: node.nodeId }, data: { retiredAt: new Date() } });
  cloud.gateway.session(node.nodeId)?.close(1001, 'the test cuts it');
  await eventually(() => cloud.gateway.session(node.nodeId) === undefined);
  await exchange(4_242);
  await exchange(4_243);
  await node.stop();
  assert.ok((await rows()).every(row => row.upBytes < 4_242 || row.upBytes === 5_000));
  await cloud.services.db.prisma.node.update({ where: { id: node.nodeId }, data: { retiredAt: null } });
  node = await startNode();
  await eventually(async () => (await rows()).filter(row => row.upBytes === 4_243).length > 0);
  await exchange(4_244);
  await eventually(async () => (await rows()).some(row => row.upBytes === 4_244));
  const told = (await rows()).map(row => row.upBytes).filter(bytes => bytes > 4_200 && bytes < 4_300);
  assert.deepEqual(told.sort(), [4_242, 4_243, 4_244]);
});

test.run();
