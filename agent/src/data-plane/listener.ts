/**
 * One listening port: opens it, hands every connection on, closes it. A port that cannot be opened is an outcome with
 * a sentence for people, not a fault: the other endpoints go on serving.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { ListenerOutcome } from '../ports';
import type { ListenHandle } from './duplicate-listener';
import { descriptorOf } from './kernel-write';
import type { ReadMemory } from './read-memory';
import { takeHandles } from './tcp-handle';
import { type Peer, type TcpReader, TcpSocket } from './tcp-socket';
import type { Wire } from './wire';

/** Connections that the kernel completes before we accept them. */
const BACKLOG = 1_024;

/** Where to listen: an address, or a handle that listens already (duplicate-listener.ts). */
export type ListenPlace = { host: string; port: number } | { handle: ListenHandle };

export type ListenOutcome = { ok: true; listener: Listener } | { ok: false; problem: Problem };
export type Problem = NonNullable<ListenerOutcome['problem']>;

export interface Listener {
  readonly server: Server;
  /** Descriptor of the port, for another thread to duplicate; null where the platform has none. */
  readonly fd: number | null;
  close(): Promise<void>;
}

export interface Accepting {
  /** What connections read into. */
  reads: ReadMemory;
  /**
   * Asked before anything is made for a connection. False closes it with a reset at once: a flood must not cost
   * memory, and is not answered. True is followed by `accepted`, in the same call.
   */
  admit: (address: string) => boolean;
  accepted: (socket: Wire) => void;
}

/** Listens at `place`. */
export function listen(place: ListenPlace, { reads, admit, accepted }: Accepting): Promise<ListenOutcome> {
  const reader: TcpReader = { memory: view => reads.view(view), views: reads };
  return new Promise(settle => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
      if (admit(socket.remoteAddress ?? '')) accepted(socket);
      else turnAway(socket);
    });
    server.once('error', error => settle({ ok: false, problem: problemOf(error, place) }));
    const listening = () => {
      server.removeAllListeners('error');
      // Errors of single accepts (out of descriptors): the connection is lost, the port stays.
      server.on('error', () => undefined);
      takeHandles(server, BACKLOG, (handle, noDelay) => {
        const peer: Peer = {};
        handle.getpeername(peer);
        if (admit(peer.address ?? '')) accepted(new TcpSocket(handle, reader, { peer, noDelay }));
        else handle.reset();
      });
      settle({ ok: true, listener: { server, fd: descriptorOf(server), close: () => closed(server) } });
    };
    if ('handle' in place) server.listen(place.handle, BACKLOG, listening);
    else server.listen({ ...place, backlog: BACKLOG, exclusive: true }, listening);
  });
}

/** Why nothing could listen there now, or null; the port is free again when this resolves. */
export function portProblem(place: { host: string; port: number }): Promise<Problem | null> {
  return new Promise(settle => {
    const server = createServer(socket => socket.resetAndDestroy());
    server.once('error', error => settle(problemOf(error, place)));
    server.listen({ ...place, exclusive: true }, () => server.close(() => settle(null)));
  });
}

function turnAway(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.resetAndDestroy();
}

/** Resolves when the port is free. Connections of it live on, so this does not wait for the server's own "close". */
function closed(server: Server): Promise<void> {
  server.close();
  return new Promise(resolve => setImmediate(resolve));
}

function problemOf(error: unknown, place: ListenPlace): Problem {
  const where = 'port' in place ? `port ${place.port} on ${place.host}` : 'the handed-over port';
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return {
        code: 'listener/port-taken',
        message: `${where} is taken by another program: stop that program, or choose another port`,
      };
    case 'EACCES':
      return {
        code: 'listener/not-permitted',
        message: `${where} needs more rights: choose a port from 1024 on, or give the agent CAP_NET_BIND_SERVICE`,
      };
    case 'EADDRNOTAVAIL':
      return {
        code: 'listener/no-such-address',
        message: `${where} cannot be opened: this machine has no such address; listen on one that it has, or on 0.0.0.0`,
      };
    default:
      return { code: 'listener/failed', message: `${where} cannot be opened: ${messageOf(error)}` };
  }
}
