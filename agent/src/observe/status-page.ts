/**
 * What this box thinks right now, as JSON over HTTP on a Unix socket that only its owner may open, its metrics beside
 * it, and the few things that its owner may have it do. Read by `agent status` and by whoever starts agents; never reachable from the network (for that see
 * metrics-server.ts).
 */
import { createHash } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, request, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
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

/** What `POST /NAME?…` does, by name; what it resolves with is the answer, a CodedError is told as it is. */
export type LocalActions = Record<string, (query: URLSearchParams) => Promise<unknown>>;

/**
 * Serves `GET /status`, `GET /metrics` and the actions. The caller holds the data directory's lock, so a socket that
 * lies there is a dead one's.
 */
export async function openStatusPage(
  dataDir: string,
  status: () => unknown,
  more: { metrics: MetricsSource; actions?: LocalActions },
): Promise<StatusPage> {
  const socketPath = statusSocketPath(dataDir);
  rmSync(socketPath, { force: true });
  const { metrics, actions = {} } = more;
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET' && incoming.url === '/metrics') {
      void answerMetrics(response, metrics);
      return;
    }
    if (incoming.method === 'GET' && incoming.url === '/status') return answer(response, 200, status());
    const { pathname, searchParams } = new URL(incoming.url ?? '/', 'http://agent');
    const name = pathname.slice(1);
    if (incoming.method === 'POST' && Object.hasOwn(actions, name)) {
      actions[name]?.(searchParams).then(
        value => answer(response, 200, value),
        error =>
          answer(response, error instanceof CodedError ? 400 : 500, {
            code: codeOf(error) ?? 'status/fault',
            message: error instanceof CodedError ? error.userMessage : messageOf(error),
          }),
      );
      return;
    }
    answer(response, 404, { code: 'status/no-such-page' });
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

function answer(response: ServerResponse, status: number, value: unknown): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    .end(JSON.stringify(value));
}

/** The status of the agent that runs on `dataDir`. Throws `status/no-agent` when none answers. */
export function askStatus(dataDir: string): Promise<unknown> {
  return askAgent(dataDir, { method: 'GET', path: '/status', deadlineMs: ASK_DEADLINE_MS });
}

/** Has the agent on `dataDir` do something. Throws `status/no-agent`, or what the agent answered. */
export function askAction(
  dataDir: string,
  action: { name: keyof LocalActions; query: Record<string, string>; deadlineMs: number },
): Promise<unknown> {
  const path = `/${action.name}?${new URLSearchParams(action.query)}`;
  return askAgent(dataDir, { method: 'POST', path, deadlineMs: action.deadlineMs });
}

function askAgent(
  dataDir: string,
  question: { method: 'GET' | 'POST'; path: string; deadlineMs: number },
): Promise<unknown> {
  const socketPath = statusSocketPath(dataDir);
  const { method, path, deadlineMs } = question;
  return new Promise((done, failed) => {
    const call = request({ socketPath, method, path, timeout: deadlineMs }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('error', failed);
      response.on('end', () => {
        const value = JSON.parse(text);
        if (response.statusCode === 200) return done(value);
        failed(
          new CodedError(value.code, `${path}: ${value.message ?? `status ${response.statusCode}`}`, {
            userMessage:
              value.message ?? `The agent on ${dataDir} does not know how to ${path.slice(1)}: it is older.`,
          }),
        );
      });
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
