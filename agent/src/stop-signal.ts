/**
 * When the agent has to end: SIGTERM, SIGINT, or, run under a supervisor that says so (MASTLINE_SUPERVISED=1), when
 * its standard input closes because the supervisor died.
 */

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
