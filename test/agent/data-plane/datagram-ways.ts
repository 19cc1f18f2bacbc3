/**
 * Ways for datagrams through the data plane, one shape for SOCKS5's UDP ASSOCIATE and Shadowsocks: what a program that
 * speaks UDP would have behind it. A way can move to another port of the client, as a phone does whose NAT forgot it.
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { requestMessage } from '@mastline/shared/protocols/socks5-client';
import { parseSocks5Datagram, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import type { Target } from '@mastline/shared/protocols/target';
import { ALICE, type Login, pipelinedSocks5, tcp } from './clients';
import { readExactly } from './rig';
import { type MethodName, packetCodec } from './shadowsocks-client';

const HOST = '127.0.0.1';

export interface Datagram {
  from: Target;
  payload: Buffer;
}

export interface DatagramWay {
  send(target: Target, payload: Buffer): void;
  /** Who hears what comes; each hears all. */
  heard(hear: (datagram: Datagram) => void): void;
  /** Sends from a new port from now on. What comes to the old one is still heard. */
  move(): Promise<void>;
  /** Sends from the first port again. */
  moveBack(): void;
  close(): Promise<void>;
}

interface Codec {
  seal(target: Target, payload: Buffer): Buffer;
  /** Null for what is none of ours. */
  open(packet: Buffer): Datagram | null;
}

async function wayTo(
  port: number,
  codec: Codec,
  closing: () => void = () => undefined,
): Promise<DatagramWay> {
  const hearers: ((datagram: Datagram) => void)[] = [];
  const sockets: dgram.Socket[] = [];
  const open = async () => {
    const socket = dgram.createSocket('udp4');
    sockets.push(socket);
    socket.on('message', packet => {
      const datagram = codec.open(packet);
      if (!datagram) throw new Error('a datagram that the proxy did not make');
      for (const hear of hearers) hear(datagram);
    });
    socket.bind(0, HOST);
    await once(socket, 'listening');
    return socket;
  };
  const first = await open();
  let current = first;
  return {
    send: (target, payload) => current.send(codec.seal(target, payload), port, HOST),
    heard: hear => void hearers.push(hear),
    async move() {
      current = await open();
    },
    moveBack() {
      current = first;
    },
    async close() {
      closing();
      for (const socket of sockets) await new Promise<void>(done => socket.close(done));
    },
  };
}

/** A way through UDP ASSOCIATE at the SOCKS5 port `port`; `login` is null where none is asked for. */
export async function socks5Way(port: number, login: Login | null = ALICE): Promise<DatagramWay> {
  const control = await tcp(port);
  const target = { host: '0.0.0.0', port: 0 };
  const request = login
    ? pipelinedSocks5(target, 3, login)
    : Buffer.concat([Buffer.from([5, 1, 0]), requestMessage(3, target)]);
  control.write(request);
  const reply = (await readExactly(control, login ? 14 : 12)).subarray(login ? 4 : 2);
  if (reply[1] !== 0) throw new Error(`UDP ASSOCIATE: reply ${reply[1]}`);
  const codec: Codec = {
    seal: socks5Datagram,
    open(packet) {
      const read = parseSocks5Datagram(packet);
      return read.kind === 'datagram' ? { from: read.target, payload: read.payload } : null;
    },
  };
  return wayTo(reply.readUInt16BE(8), codec, () => control.destroy());
}

/** A way through the Shadowsocks port `port`. */
export function shadowsocksWay(port: number, method: MethodName): Promise<DatagramWay> {
  const codec = packetCodec(method);
  const out = Buffer.alloc(4_096);
  return wayTo(port, {
    // The kernel may take it later than this call.
    seal: (target, payload) => Buffer.from(out.subarray(0, codec.seal(target, payload, out))),
    open: packet => codec.open(packet),
  });
}

/** No proxy's way: what is sent to `port` goes where whoever listens there takes it. */
export function plainWay(port: number): Promise<DatagramWay> {
  const from = { host: HOST, port };
  return wayTo(port, { seal: (_target, payload) => payload, open: payload => ({ from, payload }) });
}
