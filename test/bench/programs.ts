/**
 * The lifetime of every process that the bench starts. Each runs in a session of its own with the raised file limit;
 * `close()`, the end of this process and a Ctrl-C end them all; should this process be killed outright, a shell that
 * listens on a pipe from it does.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { codeOf } from '@mastline/shared/base/coded-error';
import { processTree } from './process-tree';

const READY_MS = 20_000;
const STOP_MS = 6_000;
const KEPT_OUTPUT = 4_000;
const WANTED_FILES = 65_536;

/** The program's path, also where only root's PATH leads; null when it is not installed. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch (error) {
      if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes(codeOf(error) ?? '')) throw error;
    }
  }
  return null;
}

/** The file limit that the started programs get: raised where this user may, else the hard limit. */
export function reachableFileLimit(): number {
  const ask = (script: string) =>
    Number(
      execFileSync('sh', ['-c', script], {
        encoding: 'utf8',
        timeout: 5_000,
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
  const hard = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8', timeout: 5_000 }).trim();
  if (hard === 'unlimited' || Number(hard) >= WANTED_FILES) return WANTED_FILES;
  try {
    return ask(`ulimit -n ${WANTED_FILES} && ulimit -n`);
  } catch {
    // Not this user's to raise.
    return Number(hard);
  }
}

/** Each line is the list of process groups that live; at the end of its input the last list is ended. */
const LEASH =
  'while read -r line; do list=$line; done; for group in $list; do kill -9 "-$group"; done; rm -rf -- "$1"';

export interface Program {
  command: string;
  args: string[];
  env?: Record<string, string>;
  /** Ports on 127.0.0.1 that must accept before it counts as started. */
  ports: number[];
}

export interface Running {
  pid: number;
  /** From spawning to the first accepted connection on the first port. */
  startMilliseconds: number;
  /** Throws with what it printed when it has ended by itself. */
  mustLive(): void;
  stop(): Promise<void>;
}

export class Programs {
  readonly #children = new Set<ChildProcess>();
  readonly #prefix: string[];
  readonly #onExit = () => this.#killAll();
  readonly #leash: ChildProcess;
  #closed = false;

  /** `folder` is removed should this process be killed. */
  constructor(
    readonly fileLimit: number,
    folder: string,
  ) {
    this.#prefix = ['sh', '-c', 'ulimit -n "$1" && shift && exec "$@"', 'sh', String(fileLimit)];
    this.#leash = spawn('sh', ['-c', LEASH, 'sh', folder], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    // When it is gone there is nobody to tell.
    this.#leash.stdin?.on('error', () => undefined);
    process.once('exit', this.#onExit);
  }

  /** A child with pipes; it belongs to this object until it exits. */
  spawn(command: string, args: string[], env: Record<string, string> = {}): ChildProcess {
    if (this.#closed) throw new Error('the bench is ending');
    const [first = 'sh', ...rest] = [...this.#prefix, command, ...args];
    const child = spawn(first, rest, {
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#children.add(child);
    this.#tellLeash();
    child.once('exit', () => {
      this.#children.delete(child);
      this.#tellLeash();
    });
    // Ends of pipes whose process is gone; the exit tells.
    child.stdin?.on('error', () => undefined);
    return child;
  }

  /** Starts a server and waits until it accepts. Throws with the end of its output when it does not. */
  async start(program: Program): Promise<Running> {
    const begun = performance.now();
    const child = this.spawn(program.command, program.args, program.env);
    let output = '';
    const take = (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-KEPT_OUTPUT);
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    let ended: string | null = null;
    child.once('error', error => {
      ended = error.message;
    });
    child.once('exit', (code, signal) => {
      ended = `${program.command} ended (${signal ?? code}): ${output.trim()}`;
    });
    const mustLive = () => {
      if (ended !== null) throw new Error(ended);
    };
    const stop = () => this.#stop(child);
    let startMilliseconds = 0;
    try {
      for (const port of program.ports) {
        while (!(await accepts(port))) {
          mustLive();
          if (performance.now() - begun > READY_MS)
            throw new Error(
              `${program.command} did not listen on port ${port} within ${READY_MS / 1000} s: ${output.trim()}`,
            );
          await new Promise(resolve => setTimeout(resolve, 5));
        }
        startMilliseconds ||= performance.now() - begun;
      }
      mustLive();
    } catch (error) {
      await stop();
      throw error;
    }
    return { pid: child.pid ?? -1, startMilliseconds, mustLive, stop };
  }

  async #stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => killTree(child), STOP_MS);
    await exited;
    clearTimeout(timer);
    // Forked ones may outlive the first.
    killGroup(child);
  }

  /** Which process groups must not outlive this process. */
  #tellLeash(): void {
    const groups = [...this.#children].flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
    if (this.#leash.stdin?.writable) this.#leash.stdin.write(`${groups.join(' ')}\n`);
  }

  #killAll(): void {
    for (const child of this.#children) killTree(child);
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#children];
    const gone = all.map(child => (child.pid === undefined ? undefined : once(child, 'exit')));
    this.#killAll();
    await Promise.all(gone);
    const unleashed = once(this.#leash, 'exit');
    this.#leash.stdin?.end('\n');
    await unleashed;
    process.removeListener('exit', this.#onExit);
  }
}

function killTree(child: ChildProcess): void {
  if (child.pid === undefined) return;
  let others: number[] = [];
  try {
    others = processTree(child.pid).map(one => one.pid);
  } catch {
    // It is gone; its group may not be.
  }
  for (const pid of others) killQuietly(pid);
  killGroup(child);
}

function killGroup(child: ChildProcess): void {
  if (child.pid !== undefined) killQuietly(-child.pid);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
    socket.setTimeout(1_000, () => done(false));
  });
}
