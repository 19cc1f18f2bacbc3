/**
 * `GET /metrics` on a port of its own, for a Prometheus that may reach it. Opened only when a port is named; without a
 * password, hence on 127.0.0.1 unless told otherwise: what it says is for whoever runs the cloud. The text is
 * metrics-page.ts.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../log';
import { METRICS_CONTENT_TYPE, type MetricsSources, metricsPage } from './metrics-page';

const MAX_SCRAPERS = 16;

export interface MetricsServer {
  /** Where it is, such as http://127.0.0.1:9464/metrics. */
  url: string;
  close(): Promise<void>;
}

/** Throws `metrics/cannot-listen` with a sentence when the port cannot be had. */
export async function openMetricsServer(
  place: { host: string; port: number },
  sources: MetricsSources,
  log: Log,
): Promise<MetricsServer> {
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n');
      return;
    }
    try {
      const page = await metricsPage(sources);
      response
        .writeHead(200, { 'content-type': METRICS_CONTENT_TYPE, 'cache-control': 'no-store' })
        .end(page);
    } catch (error) {
      log.error({ err: error }, 'metrics could not be put together');
      response.writeHead(500, { 'content-type': 'text/plain' }).end('the reason is in the log\n');
    }
  });
  server.headersTimeout = 2_000;
  server.requestTimeout = 5_000;
  server.maxConnections = MAX_SCRAPERS;
  await new Promise<void>((done, failed) => {
    server.once('error', error => {
      const why = codeOf(error) ?? messageOf(error);
      failed(
        new CodedError(
          'metrics/cannot-listen',
          `cannot serve metrics on ${place.host}:${place.port}: ${why}`,
          {
            userMessage: `Metrics cannot be served on ${place.host} port ${place.port} (${why}). Choose another with --metrics-port or --metrics-host.`,
            cause: error,
          },
        ),
      );
    });
    server.listen(place.port, place.host, done);
  });
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}/metrics`,
    close: () =>
      new Promise(done => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
