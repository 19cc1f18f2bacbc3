/**
 * Which usage records are under way: what was sent, what of it is acknowledged, where to go on. Pure bookkeeping of
 * one session; numbers are sequences of one epoch. uplink-sync.ts does the sending.
 */
import { MAX_BATCHES_IN_FLIGHT } from '@mastline/shared/wire/limits';

export class SendWindow {
  /** The last sequence of each batch that was sent and not acknowledged, in the order sent. */
  #inFlight: number[] = [];
  #sent: number;
  #acknowledged: number;

  /** `mark`: everything up to it needs no sending. */
  constructor(mark: number) {
    this.#sent = mark;
    this.#acknowledged = mark;
  }

  /** The next batch begins right after this. */
  get sent(): number {
    return this.#sent;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get inFlight(): number {
    return this.#inFlight.length;
  }

  hasRoom(): boolean {
    return this.#inFlight.length < MAX_BATCHES_IN_FLIGHT;
  }

  /** A batch that ends with `last` went out. */
  batchSent(last: number): void {
    this.#inFlight.push(last);
    this.#sent = last;
  }

  /** True when `mark` says something new; old and doubled marks change nothing. */
  acknowledge(mark: number): boolean {
    if (mark <= this.#acknowledged) return false;
    this.#acknowledged = mark;
    // It may be past what this session sent: the cloud was still storing what the last session sent.
    this.#sent = Math.max(this.#sent, mark);
    this.#inFlight = this.#inFlight.filter(last => last > mark);
    return true;
  }

  /** Everything after the mark is to be sent again: from `sequence` + 1, or from the mark when that is higher. */
  rewind(sequence: number): void {
    this.#inFlight = [];
    this.#sent = Math.max(sequence, this.#acknowledged);
  }
}
