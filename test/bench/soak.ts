/**
 * Many connections through the data plane, most of which end badly: aborted at random places of the handshake or of
 * the transfer, by the client or by the origin. At the end nothing may be left, memory must be flat, and what was
 * billed must agree with what clients and origins saw. A short run is a test (test/agent/data-plane/soak.test.ts); by
 * hand: `npx tsx test/bench/soak.ts --connections 200000`.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { requestMessage } from '@mastline/shared/protocols/socks5-client';
import { basic, pipelinedSocks5 } from '../agent/data-plane/clients';
import { credential, endpoint, freePort, memorySink, planFor } from '../agent/data-plane/rig';
import { clientStream, seal, shadowsocksEndpoint } from '../agent/data-plane/shadowsocks-client';

const HOST = '127.0.0.1';
/** At once; below the data plane's cap of open handshakes. */
const AT_ONCE = 64;
/** One connection must be over by then, however it ends. */
const ONE_MS = 20_000;

export interface SoakResult {
  connections: number;
  whole: number;
  aborted: number;
  billed: { up: number; down: number; flows: number };
  /** What origins read and wrote, and what clients read of plain protocols. */
  origins: { read: number; written: number };
  /** Bytes that clients of plain protocols read behind the proxy's answer. */
  clientsRead: number;
  left: { connections: number; handshakes: number; openFlows: number };
  /** Resident set in MB after the warm-up and at the end. */
  rssMb: { warm: number; end: number };
}

/** Numbers that look random and are the same each time for the same seed. */
function chance(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0);
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Runs `connections` of them. `seed` makes a run repeatable. */
export async function soak(connections: number, seed = 'soak'): Promise<SoakResult> {
  const random = chance(seed);
  const sink = memorySink();
  const [plain, sealed] = [await freePort(), await freePort()];
  const plane = createDataPlane({ sink, log: quietLog });
  const outcomes = await plane.apply(
    planFor(plain, {
      endpoints: [endpoint(plain), { ...shadowsocksEndpoint(sealed, 'aes-128-gcm'), id: 'e2' }],
      credentials: [credential()],
    }),
  );
  if (outcomes.some(one => !one.listening)) throw new Error('the data plane does not listen');
  const origins = { read: 0, written: 0 };
  const originSockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    originSockets.add(socket);
    const end = random();
    socket.on('error', () => undefined);
    socket.on('close', () => {
      origins.written += socket.bytesWritten;
      originSockets.delete(socket);
    });
    socket.on('data', bytes => {
      origins.read += bytes.length;
      if (end < 0.1) socket.destroy();
      else if (end < 0.15) socket.resetAndDestroy();
      else socket.write(bytes);
    });
    socket.on('end', () => socket.end());
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  const target = { host: HOST, port: (server.address() as AddressInfo).port };

  const counts = { whole: 0, aborted: 0, clientsRead: 0 };
  const one = () => {
    const kind = Math.floor(random() * 5);
    const payload = Buffer.alloc(Math.floor(random() ** 3 * 60_000) + 1, 'p');
    const authority = `${target.host}:${target.port}`;
    const head =
      kind === 0
        ? pipelinedSocks5(target)
        : kind === 1
          ? Buffer.from(`CONNECT ${authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic()}\r\n\r\n`)
          : kind === 2
            ? seal(clientStream('aes-128-gcm', target), payload)
            : kind === 3
              ? Buffer.concat([Buffer.from([5, 1, 2]), requestMessage(1, target)])
              : Buffer.alloc(Math.floor(random() * 100) + 1).map(() => Math.floor(random() * 256));
    const bytes = kind < 2 ? Buffer.concat([head, payload]) : head;
    const abortAfter = random() < 0.5 ? Math.floor(random() * bytes.length) : bytes.length;
    const reset = random() < 0.5;
    return new Promise<void>(resolve => {
      const socket = connect({ host: HOST, port: kind === 2 ? sealed : plain, allowHalfOpen: true });
      const timer = setTimeout(() => socket.destroy(), ONE_MS);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve();
      });
      socket.on('connect', () => {
        if (abortAfter < bytes.length) {
          counts.aborted += 1;
          socket.write(bytes.subarray(0, abortAfter), () =>
            reset ? socket.resetAndDestroy() : socket.destroy(),
          );
          return;
        }
        counts.whole += 1;
        // Strangers would be kept until the handshake's deadline: they give up by themselves.
        if (kind >= 3) socket.write(bytes, () => socket.destroy());
        else socket.end(bytes);
      });
      let skip = kind === 0 ? 14 : kind === 1 ? 'HTTP/1.1 200 Connection established\r\n\r\n'.length : 0;
      socket.on('data', chunk => {
        if (kind >= 2) return;
        const skipped = Math.min(skip, chunk.length);
        skip -= skipped;
        counts.clientsRead += chunk.length - skipped;
      });
      socket.on('end', () => socket.end());
    });
  };

  let [started, warm] = [0, 0];
  const warmAt = Math.floor(connections / 4);
  const worker = async () => {
    while (started < connections) {
      started += 1;
      if (started === warmAt) warm = process.memoryUsage.rss();
      await one();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));

  const deadline = performance.now() + ONE_MS;
  const state = async () => {
    const [lane] = await plane.metrics();
    const openFlows = (await plane.figures()).reduce((sum, slot) => sum + slot.openFlows, 0);
    return { connections: lane?.connections ?? -1, handshakes: lane?.handshakes ?? -1, openFlows };
  };
  let left = await state();
  while (
    performance.now() < deadline &&
    (left.connections > 0 || left.openFlows > 0 || originSockets.size > 0)
  ) {
    await new Promise(resolve => setTimeout(resolve, 20));
    left = await state();
  }
  const end = process.memoryUsage.rss();
  await plane.close(0);
  for (const socket of originSockets) socket.destroy();
  server.close();
  const mb = (bytes: number) => Math.round(bytes / 1e5) / 10;
  return {
    connections,
    whole: counts.whole,
    aborted: counts.aborted,
    clientsRead: counts.clientsRead,
    billed: sink.total(),
    origins,
    left,
    rssMb: { warm: mb(warm), end: mb(end) },
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { connections: { type: 'string' }, seed: { type: 'string' } } });
  console.log(JSON.stringify(await soak(Number(values.connections ?? 5_000), values.seed), null, 2));
}
