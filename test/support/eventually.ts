/** Waits for what no event tells: looks again and again, with a deadline. For states of the program under test only. */

const LOOK_EVERY_MS = 5;
const DEADLINE_MS = 60_000;

/** Resolves when `holds` says true; rejects after a minute, naming what was waited for. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what = String(holds),
): Promise<void> {
  const end = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
