/** The real cloud as a process that a fleet is set upon: started on one port, stopped or killed, started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withDeadline } from '@mastline/shared/base/deadline';

const MAIN = join(import.meta.dirname, '../../../cloud/dist/main.js');
const START_DEADLINE_MS = 90_000;

export class CloudProcess {
  readonly #args: string[];
  readonly #env: Record<string, string>;
  #child: ChildProcess | undefined;
  #port = 0;

  constructor(options: { dataDir: string; databaseUrl: string | null; env?: Record<string, string> }) {
    this.#args = ['--data-dir', options.dataDir];
    if (options.databaseUrl !== null) this.#args.push('--database-url', options.databaseUrl);
    this.#env = options.env ?? {};
  }

  /** Resolves with the address when the cloud says that it is ready: the same address each time. */
  async start(): Promise<string> {
    const child = spawn(process.execPath, [MAIN, ...this.#args, '--port', String(this.#port)], {
      env: { PATH: process.env.PATH, NODE_ENV: 'production', LOG_LEVEL: 'fatal', ...this.#env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    const ready = new Promise<string>((resolve, reject) => {
      child.stdout?.once('data', line => resolve((JSON.parse(String(line)) as { url: string }).url));
      child.once('exit', code => reject(new Error(`the cloud ended with code ${code} before it was ready`)));
    });
    const url = await withDeadline(ready, START_DEADLINE_MS, 'starting the cloud');
    this.#port = Number(new URL(url).port);
    return url;
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  /** Resident memory in bytes; 0 while it is not running. */
  rss(): number {
    return statusOf(this.#child?.pid, /^VmRSS:\s+(\d+) kB$/m) * 1024;
  }

  /** CPU seconds so far, user and system. */
  cpuSeconds(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) return 0;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      return 0;
    }
  }
}

function statusOf(pid: number | undefined, line: RegExp): number {
  if (pid === undefined) return 0;
  try {
    return Number(line.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    // It has just ended.
    return 0;
  }
}
