/** Asks the machine's own name servers, message for message, for names that the virtual carrier does not know. */
import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect, isIP } from 'node:net';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Forward } from './name-server';

const UDP_DEADLINE_MS = 2000;
const TCP_DEADLINE_MS = 5000;

/** Forwards to the first of the system's name servers that answers. Rejects with `simulator/no-resolver`. */
export const askHost: Forward = async (query, transport) => {
  let last: unknown;
  for (const server of getServers()) {
    const { host, port } = parse(server);
    try {
      if (transport === 'udp') return await askUdp(query, host, port);
      // Some resolvers speak UDP only; their answer fits over TCP, too.
      return await askTcp(query, host, port).catch(() => askUdp(query, host, port));
    } catch (error) {
      last = error;
    }
  }
  throw new CodedError('simulator/no-resolver', 'none of the name servers of this machine answered', {
    cause: last,
  });
};

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`. */
function parse(server: string): { host: string; port: number } {
  if (isIP(server)) return { host: server, port: 53 };
  const match = /^\[?(.*?)\]?:(\d+)$/.exec(server);
  return { host: match?.[1] ?? server, port: Number(match?.[2] ?? 53) };
}

function askUdp(query: Buffer, host: string, port: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    const timer = setTimeout(
      () => finish(new Error(`no answer of ${host} within ${UDP_DEADLINE_MS} ms`)),
      UDP_DEADLINE_MS,
    );
    const finish = (outcome: Buffer | Error) => {
      clearTimeout(timer);
      socket.close();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    socket.once('error', finish);
    socket.connect(port, host, () => {
      socket.once('message', answer => finish(answer));
      socket.send(query);
    });
  });
}

function askTcp(query: Buffer, host: string, port: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: TCP_DEADLINE_MS });
    let held: Buffer = Buffer.alloc(0);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.on('connect', () => socket.write(Buffer.concat([length, query])));
    socket.on('timeout', () =>
      socket.destroy(new Error(`no answer of ${host} within ${TCP_DEADLINE_MS} ms`)),
    );
    socket.on('data', chunk => {
      held = Buffer.concat([held, chunk]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE(0)) return;
      resolve(held.subarray(2, 2 + held.readUInt16BE(0)));
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`${host} closed without an answer`)));
  });
}
