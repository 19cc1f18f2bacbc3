/**
 * A pseudo-terminal that real programs open as a serial port, with one end in this process. Made by socat, since Node
 * cannot make one. Outlives its clients: each may open and close it. Ends with `close`, and whoever has it open then
 * sees the port vanish.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import { Duplex } from 'node:stream';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';

const OPEN_DEADLINE_MS = 5000;
const POLL_MS = 10;
const CLOSE_DEADLINE_MS = 5000;

export interface Pty {
  /** What programs open. */
  path: string;
  /** Our end: what they write, and what they read. */
  port: Duplex;
  close(): Promise<void>;
}

/**
 * Makes a pty behind the symbolic link `path`; a link that an earlier one left there is replaced, anything else is not.
 * Rejects with `simulator/path-taken`, `simulator/socat-missing` or `simulator/no-pty`.
 */
export async function openPty(path: string, clock: Clock): Promise<Pty> {
  await removeOldLink(path);
  // `ignoreeof`: a client that closes is not the end, the next one may come.
  const child = spawn('socat', ['STDIO', `PTY,rawer,link=${path},ignoreeof`], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', chunk => {
    said = `${said}${chunk}`.slice(-2000);
  });
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', error => reject(explain(error)));
    child.once('exit', () => reject(new CodedError('simulator/no-pty', `socat ended: ${said.trim()}`)));
  });
  // Looked at below only until the pty is there.
  failed.catch(() => undefined);
  const there = (async () => {
    while (!existsSync(path)) await sleep(clock, POLL_MS);
  })();
  try {
    await withDeadline(Promise.race([there, failed]), OPEN_DEADLINE_MS, `making the pty ${path}`, clock);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  const port = Duplex.from({ readable: child.stdout, writable: child.stdin });
  child.once('exit', () => port.destroy());
  return { path, port, close: () => end(child, port, clock) };
}

async function end(child: ChildProcess, port: Duplex, clock: Clock): Promise<void> {
  port.on('error', () => undefined);
  port.destroy();
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  // On SIGTERM socat removes its link.
  child.kill('SIGTERM');
  await withDeadline(exited, CLOSE_DEADLINE_MS, 'the end of socat', clock);
}

export async function removeOldLink(path: string): Promise<void> {
  const there = await lstat(path).catch(error => {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  });
  if (there === null) return;
  if (!there.isSymbolicLink())
    throw new CodedError(
      'simulator/path-taken',
      `there is something else at ${path}; give a path that is free`,
    );
  await unlink(path);
}

function explain(error: unknown): unknown {
  if (codeOf(error) !== 'ENOENT') return error;
  return new CodedError('simulator/socat-missing', 'socat is not installed', {
    userMessage: 'The program "socat" is missing. Install it: apt-get install -y socat',
    cause: error,
  });
}
