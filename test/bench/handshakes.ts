/**
 * Handshakes at random against the real code of a connection, without sockets, for speed: nonsense, and SOCKS5, HTTP, TLS
 * and Shadowsocks heads with pieces changed, cut at random places; clients end, reset, or stay until their
 * deadline. What a client may do must neither throw nor leave anything behind. Every name and address is refused (the
 * only modem is not ready), since what lies behind a handshake is not meant here; nor is TLS itself, which is OpenSSL's.
 * A short run is a test (test/agent/data-plane/handshakes.test.ts); by hand: `npx tsx test/bench/handshakes.ts --count 1000000`.
 */
import { EventEmitter } from 'node:events';
import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Lane } from '@mastline/agent/data-plane/lane';
import { LIMITS } from '@mastline/agent/data-plane/limits';
import { createSharedMemory } from '@mastline/agent/data-plane/shared-memory';
import type { Wire } from '@mastline/agent/data-plane/wire';
import { quietLog } from '@mastline/agent/observe/log';
import { basic, pipelinedSocks5 } from '../agent/data-plane/clients';
import { credential, endpoint, planFor } from '../agent/data-plane/rig';
import {
  clientStream,
  type MethodName,
  seal,
  shadowsocksEndpoint,
} from '../agent/data-plane/shadowsocks-client';
import { fakeClock } from '../support/clock';
import { readFlags, wholeFlag } from '../support/flags';
import { seeded } from '../support/random';

/** Clients that are there at once before all of them go. */
const BATCH = 500;
const SEALED: readonly MethodName[] = ['aes-128-gcm', 'chacha20-ietf-poly1305', '2022-blake3-aes-256-gcm'];

export interface HandshakesResult {
  handshakes: number;
  /** What came of them, by reason; the rest went by themselves. */
  refusals: Record<string, number>;
  answered: number;
  left: { connections: number; strangers: number; associations: number; timers: number };
  /** Collected heap after a tenth of them, and at the end. */
  heapMb: { early: number; end: number };
  seconds: number;
}

/** A client's end of nothing: takes what is written, and says what it is told to say. */
class Puppet extends EventEmitter implements Wire {
  destroyed = false;
  readableEnded = false;
  writableLength = 0;
  localAddress = '127.0.0.1';
  remoteAddress: string;
  written = 0;
  #paused = false;

  constructor(address: string) {
    super();
    this.remoteAddress = address;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  write(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    this.written += bytes.length;
    this.writableLength += bytes.length;
    process.nextTick(() => {
      this.writableLength -= bytes.length;
      done(this.destroyed ? new Error('EPIPE') : null);
    });
  }

  end(): void {
    if (this.readableEnded) this.destroy();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    process.nextTick(() => this.emit('close', false));
  }

  resetAndDestroy(): void {
    this.destroy();
  }

  /** False when nobody reads. */
  say(bytes: Buffer): boolean {
    if (this.destroyed || this.#paused) return false;
    this.emit('data', bytes);
    return true;
  }

  hangUp(how: 'end' | 'reset'): void {
    if (this.destroyed) return;
    if (how === 'end') {
      this.readableEnded = true;
      this.emit('end');
      return;
    }
    this.destroyed = true;
    this.emit('close', true);
  }
}

/** Runs `count` of them; the same `seed` gives the same ones. */
export async function randomHandshakes(count: number, seed = 1): Promise<HandshakesResult> {
  const began = performance.now();
  const random = seeded(seed);
  const below = (bound: number) => Math.floor(random() * bound);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  const clock = fakeClock();
  clock.jumpTo(Date.now());
  const lane = new Lane({
    limits: { ...LIMITS, strangers: 2 ** 30, sourceConnects: 2 ** 30 },
    clock,
    log: quietLog,
    memory: createSharedMemory(1, clock),
    first: true,
    hand: () => undefined,
    settle: () => undefined,
    rotate: async () => ({ kind: 'unavailable', reason: 'not here' }),
  });
  const endpoints = [
    endpoint(1),
    ...SEALED.map((method, at) => ({ ...shadowsocksEndpoint(2 + at, method), id: method })),
  ];
  const egress = { slot: 1, sourceAddress: null, dnsServers: [], ready: false, imei: null, guarded: [] };
  await lane.adopt(planFor(1, { endpoints, credentials: [credential()], egresses: [egress] }));

  const heads = validHeads();
  const sealed = new Map(SEALED.map(method => [method, sealedHeads(method)]));
  const timers = clock.pending();
  const refusals: Record<string, number> = {};
  let answered = 0;
  let early = 0;
  // All reads of a lane go to one memory, so what a session keeps without copying is overwritten here as there.
  const memory = Buffer.alloc(64 * 1024);

  const mutated = (head: Buffer): Buffer => {
    const bytes = Buffer.from(head);
    for (let changes = below(4); changes > 0; changes -= 1) bytes[below(bytes.length)] = below(256);
    const from = random() < 0.1 ? below(bytes.length) : 0;
    const cut = bytes.subarray(from, random() < 0.3 ? from + below(bytes.length - from) : bytes.length);
    return random() < 0.2 ? Buffer.concat([cut, cut.subarray(below(cut.length + 1))]) : cut;
  };
  const nonsense = () => {
    const bytes = Buffer.alloc(below(400));
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = below(256);
    if (bytes.length > 0) bytes[0] = pick([4, 5, 0x16, 0x47, 0x0d, bytes[0] ?? 0]);
    return bytes;
  };

  const talk = (puppet: Puppet, words: Buffer) => {
    let at = 0;
    while (at < words.length) {
      const upTo = random() < 0.5 ? words.length : at + 1 + below(words.length - at);
      const piece = memory.subarray(0, words.copy(memory, 0, at, upTo));
      if (!puppet.say(piece)) return;
      memory.fill(0xa5, 0, piece.length);
      at = upTo;
    }
  };

  for (let done = 0; done < count; done += BATCH) {
    const puppets: Puppet[] = [];
    for (let one = 0; one < Math.min(BATCH, count - done); one += 1) {
      const method = random() < 0.3 ? pick(SEALED) : null;
      const endpointId = method ?? 'e1';
      const puppet = new Puppet(`10.${below(256)}.${below(256)}.${below(256)}`);
      if (!lane.admit(puppet.remoteAddress, endpointId)) throw new Error('a handshake was not let in');
      lane.accept(puppet, endpointId);
      const words =
        random() < 0.2 ? nonsense() : mutated(pick(method ? (sealed.get(method) ?? heads) : heads));
      talk(puppet, words);
      puppets.push(puppet);
    }
    // Those that are to be refused are so in promises.
    await new Promise(setImmediate);
    for (const puppet of puppets) {
      const what = random();
      if (what < 0.2) puppet.hangUp('reset');
      else if (what < 0.6) puppet.hangUp('end');
      else if (what < 0.8) talk(puppet, mutated(pick(heads)));
    }
    await new Promise(setImmediate);
    // Who stays has had its time.
    if ((done / BATCH) % 4 === 3 || done + BATCH >= count) {
      await clock.advance(LIMITS.handshakeMs + 2_000);
      await clock.advance(LIMITS.lingerMs + 2_000);
    }
    answered += puppets.filter(puppet => puppet.written > 0).length;
    if (early === 0 && done >= count / 10) early = collectedHeap();
  }
  Object.assign(refusals, lane.report().figures.refusals);
  const left = {
    connections: lane.connections,
    strangers: lane.entrance.strangers,
    associations: lane.associations.size,
    timers: clock.pending() - timers,
  };
  const end = collectedHeap();
  await lane.close(0);
  const mb = (bytes: number) => Math.round(bytes / 1e4) / 100;
  return {
    handshakes: count,
    refusals,
    answered,
    left,
    heapMb: { early: mb(early), end: mb(end) },
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
}

function validHeads(): Buffer[] {
  const target = { host: '192.0.2.1', port: 443 };
  const name = { host: 'name.example', port: 80 };
  const http = (text: string) => Buffer.from(text.replaceAll('\n', '\r\n'));
  const auth = `Proxy-Authorization: ${basic()}`;
  const hello = Buffer.from('16030100a5010000a10303', 'hex');
  return [
    ...[target, name, { host: '2001:db8::1', port: 1 }].flatMap(to =>
      [1, 2, 3].map(command => pipelinedSocks5(to, command)),
    ),
    pipelinedSocks5(target, 1, { username: 'alice', secret: 'wrong' }),
    pipelinedSocks5(target, 1, { username: 'alice-session-a1-ttl-5m-modem-1', secret: 'correct-horse' }),
    Buffer.from([5, 2, 0, 2]),
    Buffer.concat([Buffer.from([4, 1, 0, 80, 0, 0, 0, 1]), Buffer.from('user\0name.example\0')]),
    http(`CONNECT 192.0.2.1:443 HTTP/1.1\nHost: 192.0.2.1:443\n${auth}\n\nearly bytes`),
    http(`CONNECT [2001:db8::1]:443 HTTP/1.1\nHost: a\nProxy-Authorization: Basic !!!\n\n`),
    http(`GET http://name.example/ HTTP/1.1\nHost: name.example\n${auth}\n\n`.repeat(3)),
    http(`POST http://192.0.2.1/ HTTP/1.1\nHost: a\n${auth}\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n`),
    http(`POST http://192.0.2.1/ HTTP/1.1\nHost: a\n${auth}\nContent-Length: 5\n\nhello`),
    http('GET http://name.example/ HTTP/1.0\n\n'),
    http(`\nOPTIONS * HTTP/1.1\nHost: a\n${auth}\nUpgrade: websocket\nConnection: upgrade\n\n`),
    Buffer.concat([hello, Buffer.alloc(160, 7)]),
  ];
}

function sealedHeads(method: MethodName): Buffer[] {
  return Array.from({ length: 64 }, (_, at) =>
    seal(
      clientStream(
        method,
        { host: at % 2 ? '192.0.2.1' : 'name.example', port: 443 },
        at % 8 === 0 ? 'wrong' : undefined,
      ),
      Buffer.alloc(at * 7, 'p'),
    ),
  );
}

let collect: (() => void) | null = null;

/** Bytes of the heap that are in use when everything else has been collected. */
export function collectedHeap(): number {
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const values = readFlags({ count: { type: 'string' }, seed: { type: 'string' } });
  console.log(
    JSON.stringify(
      await randomHandshakes(
        wholeFlag('count', values.count ?? '1000000', { least: 1, most: 100_000_000 }),
        wholeFlag('seed', values.seed ?? '1', { least: 0, most: 2 ** 32 - 1 }),
      ),
      null,
      2,
    ),
  );
}
