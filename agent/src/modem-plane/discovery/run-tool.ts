/** Runs a system program for discovery and USB power, with a deadline and a bound on what it may say. */
import { execFile } from 'node:child_process';
import { CodedError } from '@mastline/shared/base/coded-error';

const MAX_OUTPUT_BYTES = 1024 * 1024;

/** Resolves with standard output. `tool/missing`, `tool/too-slow` or `tool/failed` (with what it said). */
export type RunTool = (program: string, args: readonly string[], deadlineMs: number) => Promise<string>;

export const runTool: RunTool = (program, args, deadlineMs) =>
  new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      {
        timeout: deadlineMs,
        killSignal: 'SIGKILL',
        maxBuffer: MAX_OUTPUT_BYTES,
        env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const command = [program, ...args].join(' ');
        const cause = { cause: error };
        if (error.code === 'ENOENT')
          return reject(new CodedError('tool/missing', `${command}: ${program} is not installed`, cause));
        if (error.killed)
          return reject(new CodedError('tool/too-slow', `${command}: no end within ${deadlineMs} ms`, cause));
        const said = stderr.trim() || stdout.trim() || error.message;
        reject(new CodedError('tool/failed', `${command}: ${said.slice(0, 500)}`, cause));
      },
    );
  });
