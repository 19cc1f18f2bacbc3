/**
 * Customers in a storm: short downloads and uploads through every endpoint, counted by their own kernel and by the
 * origin's, so that the bill of each slot can be held against both. A flow that is whole is billed exactly; of one that
 * was cut the bill lies between what came out at the far end and what went in at the near one, since bytes that our
 * kernel took (that is what is billed) may die in the modem.
 */
import { type Carried, type LoadTarget, nothingCarried, oneFlow } from '../support/load';
import type { RunningNetwork } from '../support/virtual-network';

const MAX_DOWN_BYTES = 300_000;
const MAX_UP_BYTES = 100_000;
/** One flow in so many is an upload. */
const UPLOAD_EVERY = 4;

export interface Bytes {
  up: number;
  down: number;
  flows: number;
}

interface Flow {
  slot: number;
  tag: string;
  carried: Carried;
}

export class Traffic {
  readonly #flows: Flow[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #target: (slot: number, tag: string) => LoadTarget;

  constructor(target: (slot: number, tag: string) => LoadTarget) {
    this.#target = target;
  }

  /** Starts a flow. */
  begin(slot: number, random: () => number): void {
    const number = this.#flows.length;
    const flow: Flow = { slot, tag: `storm-${number}`, carried: nothingCarried() };
    this.#flows.push(flow);
    const size = random();
    const job =
      number % UPLOAD_EVERY === 0
        ? { up: 1 + Math.floor(size * MAX_UP_BYTES) }
        : { down: 1 + Math.floor(size * MAX_DOWN_BYTES) };
    const work = oneFlow(this.#target(slot, flow.tag), job, flow.carried);
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }

  /** Waits for the flows that run. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  summary(): Record<'whole' | 'cut' | 'refused', number> {
    const begun = this.#flows.filter(one => one.carried.flows > 0);
    const whole = begun.filter(isWhole).length;
    return { whole, cut: begun.length - whole, refused: this.#flows.length - begun.length };
  }

  /** Least and most that may have been billed for a slot's flows until now; equal when none was cut. */
  async bounds(slot: number, net: Pick<RunningNetwork, 'report'>): Promise<{ least: Bytes; most: Bytes }> {
    const least: Bytes = { up: 0, down: 0, flows: 0 };
    const most: Bytes = { up: 0, down: 0, flows: 0 };
    for (const flow of this.#flows.filter(one => one.slot === slot)) {
      const { sent, received, flows } = flow.carried;
      if (isWhole(flow)) {
        add(least, { up: sent, down: received, flows });
        add(most, { up: sent, down: received, flows });
        continue;
      }
      const { connections } = await net.report(flow.tag);
      const origin = { received: 0, sent: 0 };
      for (const { bytesReceived, bytesSent } of connections) {
        origin.received += bytesReceived;
        origin.sent += bytesSent;
      }
      add(least, { up: Math.min(origin.received, sent), down: received, flows: 0 });
      add(most, { up: sent, down: Math.max(origin.sent, received), flows: 1 });
    }
    return { least, most };
  }
}

function isWhole({ carried }: Flow): boolean {
  return carried.flows > 0 && carried.broken === 0;
}

function add(sum: Bytes, more: Bytes): void {
  sum.up += more.up;
  sum.down += more.down;
  sum.flows += more.flows;
}

/** What is wrong with a bill, in words; null when it lies within its bounds. */
export function misbilled(
  slot: number,
  billed: Bytes,
  { least, most }: { least: Bytes; most: Bytes },
): string[] {
  return (['up', 'down', 'flows'] as const).flatMap(what =>
    billed[what] >= least[what] && billed[what] <= most[what]
      ? []
      : [`slot ${slot}: ${billed[what]} ${what} billed, ${least[what]} to ${most[what]} carried`],
  );
}
