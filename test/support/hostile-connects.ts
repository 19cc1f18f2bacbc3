/**
 * Strangers by the thousand: connects to a port, says nothing, one byte or nonsense, and stays until it is thrown out or
 * gives up. From one address or from many of 127.x, which the kernel takes as different sources.
 */
import { connect, type Socket } from 'node:net';

export interface Hostility {
  port: number;
  connections: number;
  /** At once: a stranger that stays is given up for the next one when so many are open. */
  open: number;
  /** What the n-th says. */
  say: (nth: number) => Uint8Array | null;
  /** From where the n-th comes. */
  from: (nth: number) => string;
}

/** Resolves when all of them have come and gone; how many the other side threw out. */
export async function hostileConnects(hostility: Hostility): Promise<{ thrownOut: number }> {
  const { port, connections, open, say, from } = hostility;
  const there: Set<Socket> = new Set();
  let [begun, over, thrownOut] = [0, 0, 0];
  await new Promise<void>(resolve => {
    const more = () => {
      // A few in one go, so that answers are heard between them.
      for (let turn = 0; turn < 32 && begun < connections; turn += 1) {
        const nth = begun++;
        const socket = connect({ port, host: '127.0.0.1', localAddress: from(nth) });
        there.add(socket);
        let ours = false;
        socket.on('connect', () => {
          const bytes = say(nth);
          if (bytes) socket.write(bytes);
        });
        socket.on('error', () => undefined);
        socket.on('data', () => undefined);
        socket.on('close', () => {
          if (there.delete(socket) && !ours) thrownOut += 1;
          over += 1;
          if (over === connections) resolve();
        });
        if (there.size > open) {
          const [oldest] = there;
          ours = true;
          giveUp(oldest);
        }
      }
      if (begun < connections) setImmediate(more);
      else for (const socket of there) giveUp(socket);
    };
    const giveUp = (socket: Socket | undefined) => {
      if (!socket) return;
      there.delete(socket);
      if (socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    };
    more();
  });
  return { thrownOut };
}
