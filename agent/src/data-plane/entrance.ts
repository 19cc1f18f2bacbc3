/**
 * Who may begin a handshake, asked before anything is made for it. A source has its share (source-guard.ts), all
 * together have a cap; at the cap a newcomer is let in and the oldest silent one of the busiest source goes instead,
 * since a flood is what fills it, and a customer says who it is within moments. One for each lane; what it counts
 * is common to all.
 */
import type { Limits } from './limits';
import type { SharedCount } from './shared-count';
import type { SourceGuard } from './source-guard';

/** Those that have waited longest and are looked at to find who goes: a bound on the work of one accept. */
const LOOK_AT = 128;

/** A connection that has not proven whose it is; entrance.ts keeps them in a list, oldest first. */
export interface Stranger {
  readonly place: number;
  /** Has said nothing, or only nonsense. */
  idle: boolean;
  older: Stranger | null;
  younger: Stranger | null;
  cut(): void;
}

/** Answers of `admit` that are no place: the source has had its share; all places are taken. */
export const SOURCE_FLOOD = -1;
export const FULL = -2;

export interface EntranceOptions {
  limits: Limits;
  guard: SourceGuard;
  connections: SharedCount;
  handshakes: SharedCount;
  /** Somebody went for another. */
  evicted: () => void;
}

export class Entrance {
  readonly #options: EntranceOptions;
  #oldest: Stranger | null = null;
  #youngest: Stranger | null = null;
  /** Handshakes of this lane. */
  strangers = 0;
  /** Connects since the start that came to nothing. */
  turnedAway = 0;

  constructor(options: EntranceOptions) {
    this.#options = options;
  }

  /** Takes a place for a connection from `address`; its number, or one of the two above. */
  admit(address: string): number {
    const { limits, guard, connections, handshakes } = this.#options;
    const place = guard.placeOf(address);
    if (!guard.begin(place)) {
      this.turnedAway += 1;
      return SOURCE_FLOOD;
    }
    if (!handshakes.take(limits.openHandshakes)) {
      if (!this.#makeRoom() || !handshakes.take(limits.openHandshakes)) {
        guard.over(place, false);
        return FULL;
      }
    }
    if (!connections.take(limits.connections)) {
      handshakes.giveBack();
      guard.over(place, false);
      return FULL;
    }
    return place;
  }

  /** The connection for which `admit` took a place. */
  entered(stranger: Stranger): void {
    this.strangers += 1;
    stranger.older = this.#youngest;
    if (this.#youngest) this.#youngest.younger = stranger;
    else this.#oldest = stranger;
    this.#youngest = stranger;
  }

  /** Once for each that entered: it is a customer, or gone. */
  left(stranger: Stranger, proven: boolean): void {
    const { older, younger } = stranger;
    if (older) older.younger = younger;
    else this.#oldest = younger;
    if (younger) younger.older = older;
    else this.#youngest = older;
    stranger.older = null;
    stranger.younger = null;
    this.strangers -= 1;
    if (!proven) this.turnedAway += 1;
    this.#options.handshakes.giveBack();
    this.#options.guard.over(stranger.place, proven);
  }

  /** Throws one out; false when there is nobody to be thrown out in this lane. */
  #makeRoom(): boolean {
    const { guard } = this.#options;
    let goes: Stranger | null = null;
    let most = 0;
    let one = this.#oldest;
    for (let looks = 0; one && looks < LOOK_AT; looks += 1) {
      const weight = 2 * guard.open(one.place) + (one.idle ? 1 : 0);
      if (weight > most) {
        goes = one;
        most = weight;
      }
      one = one.younger;
    }
    if (!goes) return false;
    this.#options.evicted();
    goes.cut();
    return true;
  }
}
