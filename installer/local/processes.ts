/**
 * The programs that `npm start` runs. Each is in a process group of its own, so that Ctrl-C reaches only us and we
 * end them in order; each ends by itself when we die, because its standard input closes. Its log goes to a file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { CodedError } from '@mastline/shared/base/coded-error';

export interface Program {
  name: string;
  pid: number;
  /** The JSON line that it printed when ready. */
  ready: Record<string, unknown>;
  /** Resolves with a sentence when it ends without having been asked to. */
  died: Promise<string>;
  /** SIGTERM, then SIGKILL after `deadlineMs`. Resolves when it is gone; false when it had to be killed. */
  stop(deadlineMs: number): Promise<boolean>;
  /** SIGKILL, as a crash; resolves when it is gone. */
  kill(): Promise<void>;
}

export interface ProgramOptions {
  name: string;
  script: string;
  args: string[];
  logFile: string;
  env?: NodeJS.ProcessEnv;
  readyDeadlineMs: number;
}

/** Starts a program and waits for its `{"ready":true,…}` line. Throws `start/<name>` with what it said when it fails. */
export function startProgram(options: ProgramOptions): Promise<Program> {
  const log = openSync(options.logFile, 'a', 0o600);
  const child = spawn(process.execPath, [options.script, ...options.args], {
    detached: true,
    stdio: ['pipe', 'pipe', log],
    env: { ...process.env, ...options.env, MASTLINE_SUPERVISED: '1' },
  });
  closeSync(log);
  // Writing to a child that has gone is no news: its end is reported by 'exit'.
  child.stdin?.on('error', () => undefined);
  let stopping = false;
  let said = '';

  const gone = new Promise<string>(resolve => {
    child.once('error', error => resolve(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) =>
      resolve(signal ? `was ended by ${signal}` : `ended with code ${code}`),
    );
  });

  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      child.kill('SIGKILL');
      reject(failure(options, why, said));
    };
    const timer = setTimeout(
      () => fail(`was not ready after ${options.readyDeadlineMs / 1000} s`),
      options.readyDeadlineMs,
    );
    const finish = (ready: Record<string, unknown>) => {
      clearTimeout(timer);
      resolve({
        name: options.name,
        pid: child.pid ?? 0,
        ready,
        died: gone.then(how => {
          // One that was asked to stop never counts as dead.
          if (stopping) return new Promise<string>(() => undefined);
          return `${options.name} ${how}; its log is ${options.logFile}`;
        }),
        stop: deadlineMs => {
          stopping = true;
          return stopChild(child, gone, deadlineMs);
        },
        kill: async () => {
          stopping = true;
          child.kill('SIGKILL');
          await gone;
        },
      });
    };
    let rest = '';
    child.stdout?.setEncoding('utf8');
    child.stdout?.on('data', (text: string) => {
      rest += text;
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 1);
        const ready = readyLine(line);
        if (ready) finish(ready);
        else said = `${said}${line}\n`.slice(-4000);
      }
    });
    void gone.then(why => {
      clearTimeout(timer);
      // When it was ready already this rejection comes too late to matter, and `died` tells.
      reject(failure(options, why, said));
    });
  });
}

function readyLine(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && 'ready' in value && value.ready === true)
      return value as Record<string, unknown>;
  } catch {
    // Not JSON after all: an ordinary line of output.
  }
  return undefined;
}

async function stopChild(child: ChildProcess, gone: Promise<string>, deadlineMs: number): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) return true;
  child.kill('SIGTERM');
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>(resolve => {
    timer = setTimeout(() => resolve('late'), deadlineMs);
  });
  const first = await Promise.race([gone, late]);
  clearTimeout(timer);
  if (first !== 'late') return true;
  child.kill('SIGKILL');
  await gone;
  return false;
}

/** What to tell a person: the program's own sentence when it gave one, else the end of its log. */
function failure(options: ProgramOptions, why: string, said: string): CodedError {
  const own = said.trim() || endOf(options.logFile);
  return new CodedError(`start/${options.name}`, `${options.name} ${why}`, {
    userMessage: `The ${options.name} ${why}.${own ? `\n${own.replace(/^/gm, '  ')}` : ''}\nIts log is ${options.logFile}.`,
  });
}

function endOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().split('\n').slice(-8).join('\n');
  } catch {
    return '';
  }
}
