/**
 * A TCP relay before a TLS server that notes every TLS record (RFC 8446 section 5.1) that passes, with the instant by
 * a given clock; and what those records cost on a wire, with TCP/IP headers and acknowledgements counted in.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

const RECORD_HEADER_BYTES = 5;

export interface Passed {
  connection: number;
  direction: 'up' | 'down';
  /** The whole record, header included. */
  bytes: number;
  atMs: number;
}

export class WireMeter {
  readonly passed: Passed[] = [];
  connections = 0;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #waiters: { holds: () => boolean; resolve: () => void }[] = [];

  constructor(
    target: () => number,
    readonly nowMs: () => number,
  ) {
    this.#server = createServer(client => {
      this.connections += 1;
      const connection = this.connections;
      const server = connect(target(), '127.0.0.1');
      for (const [from, to, direction] of [
        [client, server, 'up'],
        [server, client, 'down'],
      ] as const) {
        this.#open.add(from);
        let rest: Buffer = Buffer.alloc(0);
        from.on('data', (chunk: Buffer) => {
          to.write(chunk);
          rest = this.#note(Buffer.concat([rest, chunk]), { connection, direction });
        });
        from.on('end', () => to.end()).on('error', () => to.destroy());
        from.on('close', () => {
          this.#open.delete(from);
          to.destroy();
        });
      }
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resolves when `holds`, looked at after each record. */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise(resolve => this.#waiters.push({ holds, resolve }));
  }

  /** Breaks every connection, as a carrier does. */
  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #note(bytes: Buffer, from: Pick<Passed, 'connection' | 'direction'>): Buffer {
    let rest = bytes;
    while (rest.length >= RECORD_HEADER_BYTES) {
      const length = RECORD_HEADER_BYTES + rest.readUInt16BE(3);
      if (rest.length < length) break;
      this.passed.push({ ...from, bytes: length, atMs: this.nowMs() });
      rest = rest.subarray(length);
    }
    const holding = this.#waiters.filter(({ holds }) => holds());
    this.#waiters = this.#waiters.filter(waiter => !holding.includes(waiter));
    for (const { resolve } of holding) resolve();
    return rest;
  }
}

export interface WireCost {
  /** IP and TCP headers of one packet with the timestamps option: 52 for IPv4, 72 for IPv6. */
  headerBytes: number;
  /** What else a new connection costs: looking the name up, a longer chain of certificates than the test's. */
  connectionBytes: number;
}

const SEGMENT_BYTES = 1_388;

/**
 * Bytes on the wire for what passed. Dear where in doubt: each record is a packet (or several) of its own, and each
 * is acknowledged by a packet of its own unless the other side answers at once.
 */
export function wireBytes(passed: readonly Passed[], { headerBytes, connectionBytes }: WireCost): number {
  const connections = new Map<number, Passed[]>();
  for (const record of passed) {
    const same = connections.get(record.connection);
    if (same) same.push(record);
    else connections.set(record.connection, [record]);
  }
  let total = 0;
  for (const records of connections.values()) {
    // SYN, SYN-ACK, ACK; FIN and ACK each way.
    total += connectionBytes + 7 * headerBytes;
    for (const [index, { bytes, direction, atMs }] of records.entries()) {
      const packets = Math.ceil(bytes / SEGMENT_BYTES);
      const next = records[index + 1];
      const answered = next !== undefined && next.direction !== direction && next.atMs === atMs;
      total += bytes + headerBytes * (packets + (answered ? packets - 1 : packets));
    }
  }
  return total;
}
