/**
 * Rotations that somebody of this process waits to hear of. In memory: what was asked and what came of it
 * is in the database (rotations.ts), this only spares those who wait from looking again and again.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { DownlinkBody } from '@mastline/shared/wire/downlink';

/**
 * `unsupported`: its agent is older than rotations by request. `unreachable`: it is not here, and other processes
 * cannot be asked now.
 */
export type Delivery = 'sent' | 'offline' | 'unsupported' | 'unreachable';

/** Hands a request to a node's live session, whichever process has it; fleet knows neither gateway nor cluster. */
export type RotationDoor = (nodeId: string, order: DownlinkBody<'rotate'>) => Promise<Delivery>;

/** The node's own deadlines (240 s, 90 s for the way back, 150 s for a driver that hangs), and some. */
export const UNANSWERED_AFTER_MS = 500_000;
const DEADLINE_MS = 240_000;
/** A node takes 64 at once; this is for all of them. */
const MAX_WAITING = 20_000;

interface Waiting {
  ended: Promise<void>;
  end: () => void;
  timer: Timer;
}

export class RotationOrders {
  readonly #clock: Clock;
  readonly #door: RotationDoor;
  readonly #waiting = new Map<string, Waiting>();

  constructor(clock: Clock, door: RotationDoor) {
    this.#clock = clock;
    this.#door = door;
  }

  /** Asks the node. What comes of it is heard by `ended`. */
  async send(nodeId: string, order: { id: string; slot: number; askedFor: string }): Promise<Delivery> {
    // Before it is sent: a node elsewhere may have told what came of it before we hear that it was sent.
    this.#await(order.id);
    let delivery: Delivery = 'offline';
    try {
      delivery = await this.#door(nodeId, { ...order, deadlineMs: DEADLINE_MS });
    } finally {
      if (delivery !== 'sent') this.#waiting.get(order.id)?.end();
    }
    return delivery;
  }

  /** Resolves when the node has told what came of it, or after `ms`; it may have been asked for by another process. */
  async ended(id: string, ms: number): Promise<void> {
    this.#await(id);
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    let timer: Timer | undefined;
    const late = new Promise<void>(resolve => {
      timer = this.#clock.after(ms, resolve);
    });
    await Promise.race([waiting.ended, late]);
    timer?.cancel();
  }

  /** The node has told. */
  told(ids: readonly string[]): void {
    for (const id of ids) this.#waiting.get(id)?.end();
  }

  close(): void {
    for (const { end } of this.#waiting.values()) end();
  }

  #await(id: string): void {
    if (this.#waiting.has(id) || this.#waiting.size >= MAX_WAITING) return;
    let resolve = () => {};
    const ended = new Promise<void>(done => {
      resolve = done;
    });
    const end = () => {
      this.#waiting.delete(id);
      timer.cancel();
      resolve();
    };
    const timer = this.#clock.after(UNANSWERED_AFTER_MS, end);
    this.#waiting.set(id, { ended, end, timer });
  }
}
