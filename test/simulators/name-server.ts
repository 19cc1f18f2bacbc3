/**
 * The carrier's name server: knows the names of the virtual network and hands all others to `forward`, bytes as they
 * came. UDP and TCP. It keeps no cache.
 */
import { createSocket } from 'node:dgram';
import { createServer, isIPv6, type Socket } from 'node:net';
import { decode, encode, type Packet } from 'dns-packet';

/** Queries being forwarded at once; more are answered SERVFAIL. */
const MAX_FORWARDED = 256;
const TCP_IDLE_MS = 10_000;
const SERVFAIL = 2;
const NXDOMAIN = 3;
const FLAG_RECURSION_AVAILABLE = 1 << 7;
const FLAG_RECURSION_DESIRED = 1 << 8;
const FLAG_AUTHORITATIVE = 1 << 10;

export type Transport = 'udp' | 'tcp';
export type Forward = (query: Buffer, transport: Transport) => Promise<Buffer>;

export interface NameServerOptions {
  host: string;
  port: number;
  /** Addresses of each own name, lower case. Other names under `.test` do not exist. */
  names: Record<string, readonly string[]>;
  forward: Forward;
}

export interface NameServer {
  address: string;
  port: number;
  close(): Promise<void>;
}

/** Listens on UDP and TCP of the same port; rejects with the system's error when it cannot. */
export async function startNameServer(options: NameServerOptions): Promise<NameServer> {
  let forwarded = 0;
  const respond = async (query: Buffer, transport: Transport): Promise<Buffer | undefined> => {
    const own = ownAnswer(query, options.names);
    if (own !== 'forward') return own;
    if (forwarded >= MAX_FORWARDED) return failure(query);
    forwarded += 1;
    try {
      return await options.forward(query, transport);
    } catch {
      return failure(query);
    } finally {
      forwarded -= 1;
    }
  };

  const udp = createSocket(isIPv6(options.host) ? 'udp6' : 'udp4');
  udp.on('message', (query, from) => {
    void respond(query, 'udp').then(answer => {
      // The asker may be gone, or we may be closing; DNS over UDP promises nothing.
      if (answer) udp.send(answer, from.port, from.address, () => undefined);
    });
  });
  await new Promise<void>((resolve, reject) => {
    udp.once('error', reject);
    udp.bind({ address: options.host, port: options.port }, () => {
      udp.off('error', reject);
      resolve();
    });
  });
  const port = udp.address().port;

  const open = new Set<Socket>();
  const tcp = createServer(socket => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    serveTcp(socket, respond);
  });
  await new Promise<void>((resolve, reject) => {
    tcp.once('error', reject);
    tcp.listen({ host: options.host, port }, () => resolve());
  });
  return {
    address: options.host,
    port,
    close: () =>
      new Promise(resolve => {
        for (const socket of open) socket.destroy();
        udp.close(() => tcp.close(() => resolve()));
      }),
  };
}

/** RFC 7766: each message behind its length in two bytes. */
function serveTcp(
  socket: Socket,
  respond: (query: Buffer, transport: Transport) => Promise<Buffer | undefined>,
) {
  let held: Buffer = Buffer.alloc(0);
  socket.on('data', chunk => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const end = 2 + held.readUInt16BE(0);
      const query = Buffer.from(held.subarray(2, end));
      held = held.subarray(end);
      void respond(query, 'tcp').then(answer => {
        if (!answer || !socket.writable) return;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        socket.write(Buffer.concat([length, answer]));
      });
    }
  });
}

/** The answer for our own names, nothing for what is no query, `forward` for the rest. */
function ownAnswer(query: Buffer, names: NameServerOptions['names']): Buffer | 'forward' | undefined {
  let packet: Packet;
  try {
    packet = decode(query);
  } catch {
    return undefined;
  }
  const question = packet.questions?.[0];
  if (packet.type !== 'query' || !question) return undefined;
  const name = question.name.toLowerCase();
  const addresses = names[name];
  if (addresses === undefined && name !== 'test' && !name.endsWith('.test')) return 'forward';
  return encode({
    type: 'response',
    ...(packet.id === undefined ? {} : { id: packet.id }),
    flags:
      FLAG_AUTHORITATIVE |
      FLAG_RECURSION_AVAILABLE |
      ((packet.flags ?? 0) & FLAG_RECURSION_DESIRED) |
      (addresses === undefined ? NXDOMAIN : 0),
    questions: [question],
    answers: (addresses ?? []).flatMap(data => {
      const type = isIPv6(data) ? ('AAAA' as const) : ('A' as const);
      return question.type === type ? [{ type, name: question.name, ttl: 5, data }] : [];
    }),
  });
}

function failure(query: Buffer): Buffer {
  const packet = decode(query);
  return encode({
    type: 'response',
    ...(packet.id === undefined ? {} : { id: packet.id }),
    flags: FLAG_RECURSION_AVAILABLE | SERVFAIL,
    questions: packet.questions ?? [],
  });
}
