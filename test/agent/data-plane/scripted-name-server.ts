/**
 * A name server that does what a test says, by UDP and TCP on one port: silence, lies, cut answers, other answers each
 * time. The well-behaved one of the virtual carrier is simulators/name-server.ts.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { type Answer, decode, encode, type Packet } from 'dns-packet';

export interface Asked {
  name: string;
  type: string;
  transport: 'udp' | 'tcp';
  /** Who asked. */
  from: string;
  port: number;
  edns: boolean;
  /** How often this name and type had been asked for before. */
  before: number;
  packet: Packet;
}

/** Null: no answer at all. Bytes go out as they are; a list goes out one after the other. */
export type Reply = Partial<Packet> | Buffer | null | (Partial<Packet> | Buffer)[];

export interface ScriptedNameServer {
  /** As in `dnsServers`. */
  server: string;
  port: number;
  asked: Asked[];
  /** How often `name` was asked for. */
  count(name: string, type?: string): number;
  close(): Promise<void>;
}

export const RCODE = { format: 1, failure: 2, nxdomain: 3, refused: 5 } as const;

export const a = (name: string, data: string, ttl = 60): Answer => ({ type: 'A', name, ttl, data });
export const aaaa = (name: string, data: string, ttl = 60): Answer => ({ type: 'AAAA', name, ttl, data });
export const soa = (ttl: number, minimum: number): Answer => ({
  type: 'SOA',
  name: 'example',
  ttl,
  data: { mname: 'ns.example', rname: 'me.example', serial: 1, refresh: 2, retry: 3, expire: 4, minimum },
});

/** Answers by `script`, on a free port of `host`. */
export async function startNames(
  script: (asked: Asked) => Reply | Promise<Reply>,
  host = '127.0.0.1',
): Promise<ScriptedNameServer> {
  const asked: Asked[] = [];
  const answers = async (
    query: Buffer,
    transport: Asked['transport'],
    by: { from: string; port: number },
  ): Promise<Buffer[]> => {
    const packet = decode(query);
    const question = packet.questions?.[0];
    if (!question) throw new Error('a query without a question');
    const { name, type } = question;
    const before = asked.filter(one => one.name === name && one.type === type).length;
    const edns = packet.additionals?.some(one => one.type === 'OPT') ?? false;
    const one: Asked = { name, type, transport, ...by, edns, before, packet };
    asked.push(one);
    const reply = await script(one);
    const replies = reply === null ? [] : Array.isArray(reply) ? reply : [reply];
    const usual: Packet = {
      type: 'response',
      ...(packet.id === undefined ? {} : { id: packet.id }),
      questions: [question],
    };
    return replies.map(each => (Buffer.isBuffer(each) ? each : encode({ ...usual, ...each })));
  };

  const sockets = new Set<Socket>();
  const tcp = createServer(socket => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', query => {
      const by = { from: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
      void answers(query.subarray(2), 'tcp', by).then(replies => {
        for (const each of replies) {
          // In two pieces, as networks may.
          const framed = Buffer.concat([Buffer.from([each.length >> 8, each.length & 0xff]), each]);
          socket.write(framed.subarray(0, 1));
          socket.write(framed.subarray(1));
        }
        if (replies.length === 0) socket.destroy();
      });
    });
  });
  tcp.listen(0, host);
  await once(tcp, 'listening');
  const place = tcp.address();
  if (place === null || typeof place === 'string') throw new Error('no port');
  const udp = createSocket('udp4');
  udp.on('message', (query, from) => {
    void answers(query, 'udp', { from: from.address, port: from.port }).then(replies => {
      for (const each of replies) udp.send(each, from.port, from.address, () => undefined);
    });
  });
  udp.bind(place.port, host);
  await once(udp, 'listening');
  return {
    server: `${host}:${place.port}`,
    port: place.port,
    asked,
    count: (name, type) => asked.filter(one => one.name === name && (!type || one.type === type)).length,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>(resolve => udp.close(() => resolve()));
      await new Promise<void>(resolve => tcp.close(() => resolve()));
    },
  };
}
