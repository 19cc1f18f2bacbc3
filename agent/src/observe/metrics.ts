/**
 * The data plane's figures as Prometheus reads them. Nothing is counted here: lanes count in plain arrays
 * (data-plane/lane-metrics.ts), and only a scrape turns them into prom-client's text, so that metrics cost nothing
 * while nobody asks. Loaded with the first scrape. No label holds a customer's name, address or target.
 */
import prom from 'prom-client';
import type { LaneFigures, LatencyFigures, PathFigures } from '../ports';
import { LATENCY_BOUNDS_MS } from './latency-bounds';

type Labels = Record<string, string | number>;
interface Value {
  labels: Labels;
  value: number;
  metricName?: string;
}

/** The figures as one page of the text format; `contentType` goes with it. */
export async function metricsPage(lanes: readonly LaneFigures[]): Promise<string> {
  const registry = new prom.Registry();
  const add = (type: 'counter' | 'gauge' | 'histogram', name: string, help: string, values: Value[]) =>
    registry.registerMetric(snapshot({ type, name, help, values }));
  const perThread = (value: (lane: LaneFigures) => number) =>
    lanes.map((lane, thread) => ({ labels: { thread }, value: value(lane) }));
  const paths = mergePaths(lanes);
  const perPath = (value: (path: PathFigures) => number, more: Labels = {}) =>
    paths.map(path => ({
      labels: { slot: path.slot, protocol: path.protocol, ...more },
      value: value(path),
    }));

  add(
    'counter',
    'mastline_flows_total',
    'Flows that began.',
    perPath(path => path.flows),
  );
  add(
    'gauge',
    'mastline_open_flows',
    'Flows that are open.',
    perPath(path => path.openFlows),
  );
  add('counter', 'mastline_bytes_total', 'Billable bytes carried; up is toward the target.', [
    ...perPath(path => path.upBytes, { direction: 'up' }),
    ...perPath(path => path.downBytes, { direction: 'down' }),
  ]);
  add(
    'histogram',
    'mastline_dial_seconds',
    'From the request to an open connection to the target, name resolution included.',
    paths.flatMap(path => histogram('mastline_dial_seconds', path, path.dial)),
  );
  add(
    'histogram',
    'mastline_first_byte_seconds',
    'From the open connection to the first byte of the target.',
    paths.flatMap(path => histogram('mastline_first_byte_seconds', path, path.firstByte)),
  );
  add('counter', 'mastline_refusals_total', 'Refused connections and requests, by reason.', refusals(lanes));
  add(
    'counter',
    'mastline_accepted_total',
    'Connections that came, refused ones included.',
    perThread(lane => lane.accepted),
  );
  add(
    'gauge',
    'mastline_open_connections',
    'Open connections of clients.',
    perThread(lane => lane.connections),
  );
  add(
    'gauge',
    'mastline_open_handshakes',
    'Connections that have not finished their handshake.',
    perThread(lane => lane.handshakes),
  );
  add(
    'counter',
    'mastline_window_waits_total',
    'Times that a flow stood still because its slot waited for the disk.',
    perThread(lane => lane.windowWaits),
  );
  const { user, system } = process.cpuUsage();
  add('counter', 'process_cpu_seconds_total', 'User and system CPU time of the agent.', [
    { labels: {}, value: (user + system) / 1e6 },
  ]);
  add('gauge', 'process_resident_memory_bytes', 'Resident memory of the agent.', [
    { labels: {}, value: process.memoryUsage.rss() },
  ]);
  return registry.metrics();
}

export const METRICS_CONTENT_TYPE = prom.Registry.PROMETHEUS_CONTENT_TYPE;

/** prom-client's own classes count; a registry only asks `get`, whose answer here was counted elsewhere. */
function snapshot(metric: { type: string; name: string; help: string; values: Value[] }): prom.Metric {
  return { ...metric, aggregator: 'sum', get: async () => metric } as unknown as prom.Metric;
}

/** Cumulative buckets with a sum and a count, in seconds. */
function histogram(name: string, path: PathFigures, figures: LatencyFigures): Value[] {
  const labels = { slot: path.slot, protocol: path.protocol };
  const values: Value[] = [];
  let sum = 0;
  figures.counts.forEach((count, at) => {
    sum += count;
    const bound = LATENCY_BOUNDS_MS[at];
    const le = bound === undefined ? '+Inf' : bound / 1000;
    values.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: sum });
  });
  values.push({ metricName: `${name}_sum`, labels, value: figures.sumMs / 1000 });
  values.push({ metricName: `${name}_count`, labels, value: sum });
  return values;
}

function refusals(lanes: readonly LaneFigures[]): Value[] {
  const sums = new Map<string, number>();
  for (const lane of lanes)
    for (const [reason, count] of Object.entries(lane.refusals))
      sums.set(reason, (sums.get(reason) ?? 0) + count);
  return [...sums].map(([reason, value]) => ({ labels: { reason }, value }));
}

/** The same path of several threads is one to the reader. */
function mergePaths(lanes: readonly LaneFigures[]): PathFigures[] {
  const merged = new Map<string, PathFigures>();
  for (const path of lanes.flatMap(lane => lane.paths)) {
    const name = `${path.slot} ${path.protocol}`;
    const known = merged.get(name);
    if (!known) {
      merged.set(name, structuredClone(path));
      continue;
    }
    known.flows += path.flows;
    known.openFlows += path.openFlows;
    known.upBytes += path.upBytes;
    known.downBytes += path.downBytes;
    addLatency(known.dial, path.dial);
    addLatency(known.firstByte, path.firstByte);
  }
  return [...merged.values()];
}

function addLatency(sum: LatencyFigures, more: LatencyFigures): void {
  sum.sumMs += more.sumMs;
  more.counts.forEach((count, at) => {
    sum.counts[at] = (sum.counts[at] ?? 0) + count;
  });
}
