/** Agents that lie, flood or dawdle: each is refused with a stable code, and its neighbour's usage goes on as if nothing were. */
import assert from 'node:assert/strict';
import { connect as dial, type Socket } from 'node:net';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import { ReadGate } from '@mastline/cloud/server/gateway/read-gate';
import { MAX_NEW_EPOCHS_PER_DAY } from '@mastline/cloud/server/ledger/ingest-sql';
import { PERIOD_MS } from '@mastline/shared/domain/usage-period';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { MAX_BATCH_RECORDS } from '@mastline/shared/wire/limits';
import {
  authorizationFor,
  challenge,
  connect,
  deviceKey,
  enrol,
  openLink,
  type TestLink,
} from '../../support/cloud-agent';
import { addCredential, addEndpoint, usageRecord, viewer } from '../../support/cloud-world';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud/gateway: hostile agents');
let cloud: TestCloud;
let host: Awaited<ReturnType<typeof viewer>>;
let customer: Awaited<ReturnType<typeof viewer>>;
let neighbour: { link: TestLink; epoch: string; sequence: number; of: Named };

interface Named {
  endpointId: string;
  credentialId: string;
}

test.before(async () => {
  cloud = await testCloud();
  host = await viewer(cloud.services as never, 'Hosts', 'host');
  customer = await viewer(cloud.services as never, 'Customer', 'customer');
  const { node, of } = await newNode();
  const epoch = uuidv7();
  neighbour = { link: (await connect(cloud.url, node, { epoch })).link, epoch, sequence: 0, of };
});
test.afterEach(async () => {
  // After whatever a test did: the neighbour's next record is stored, on the session it has had all along.
  neighbour.sequence += 1;
  neighbour.link.send('usage-batch', {
    epoch: neighbour.epoch,
    records: [usageRecord(neighbour.of, neighbour.sequence, { at: Date.now() })],
  });
  assert.equal((await neighbour.link.next('usage-ack')).mark, neighbour.sequence);
});
test.after(async () => {
  neighbour.link.close();
  await neighbour.link.closed;
  await cloud.stop();
});

async function newNode() {
  const key = deviceKey();
  const { code } = await createClaim(cloud.services, {
    organizationId: host.active.id,
    nodeName: 'Box',
    createdById: null,
  });
  const { body } = await enrol(cloud.url, key, code);
  const node = { id: String(body.nodeId), privateKey: key.privateKey };
  const of: Named = {
    endpointId: await addEndpoint(cloud.services as never, customer, node.id, 1080),
    credentialId: (await addCredential(cloud.services as never, customer)).id,
  };
  return { node, of };
}

async function ledgerOf(epoch: string) {
  const { rows } = await cloud.services.db.pool.query(
    `SELECT r.sequence::int AS sequence, r.period_start, r.organization_id, r.unattributed, r.reported
       FROM usage_records r JOIN usage_marks m ON m.key = r.mark_key WHERE m.epoch = $1 ORDER BY 1`,
    [epoch],
  );
  return rows;
}

test('another node’s id opens nothing, and an id in a message changes nothing', async () => {
  const a = await newNode();
  const b = await newNode();
  const nonce = await challenge(cloud.url, a.node.id);
  await assert.rejects(
    openLink(cloud.url, authorizationFor(a.node.id, nonce, b.node.privateKey)),
    /401 link\/bad-signature/,
  );
  const epoch = uuidv7();
  const { link } = await connect(cloud.url, b.node, { epoch });
  // What no schema knows survives and is not read: usage goes to whom the socket belongs to.
  link.sendRaw(
    JSON.stringify({
      v: 1,
      kind: 'usage-batch',
      body: { nodeId: a.node.id, epoch, records: [usageRecord(a.of, 1, { at: Date.now() })] },
    }),
  );
  assert.equal((await link.next('usage-ack')).mark, 1);
  const [row] = await ledgerOf(epoch);
  assert.deepEqual([row.unattributed, row.organization_id], ['endpoint-of-another-node', host.active.id]);
  link.close();
  await link.closed;
});

test('a proof that was used, or that answers an older challenge, is a replay', async () => {
  const { node } = await newNode();
  const older = authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey);
  const used = authorizationFor(node.id, await challenge(cloud.url, node.id), node.privateKey);
  const link = await openLink(cloud.url, used);
  for (const authorization of [used, older])
    await assert.rejects(openLink(cloud.url, authorization), /401 link\/nonce-replayed/);
  link.close();
  await link.closed;
});

test('a second hello, however right, ends the session', async () => {
  const { node } = await newNode();
  const { link } = await connect(cloud.url, node, { epoch: uuidv7() });
  link.send('hello', {
    agentVersion: '0.1.0',
    bootId: 'boot',
    now: Date.now(),
    epoch: uuidv7(),
    lastSequence: 0,
    running: { revision: 0, hash: null },
  });
  assert.deepEqual(await link.closed, { code: CLOSE.protocol, reason: 'hello comes once' });
});

test('nesting that is deeper than any message is refused, not followed', async () => {
  const deep = (open: string, close: string) => open.repeat(500_000) + close.repeat(500_000);
  for (const inside of [deep('[', ']'), deep('{"a":', '1').replace(/1+$/, `1${'}'.repeat(500_000)}`)]) {
    const { node } = await newNode();
    const { link } = await connect(cloud.url, node, { epoch: uuidv7() });
    link.sendRaw(`{"v":1,"kind":"usage-batch","body":${inside}}`);
    const { code, reason } = await link.closed;
    assert.equal(code, CLOSE.protocol);
    assert.match(reason, /^wire\/(bad-body|not-json)/);
  }
});

test('jumps of the sequence, other epochs’ numbers and made-up counts are refused by code; what was there stays', async () => {
  const { node, of } = await newNode();
  const epoch = uuidv7();
  const first = await connect(cloud.url, node, { epoch });
  const at = Date.now();
  first.link.send('usage-batch', { epoch, records: [usageRecord(of, 1, { at })] });
  assert.equal((await first.link.next('usage-ack')).mark, 1);
  for (const sequence of [3, 1_000_000, Number.MAX_SAFE_INTEGER]) {
    first.link.send('usage-batch', {
      epoch,
      records: [usageRecord(of, sequence, { at, upBytes: 1, downBytes: 1 })],
    });
    const refused = await first.link.next('usage-refused');
    assert.deepEqual([refused.code, refused.expected], ['ledger/gap', 2]);
  }
  const other = uuidv7();
  first.link.send('usage-batch', { epoch: other, records: [usageRecord(of, 2, { at })] });
  const elsewhere = await first.link.next('usage-refused');
  assert.deepEqual([elsewhere.epoch, elsewhere.expected], [other, 1]);
  first.link.send('usage-batch', {
    epoch,
    records: [usageRecord(of, 2, { at }), usageRecord(of, 4, { at })],
  });
  const jumped = await first.link.closed;
  assert.equal(jumped.code, CLOSE.protocol);
  assert.match(jumped.reason, /^ledger\/not-consecutive/);
  const second = await connect(cloud.url, node, { epoch });
  second.link.send('usage-batch', { epoch, records: [usageRecord(of, 2, { at, upBytes: 2 ** 50 })] });
  assert.match((await second.link.closed).reason, /^ledger\/implausible/);
  assert.deepEqual(
    (await ledgerOf(epoch)).map(row => row.sequence),
    [1],
  );
});

test('periods of the past and the future are kept in the present, with what they said', async () => {
  const { node, of } = await newNode();
  const epoch = uuidv7();
  const { link } = await connect(cloud.url, node, { epoch });
  const far = Number.MAX_SAFE_INTEGER - (Number.MAX_SAFE_INTEGER % PERIOD_MS);
  const before = Date.now();
  link.send('usage-batch', {
    epoch,
    records: [usageRecord(of, 1, { periodStart: 0 }), usageRecord(of, 2, { periodStart: far })],
  });
  assert.equal((await link.next('usage-ack')).mark, 2);
  const rows = await ledgerOf(epoch);
  for (const row of rows) assert.ok(row.period_start.getTime() >= before - PERIOD_MS);
  assert.deepEqual(
    rows.map(row => row.reported.periodStart),
    [0, far],
  );
  link.close();
  await link.closed;
});

test('more epochs than spools can be lost in a day are refused', async () => {
  const { node, of } = await newNode();
  const { link } = await connect(cloud.url, node, { epoch: uuidv7() });
  const records = [usageRecord(of, 1, { at: Date.now() })];
  for (let i = 0; i < MAX_NEW_EPOCHS_PER_DAY; i += 1) {
    link.send('usage-batch', { epoch: uuidv7(), records });
    assert.equal((await link.next('usage-ack')).mark, 1);
  }
  link.send('usage-batch', { epoch: uuidv7(), records });
  const { code, reason } = await link.closed;
  assert.equal(code, CLOSE.protocol);
  assert.match(reason, /^ledger\/too-many-epochs/);
});

test(
  'a flood of records and of kinds that nobody knows is worked off in turn, and the neighbour does not wait for it',
  async () => {
    const { node, of } = await newNode();
    const epoch = uuidv7();
    const { link } = await connect(cloud.url, node, { epoch });
    const at = Date.now();
    const batches = 40;
    for (let batch = 0; batch < batches; batch += 1)
      link.send('usage-batch', {
        epoch,
        records: Array.from({ length: MAX_BATCH_RECORDS }, (_, i) =>
          usageRecord(of, batch * MAX_BATCH_RECORDS + i + 1, { at, upBytes: 1, downBytes: 1 }),
        ),
      });
    for (let i = 0; i < 20_000; i += 1) link.sendRaw('{"v":1,"kind":"of-nobody","body":{}}');
    neighbour.sequence += 1;
    neighbour.link.send('usage-batch', {
      epoch: neighbour.epoch,
      records: [usageRecord(neighbour.of, neighbour.sequence, { at })],
    });
    assert.equal((await neighbour.link.next('usage-ack')).mark, neighbour.sequence);
    for (let batch = 1; batch <= batches; batch += 1)
      assert.equal((await link.next('usage-ack')).mark, batch * MAX_BATCH_RECORDS);
    link.send('ping', { at: 7 });
    assert.equal((await link.next('pong')).at, 7);
    assert.equal(cloud.gateway.gate.waitingBytes, 0);
    link.close();
    await link.closed;
  },
  { deadlineMs: 90_000 },
);

/** Everything a raw connection gets, until it ends. */
function rawExchange(begin: (socket: Socket) => void): Promise<string> {
  const { hostname, port } = new URL(cloud.url);
  return new Promise((resolve, reject) => {
    const socket = dial({ host: hostname, port: Number(port) }, () => begin(socket));
    let text = '';
    socket.setEncoding('latin1').on('data', chunk => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

test('too much before the upgrade is refused: huge heads, huge bodies, upgrades elsewhere', async () => {
  const head = (lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
  const huge = await rawExchange(socket =>
    socket.write(head(['GET /agent HTTP/1.1', 'Host: x', `Authorization: ${'x'.repeat(100_000)}`])),
  );
  assert.match(huge, /^HTTP\/1\.1 431 /);
  const body = await fetch(`${cloud.url}/agent/challenge`, { method: 'POST', body: 'x'.repeat(20_000) });
  assert.equal(body.status, 413);
  const elsewhere = await rawExchange(socket =>
    socket.write(head(['GET /other HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket'])),
  );
  assert.match(elsewhere, /^HTTP\/1\.1 404 /);
});

test(
  'heads and bodies that trickle in are cut by a deadline, however regularly a byte comes',
  async () => {
    const trickle = (start: string) => {
      let drip: NodeJS.Timeout | undefined;
      return rawExchange(socket => {
        socket.write(start);
        drip = setInterval(() => socket.write('x'), 500);
        socket.once('close', () => clearInterval(drip));
      });
    };
    // The exchange may last longer than a silent session does: the neighbour speaks meanwhile, as agents do.
    const speaking = setInterval(() => neighbour.link.send('ping', { at: 0 }), 10_000);
    const answers = await Promise.all([
      trickle('GET /agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nX-Slow: '),
      trickle('POST /agent/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n'),
    ]);
    clearInterval(speaking);
    for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 408 /);
  },
  { deadlineMs: 120_000 },
);

test('what waits of all sockets together is bounded: past it nobody is read until half is worked off', () => {
  const gate = new ReadGate(100);
  const resumed: string[] = [];
  const a = () => void resumed.push('a');
  const b = () => void resumed.push('b');
  assert.ok(gate.take(60, a));
  assert.ok(!gate.take(60, a));
  assert.ok(!gate.take(10, b));
  assert.equal(gate.held, 2);
  gate.give(60);
  assert.deepEqual(resumed, []);
  gate.forget(b);
  gate.give(60);
  assert.deepEqual(resumed, ['a']);
  assert.deepEqual([gate.held, gate.waitingBytes, gate.timesShut], [0, 10, 1]);
});

test.run();
