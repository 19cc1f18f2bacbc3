/**
 * Gives memory back when a flood is over. Turned-away connects leave little behind, but many of them make V8's young
 * generation grow to its full size, and it collects nothing while nothing happens: an agent that was flooded once
 * would stay some ten megabytes larger until its next busy hour. One collection when all is quiet again (some tens of
 * milliseconds on a Pi) brings it back. Who is turned away is entrance.ts.
 */

/** Connects turned away since the last collection that are worth one. */
const FLOOD = 2_000;
/** In one tick; below it all is quiet. */
const TRICKLE = 50;

export class FloodAftermath {
  readonly #quietTicks: number;
  readonly #giveBack: () => void;
  #before = 0;
  #cleanAt = 0;
  #quiet = 0;

  /** `quietTicks`: what the flood's last handshakes need to be gone. */
  constructor(quietTicks: number, giveBack: () => void) {
    this.#quietTicks = quietTicks;
    this.#giveBack = giveBack;
  }

  /** `turnedAway`: connects since the start that came to nothing. */
  onTick(turnedAway: number): void {
    this.#quiet = turnedAway - this.#before < TRICKLE ? this.#quiet + 1 : 0;
    this.#before = turnedAway;
    if (this.#quiet < this.#quietTicks || turnedAway - this.#cleanAt < FLOOD) return;
    this.#cleanAt = turnedAway;
    this.#giveBack();
  }
}
