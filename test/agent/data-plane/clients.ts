/** Clients that speak to a proxy byte by byte, for what real ones cannot be made to do. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { requestMessage, Socks5Client } from '@mastline/shared/protocols/socks5-client';
import { SECRET } from './rig';

export interface Login {
  username: string;
  secret: string;
}

export const ALICE: Login = { username: 'alice', secret: SECRET };

/** A plain TCP connection that may stay half-open. */
export async function tcp(port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true, noDelay: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Opens a way through SOCKS5; the answer is the socket, or the reply code of the refusal. */
export async function socks5(
  port: number,
  target: { host: string; port: number },
  login: Login = ALICE,
): Promise<{ socket: Socket; reply: 0 } | { socket: null; reply: number }> {
  const socket = await tcp(port);
  const client = new Socks5Client(target, login);
  socket.write(client.greeting());
  return new Promise((resolve, reject) => {
    const onEnd = () => reject(new Error('closed during the handshake'));
    const onData = (bytes: Buffer) => {
      client.feed(bytes);
      for (let step = client.next(); step.kind !== 'more'; step = client.next()) {
        if (step.kind === 'send') {
          socket.write(step.bytes);
          continue;
        }
        socket.off('data', onData);
        socket.off('close', onEnd);
        socket.pause();
        if (step.kind === 'connected') {
          if (step.surplus.length > 0) socket.unshift(step.surplus);
          resolve({ socket, reply: 0 });
        } else {
          socket.destroy();
          resolve({ socket: null, reply: step.reply ?? -1 });
        }
        return;
      }
    };
    socket.on('data', onData);
    socket.once('close', onEnd);
  });
}

/** The same where a refusal fails the test. */
export async function openTunnel(port: number, originPort: number, login: Login = ALICE): Promise<Socket> {
  const { socket, reply } = await socks5(port, { host: '127.0.0.1', port: originPort }, login);
  if (!socket) throw new Error(`SOCKS5 reply ${reply}`);
  return socket;
}

/** Greeting, password and request in one piece, without waiting for replies. */
export function pipelinedSocks5(
  target: { host: string; port: number },
  command = 1,
  login: Login = ALICE,
): Buffer {
  const user = Buffer.from(login.username);
  const secret = Buffer.from(login.secret);
  return Buffer.concat([
    Buffer.from([5, 1, 2, 1, user.length]),
    user,
    Buffer.from([secret.length]),
    secret,
    requestMessage(command, target),
  ]);
}

/** The value of `Proxy-Authorization`. */
export function basic(login: Login = ALICE): string {
  return `Basic ${Buffer.from(`${login.username}:${login.secret}`).toString('base64')}`;
}
