/** A data plane on free loopback ports with a sink in memory: what the data plane's tests are built with. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createDataPlane, type DataPlaneOptions } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane, ServicePlan, UsageDelta, UsageSink } from '@mastline/agent/ports';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import { freePort } from '../../support/free-port';

export const SECRET = 'correct-horse';
export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

export interface MemorySink extends UsageSink {
  deltas: UsageDelta[];
  commits: number;
  total(): { up: number; down: number; flows: number };
}

export function memorySink(): MemorySink {
  const deltas: UsageDelta[] = [];
  return {
    deltas,
    commits: 0,
    async commit(batch) {
      this.commits += 1;
      deltas.push(...structuredClone(batch as UsageDelta[]));
    },
    total: () => ({
      up: deltas.reduce((sum, delta) => sum + delta.upBytes, 0),
      down: deltas.reduce((sum, delta) => sum + delta.downBytes, 0),
      flows: deltas.reduce((sum, delta) => sum + delta.flows, 0),
    }),
  };
}

export function credential(overrides: Partial<Credential> = {}): Credential {
  return {
    id: 'c1',
    username: 'alice',
    verifier: sha256(SECRET),
    endpointIds: null,
    suspended: false,
    ...overrides,
  };
}

export function endpoint(port: number, overrides: Partial<Endpoint> = {}): Endpoint {
  return {
    id: 'e1',
    name: 'test',
    protocols: ['socks5', 'http'],
    reach: 'direct',
    listen: { host: '127.0.0.1', port },
    slots: [1],
    ...overrides,
  };
}

export function planFor(port: number, overrides: Partial<ServicePlan> = {}): ServicePlan {
  return {
    endpoints: [endpoint(port)],
    credentials: [credential()],
    egresses: [{ slot: 1, sourceAddress: null, dnsServers: [], ready: true, imei: null, guarded: [] }],
    allowTargets: ['127.0.0.0/8'],
    ...overrides,
  };
}

export interface Rig {
  plane: DataPlane;
  port: number;
  plan: ServicePlan;
  sink: UsageSink;
  close(): Promise<void>;
}

/** Serves `plan` (both protocols on one port, user alice). */
export async function startRig(
  options: { sink?: UsageSink; plan?: Partial<ServicePlan> } & Omit<Partial<DataPlaneOptions>, 'sink'> = {},
): Promise<Rig> {
  const { sink = memorySink(), plan: overrides, ...rest } = options;
  const port = overrides?.endpoints?.[0]?.listen.port ?? (await freePort());
  const plan = planFor(port, overrides);
  const plane = createDataPlane({ sink, log: quietLog, ...rest });
  const outcomes = await plane.apply(plan);
  const failed = outcomes.find(outcome => !outcome.listening);
  if (failed) {
    await plane.close(0);
    throw new Error(failed.problem?.message);
  }
  return { plane, port, plan, sink, close: () => plane.close(0) };
}

export interface Origin {
  port: number;
  server: Server;
  sockets: Set<Socket>;
  close(): Promise<void>;
}

/** A TCP server on loopback that hands each connection to `serve`. */
export async function startOrigin(serve: (socket: Socket) => void, port = 0): Promise<Origin> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    server,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Calls `take` with all that comes until the socket ends (iterating it would close its other direction as well). */
export function untilEnd(socket: Socket, take: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.on('data', take);
    socket.once('end', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before its end')));
    socket.resume();
  });
}

/** Everything a socket sends until it ends. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await untilEnd(socket, chunk => chunks.push(chunk));
  return Buffer.concat(chunks);
}

/** Reads exactly `length` bytes and leaves the rest in the socket. */
export function readExactly(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let got = 0;
    const finish = (error: Error | null) => {
      socket.off('data', onData);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      socket.pause();
      const all = Buffer.concat(chunks);
      if (error) return reject(error);
      if (all.length > length) socket.unshift(all.subarray(length));
      resolve(all.subarray(0, length));
    };
    const onEnd = () => finish(new Error(`ended after ${got} of ${length} bytes`));
    const onData = (chunk: Buffer) => {
      chunks.push(chunk);
      got += chunk.length;
      if (got >= length) finish(null);
    };
    socket.on('data', onData);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    socket.resume();
  });
}
