/**
 * `GET /metrics` on a port of this machine, for a Prometheus that runs beside the agent. Opened only when the
 * configuration names a port; without a password, hence meant for loopback. The text comes from metrics.ts.
 */
import { createServer, type ServerResponse } from 'node:http';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { LaneFigures } from '../ports';

/** Asked at each scrape. */
export type MetricsSource = () => Promise<LaneFigures[]>;

const MAX_SCRAPERS = 16;

export interface MetricsServer {
  close(): Promise<void>;
}

/** Throws `metrics/not-opened` when the port cannot be had. */
export async function openMetricsServer(
  place: { host: string; port: number },
  source: MetricsSource,
): Promise<MetricsServer> {
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET' && incoming.url === '/metrics') void answerMetrics(response, source);
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n');
  });
  server.headersTimeout = 2_000;
  server.requestTimeout = 5_000;
  server.maxConnections = MAX_SCRAPERS;
  await new Promise<void>((done, failed) => {
    server.once('error', error =>
      failed(
        new CodedError(
          'metrics/not-opened',
          `metrics cannot be served on ${place.host} port ${place.port}: ${codeOf(error) ?? messageOf(error)}`,
          {
            userMessage: `The metrics port ${place.port} on ${place.host} cannot be opened (${codeOf(error) ?? messageOf(error)}): choose another in "metrics".`,
            cause: error,
          },
        ),
      ),
    );
    server.listen(place.port, place.host, done);
  });
  return {
    close: () =>
      new Promise(done => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** Writes the page, or 500 with the reason when a thread does not answer. */
export async function answerMetrics(response: ServerResponse, source: MetricsSource): Promise<void> {
  try {
    // prom-client is loaded when somebody asks.
    const { metricsPage, METRICS_CONTENT_TYPE } = await import('./metrics');
    const page = await metricsPage(await source());
    response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE, 'cache-control': 'no-store' }).end(page);
  } catch (error) {
    response.writeHead(500, { 'content-type': 'text/plain' }).end(`${messageOf(error)}\n`);
  }
}
