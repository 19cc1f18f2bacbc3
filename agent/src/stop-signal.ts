/**
 * What the system tells the agent. When it has to end: SIGTERM, SIGINT, the end of the terminal it was started in, or, run under a supervisor that says so (MASTLINE_SUPERVISED=1), when
 * its standard input closes because the supervisor died. And SIGHUP, which asks it to read its file again.
 */
import { closeSync, openSync } from 'node:fs';

/** Resolves once with the reason. A second signal ends the process at once. */
export function stopSignal(): Promise<string> {
  return new Promise(resolve => {
    let asked = false;
    const stop = (reason: string) => {
      if (asked) process.exit(1);
      asked = true;
      resolve(reason);
    };
    process.on('SIGTERM', () => stop('SIGTERM'));
    process.on('SIGINT', () => stop('SIGINT'));
    if (process.env.MASTLINE_SUPERVISED === '1') {
      process.stdin.resume();
      process.stdin.once('close', () => {
        if (!asked) stop('the supervisor is gone');
      });
    }
  });
}

/**
 * Calls `reload` at each SIGHUP. The same signal comes when the terminal is closed in which the agent runs; then there
 * is nobody left to serve in front of, and it stops as at SIGTERM.
 */
export function onHangUp(reload: () => void): void {
  const hadTerminal = hasTerminal();
  process.on('SIGHUP', () => {
    if (hadTerminal && !hasTerminal()) process.kill(process.pid, 'SIGTERM');
    else reload();
  });
}

/** Whether the process has a controlling terminal that is still there (tty(4)). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    // No terminal, no such device, or no right to it: in each case there is none whose end could be meant.
    return false;
  }
}
