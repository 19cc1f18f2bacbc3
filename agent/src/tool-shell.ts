/**
 * Runs short system programs (`ip`, `nft`) one after the other from a small shell that is kept. Node forks itself for
 * each program that it starts, and while its page tables are copied no flow moves: 4 ms for a bare Node, 9 ms for an
 * agent of 80 MB. The shell is a megabyte, and what it forks nobody waits for. Not for programs that take seconds:
 * those that come after would wait for them. What the programs are told is modem-plane/run-ip.ts and own-table.ts.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { CodedError } from '@mastline/shared/base/coded-error';

/** What a shell answers when it does not find a program (POSIX, 2.8.2). */
export const NOT_FOUND = 127;
/** All rules and routes of a box with hundreds of interfaces are a tenth of this. */
const MAX_OUTPUT_CHARS = 8 * 1024 * 1024;
/** Programs that wait for their turn. */
const MAX_WAITING = 256;

export interface ToolRun {
  program: string;
  args: readonly string[];
  /** What the program reads; nothing when left out. */
  input?: string | undefined;
  /** From its turn on; then it is killed. */
  deadlineMs: number;
}

export interface ToolEnd {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export class ToolShell {
  #shell: ChildProcessWithoutNullStreams | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /**
   * Resolves when the program has ended, however it did. Rejects with `tool/too-slow` or `tool/too-much` (it was
   * killed), `tool/no-shell`, or `tool/busy`, when too many are waiting.
   */
  run(run: ToolRun): Promise<ToolEnd> {
    if (this.#waiting >= MAX_WAITING)
      return Promise.reject(
        new CodedError('tool/busy', `${run.program}: ${MAX_WAITING} programs wait for their turn already`, {
          retryable: true,
        }),
      );
    this.#waiting += 1;
    const result = this.#tail
      .then(() => this.#runNow(run))
      .finally(() => {
        this.#waiting -= 1;
      });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** The shell ends; the next program begins another. To be called when nothing runs. */
  close(): void {
    this.#shell?.stdin.end();
    this.#shell = null;
  }

  #runNow({ program, args, input, deadlineMs }: ToolRun): Promise<ToolEnd> {
    const shell = this.#shell ?? this.#begin();
    // Nobody can guess it, so no output can be taken for the end.
    const mark = randomBytes(16).toString('hex');
    const told = { stdout: '', stderr: '' };
    holdLoop(shell, true);
    return new Promise<ToolEnd>((resolve, reject) => {
      const ends: (() => void)[] = [];
      const finish = (outcome: ToolEnd | CodedError) => {
        for (const end of ends) end();
        holdLoop(shell, false);
        if (!(outcome instanceof CodedError)) return resolve(outcome);
        this.#kill(shell);
        reject(outcome);
      };
      const late = setTimeout(
        () => finish(new CodedError('tool/too-slow', `${program}: no end within ${deadlineMs} ms`)),
        deadlineMs,
      );
      ends.push(() => clearTimeout(late));
      const gone = (error?: unknown) =>
        finish(new CodedError('tool/no-shell', `${program}: the shell that runs it ended`, { cause: error }));
      shell.once('exit', gone).once('error', gone);
      ends.push(() => void shell.off('exit', gone).off('error', gone));
      const look = () => {
        const end = endOf(told, mark);
        if (end !== null) finish(end);
        else if (told.stdout.length + told.stderr.length > MAX_OUTPUT_CHARS)
          finish(new CodedError('tool/too-much', `${program}: more than ${MAX_OUTPUT_CHARS} characters`));
      };
      for (const name of ['stdout', 'stderr'] as const) {
        const take = (text: string) => {
          told[name] += text;
          look();
        };
        shell[name].on('data', take);
        ends.push(() => void shell[name].off('data', take));
      }
      shell.stdin.write(scriptOf(program, args, input, mark));
    });
  }

  #begin(): ChildProcessWithoutNullStreams {
    const shell = spawn('sh', ['-s'], {
      stdio: 'pipe',
      // A group of its own, to be killed together with what it runs. It ends when we do: its input is then over.
      detached: true,
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    });
    shell.stdout.setEncoding('utf8');
    shell.stderr.setEncoding('utf8');
    // That it is gone is told by its exit.
    shell.stdin.on('error', () => undefined);
    const forget = () => {
      if (this.#shell === shell) this.#shell = null;
    };
    shell.on('exit', forget).on('error', forget);
    this.#shell = shell;
    return shell;
  }

  /** What it says from here on is nobody's answer. */
  #kill(shell: ChildProcessWithoutNullStreams): void {
    if (this.#shell === shell) this.#shell = null;
    shell.stdin.destroy();
    if (shell.pid === undefined || shell.exitCode !== null || shell.signalCode !== null) return;
    try {
      process.kill(-shell.pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
  }
}

/** The one of this process. */
export const toolShell = new ToolShell();

/** Only while something runs is the shell a reason for this process to go on. */
function holdLoop(shell: ChildProcessWithoutNullStreams, hold: boolean): void {
  for (const part of [shell, ...([shell.stdin, shell.stdout, shell.stderr] as unknown as Socket[])])
    if (hold) part.ref();
    else part.unref();
}

/** One command, and how it ended, said on both outputs. */
function scriptOf(program: string, args: readonly string[], input: string | undefined, mark: string): string {
  const command = [program, ...args].map(quoted).join(' ');
  const reads = input === undefined ? ' </dev/null\n' : ` <<'${mark}'\n${ended(input)}${mark}\n`;
  return `${command}${reads}echo "${mark} $?"; echo ${mark} >&2\n`;
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
const ended = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`);

/** What was said before the marks; null until both are there. Pure. */
function endOf({ stdout, stderr }: { stdout: string; stderr: string }, mark: string): ToolEnd | null {
  const out = stdout.lastIndexOf(`${mark} `);
  const err = stderr.lastIndexOf(`${mark}\n`);
  if (out < 0 || err < 0 || !stdout.endsWith('\n')) return null;
  return {
    exitCode: Number(stdout.slice(out + mark.length + 1)),
    stdout: stdout.slice(0, out),
    stderr: stderr.slice(0, err),
  };
}
