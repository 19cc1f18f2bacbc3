/**
 * A client and a server that use UDP as QUIC does (RFC 9000), without its cryptography: connection IDs instead of
 * addresses, datagrams of 1,200 to 1,452 bytes whose content follows from their number, bursts out of order, and a
 * path that is validated before it is used when a client comes from another address. Nothing is sent twice: what is
 * lost stays missing, and who waits for it says so. The ways through a proxy are datagram-ways.ts.
 *
 *     | kind 1 | connection ID 8 | packet number 4 | packets in this burst 2 | content … |
 */
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { eventually } from '../../support/eventually';
import { seeded } from '../../support/random';
import type { DatagramWay } from './datagram-ways';

/** RFC 9000 section 14: no Initial is smaller; what fits an Ethernet frame of IPv4 behind a tunnel's header. */
export const SMALLEST = 1_200;
export const LARGEST = 1_452;
const HEADER_BYTES = 15;
const KINDS = { initial: 0xc0, data: 0x40, challenge: 0x1a, response: 0x1b } as const;

interface Packet {
  kind: number;
  connection: string;
  number: number;
  burst: number;
  content: Buffer;
}

function write(packet: Omit<Packet, 'content'>, content: Buffer): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes[0] = packet.kind;
  bytes.write(packet.connection, 1, 'hex');
  bytes.writeUInt32BE(packet.number, 9);
  bytes.writeUInt16BE(packet.burst, 13);
  return Buffer.concat([bytes, content]);
}

const read = (bytes: Buffer): Packet => ({
  kind: bytes[0] ?? 0,
  connection: bytes.toString('hex', 1, 9),
  number: bytes.readUInt32BE(9),
  burst: bytes.readUInt16BE(13),
  content: bytes.subarray(HEADER_BYTES),
});

/** What a packet's number says that it holds: every size between the bounds comes up, and no two are alike. */
export function contentOf(connection: string, number: number): Buffer {
  const sizes = LARGEST - SMALLEST + 1;
  const random = seeded(Number.parseInt(connection.slice(0, 8), 16) ^ number);
  const content = Buffer.alloc(SMALLEST + (number % sizes) - HEADER_BYTES);
  for (let at = 0; at + 4 <= content.length; at += 4)
    content.writeUInt32BE(Math.floor(random() * 2 ** 32), at);
  return content;
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const all = [...list];
  for (let at = all.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [all[at], all[other]] = [all[other] as T, all[at] as T];
  }
  return all;
}

interface Connection {
  /** Where answers go: the last path that was validated. */
  path: { address: string; port: number };
  paths: Set<string>;
  challenge: { bytes: string; path: { address: string; port: number } } | null;
  burst: Packet[];
}

export interface QuicServer {
  port: number;
  /** Of datagrams that came and went. */
  heardBytes: number;
  saidBytes: number;
  /** Content that was not what its number says. */
  corrupt: number;
  /** Paths by which a connection came, as `address:port`. */
  paths(connection: string): string[];
  /** Answers from another port from now on, as a server with a preferred address does. */
  answerFromAnotherPort(): Promise<number>;
  close(): Promise<void>;
}

/** Answers each packet of a burst with one of the same number when the whole burst is there, in another order. */
export async function startQuicServer(): Promise<QuicServer> {
  const first = await bound();
  let answering = first;
  const connections = new Map<string, Connection>();
  const random = seeded(7);

  const say = (bytes: Buffer, to: { address: string; port: number }) => {
    server.saidBytes += bytes.length;
    answering.send(bytes, to.port, to.address);
  };
  const take = (bytes: Buffer, from: dgram.RemoteInfo) => {
    server.heardBytes += bytes.length;
    const packet = read(bytes);
    const path = { address: from.address, port: from.port };
    const known = connections.get(packet.connection);
    if (packet.kind === KINDS.initial && bytes.length >= SMALLEST && !known) {
      connections.set(packet.connection, { path, paths: new Set([name(path)]), challenge: null, burst: [] });
      say(write(packet, contentOf(packet.connection, packet.number)), path);
      return;
    }
    if (!known) return;
    if (packet.kind === KINDS.response) {
      if (known.challenge?.bytes !== packet.content.toString('hex', 0, 8)) return;
      known.path = known.challenge.path;
      known.challenge = null;
    } else if (!known.paths.has(name(path))) {
      known.paths.add(name(path));
      const challenge = Buffer.alloc(SMALLEST - HEADER_BYTES);
      challenge.set(randomBytes(8));
      known.challenge = { bytes: challenge.toString('hex', 0, 8), path };
      say(write({ ...packet, kind: KINDS.challenge }, challenge), path);
    }
    if (packet.kind === KINDS.data) {
      if (!packet.content.equals(contentOf(packet.connection, packet.number))) server.corrupt += 1;
      known.burst.push({ ...packet, content: Buffer.alloc(0) });
    }
    if (known.challenge || known.burst.length === 0 || known.burst.length < (known.burst[0]?.burst ?? 0))
      return;
    const burst = known.burst;
    known.burst = [];
    for (const one of shuffled(burst, random))
      say(write(one, contentOf(one.connection, one.number)), known.path);
  };
  first.on('message', take);

  const server: QuicServer = {
    port: first.address().port,
    heardBytes: 0,
    saidBytes: 0,
    corrupt: 0,
    paths: connection => [...(connections.get(connection)?.paths ?? [])],
    async answerFromAnotherPort() {
      answering = await bound();
      return answering.address().port;
    },
    async close() {
      for (const socket of new Set([first, answering])) await new Promise<void>(done => socket.close(done));
    },
  };
  return server;
}

const name = (path: { address: string; port: number }) => `${path.address}:${path.port}`;

async function bound(): Promise<dgram.Socket> {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

export interface QuicClient {
  /** Its connection ID. */
  readonly id: string;
  heardBytes: number;
  saidBytes: number;
  corrupt: number;
  /** Ports of the server from which answers came. */
  readonly ports: Set<number>;
  /** Sends a burst out of order and waits for all of its answers; rejects when one is missing. */
  burst(packets: number): Promise<void>;
}

/** Opens a connection to the server at `port` over a way. */
export async function openQuic(way: DatagramWay, port: number, seed: number): Promise<QuicClient> {
  const random = seeded(seed);
  const id = Buffer.alloc(8, seed).toString('hex');
  const awaited = new Set<number>();
  let next = 0;
  const send = (bytes: Buffer) => {
    client.saidBytes += bytes.length;
    way.send({ host: '127.0.0.1', port }, bytes);
  };
  way.heard(({ from, payload }) => {
    const packet = read(payload);
    if (packet.connection !== id) return;
    client.heardBytes += payload.length;
    client.ports.add(from.port);
    if (packet.kind === KINDS.challenge) {
      send(write({ ...packet, kind: KINDS.response }, packet.content));
      return;
    }
    if (!packet.content.equals(contentOf(id, packet.number)) || !awaited.delete(packet.number))
      client.corrupt += 1;
  });
  const client: QuicClient = {
    id,
    heardBytes: 0,
    saidBytes: 0,
    corrupt: 0,
    ports: new Set(),
    async burst(packets) {
      const numbers = Array.from({ length: packets }, () => next++);
      for (const number of numbers) awaited.add(number);
      for (const number of shuffled(numbers, random))
        send(write({ kind: KINDS.data, connection: id, number, burst: packets }, contentOf(id, number)));
      await eventually(() => awaited.size === 0, 'every packet of the burst to be answered');
    },
  };
  awaited.add(next);
  send(write({ kind: KINDS.initial, connection: id, number: next, burst: 1 }, contentOf(id, next)));
  next += 1;
  await eventually(() => awaited.size === 0, 'the answer to the first packet');
  return client;
}
