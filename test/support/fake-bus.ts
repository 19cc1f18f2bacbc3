/** A bus between clusters of one test, in the same turn of the event loop; it loses and fails on command. */
import {
  type Bus,
  type BusState,
  type Hear,
  MAX_MESSAGE_BYTES,
  type Reply,
} from '@mastline/cloud/server/cluster/bus';

export interface FakeBus extends Bus {
  /** As when NATS is lost, and found again. */
  setAway(away: boolean): void;
  /** As a process that was killed: it is not heard, and hears nothing, from now on. */
  die(): void;
}

export class FakeExchange {
  readonly #buses = new Set<{ hears: Map<string, Hear>; isUp(): boolean }>();
  /** Whether a message is lost. */
  loses: (bytes: Uint8Array) => boolean = () => false;
  /** What comes of every question instead of its answer. */
  reply: Reply | undefined;
  largest = 0;
  messages = 0;

  bus(clock: { monotonicMs(): number }): FakeBus {
    let state: BusState = 'away';
    let awaySinceMs = clock.monotonicMs();
    let on: Parameters<Bus['start']>[0] = { up: () => undefined, away: () => undefined };
    const own = { hears: new Map<string, Hear>(), isUp: () => state === 'up' };
    this.#buses.add(own);
    const others = (subject: string) =>
      [...this.#buses].flatMap(each => {
        const hear = each === own || !each.isUp() ? undefined : each.hears.get(subject);
        return hear === undefined ? [] : [hear];
      });
    return {
      get state() {
        return state;
      },
      get awayMs() {
        return state === 'up' ? 0 : clock.monotonicMs() - awaySinceMs;
      },
      listen: (subject, hear) => void own.hears.set(subject, hear),
      start: given => {
        on = given;
        state = 'up';
        on.up(clock.monotonicMs() - awaySinceMs);
      },
      publish: (subject, bytes) => {
        if (state !== 'up' || bytes.length > MAX_MESSAGE_BYTES) return false;
        this.messages += 1;
        this.largest = Math.max(this.largest, bytes.length);
        if (!this.loses(bytes)) for (const hear of others(subject)) hear(bytes, undefined);
        return true;
      },
      ask: (subject, bytes) => {
        if (this.reply !== undefined) return Promise.resolve(this.reply);
        const [hear] = others(subject);
        if (hear === undefined) return Promise.resolve({ is: 'nobody' });
        return new Promise(resolve => hear(bytes, answer => resolve({ is: 'answer', bytes: answer })));
      },
      close: async () => void this.#buses.delete(own),
      setAway: away => {
        const wasMs = clock.monotonicMs() - awaySinceMs;
        state = away ? 'away' : 'up';
        if (away) awaySinceMs = clock.monotonicMs();
        if (away) on.away();
        else on.up(wasMs);
      },
      die: () => {
        state = 'away';
        this.#buses.delete(own);
      },
    };
  }
}
