/** What Prometheus gets of a whole cloud: every figure moves with what happened, and no label grows with what is connected. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { openMetricsServer } from '@mastline/cloud/server/observe/metrics-server';
import { Counts, LatenciesBy } from '@mastline/cloud/server/observe/tallies';
import { CodedError } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { authorizationFor, challenge, connect, openLink } from '../../support/cloud-agent';
import { cloudWorld, usageRecord, type World } from '../../support/cloud-world';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { type TestCloud, testCloud } from '../../support/test-cloud';

const test = suite('cloud: metrics');
let cloud: TestCloud;
let world: World;

test.before(async () => {
  cloud = await testCloud({ metrics: { host: '127.0.0.1', port: 0 } });
  world = await cloudWorld(cloud.services.db);
});
test.after(async () => cloud.stop());

/** Series by name with labels, as scraped now. */
async function scrape(): Promise<Map<string, number>> {
  const response = await fetch(cloud.metricsUrl ?? '', { signal: AbortSignal.timeout(20_000) });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const series = new Map<string, number>();
  for (const line of (await response.text()).split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const at = line.lastIndexOf(' ');
    series.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return series;
}

test(
  'a node that sends, doubles, leaves gaps and lies is seen in the figures',
  async () => {
    const before = await scrape();
    const moved = async (name: string) => ((await scrape()).get(name) ?? 0) - (before.get(name) ?? 0);
    const { node } = world.acme;
    const epoch = uuidv7();
    const { link } = await connect(cloud.url, node, { epoch });
    const record = (sequence: number) => usageRecord(world.acme, sequence, { at: Date.now() });
    link.send('usage-batch', { epoch, records: [record(1), record(2), record(3)] });
    await link.next('usage-ack');
    link.send('usage-batch', { epoch, records: [record(2), record(3), record(4)] });
    await link.next('usage-ack');
    link.send('usage-batch', { epoch, records: [record(9)] });
    await link.next('usage-refused');
    assert.equal(await moved('mastline_usage_records_total{what="stored"}'), 4);
    assert.equal(await moved('mastline_usage_records_total{what="duplicate"}'), 2);
    assert.equal(await moved('mastline_usage_gaps_total'), 1);
    assert.equal(await moved('mastline_messages_received_total{kind="usage-batch"}'), 3);
    assert.equal(await moved('mastline_messages_sent_total{kind="desired-state"}'), 1);
    assert.equal(await moved('mastline_usage_batch_seconds_count'), 2);
    assert.equal(await moved('mastline_upgrades_total{outcome="admitted"}'), 1);
    assert.equal(await moved('mastline_sessions'), 1);
    assert.equal(await moved('mastline_writer_transactions_total'), 3);

    link.sendRaw('{"v":1,"kind":"usage-batch","body":{}}');
    await link.closed;
    assert.equal(await moved('mastline_refusals_total{code="wire/bad-body"}'), 1);
    await eventually(
      async () => (await moved(`mastline_session_closes_total{code="${CLOSE.protocol}"}`)) === 1,
    );
    await assert.rejects(
      openLink(cloud.url, authorizationFor(node.id, 'made-up-'.repeat(3), node.privateKey)),
    );
    assert.equal(await moved('mastline_upgrades_total{outcome="link/nonce-forged"}'), 1);
  },
  { deadlineMs: 60_000 },
);

test('a batch for which the ledger has no room is counted by its code', async () => {
  const before = await scrape();
  const { usage } = cloud.services;
  const write = usage.write.bind(usage);
  const { node } = world.rival;
  const epoch = uuidv7();
  const { link } = await connect(cloud.url, node, { epoch });
  usage.write = () =>
    Promise.reject(new CodedError('ledger/busy', 'too many records wait', { retryable: true }));
  try {
    link.send('usage-batch', { epoch, records: [usageRecord(world.rival, 1, { at: Date.now() })] });
    assert.equal((await link.closed).code, 1011);
  } finally {
    usage.write = write;
  }
  const name = 'mastline_refusals_total{code="ledger/busy"}';
  assert.equal(((await scrape()).get(name) ?? 0) - (before.get(name) ?? 0), 1);
});

test('of other processes there is nothing while there are none, else whether they are reached and what they hold', async () => {
  assert.ok(![...(await scrape()).keys()].some(name => name.startsWith('mastline_cluster_')));
  const { cluster } = cloud.services;
  const figures = cluster.figures.bind(cluster);
  cluster.figures = () => ({
    ...{ bus: 'away', awayMs: 5_000, peers: 2, nodesElsewhere: 71 },
    refused: { version: 3 },
  });
  try {
    const series = await scrape();
    assert.equal(series.get('mastline_cluster_bus_up'), 0);
    assert.equal(series.get('mastline_cluster_peers'), 2);
    assert.equal(series.get('mastline_cluster_nodes_elsewhere'), 71);
    assert.equal(series.get('mastline_cluster_messages_refused_total{reason="version"}'), 3);
  } finally {
    cluster.figures = figures;
  }
});

test('requests and procedures are counted by class, whatever the address says', async () => {
  const before = await scrape();
  for (const path of ['/healthz', '/rotate/some-secret-token', '/nodes/of-somebody', '/api/trpc/usage.since'])
    await (await fetch(`${cloud.url}${path}`)).text();
  await challenge(cloud.url, world.acme.node.id);
  const after = await scrape();
  const moved = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  assert.equal(moved('mastline_http_requests_total{route="healthz",status="200"}'), 1);
  assert.equal(moved('mastline_http_requests_total{route="rotate",status="404"}'), 1);
  assert.equal(moved('mastline_http_requests_total{route="agent",status="200"}'), 1);
  assert.equal(moved('mastline_procedure_seconds_count{router="usage"}'), 1);
  assert.equal(moved('mastline_http_request_seconds_count{route="procedures"}'), 1);
  assert.ok(![...after.keys()].some(name => /secret-token|of-somebody/.test(name)));
});

test('what waits and who is connected to the database is there, and the page passes for Prometheus text', async () => {
  const series = await scrape();
  for (const name of [
    'mastline_writer_waiting_records',
    'mastline_writer_waiting_batches',
    'mastline_ledger_lag_seconds',
    'mastline_link_waiting_bytes',
    'mastline_link_paused_sockets',
    'mastline_link_held_sockets',
    'mastline_link_unread_bytes',
    'mastline_link_arriving',
    'mastline_link_told_later_total',
    'mastline_database_waiting',
    'mastline_live_streams',
  ])
    assert.equal(series.get(name), 0, name);
  assert.equal(
    series.get('mastline_database_connections_max'),
    cloud.services.db.kind === 'embedded' ? 1 : cloud.services.db.pool.options.max,
  );
  assert.ok((series.get('process_resident_memory_bytes') ?? 0) > 1e6);
  assert.ok(series.has('mastline_event_loop_delay_seconds{quantile="0.99"}'));
});

test('runs of jobs are there, and a scrape does without their age while the database is taken', async () => {
  await cloud.services.db.pool.query(
    `INSERT INTO job_runs (job, due_at, process_id, started_at, lease_until, finished_at, outcome)
     VALUES ('a-job', now(), 'x', now(), now(), now() - interval '100 seconds', 'done')`,
  );
  const age = 'mastline_job_last_success_age_seconds{job="a-job"}';
  assert.ok(((await scrape()).get(age) ?? 0) >= 99);
  const { pool } = cloud.services.db;
  const taken = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()));
  try {
    const series = await scrape();
    assert.equal(series.has(age), false);
    assert.equal(series.get('mastline_database_connections{state="in_use"}'), pool.options.max);
  } finally {
    for (const client of taken) client.release();
  }
});

test('open alerts are counted by code and cause', async () => {
  const series = 'mastline_alerts_open{code="ledger/difference",cause="other-traffic"}';
  assert.equal((await scrape()).has(series), false);
  for (const resolved of [null, null, new Date()])
    await cloud.services.db.pool.query(
      `INSERT INTO alerts (id, organization_id, key, code, severity, cause, subject_kind, subject_id, since, updated_at, resolved_at)
       VALUES ($1, $2, $3, 'ledger/difference', 'warning', 'other-traffic', 'slot', 'x', now(), now(), $4)`,
      [uuidv7(), world.acme.host.active.id, uuidv7(), resolved],
    );
  assert.equal((await scrape()).get(series), 2);
});

test('a counter holds no more labels than it may, whatever it is fed', () => {
  const counts = new Counts();
  const latencies = new LatenciesBy([1]);
  for (let i = 0; i < 10_000; i += 1) {
    counts.add(`label ${i}`);
    latencies.note(`label ${i}`, 1);
  }
  assert.ok(counts.entries().length <= 129);
  assert.ok(latencies.entries().length <= 129);
  assert.equal(
    counts.entries().reduce((sum, [, value]) => sum + value, 0),
    10_000,
  );
});

test('other addresses of the port are 404, and a taken port is a sentence', async () => {
  const url = new URL('/', cloud.metricsUrl ?? '');
  assert.equal((await fetch(url)).status, 404);
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  await assert.rejects(
    openMetricsServer({ host: '127.0.0.1', port }, {} as never, cloud.services.log),
    error =>
      (error as { code?: string }).code === 'metrics/cannot-listen' &&
      /port \d+ .*EADDRINUSE.*--metrics-port/.test((error as { userMessage: string }).userMessage),
  );
  taken.close();
});

test.run();
