/**
 * The figures of this process as Prometheus reads them. Nothing is counted here: parts count in plain numbers
 * (tallies.ts) or are asked at the scrape, so that metrics cost nothing while nobody asks. Labels are kinds, codes and
 * names of ours; never a node, a person or an address. The table of names is in cloud/README.md.
 */
import type prom from 'prom-client';
import type { EventLoopWatch } from './event-loop';
import type { Counts, Latencies, Tallies } from './tallies';

/** What a scrape asks. */
export interface MetricsSources {
  version: string;
  tallies: Tallies;
  eventLoop: EventLoopWatch;
  /** Epoch milliseconds. */
  now(): number;
  link(): LinkFigures;
  writer(): WriterFigures;
  pool(): PoolFigures;
  liveStreams(): number;
  cluster(): ClusterFigures;
  /** When each job last succeeded, in any process; null when the database does not say. */
  jobs(): Promise<{ job: string; succeededAt: number }[] | null>;
  /** Alerts that nobody and nothing has resolved; null when the database does not say. */
  alerts(): Promise<{ code: string; cause: string; open: number }[] | null>;
}

export interface LinkFigures {
  /** Sessions, replaced ones that are closing included. */
  sessions: number;
  /** Sockets that are not read now: too much of theirs waits. */
  pausedSockets: number;
  /** Sockets that are not read now because too much of all others waits. */
  heldSockets: number;
  /** Bytes that have arrived and are not worked off. */
  waitingBytes: number;
  /** How often all had to be held. */
  timesHeld: number;
  /** Bytes that were sent to agents and that their sockets have not taken. */
  unreadBytes: number;
  /** Nodes between their upgrade and the end of their greeting. */
  arriving: number;
  /** How often nodes were told to come later. */
  toldToComeLater: number;
}

export interface WriterFigures {
  waitingRecords: number;
  waitingBatches: number;
  /** How long the oldest batch that is not committed has waited, milliseconds. */
  oldestWaitingMs: number;
  transactions: number;
  retries: number;
}

export interface PoolFigures {
  size: number;
  open: number;
  idle: number;
  /** Queries that wait for a connection. */
  waiting: number;
}

/** Of several processes that are one cloud; `none`: this one is alone. */
export interface ClusterFigures {
  bus: 'none' | 'up' | 'away';
  /** Other processes that are heard, and the nodes that they hold. */
  peers: number;
  nodesElsewhere: number;
  /** Messages of others that were not understood, by reason. */
  refused: Readonly<Record<string, number>>;
}

interface Value {
  labels: Record<string, string | number>;
  value: number;
  metricName?: string;
}

/** Of the text format that prom-client writes. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** One page of the text format. */
export async function metricsPage(sources: MetricsSources): Promise<string> {
  // Loaded when somebody asks.
  const { default: prom } = await import('prom-client');
  const registry = new prom.Registry();
  const add = (type: 'counter' | 'gauge' | 'histogram', name: string, help: string, values: Value[]) =>
    registry.registerMetric(snapshot({ type, name: `mastline_${name}`, help, values }));
  const counter = (name: string, help: string, values: Value[] | number) =>
    add('counter', name, help, listed(values));
  const gauge = (name: string, help: string, values: Value[] | number) =>
    add('gauge', name, help, listed(values));

  const { tallies } = sources;
  gauge('cloud_info', 'Which version runs.', [{ labels: { version: sources.version }, value: 1 }]);

  const link = sources.link();
  gauge('sessions', 'Sessions of agents on this process.', link.sessions);
  counter(
    'upgrades_total',
    'Upgrades of agents: admitted, or the code of the refusal.',
    labelled(tallies.upgrades, ['outcome']),
  );
  counter(
    'session_closes_total',
    'Sessions that ended, by WebSocket close code.',
    labelled(tallies.closes, ['code']),
  );
  counter('messages_received_total', 'Messages of agents by kind.', labelled(tallies.messagesIn, ['kind']));
  counter(
    'messages_sent_total',
    'Messages to agents by kind; desired-state is a push of settings.',
    labelled(tallies.messagesOut, ['kind']),
  );
  counter(
    'refusals_total',
    'What agents sent and was not taken, by code.',
    labelled(tallies.refusals, ['code']),
  );

  counter(
    'usage_records_total',
    'Records of usage: stored, duplicate (dropped), unattributed (of the stored).',
    labelled(tallies.records, ['what']),
  );
  counter(
    'usage_gaps_total',
    'Batches refused because records before them are missing.',
    tallies.refusals.of('ledger/gap'),
  );
  add(
    'histogram',
    'usage_batch_seconds',
    'From the arrival of a batch to its acknowledgement.',
    histogram('mastline_usage_batch_seconds', {}, tallies.batches),
  );

  const writer = sources.writer();
  gauge(
    'writer_waiting_records',
    'Records that wait for the ledger or are being written.',
    writer.waitingRecords,
  );
  gauge('writer_waiting_batches', 'Batches that wait for the ledger.', writer.waitingBatches);
  gauge(
    'ledger_lag_seconds',
    'How long the oldest batch here has waited for its commit.',
    writer.oldestWaitingMs / 1000,
  );
  counter('writer_transactions_total', 'Transactions that were begun for batches.', writer.transactions);
  counter('writer_retries_total', 'Transactions that were tried again.', writer.retries);
  gauge('link_waiting_bytes', 'Bytes of agents that wait in this process.', link.waitingBytes);
  gauge('link_paused_sockets', 'Sockets that are not read: too much of theirs waits.', link.pausedSockets);
  gauge('link_held_sockets', 'Sockets that are not read: too much of all waits.', link.heldSockets);
  counter(
    'link_held_total',
    'Times that sockets had to be held because too much of all waited.',
    link.timesHeld,
  );
  gauge('link_unread_bytes', 'Bytes for agents that their sockets have not taken.', link.unreadBytes);
  gauge('link_arriving', 'Nodes that are being let in.', link.arriving);
  counter('link_told_later_total', 'Times that nodes were told to come later.', link.toldToComeLater);

  const cluster = sources.cluster();
  if (cluster.bus !== 'none') {
    gauge('cluster_bus_up', '1 while NATS is reached, else 0.', cluster.bus === 'up' ? 1 : 0);
    gauge('cluster_peers', 'Other processes of this cloud that are heard.', cluster.peers);
    gauge('cluster_nodes_elsewhere', 'Nodes that other processes hold.', cluster.nodesElsewhere);
    counter(
      'cluster_messages_refused_total',
      'Messages of other processes that were not understood, by reason.',
      Object.entries(cluster.refused).map(([reason, value]) => ({ labels: { reason }, value })),
    );
  }

  const pool = sources.pool();
  gauge('database_connections', 'Connections to the database.', [
    { labels: { state: 'in_use' }, value: pool.open - pool.idle },
    { labels: { state: 'idle' }, value: pool.idle },
  ]);
  gauge('database_connections_max', 'Connections that there may be.', pool.size);
  gauge('database_waiting', 'Queries that wait for a connection.', pool.waiting);

  counter('job_runs_total', 'Runs of jobs on this process.', labelled(tallies.jobs, ['job', 'outcome']));
  const [jobs, alerts] = await Promise.all([sources.jobs(), sources.alerts()]);
  if (jobs !== null)
    gauge(
      'job_last_success_age_seconds',
      'Since the last success of a job, on any process.',
      jobs.map(({ job, succeededAt }) => ({ labels: { job }, value: (sources.now() - succeededAt) / 1000 })),
    );

  if (alerts !== null)
    gauge(
      'alerts_open',
      'Alerts that are not resolved, of the whole installation.',
      alerts.map(({ code, cause, open }) => ({ labels: { code, cause }, value: open })),
    );

  counter(
    'http_requests_total',
    'HTTP requests by class of route and status.',
    labelled(tallies.requests, ['route', 'status']),
  );
  add(
    'histogram',
    'http_request_seconds',
    'HTTP requests by class of route.',
    tallies.requestSeconds
      .entries()
      .flatMap(([route, each]) => histogram('mastline_http_request_seconds', { route }, each)),
  );
  add(
    'histogram',
    'procedure_seconds',
    'Procedures by router.',
    tallies.procedures
      .entries()
      .flatMap(([router, each]) => histogram('mastline_procedure_seconds', { router }, each)),
  );
  gauge('live_streams', 'Browsers that follow live figures.', sources.liveStreams());

  const delay = sources.eventLoop.read();
  gauge('event_loop_delay_seconds', 'How late the event loop was since the last scrape.', [
    { labels: { quantile: '0.5' }, value: delay.p50 },
    { labels: { quantile: '0.99' }, value: delay.p99 },
    { labels: { quantile: '1' }, value: delay.max },
  ]);
  const { user, system } = process.cpuUsage();
  const memory = process.memoryUsage();
  const ofProcess = (type: 'counter' | 'gauge', name: string, help: string, value: number) =>
    registry.registerMetric(snapshot({ type, name, help, values: listed(value) }));
  ofProcess('counter', 'process_cpu_seconds_total', 'User and system CPU time.', (user + system) / 1e6);
  ofProcess('gauge', 'process_resident_memory_bytes', 'Resident memory.', memory.rss);
  ofProcess('gauge', 'nodejs_heap_size_used_bytes', 'Heap in use.', memory.heapUsed);
  ofProcess(
    'gauge',
    'process_start_time_seconds',
    'When the process began, epoch seconds.',
    sources.now() / 1000 - process.uptime(),
  );
  return registry.metrics();
}

/** prom-client's own classes count; a registry only asks `get`, whose answer here was counted elsewhere. */
function snapshot(metric: { type: string; name: string; help: string; values: Value[] }): prom.Metric {
  return { ...metric, aggregator: 'sum', get: async () => metric } as unknown as prom.Metric;
}

const listed = (values: Value[] | number): Value[] =>
  typeof values === 'number' ? [{ labels: {}, value: values }] : values;

/** Labels of a counter are joined by a space. */
function labelled(counts: Counts, names: readonly string[]): Value[] {
  return counts.entries().map(([joined, value]) => {
    const parts = joined.split(' ');
    return { labels: Object.fromEntries(names.map((name, at) => [name, parts[at] ?? ''])), value };
  });
}

/** Cumulative buckets with a sum and a count, in seconds. */
function histogram(name: string, labels: Value['labels'], latencies: Latencies): Value[] {
  let sum = 0;
  const buckets = latencies.counts.map((count, at): Value => {
    sum += count;
    return {
      metricName: `${name}_bucket`,
      labels: { le: latencies.bounds[at] ?? '+Inf', ...labels },
      value: sum,
    };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: latencies.sumSeconds },
    { metricName: `${name}_count`, labels, value: sum },
  ];
}
