/** A NATS server of a test's own, on a port of its own. */
import { freePort } from './free-port';
import { type OwnServer, startOwnServer } from './own-server';

const USER = 'mastline';
const PASSWORD = 'not/a secret';

export interface OwnNats extends OwnServer {
  /** With its credentials. */
  url: string;
}

/** Started; `kill` is its end. */
export async function startOwnNats(): Promise<OwnNats> {
  const port = await freePort();
  const server = await startOwnServer({
    name: 'nats-server',
    args: ['--addr', '127.0.0.1', '--port', String(port), '--user', USER, '--pass', PASSWORD],
    port,
    // A server of NATS speaks first.
    greeting: 'INFO ',
  });
  return { ...server, url: `nats://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}` };
}
