/**
 * What the modem plane itself moves through each slot: probes, questions for the exit address, speed tests, web APIs of
 * sticks. Counted where it is sent; for reconciliation, which takes it off what the interface carried.
 */
import type { CountOwn, OwnTraffic } from '../ports';

export class OwnTrafficBook {
  /** Stays when a slot goes: it may come back. */
  readonly #slots = new Map<number, OwnTraffic>();

  counter(slot: number): CountOwn {
    const own = this.#slots.get(slot) ?? { slot, upBytes: 0, downBytes: 0, upDatagrams: 0, downDatagrams: 0 };
    this.#slots.set(slot, own);
    return moved => {
      own.upBytes += moved.upBytes;
      own.downBytes += moved.downBytes;
      own.upDatagrams += moved.upDatagrams;
      own.downDatagrams += moved.downDatagrams;
    };
  }

  all(): OwnTraffic[] {
    return [...this.#slots.values()].map(own => ({ ...own }));
  }
}
