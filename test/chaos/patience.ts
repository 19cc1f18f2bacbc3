/** Asking again and again, with a deadline: until there is an answer, or the same one several times. */
import { setTimeout as wait } from 'node:timers/promises';

/** Longer than the link's silence limit and the ledger's longest retry together. */
const SETTLE_MS = 120_000;
const LOOK_MS = 50;

/** Asks until the same answer came three times in a row: kernels still hold bytes of flows that were killed. */
export async function settled(ask: () => Promise<{ received: number; sent: number }>) {
  let last = await ask();
  for (let alike = 1; alike < 3; ) {
    await wait(30);
    const next = await ask();
    alike = next.received === last.received && next.sent === last.sent ? alike + 1 : 1;
    last = next;
  }
  return last;
}

/** Asking again is of no use. */
export class Hopeless extends Error {}

/** Asks until there is an answer; what fails meanwhile is asked again, and told when the time is over. */
export async function within<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  detail = () => '',
): Promise<T> {
  const deadline = performance.now() + SETTLE_MS;
  let failure: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
      failure = undefined;
    } catch (error) {
      if (error instanceof Hopeless) throw new Error(`${what}: ${error.message}`);
      failure = error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what}: not within ${SETTLE_MS / 1000} s; ${detail()}`, { cause: failure });
    await wait(LOOK_MS);
  }
}
