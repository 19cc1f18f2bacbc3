/** A NATS server of a test's own, on a port of its own, killed and started again as the test pleases. */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from './free-port';
import { findTool } from './tools';

const READY_MS = 20_000;
const LOOK_MS = 20;
const USER = 'mastline';
const PASSWORD = 'not/a secret';

export interface OwnNats {
  /** With its credentials. */
  url: string;
  start(): Promise<void>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
}

/** Started; `kill` is its end. */
export async function startOwnNats(): Promise<OwnNats> {
  const program = findTool('nats-server');
  if (program === undefined) throw new Error('nats-server is missing: sudo apt-get install -y nats-server');
  const port = await freePort();
  let server: ChildProcess | undefined;
  let gone: Promise<void> = Promise.resolve();
  const nats: OwnNats = {
    url: `nats://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`,
    async start() {
      const child = spawn(
        program,
        ['--addr', '127.0.0.1', '--port', String(port), '--user', USER, '--pass', PASSWORD],
        // Ctrl-C in a terminal is for the run, which ends it in order.
        { stdio: 'ignore', detached: true },
      );
      server = child;
      gone = new Promise(resolve => {
        child.once('exit', () => resolve());
        child.once('error', () => resolve());
      });
      const deadline = performance.now() + READY_MS;
      while (!(await greets(port))) {
        if (child.exitCode !== null || child.pid === undefined || performance.now() > deadline)
          throw new Error(`nats-server did not start on port ${port}`);
        await wait(LOOK_MS);
      }
    },
    async kill() {
      server?.kill('SIGKILL');
      await gone;
      server = undefined;
    },
  };
  try {
    await nats.start();
    return nats;
  } catch (error) {
    await nats.kill();
    throw error;
  }
}

/** A server of NATS speaks first. */
function greets(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('data', data => end(data.toString('latin1').startsWith('INFO ')));
    socket.once('error', () => end(false));
    socket.once('end', () => end(false));
  });
}
