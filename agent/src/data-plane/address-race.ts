/**
 * Happy Eyeballs (RFC 8305): of all addresses of a name, IPv6 and IPv4 in turn, each is tried 250 ms after the one
 * before, or at once when that has failed; the first that connects wins, and the others are given up. Both families
 * are asked for at the same time, and IPv4 waits 50 ms for IPv6's answer. A race of one family is the same with one
 * queue. What an attempt is, and names, are the dialer's business.
 */
import { isIPv4 } from 'node:net';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { NameAnswer } from './name-cache';
import { refusalOf } from './resolver';
import type { Family } from './source-address';

/** RFC 8305 section 3. */
export const RESOLUTION_DELAY_MS = 50;
/** RFC 8305 section 5. */
export const ATTEMPT_DELAY_MS = 250;
/** More than anybody can try within the dial deadline. */
const MAX_ATTEMPTS = 8;

export type AttemptOutcome<Won> = { ok: true; won: Won } | { ok: false; reason: RefusalReason };

export interface RaceOptions<Won> {
  clock: Pick<Clock, 'after'>;
  /** That were asked for; each must be answered. */
  families: readonly Family[];
  /** Begins to connect. `settled` may be called within the call; what comes back gives up, and nothing is settled then. */
  attempt: (address: string, settled: (outcome: AttemptOutcome<Won>) => void) => () => void;
  /** Called once: what won, or why nobody did. */
  over: (outcome: AttemptOutcome<Won>) => void;
}

export class AddressRace<Won> {
  readonly #options: RaceOptions<Won>;
  readonly #queues: Record<Family, string[]> = { 4: [], 6: [] };
  readonly #answers: NameAnswer[] = [];
  /** Ways to give up the attempts under way. */
  readonly #running = new Set<() => void>();
  #unanswered: number;
  #attempts = 0;
  #next: Family = 6;
  #latest: (() => void) | null = null;
  /** Until the next attempt, or before the first of IPv4. */
  #timer: Timer | null = null;
  #refusal: RefusalReason | null = null;
  #over = false;

  constructor(options: RaceOptions<Won>) {
    this.#options = options;
    this.#unanswered = options.families.length;
  }

  /** What the resolver says of one family. */
  answered(family: Family, answer: NameAnswer): void {
    if (this.#over) return;
    this.#unanswered -= 1;
    this.#answers.push(answer);
    if (answer.kind === 'found')
      for (const address of answer.addresses) this.#queues[isIPv4(address) ? 4 : 6].push(address);
    const begun = this.#attempts > 0;
    if (this.#timer) {
      // Before the first attempt the timer is the resolution delay, and this was the answer that it waited for.
      if (!begun) this.#proceed();
    } else if (!begun && family === 4 && this.#unanswered > 0 && answer.kind === 'found')
      this.#after(RESOLUTION_DELAY_MS);
    else this.#proceed();
  }

  /**
   * Time is up: gives up all attempts and says the most telling reason so far. Nothing is called afterwards. Null when
   * the race was over.
   */
  giveUp(): RefusalReason | null {
    if (this.#over) return null;
    const waits = this.#running.size > 0 ? 'origin-timeout' : this.#refusal ? null : 'resolver-timeout';
    this.#close();
    return waits ? moreTelling(this.#refusal, waits) : this.#refusal;
  }

  #after(ms: number): void {
    this.#timer = this.#options.clock.after(ms, () => this.#proceed());
  }

  /** Tries the next address, if there is one; ends the race when there is none, and nothing to wait for. */
  #proceed(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const address = this.#take();
    if (address === undefined) {
      const mayCome = this.#unanswered > 0 && this.#attempts < MAX_ATTEMPTS;
      if (mayCome || this.#running.size > 0) return;
      this.#finish({ ok: false, reason: this.#refusal ?? refusalOf(this.#answers) });
      return;
    }
    this.#attempts += 1;
    let settled = false;
    let stop: (() => void) | null = null;
    const giveUp = this.#options.attempt(address, outcome => {
      settled = true;
      if (stop) this.#running.delete(stop);
      if (this.#over) return;
      if (outcome.ok) {
        this.#finish(outcome);
        return;
      }
      this.#refusal = moreTelling(this.#refusal, outcome.reason);
      // One that was overtaken already leaves the pace as it is.
      if (stop === null || stop === this.#latest || this.#running.size === 0) this.#proceed();
    });
    if (settled) return;
    stop = giveUp;
    this.#latest = giveUp;
    this.#running.add(giveUp);
    if (this.#queues[4].length + this.#queues[6].length > 0 || this.#unanswered > 0)
      this.#after(ATTEMPT_DELAY_MS);
  }

  /** Families take turns, IPv6 first. */
  #take(): string | undefined {
    if (this.#attempts >= MAX_ATTEMPTS) return undefined;
    const other = this.#next === 6 ? 4 : 6;
    const family = this.#queues[this.#next].length > 0 ? this.#next : other;
    this.#next = family === 6 ? 4 : 6;
    return this.#queues[family].shift();
  }

  #finish(outcome: AttemptOutcome<Won>): void {
    this.#close();
    this.#options.over(outcome);
  }

  #close(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const stop of this.#running) stop();
    this.#running.clear();
  }
}

/**
 * How much a reason says of why no address could be reached. What a target answered says most; then that one was
 * allowed and did not answer; then that none was allowed; what lies on this side of the modem says least.
 */
const TELLING: Partial<Record<RefusalReason, number>> = {
  'origin-refused': 7,
  'origin-unreachable': 6,
  'origin-timeout': 5,
  'private-target': 4,
  'port-denied': 3,
  'modem-failed': 2,
  'network-unreachable': 1,
};

function moreTelling(one: RefusalReason | null, other: RefusalReason): RefusalReason {
  return one !== null && (TELLING[one] ?? 0) >= (TELLING[other] ?? 0) ? one : other;
}
