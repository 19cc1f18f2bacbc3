/**
 * A HAProxy of a test's own in front of two clouds, by the very file that is shipped (installer/cloud/haproxy.cfg), with
 * what is this run's changed: where it listens, where the clouds are. Killed and started again as the test pleases.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { findTool } from './tools';

const SHIPPED = join(import.meta.dirname, '../../installer/cloud/haproxy.cfg');
const READY_MS = 20_000;
const LOOK_MS = 20;

export interface OwnHaproxy {
  port: number;
  /** It answers what a stats socket answers. */
  statsSocket: string;
  start(): Promise<void>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
}

/** Started; `kill` is its end. `folder` holds its file and its socket. */
export async function startOwnHaproxy(of: {
  folder: string;
  port: number;
  clouds: readonly [number, number];
}): Promise<OwnHaproxy> {
  const program = findTool('haproxy');
  if (program === undefined) throw new Error('haproxy is missing: sudo apt-get install -y haproxy');
  const statsSocket = join(of.folder, 'haproxy.sock');
  const file = join(of.folder, 'haproxy.cfg');
  writeFileSync(file, configuration(of, statsSocket));
  let child: ChildProcess | undefined;
  let gone: Promise<void> = Promise.resolve();
  const haproxy: OwnHaproxy = {
    port: of.port,
    statsSocket,
    async start() {
      // Ctrl-C in a terminal is for the run, which ends it in order.
      const started = spawn(program, ['-db', '-f', file], { stdio: 'ignore', detached: true });
      child = started;
      gone = new Promise(resolve => {
        started.once('exit', () => resolve());
        started.once('error', () => resolve());
      });
      const deadline = performance.now() + READY_MS;
      while (!(await answers(of.port))) {
        if (started.exitCode !== null || started.pid === undefined || performance.now() > deadline)
          throw new Error(`haproxy did not start on port ${of.port}`);
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
    await haproxy.start();
    return haproxy;
  } catch (error) {
    await haproxy.kill();
    throw error;
  }
}

/** The shipped text with each of these lines, which it must have once, as this run needs it. */
function configuration(of: { port: number; clouds: readonly [number, number] }, statsSocket: string): string {
  const changes: [string, string][] = [
    ['bind :443 ssl crt /etc/haproxy/mastline.pem alpn http/1.1', `bind 127.0.0.1:${of.port}`],
    ['server cloud-1 cloud-1:8480', `server cloud-1 127.0.0.1:${of.clouds[0]}`],
    ['server cloud-2 cloud-2:8480', `server cloud-2 127.0.0.1:${of.clouds[1]}`],
    // As many as any machine lets it have.
    ['maxconn 30000', 'maxconn 500'],
    ['\nglobal\n', `\nglobal\n    stats socket ${statsSocket} mode 600\n`],
  ];
  let text = readFileSync(SHIPPED, 'utf8');
  for (const [shipped, here] of changes) {
    if (text.split(shipped).length !== 2)
      throw new Error(`haproxy.cfg has not ${JSON.stringify(shipped)} once`);
    text = text.replace(shipped, here);
  }
  return text;
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
