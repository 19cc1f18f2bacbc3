/**
 * Clients that keep a proxy busy and count: SOCKS5 downloads of the bundled origin's `/bytes/N` and uploads to its
 * `/sink`. They count what their own kernel took and gave, so that a bill can be held against both ends.
 */
import { connect, type Socket } from 'node:net';

export interface LoadTarget {
  proxy: { host: string; port: number };
  username: string;
  secret: string;
  origin: { host: string; port: number };
  /** Under which the origin reports these flows: `/report?id=`. */
  tag: string;
}

export interface Carried {
  /** Payload bytes that the clients' kernels accepted for sending, after the SOCKS5 request. */
  sent: number;
  /** Payload bytes that the clients read, after the SOCKS5 reply. */
  received: number;
  flows: number;
  /** Flows that ended before their answer was whole. */
  broken: number;
}

export const nothingCarried = (): Carried => ({ sent: 0, received: 0, flows: 0, broken: 0 });

/** One flow. Resolves when it is over, however it ended; adds to `carried` as it goes. */
export function oneFlow(
  target: LoadTarget,
  job: { down: number } | { up: number },
  carried: Carried,
): Promise<void> {
  return new Promise(resolve => {
    const socket = connect({ host: target.proxy.host, port: target.proxy.port });
    socket.setTimeout(20_000, () => socket.destroy());
    let state: 'method' | 'auth' | 'reply' | 'payload' = 'method';
    let held = Buffer.alloc(0);
    let whole = false;
    let answer = 0;
    const expected = 'down' in job ? job.down : 0;

    const payload = (chunk: Buffer) => {
      carried.received += chunk.length;
      answer += chunk.length;
    };
    socket.on('connect', () => socket.write(Buffer.from([5, 1, 2])));
    socket.on('data', chunk => {
      if (state === 'payload') return payload(chunk);
      held = Buffer.concat([held, chunk]);
      if (state === 'method' && held.length >= 2) {
        held = held.subarray(2);
        state = 'auth';
        const user = Buffer.from(target.username);
        const secret = Buffer.from(target.secret);
        socket.write(
          Buffer.concat([Buffer.from([1, user.length]), user, Buffer.from([secret.length]), secret]),
        );
      }
      if (state === 'auth' && held.length >= 2) {
        if (held[1] !== 0) return void socket.destroy();
        held = held.subarray(2);
        state = 'reply';
        const octets = target.origin.host.split('.').map(Number);
        socket.write(Buffer.from([5, 1, 0, 1, ...octets, target.origin.port >> 8, target.origin.port & 255]));
      }
      if (state === 'reply' && held.length >= 10) {
        if (held[1] !== 0) return void socket.destroy();
        state = 'payload';
        carried.flows += 1;
        const surplus = held.subarray(10);
        if (surplus.length > 0) payload(surplus);
        void send(socket, { job, tag: target.tag }, carried);
      }
    });
    socket.on('end', () => {
      whole = state === 'payload' && answer > expected;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (state === 'payload' && !whole) carried.broken += 1;
      resolve();
    });
  });
}

const BLOCK = Buffer.alloc(64 * 1024, 0x6d);

async function send(
  socket: Socket,
  { job, tag }: { job: { down: number } | { up: number }; tag: string },
  carried: Carried,
): Promise<void> {
  const write = (bytes: Buffer) =>
    new Promise<boolean>(resolve => {
      const onClose = () => resolve(false);
      socket.once('close', onClose);
      socket.write(bytes, error => {
        socket.off('close', onClose);
        if (!error) carried.sent += bytes.length;
        resolve(!error);
      });
    });
  if ('down' in job) {
    await write(
      Buffer.from(`GET /bytes/${job.down}?id=${tag} HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n`),
    );
    return;
  }
  const head = `POST /sink?id=${tag} HTTP/1.1\r\nHost: o\r\nConnection: close\r\nContent-Length: ${job.up}\r\n\r\n`;
  if (!(await write(Buffer.from(head)))) return;
  for (let left = job.up; left > 0; left -= BLOCK.length)
    if (!(await write(left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left)))) return;
}

export interface Load {
  carried: Carried;
  /** No new flows; resolves when the running ones are over. */
  stop(): Promise<void>;
}

/** Keeps `clients` flows running through `targets` in turn, sizes by `random`, until stopped. */
export function startLoad(targets: LoadTarget[], options: { clients: number; random: () => number }): Load {
  const carried = nothingCarried();
  let stopped = false;
  const client = async (index: number) => {
    for (let turn = index; !stopped; turn += 1) {
      const target = targets[turn % targets.length];
      if (!target) throw new Error('no targets');
      const size = Math.floor(options.random() ** 3 * 24 * 1024 * 1024);
      const before = carried.flows;
      await oneFlow(target, turn % 3 === 0 ? { up: size } : { down: size }, carried);
      // The proxy may be down just now: do not spin on refused connections.
      if (carried.flows === before) await new Promise(resolve => setTimeout(resolve, 20));
    }
  };
  const clients = Array.from({ length: options.clients }, (_, index) => client(index));
  return {
    carried,
    stop: async () => {
      stopped = true;
      await Promise.all(clients);
    },
  };
}
