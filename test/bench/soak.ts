/**
 * Many connections through the data plane, most of which end badly: clients give up or reset at every stage of the
 * handshake and of the transfer, origins at every stage of theirs. At the end nothing may be left, memory must be flat, and what
 * was billed must agree with what clients and origins saw. A short run is a test (test/agent/data-plane/soak.test.ts); by
 * hand: `npm run soak`, or `npm run soak -- --connections 20000 --seed 7`.
 *
 * Three customers, so that each sum can be judged by itself. Billable is what the kernel took toward its receiver
 * (shared/src/domain/usage.ts), so where nobody aborts it equals what was read, and where somebody does it lies between
 * what was read and what was sent.
 *
 * Memory is flat when the collected heap (buffers outside it included) of the end is at most 2 MB above that of half
 * the way, and the resident set at most 16 MB.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { pathToFileURL } from 'node:url';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { type Clock, systemClock, type Timer } from '@mastline/shared/base/clock';
import { giveBackMemory } from '@mastline/shared/base/give-back-memory';
import { basic, pipelinedSocks5 } from '../agent/data-plane/clients';
import { credential, endpoint, memorySink, planFor, SECRET } from '../agent/data-plane/rig';
import { clientStream, seal, shadowsocksEndpoint } from '../agent/data-plane/shadowsocks-client';
import { readFlags, wholeFlag } from '../support/flags';
import { freePort } from '../support/free-port';
import { seeded } from '../support/random';
import { collectedHeap } from './handshakes';

const HOST = '127.0.0.1';
const METHOD = 'aes-128-gcm';
/** At once. */
const AT_ONCE = 64;
/** One connection must be over by then, however it ends. */
const ONE_MS = 30_000;
const HEAP_MB = 2;
const RSS_MB = 16;
/** Customers: nobody aborts; the client does; the origin does. */
const CUSTOMERS = ['whole', 'client', 'origin'] as const;
type Customer = (typeof CUSTOMERS)[number];

export interface Sums {
  connections: number;
  /** Connections that origins accepted. */
  dials: number;
  /** Payload that clients meant to send, and read. */
  clientSent: number;
  clientRead: number;
  /** Of origins. */
  originRead: number;
  originWritten: number;
  billed: { up: number; down: number; flows: number };
}

export interface SoakResult {
  connections: number;
  customers: Record<Customer, Sums>;
  /** Connections that were not over in time. */
  stuck: number;
  left: { connections: number; handshakes: number; openFlows: number; timers: number; handles: string[] };
  /** At half the way and at the end. */
  heapMb: [number, number];
  rssMb: [number, number];
  seconds: number;
}

/** What is wrong with `result`, in words; empty when all is well. */
export function faults(result: SoakResult): string[] {
  const found: string[] = [];
  const expect = (holds: boolean, what: string) => {
    if (!holds) found.push(what);
  };
  for (const customer of CUSTOMERS) {
    const { billed, ...sums } = result.customers[customer];
    const within = (low: number, value: number, high: number, what: string) =>
      expect(
        low <= value && value <= high,
        `${customer}: ${what}: ${low} ≤ ${value} ≤ ${high} does not hold`,
      );
    within(sums.originRead, billed.up, sums.clientSent, 'read, billed and sent toward origins');
    within(sums.clientRead, billed.down, sums.originWritten, 'read, billed and sent toward clients');
    expect(billed.flows <= sums.dials, `${customer}: ${billed.flows} flows of ${sums.dials} dials`);
    if (customer !== 'whole') continue;
    expect(
      sums.clientRead === sums.clientSent,
      `whole: clients sent ${sums.clientSent}, read ${sums.clientRead}`,
    );
    expect(billed.up === sums.originRead, `whole: billed ${billed.up} up, origins read ${sums.originRead}`);
    expect(billed.down === sums.clientRead, `whole: billed ${billed.down} down, read ${sums.clientRead}`);
    expect(billed.flows === sums.connections, `whole: ${billed.flows} flows of ${sums.connections}`);
  }
  const { handles, ...counts } = result.left;
  for (const [what, count] of Object.entries(counts)) expect(count === 0, `${count} ${what} are left`);
  expect(handles.length === 0, `handles are left: ${handles.join(', ')}`);
  expect(result.stuck === 0, `${result.stuck} connections did not end`);
  const grown = (of: [number, number]) => of[1] - of[0];
  expect(grown(result.heapMb) <= HEAP_MB, `the heap grew: ${result.heapMb.join(' → ')} MB`);
  expect(grown(result.rssMb) <= RSS_MB, `the process grew: ${result.rssMb.join(' → ')} MB`);
  return found;
}

/** The system's time; knows how many timers wait. */
function countingClock(): Clock & { pending(): number } {
  const waiting = new Set<Timer>();
  const kept = (make: (fired: () => void) => Timer): Timer => {
    const inner = make(() => waiting.delete(timer));
    const timer: Timer = {
      cancel: () => {
        waiting.delete(timer);
        inner.cancel();
      },
    };
    waiting.add(timer);
    return timer;
  };
  return {
    ...systemClock,
    after: (ms, run) =>
      kept(fired =>
        systemClock.after(ms, () => {
          fired();
          run();
        }),
      ),
    every: (ms, run) => kept(() => systemClock.every(ms, run)),
    pending: () => waiting.size,
  };
}

/** Runs `connections` of them. `seed` makes a run repeatable, as far as two ends of a network can be. */
export async function soak(connections: number, seed = 1): Promise<SoakResult> {
  const began = performance.now();
  const handlesBefore = openHandles();
  const random = seeded(seed);
  const below = (bound: number) => Math.floor(random() * bound);
  const sink = memorySink();
  const clock = countingClock();
  const [plain, sealed] = [await freePort(), await freePort()];
  const plane = createDataPlane({ sink, log: quietLog, clock });
  const outcomes = await plane.apply(
    planFor(plain, {
      endpoints: [
        endpoint(plain),
        {
          ...shadowsocksEndpoint(sealed, METHOD, Object.fromEntries(CUSTOMERS.map(name => [name, name]))),
          id: 'e2',
        },
      ],
      credentials: CUSTOMERS.map(name => credential({ id: name, username: name })),
    }),
  );
  if (outcomes.some(one => !one.listening)) throw new Error('the data plane does not listen');
  const none = () => ({
    connections: 0,
    dials: 0,
    clientSent: 0,
    clientRead: 0,
    originRead: 0,
    originWritten: 0,
  });
  const sums = { whole: none(), client: none(), origin: none() };
  const originSockets = new Set<Socket>();
  const origins = new Map<Customer, { server: Server; port: number }>();
  for (const customer of CUSTOMERS) {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
      const sum = sums[customer];
      sum.dials += 1;
      originSockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sum.originWritten += socket.bytesWritten;
        originSockets.delete(socket);
      });
      const stage = customer === 'origin' ? below(6) : 6;
      if (stage === 0) return void socket.destroy();
      if (stage === 1) return void socket.resetAndDestroy();
      if (stage === 2) socket.end('said before it was asked');
      socket.on('data', bytes => {
        sum.originRead += bytes.length;
        if (stage === 3) socket.destroy();
        else if (stage === 4) socket.write(bytes, () => socket.resetAndDestroy());
        else if (stage === 5) socket.end(bytes);
        else if (stage === 6) socket.write(bytes);
      });
      socket.on('end', () => socket.end());
    });
    server.listen(0, HOST);
    await once(server, 'listening');
    origins.set(customer, { server, port: (server.address() as AddressInfo).port });
  }

  let stuck = 0;
  const one = (nth: number) => {
    const customer = CUSTOMERS[below(3)] ?? 'whole';
    const sum = sums[customer];
    const target = { host: HOST, port: origins.get(customer)?.port ?? 0 };
    const payload = Buffer.alloc(below(Math.ceil(random() ** 2 * 60_000)) + 1, 'p');
    const kind = below(3);
    const login = { username: customer, secret: SECRET };
    const stream = kind === 2 ? clientStream(METHOD, target, customer) : null;
    const answer = kind === 0 ? 14 : kind === 1 ? 'HTTP/1.1 200 Connection established\r\n\r\n'.length : 0;
    const head = stream
      ? seal(stream, Buffer.alloc(0))
      : kind === 0
        ? pipelinedSocks5(target, 1, login)
        : Buffer.from(
            `CONNECT ${HOST}:${target.port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(login)}\r\n\r\n`,
          );
    const bytes = Buffer.concat([head, stream ? seal(stream, payload) : payload]);
    // Within the head, right behind it (while the target is dialled), within the payload, or while the answer is read.
    const stage = customer === 'client' ? below(4) : 4;
    const upTo = [below(head.length), head.length, head.length + below(bytes.length - head.length)][stage];
    const readUpTo = stage === 3 ? below(payload.length) : Number.POSITIVE_INFINITY;
    const reset = random() < 0.5;
    sum.connections += 1;
    sum.clientSent += payload.length;
    return new Promise<void>(resolve => {
      const socket = connect({
        host: HOST,
        port: stream ? sealed : plain,
        allowHalfOpen: true,
        // Each customer has many addresses: from a single one, so many broken handshakes are a flood.
        localAddress: `127.9.${nth % 200}.${1 + below(20)}`,
      });
      const leave = () => void (reset ? socket.resetAndDestroy() : socket.destroy());
      const timer = setTimeout(() => {
        stuck += 1;
        socket.destroy();
      }, ONE_MS);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve();
      });
      socket.on('connect', () => {
        if (upTo !== undefined) socket.write(bytes.subarray(0, upTo), leave);
        else if (stage === 3) socket.write(bytes);
        else socket.end(bytes);
      });
      let skip = answer;
      let read = 0;
      socket.on('data', chunk => {
        let fresh = chunk.length;
        if (stream) {
          fresh = stream.opener.open(chunk, Buffer.alloc(stream.opener.bound(chunk.length)));
          if (fresh < 0) throw new Error(`a sealed stream is broken: ${stream.opener.cause}`);
        } else {
          // A page that says why there is no way is no payload.
          if (kind === 1 && skip === answer && !chunk.toString('latin1', 0, 12).endsWith(' 200'))
            skip = Number.POSITIVE_INFINITY;
          const skipped = Math.min(skip, chunk.length);
          skip -= skipped;
          fresh -= skipped;
        }
        read += fresh;
        sum.clientRead += fresh;
        if (read >= readUpTo) leave();
      });
      socket.on('end', () => socket.end());
    });
  };

  const mb = (bytes: number) => Math.round(bytes / 1e5) / 10;
  const memory = async (): Promise<[heap: number, rss: number]> => {
    // The young generation's free halves are given back as well, or they would hide what the process holds.
    giveBackMemory();
    for (let turn = 0; turn < 10; turn += 1) await new Promise(resolve => setTimeout(resolve, 20));
    return [mb(collectedHeap() + process.memoryUsage().external), mb(process.memoryUsage.rss())];
  };
  let started = 0;
  const upTo = async (count: number) => {
    const worker = async () => {
      while (started < count) await one(started++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await ended();
  };
  const state = async () => {
    const [lane] = await plane.metrics();
    const openFlows = (await plane.figures()).reduce((sum, slot) => sum + slot.openFlows, 0);
    return { connections: lane?.connections ?? -1, handshakes: lane?.handshakes ?? -1, openFlows };
  };
  const ended = async () => {
    const deadline = performance.now() + ONE_MS;
    for (;;) {
      const now = await state();
      const busy = now.connections + now.openFlows + originSockets.size > 0;
      if (!busy || performance.now() > deadline) return now;
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  };
  await upTo(Math.floor(connections / 2));
  const half = await memory();
  await upTo(connections);
  const left = await ended();
  const end = await memory();
  await plane.close(0);
  for (const { server } of origins.values()) {
    server.close();
    await once(server, 'close');
  }
  // What is closed leaves the loop at its next turns.
  let handles = newHandles(handlesBefore);
  for (let turn = 0; turn < 100 && handles.length > 0; turn += 1) {
    await new Promise(setImmediate);
    handles = newHandles(handlesBefore);
  }
  const billed = (customer: Customer) => {
    const total = { up: 0, down: 0, flows: 0 };
    for (const delta of sink.deltas)
      if (delta.credentialId === customer) {
        total.up += delta.upBytes;
        total.down += delta.downBytes;
        total.flows += delta.flows;
      }
    return total;
  };
  return {
    connections,
    customers: {
      whole: { ...sums.whole, billed: billed('whole') },
      client: { ...sums.client, billed: billed('client') },
      origin: { ...sums.origin, billed: billed('origin') },
    },
    stuck,
    left: { ...left, timers: clock.pending(), handles },
    heapMb: [half[0], end[0]],
    rssMb: [half[1], end[1]],
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
}

/** Kinds of what keeps this process alive. */
function openHandles(): string[] {
  return process.getActiveResourcesInfo().filter(kind => kind !== 'Immediate' && kind !== 'TickObject');
}

function newHandles(before: readonly string[]): string[] {
  const known = [...before];
  return openHandles().filter(kind => {
    const at = known.indexOf(kind);
    if (at >= 0) known.splice(at, 1);
    return at < 0;
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const values = readFlags({ connections: { type: 'string' }, seed: { type: 'string' } });
  const result = await soak(
    wholeFlag('connections', values.connections ?? '200000', { least: 1, most: 10_000_000 }),
    wholeFlag('seed', values.seed ?? '1', { least: 0, most: 2 ** 32 - 1 }),
  );
  console.log(JSON.stringify(result, null, 2));
  const found = faults(result);
  console.log(found.length === 0 ? 'nothing is wrong' : found.join('\n'));
  process.exitCode = found.length === 0 ? 0 : 1;
}
