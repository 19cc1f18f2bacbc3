/**
 * A Shadowsocks server of a few lines around the codec, for tests with real clients: sockets, and nothing that a
 * product needs (policy, deadlines, metering). It also shows in what order the codec wants to be called.
 */
import dgram from 'node:dgram';
import net from 'node:net';
import type { Clock } from '@mastline/shared/base/clock';
import { addressBytes } from '@mastline/shared/protocols/shadowsocks/address';
import type { ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import {
  createShadowsocksServer,
  type ShadowsocksServer,
} from '@mastline/shared/protocols/shadowsocks/server';
import type { StreamOpener, StreamSealer } from '@mastline/shared/protocols/shadowsocks/stream';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';

interface Association {
  socket: dgram.Socket;
  /** Where the client was last. */
  client: dgram.RemoteInfo;
}

export interface TinyServer {
  port: number;
  /** Users of the requests, and of the first datagrams of sessions, in order. */
  seen: string[];
  /** Causes of silence and of dropped datagrams, in order. */
  refused: string[];
  close(): Promise<void>;
}

export async function tinyServer(
  method: ShadowsocksMethod,
  users: ShadowsocksUsers<string>,
  clock: Pick<Clock, 'now' | 'monotonicMs'> = { now: Date.now, monotonicMs: () => performance.now() },
): Promise<TinyServer> {
  const salts = createSaltStore({ capacity: 1024, keepMs: null, clock });
  const packetSalts = createSaltStore({ capacity: 1024, keepMs: null, clock });
  const codec = createShadowsocksServer<string, Association>({ method, users, salts, packetSalts, clock });
  const seen: string[] = [];
  const refused: string[] = [];
  const open = new Set<net.Socket>();
  const track = (socket: net.Socket) =>
    open.add(socket).size && socket.on('close', () => open.delete(socket));
  const tcp = net.createServer({ allowHalfOpen: true }, client => {
    track(client);
    serve({ codec, client, seen, refused, track });
  });
  await new Promise<void>(resolve => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as net.AddressInfo;
  const udp = dgram.createSocket('udp4');
  await new Promise<void>(resolve => udp.bind(port, '127.0.0.1', resolve));
  const associations = new Set<dgram.Socket>();
  udp.on('message', (packet, client) =>
    relayPacket({ codec, udp, associations, seen, refused }, packet, client),
  );
  return {
    port,
    seen,
    refused,
    close: async () => {
      for (const socket of open) socket.destroy();
      for (const socket of associations) socket.close();
      await Promise.all([
        new Promise(resolve => tcp.close(resolve)),
        new Promise<void>(resolve => udp.close(resolve)),
      ]);
    },
  };
}

interface Serving {
  codec: ShadowsocksServer<string, Association>;
  client: net.Socket;
  seen: string[];
  refused: string[];
  track(socket: net.Socket): void;
}

function serve({ codec, client, seen, refused, track }: Serving): void {
  const handshake = codec.handshake(client.remoteAddress ?? '');
  client.on('error', () => client.destroy());
  const onData = (bytes: Buffer) => {
    const step = handshake.feed(bytes);
    if (step.kind === 'more') return;
    client.off('data', onData);
    if (step.kind === 'silent') {
      refused.push(step.cause);
      client.resume();
      return;
    }
    seen.push(step.user);
    client.pause();
    const origin = net.connect({ ...step.target, allowHalfOpen: true });
    track(origin);
    origin.on('error', () => client.destroy());
    client.on('error', () => origin.destroy());
    if (step.payload.length > 0) origin.write(step.payload);
    pipeOpened(client, origin, step.stream.opener);
    pipeSealed(origin, client, step.stream.sealer);
  };
  client.on('data', onData);
}

/** Sealed bytes of `from`, opened, to `to`; with back-pressure and half-close. */
export function pipeOpened(from: net.Socket, to: net.Socket, opener: StreamOpener): void {
  from.on('data', sealed => {
    const out = Buffer.alloc(opener.bound(sealed.length));
    const opened = opener.open(sealed, out);
    if (opened < 0) return void to.destroy(new Error(`stream broken: ${opener.cause}`));
    if (opened > 0 && !to.write(out.subarray(0, opened))) {
      from.pause();
      to.once('drain', () => from.resume());
    }
  });
  from.on('end', () => to.end());
  from.resume();
}

/** Plain bytes of `from`, sealed, to `to`; with back-pressure and half-close. */
export function pipeSealed(from: net.Socket, to: net.Socket, sealer: StreamSealer): void {
  from.on('data', plain => {
    const out = Buffer.alloc(sealer.bound(plain.length));
    if (!to.write(out.subarray(0, sealer.seal(plain, out)))) {
      from.pause();
      to.once('drain', () => from.resume());
    }
  });
  from.on('end', () => to.end());
}

interface Packets {
  codec: ShadowsocksServer<string, Association>;
  udp: dgram.Socket;
  associations: Set<dgram.Socket>;
  seen: string[];
  refused: string[];
}

function relayPacket(port: Packets, packet: Buffer, client: dgram.RemoteInfo): void {
  const outcome = port.codec.packets.open(packet, `${client.address}:${client.port}`);
  if (outcome.kind === 'drop') return void port.refused.push(outcome.cause);
  const { session } = outcome;
  if (!session.association) {
    port.seen.push(session.user);
    const socket = dgram.createSocket('udp4');
    const association: Association = { socket, client };
    session.association = association;
    port.associations.add(socket);
    const out = Buffer.alloc(70_000);
    socket.on('message', (payload, sender) => {
      const from = addressBytes({ host: sender.address, port: sender.port });
      const bytes = port.codec.packets.seal(session, { from, payload }, out);
      port.udp.send(Buffer.from(out.subarray(0, bytes)), association.client.port, association.client.address);
    });
  }
  session.association.client = client;
  session.association.socket.send(outcome.payload, outcome.target.port, outcome.target.host);
}
