/**
 * One trace from a frame to its rows, as a collector gets it by OTLP over HTTP: a whole cloud, agents on real sockets, and
 * a collector that is a plain HTTP server.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { nameOf } from '@mastline/cloud/server/observe/traced-queries';
import { startTracing, type Tracing } from '@mastline/cloud/server/observe/tracing';
import { systemClock } from '@mastline/shared/base/clock';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { connect } from '../../support/cloud-agent';
import { cloudWorld, usageRecord, type World } from '../../support/cloud-world';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud: traces');

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  links?: { traceId: string; spanId: string }[];
  events?: { name: string }[];
  status?: { code?: number };
}
interface OtlpBody {
  resourceSpans: { resource: OtlpSpan; scopeSpans: { spans: OtlpSpan[] }[] }[];
}

let collector: Server;
let texts: string[] = [];
let cloud: TestCloud;
let world: World;
let tracing: Tracing | null;
const kept = { ...process.env };

const spans = (): OtlpSpan[] =>
  texts.flatMap(text =>
    (JSON.parse(text) as OtlpBody).resourceSpans.flatMap(each =>
      each.scopeSpans.flatMap(scope => scope.spans),
    ),
  );
const attribute = (span: OtlpSpan, key: string) =>
  Object.values(span.attributes.find(each => each.key === key)?.value ?? {})[0];

test.before(async () => {
  collector = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    if (request.url === '/v1/traces' && /json/.test(request.headers['content-type'] ?? '')) texts.push(text);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
  // What the SDK reads by itself.
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env.OTEL_BSP_SCHEDULE_DELAY = '100';
  const log = pino({ level: 'silent' });
  tracing = await startTracing({ env: process.env, version: '0.1.0', clock: systemClock, log });
  cloud = await testCloud();
  world = await cloudWorld(cloud.services.db);
});
test.after(async () => {
  await cloud?.stop();
  await tracing?.close();
  collector?.close();
  collector?.closeAllConnections();
  process.env = kept;
});

test(
  'a batch is one trace, from the arrival of its frame over the transaction to its acknowledgement',
  async () => {
    texts = [];
    const epoch = uuidv7();
    const { link } = await connect(cloud.url, world.acme.node, { epoch });
    link.send('usage-batch', {
      epoch,
      records: [1, 2, 3].map(sequence => usageRecord(world.acme, sequence, { at: Date.now() })),
    });
    await link.next('usage-ack');
    await eventually(
      () => spans().some(span => span.name === 'link usage-batch'),
      'the batch at the collector',
    );
    const batch = spans().find(span => span.name === 'link usage-batch')!;
    const trace = spans().filter(span => span.traceId === batch.traceId);
    const named = (name: string) => {
      const found = trace.find(span => span.name === name);
      assert.ok(found, `${name} among ${trace.map(span => span.name).join(', ')}`);
      return found;
    };
    const transaction = named('ledger transaction');
    assert.equal(named('link wait').parentSpanId, batch.spanId);
    assert.equal(named('link decode').parentSpanId, batch.spanId);
    assert.equal(named('ledger write').parentSpanId, batch.spanId);
    assert.equal(transaction.parentSpanId, named('ledger write').spanId);
    assert.deepEqual(
      transaction.links?.map(each => each.spanId),
      [named('ledger write').spanId],
    );
    // The rows themselves: the statement that inserts records, and the commit.
    assert.equal(named('INSERT usage_records').parentSpanId, transaction.spanId);
    assert.equal(named('COMMIT').parentSpanId, transaction.spanId);
    assert.deepEqual(
      batch.events?.map(each => each.name),
      ['acknowledged'],
    );
    assert.ok(BigInt(named('link wait').startTimeUnixNano) >= BigInt(batch.startTimeUnixNano) - 2_000_000n);
    assert.ok(BigInt(named('COMMIT').endTimeUnixNano) <= BigInt(batch.endTimeUnixNano) + 2_000_000n);
    assert.equal(attribute(batch, 'mastline.node'), world.acme.node.id);
    assert.equal(attribute(batch, 'mastline.epoch'), epoch);
    assert.equal(Number(attribute(batch, 'mastline.records')), 3);
    link.close();
    await link.closed;
  },
  { deadlineMs: 60_000 },
);

test(
  'batches of several nodes in one transaction are linked with it, and a trace that a node began goes on',
  async () => {
    texts = [];
    const epochs = [uuidv7(), uuidv7()];
    const tenants = [world.acme, world.rival];
    const links = await Promise.all(
      tenants.map((tenant, at) => connect(cloud.url, tenant.node, { epoch: epochs[at]! })),
    );
    const ids = ['a'.repeat(32), 'b'.repeat(32)];
    const send = (at: number, sequence: number, trace?: string) =>
      links[at]!.link.send('usage-batch', {
        epoch: epochs[at]!,
        records: [usageRecord(tenants[at]!, sequence, { at: Date.now() })],
        ...(trace === undefined ? {} : { trace }),
      });
    const waiting = (batches: number) =>
      eventually(() => cloud.services.usage.figures().waitingRecords === batches);
    // One message at a time: what is acknowledged came after the greeting, which needs the database, too.
    for (const [at, { link }] of links.entries()) {
      send(at, 1);
      await link.next('usage-ack');
    }
    // Every connection is taken: what arrives meanwhile waits, and goes together.
    const { pool } = cloud.services.db;
    const taken = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()));
    try {
      // As many as there are lanes to begin with: those take their transactions, and wait for a connection.
      send(0, 2, `00-${ids[0]}-${'1'.repeat(16)}-01`);
      await waiting(1);
      send(1, 2, `00-${ids[1]}-${'2'.repeat(16)}-01`);
      await waiting(2);
    } finally {
      for (const client of taken) client.release();
    }
    await Promise.all(links.map(({ link }) => link.next('usage-ack')));
    await eventually(
      () => ids.every(id => spans().some(span => span.traceId === id && span.name === 'link usage-batch')),
      'both batches at the collector',
    );
    for (const [at, id] of ids.entries()) {
      const trace = spans().filter(span => span.traceId === id);
      const batch = trace.find(span => span.name === 'link usage-batch')!;
      assert.equal(batch.parentSpanId, String(at + 1).repeat(16));
      const write = trace.find(span => span.name === 'ledger write')!;
      // Its rows: in this trace, or in the one that it is linked with.
      const transaction = spans().find(
        span => span.name === 'ledger transaction' && span.links?.some(each => each.spanId === write.spanId),
      );
      assert.ok(transaction, 'a transaction that is linked with the batch');
      assert.ok(
        transaction.traceId === id || write.links?.some(each => each.spanId === transaction.spanId),
        'the batch leads to its transaction',
      );
    }
    // What is no trace is ignored, and the batch counts.
    send(0, 3, 'garbage');
    assert.equal((await links[0]!.link.next('usage-ack')).mark, 3);
    for (const { link } of links) {
      link.close();
      await link.closed;
    }
  },
  { deadlineMs: 60_000 },
);

test('a request is a trace over its procedure to its statements, without what is in them', async () => {
  texts = [];
  const email = 'who@example.org';
  const response = await fetch(`${cloud.url}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email, password: 'hunter2-hunter2' }),
  });
  assert.equal(response.status, 401);
  const asked = await fetch(`${cloud.url}/api/trpc/overview.get`, {
    headers: { cookie: 'mastline_session=a-secret-token' },
  });
  assert.equal(asked.status, 401);
  const requestId = asked.headers.get('x-request-id');
  await eventually(
    () => spans().some(span => attribute(span, 'mastline.request') === requestId && /^GET/.test(span.name)),
    'the request at the collector',
  );
  const root = spans().find(span => span.name === 'GET procedures')!;
  const trace = spans().filter(span => span.traceId === root.traceId);
  const procedure = trace.find(span => span.name === 'procedure overview.get');
  assert.equal(procedure?.parentSpanId, root.spanId);
  assert.ok(
    trace.some(span => /^SELECT /.test(span.name) && span.parentSpanId === root.spanId),
    trace.map(span => span.name).join(', '),
  );
  assert.equal(Number(attribute(root, 'http.response.status_code')), 401);
  for (const secret of ['hunter2', email, 'a-secret-token', 'password_hash'])
    assert.ok(!texts.some(text => text.includes(secret)), secret);
});

test('a statement is named by what it does to which table', () => {
  assert.equal(nameOf('SELECT "public"."nodes"."id" FROM "public"."nodes" WHERE 1=1').name, 'SELECT nodes');
  const marks = 'SELECT w.place FROM unnest($1::uuid[]) AS w JOIN usage_marks m ON true FOR UPDATE OF m';
  assert.equal(nameOf(marks).name, 'SELECT usage_marks');
  const rollups = 'WITH a AS (SELECT 1 FROM x), b AS (INSERT INTO usage_records (a) SELECT 1) SELECT 1';
  assert.equal(nameOf(rollups).name, 'INSERT usage_records');
  assert.equal(nameOf('SELECT extract(epoch FROM w.at) FROM ingest_watch w').name, 'SELECT ingest_watch');
  assert.equal(nameOf({ text: "UPDATE users SET password = 'x'" }).name, 'UPDATE users');
  assert.equal(nameOf("SELECT 'FROM-a-secret'").name, 'SELECT');
  assert.equal(nameOf('COMMIT').name, 'COMMIT');
  assert.equal(nameOf({ submit() {} }).name, 'QUERY');
});

test('without a collector nothing is begun, and the SDK is not asked for', async () => {
  const log = pino({ level: 'silent' });
  assert.equal(await startTracing({ env: {}, version: '0.1.0', clock: systemClock, log }), null);
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_SDK_DISABLED: 'true' };
  assert.equal(await startTracing({ env, version: '0.1.0', clock: systemClock, log }), null);
});

test.run();
