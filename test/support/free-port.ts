/**
 * A port that a test may name in a file or hand to another program. Taken from below the range that systems give to
 * outgoing connections (RFC 6335 section 6: 49152 on; Linux: 32768 on), since out of that one any connection of any
 * program may take it again before it is used.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { codeOf } from '@mastline/shared/base/coded-error';

const FIRST = 10_240;
const LAST = 32_000;
const TRIES = 50;

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    const server = createServer();
    try {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE') throw error;
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error(`no free port between ${FIRST} and ${LAST} in ${TRIES} tries`);
}
