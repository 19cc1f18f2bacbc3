/**
 * Runs `ip` of iproute2 with a deadline and turns its failures into codes. Every change to addresses, rules and
 * routes goes through here; what to change is decided elsewhere (`slot-network.ts`).
 */
import { execFile } from 'node:child_process';
import { CodedError } from '@mastline/shared/base/coded-error';

/** A healthy `ip` takes milliseconds; a stuck rtnl lock must not stop the agent. */
const IP_DEADLINE_MS = 10_000;
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;

/** What callers need of `ip`, so that tests can hand in a recording one. */
export type RunIp = (args: readonly string[]) => Promise<string>;

/** `network/ip-missing`, `network/not-permitted`, `network/gone`, `network/exists` or `network/ip-failed`. */
export const runIp: RunIp = args =>
  new Promise((resolve, reject) => {
    execFile(
      'ip',
      [...args],
      {
        timeout: IP_DEADLINE_MS,
        killSignal: 'SIGKILL',
        maxBuffer: MAX_OUTPUT_BYTES,
        env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        reject(failure(args, error, stderr.trim()));
      },
    );
  });

function failure(args: readonly string[], error: Error & { code?: unknown; killed?: boolean }, said: string) {
  const command = `ip ${args.join(' ')}`;
  if (error.code === 'ENOENT')
    return new CodedError('network/ip-missing', `${command}: ip is not installed`, {
      userMessage: 'The program "ip" is missing. Install it: apt-get install -y iproute2',
      cause: error,
    });
  if (error.killed)
    return new CodedError('network/ip-failed', `${command}: no answer within ${IP_DEADLINE_MS} ms`, {
      retryable: true,
      cause: error,
    });
  const code = /Operation not permitted/.test(said)
    ? 'network/not-permitted'
    : /File exists/.test(said)
      ? 'network/exists'
      : /No such process|No such file|No such device|Cannot find device|Cannot assign requested address|[Aa]ddress not found|does not exist/.test(
            said,
          )
        ? 'network/gone'
        : 'network/ip-failed';
  return new CodedError(code, `${command}: ${said === '' ? error.message : said}`, { cause: error });
}
