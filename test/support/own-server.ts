/**
 * A server program of a test's own, killed and started again as the test pleases. How it is told what to do, and by
 * what it is known to serve, is its own file's: own-nats.ts, own-haproxy.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { findTool, missingTools } from './tools';

const READY_MS = 20_000;
const ANSWER_MS = 1_000;
const LOOK_MS = 20;

export interface OwnServer {
  /** Resolves when it serves; rejects when it does not within 20 s. */
  start(): Promise<void>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
}

/**
 * Started; `kill` is its end. Throws when `name` is not installed. It serves when a connection to `port` stands, or, with
 * `greeting`, when it has said that first.
 */
export async function startOwnServer(of: {
  name: string;
  args: readonly string[];
  port: number;
  greeting?: string;
}): Promise<OwnServer> {
  const { name, args, port, greeting } = of;
  const program = findTool(name);
  if (program === undefined) throw new Error(missingTools([name]));
  let child: ChildProcess | undefined;
  let gone: Promise<void> = Promise.resolve();
  const server: OwnServer = {
    async start() {
      // Ctrl-C in a terminal is for the run, which ends it in order.
      const started = spawn(program, [...args], { stdio: 'ignore', detached: true });
      child = started;
      gone = new Promise(resolve => {
        started.once('exit', () => resolve());
        started.once('error', () => resolve());
      });
      const deadline = performance.now() + READY_MS;
      while (!(await serves(port, greeting))) {
        if (started.exitCode !== null || started.pid === undefined || performance.now() > deadline)
          throw new Error(`${name} did not start on port ${port}`);
        await wait(LOOK_MS);
      }
    },
    async kill() {
      child?.kill('SIGKILL');
      await gone;
      child = undefined;
    },
  };
  try {
    await server.start();
    return server;
  } catch (error) {
    await server.kill();
    throw error;
  }
}

function serves(port: number, greeting: string | undefined): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(ANSWER_MS, () => end(false));
    if (greeting === undefined) socket.once('connect', () => end(true));
    else socket.once('data', data => end(data.toString('latin1').startsWith(greeting)));
    socket.once('error', () => end(false));
    socket.once('end', () => end(false));
  });
}
