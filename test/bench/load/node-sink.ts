/** The far end in Node: what sink.c does, for machines without a C compiler. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { BLOCK_BYTES, COMMAND_BYTES, patternAt, patternHolds } from './pattern';

const ANSWER = Buffer.from('k');
const QUIT = 'q'.charCodeAt(0);

/** Prints {"port":N} and serves until standard input ends. */
export function serveSink(): void {
  const server = createServer({ noDelay: true }, serveGuest);
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => {
    process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
  });
  process.stdin.on('end', () => process.exit(0));
  process.stdin.resume();
}

function serveGuest(socket: Socket): void {
  let head = Buffer.alloc(0);
  let [echoing, toRead, toSend, readAt, sentAt, answers] = [false, 0, 0, 0, 0, 0];
  let operation = '';

  const pump = () => {
    while (toSend > 0) {
      const bytes = Math.min(toSend, BLOCK_BYTES);
      const room = socket.write(patternAt(sentAt, bytes));
      toSend -= bytes;
      sentAt += bytes;
      if (!room) return;
    }
    for (; answers > 0; answers -= 1) socket.write(ANSWER);
  };

  const obey = (): boolean => {
    operation = head.toString('latin1', 0, 1);
    const bytes = Number(head.readBigUInt64LE(1));
    head = Buffer.alloc(0);
    if (operation === 'E') echoing = true;
    else if (operation === 'S') toSend = Number.MAX_SAFE_INTEGER;
    else if (operation === 'D') toSend += bytes;
    else if (operation === 'B' || operation === 'U') {
      toRead = bytes;
      if (operation === 'B') toSend += bytes;
      else if (bytes === 0) answers += 1;
    } else return false;
    return true;
  };

  socket.on('data', data => {
    for (let at = 0; at < data.length; ) {
      if (echoing) {
        socket.write(data.subarray(at));
        if (data.at(-1) === QUIT) socket.end();
        break;
      }
      const wanted = toRead > 0 ? toRead : COMMAND_BYTES - head.length;
      const part = data.subarray(at, at + wanted);
      at += part.length;
      if (toRead > 0) {
        if (!patternHolds(part, readAt)) return void socket.destroy();
        readAt += part.length;
        toRead -= part.length;
        if (toRead === 0 && operation === 'U') answers += 1;
      } else {
        head = Buffer.concat([head, part]);
        if (head.length === COMMAND_BYTES && !obey()) return void socket.destroy();
      }
    }
    pump();
  });
  socket.on('drain', pump);
  // A client that is done resets or closes: both are ordinary here.
  socket.on('error', () => socket.destroy());
}
