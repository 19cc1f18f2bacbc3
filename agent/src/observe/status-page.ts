/**
 * What this box thinks right now, as JSON over HTTP on a Unix socket that only its owner may open, and its metrics
 * beside it. Read by `agent status` and by whoever starts agents; never reachable from the network (for that see
 * metrics-server.ts).
 */
import { createHash } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { answerMetrics, type MetricsSource } from './metrics-server';

/** Longest path of a Unix socket on Linux (sockaddr_un.sun_path), with its closing zero. */
const MAX_SOCKET_PATH = 107;
const ASK_DEADLINE_MS = 3_000;

export interface StatusPage {
  socketPath: string;
  close(): Promise<void>;
}

/** Where the page of the agent on `dataDir` is: inside it, or in the temporary folder when that path is too long. */
export function statusSocketPath(dataDir: string): string {
  const inside = join(resolve(dataDir), 'agent.sock');
  if (Buffer.byteLength(inside) <= MAX_SOCKET_PATH) return inside;
  const name = createHash('sha256').update(resolve(dataDir)).digest('hex').slice(0, 24);
  return join(tmpdir(), `mastline-${name}.sock`);
}

/**
 * Serves `GET /status` and `GET /metrics`. The caller holds the data directory's lock, so a socket that lies there is
 * a dead one's.
 */
export async function openStatusPage(
  dataDir: string,
  status: () => unknown,
  metrics: MetricsSource,
): Promise<StatusPage> {
  const socketPath = statusSocketPath(dataDir);
  rmSync(socketPath, { force: true });
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET' && incoming.url === '/metrics') {
      void answerMetrics(response, metrics);
      return;
    }
    if (incoming.method !== 'GET' || incoming.url !== '/status') {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"code":"status/no-such-page"}');
      return;
    }
    response
      .writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(JSON.stringify(status()));
  });
  server.headersTimeout = 2_000;
  server.requestTimeout = 5_000;
  server.maxConnections = 16;
  await new Promise<void>((done, failed) => {
    server.once('error', failed);
    server.listen(socketPath, () => {
      server.off('error', failed);
      done();
    });
  });
  chmodSync(socketPath, 0o600);
  return {
    socketPath,
    close: () =>
      new Promise(done => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** The status of the agent that runs on `dataDir`. Throws `status/no-agent` when none answers. */
export function askStatus(dataDir: string): Promise<unknown> {
  const socketPath = statusSocketPath(dataDir);
  return new Promise((done, failed) => {
    const call = request({ socketPath, path: '/status', timeout: ASK_DEADLINE_MS }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('error', failed);
      response.on('end', () => done(JSON.parse(text)));
    });
    call.on('timeout', () => call.destroy(new Error('timed out')));
    call.on('error', error =>
      failed(
        new CodedError(
          'status/no-agent',
          `no agent answers on ${socketPath} (${codeOf(error) ?? error.message})`,
          {
            userMessage: `No agent runs on ${dataDir} (or it belongs to another user).`,
          },
        ),
      ),
    );
    call.end();
  });
}
