/**
 * Whether a slot carries, from end to end: probes through it when it is quiet, and watches what customers' traffic
 * proves when it is not. Holds the path facts by which slot-state.ts judges, and the exit address that a probe brings
 * along. One probe is probe.ts; what may be done about a dead path is recovery/.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Log } from '../../observe/log';
import type { CountOwn, SlotTraffic } from '../../ports';
import { urlsFor } from '../address-family';
import { NO_PATH, type PathFacts } from '../slot-state';
import { type ProbeResult, probe } from './probe';
import { ProbeBudget } from './probe-budget';

interface Pace {
  /** Between two probes of a path that carries and is quiet. */
  quietMs: number;
  /** The same while traffic proves it: then only the exit address is asked for. */
  busyMs: number;
  /** After the first probe that failed; doubled with each further one. */
  doubtMs: number;
  maxDoubtMs: number;
  /** Until a carrier's page is looked at again. */
  captiveMs: number;
}

export const PACE: Pace = {
  quietMs: 24_000,
  busyMs: 60_000,
  doubtMs: 1500,
  maxDoubtMs: 15_000,
  captiveMs: 60_000,
};
/** A probe is about 1 KB: 480 of them a month leave more than a third of the budget for bad days. */
export const METERED_PACE: Pace = {
  quietMs: 90 * 60_000,
  busyMs: 12 * 3_600_000,
  doubtMs: 5000,
  maxDoubtMs: 30 * 60_000,
  captiveMs: 30 * 60_000,
};
/** What a probe costs at most, for asking leave. */
const DEAREST_PROBE_BYTES = 4000;
const NO_BUDGET_PAUSE_MS = 10 * 60_000;
/** Two looks at the traffic in a row with bytes up and none down: something is wrong. */
const STALLED_LOOKS = 2;
const RESULTS_KEPT = 50;

export interface PathWatchOptions {
  echoUrls: readonly string[];
  /** Probes cost SIM data that somebody counts. */
  metered: boolean;
  clock: Clock;
  log: Log;
  /** False: not a byte more may go through the SIM. */
  mayProbe: () => boolean;
  onChange: () => void;
  /** Told what probes move. */
  count?: CountOwn | undefined;
}

export interface PathFigures {
  /** Of the latest probes. */
  probes: number;
  lossShare: number;
  connectP50Ms: number | null;
  answerP50Ms: number | null;
  wireBytes: number;
}

interface Path {
  localAddress: string;
  dnsServers: readonly string[];
}

export class PathWatch {
  readonly #options: PathWatchOptions;
  readonly #pace: Pace;
  readonly #budget: ProbeBudget;
  #facts: PathFacts = NO_PATH;
  #path: Path | null = null;
  #abort = new AbortController();
  #timer: Timer | undefined;
  #probing = false;
  /** Something speaks against it since the last probe began: what proved it before does not count. */
  #doubted = false;
  #probedAt = Number.NEGATIVE_INFINITY;
  #provenAt = Number.NEGATIVE_INFINITY;
  #traffic: SlotTraffic | null = null;
  #stalled = 0;
  #next = 0;
  #results: ProbeResult[] = [];
  #wireBytes = 0;

  constructor(options: PathWatchOptions) {
    this.#options = options;
    this.#pace = options.metered ? METERED_PACE : PACE;
    this.#budget = new ProbeBudget(options);
  }

  facts(): PathFacts {
    return this.#facts;
  }

  figures(): PathFigures {
    const lost = this.#results.filter(one => one.outcome.kind === 'silent').length;
    return {
      probes: this.#results.length,
      lossShare: this.#results.length === 0 ? 0 : lost / this.#results.length,
      connectP50Ms: median(this.#results.flatMap(one => one.connectMs ?? [])),
      answerP50Ms: median(this.#results.flatMap(one => one.answerMs ?? [])),
      wireBytes: this.#wireBytes,
    };
  }

  isOpen(): boolean {
    return this.#path !== null;
  }

  isProbing(): boolean {
    return this.#probing;
  }

  /** A connection came up, or changed: nothing that was known holds any more. */
  open(path: Path): void {
    this.shut();
    this.#path = path;
    if (this.#urls(path).length === 0)
      this.#facts = { ...NO_PATH, proof: { kind: 'unaskable' }, problem: this.#whyNobody() };
    else this.#schedule(0);
  }

  /** Something was done to the modem: what is known of the path is of before. */
  restart(): void {
    if (this.#path !== null) this.open(this.#path);
  }

  /** There is no connection. */
  shut(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#timer?.cancel();
    this.#path = null;
    this.#doubted = false;
    this.#probing = false;
    this.#facts = NO_PATH;
    this.#stalled = 0;
    this.#provenAt = Number.NEGATIVE_INFINITY;
  }

  /** Something speaks against it: probes at once. */
  doubt(): void {
    if (this.#path === null || this.#facts.proof.kind === 'unaskable') return;
    this.#doubted = true;
    if (!this.#probing) this.#schedule(0);
  }

  /** The modem's API fell silent: from here on only what comes through counts. */
  apiFailed(): void {
    this.#facts = { ...this.#facts, provenSinceApiFailed: false };
    this.doubt();
  }

  /** Somebody else has proven the path, and seen its address (a rotation). */
  proven(address: string | null): void {
    if (this.#path === null) return;
    this.#facts = { ...this.#facts, proof: { kind: 'carries' }, address, problem: '' };
    this.#provenAt = this.#options.clock.monotonicMs();
  }

  /** What has gone through the slot by now; called every few seconds. */
  noteTraffic(now: SlotTraffic): void {
    const before = this.#traffic;
    this.#traffic = now;
    if (before === null || this.#path === null) return;
    const { proof } = this.#facts;
    if (now.downBytes > before.downBytes) {
      this.#stalled = 0;
      // A carrier's page is traffic, too.
      if (proof.kind === 'captive' || proof.kind === 'none' || proof.kind === 'unaskable') return;
      this.#provenAt = this.#options.clock.monotonicMs();
      if (proof.kind === 'carries' && this.#facts.provenSinceApiFailed) return;
      this.#facts = { ...this.#facts, proof: { kind: 'carries' }, provenSinceApiFailed: true };
      this.#options.onChange();
      return;
    }
    this.#stalled = now.upBytes > before.upBytes ? this.#stalled + 1 : 0;
    if (this.#stalled < STALLED_LOOKS || proof.kind !== 'carries') return;
    this.#stalled = 0;
    this.doubt();
  }

  /** Those that can be asked from the slot's address. */
  #urls({ localAddress }: Path): string[] {
    return urlsFor(localAddress, this.#options.echoUrls);
  }

  #whyNobody(): string {
    return this.#options.echoUrls.length === 0
      ? 'no echo service is configured'
      : "no echo service can be asked by the family of the slot's address";
  }

  #schedule(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => void this.#due());
  }

  async #due(): Promise<void> {
    const { clock, log, mayProbe, onChange } = this.#options;
    const path = this.#path;
    if (path === null || this.#probing) return;
    if (!mayProbe() || !this.#isWanted()) return this.#schedule(this.#pace.quietMs);
    if (!this.#budget.allows(DEAREST_PROBE_BYTES)) return this.#schedule(NO_BUDGET_PAUSE_MS);
    this.#probing = true;
    this.#doubted = false;
    const signal = this.#abort.signal;
    let result: ProbeResult;
    try {
      const able = this.#urls(path);
      const from = this.#next % able.length;
      const urls = [...able.slice(from), ...able.slice(0, from)];
      result = await probe({ urls, ...path, clock, signal, count: this.#options.count });
    } catch (error) {
      // Nothing that a network does ends here.
      log.error('a probe broke', { error });
      if (!signal.aborted) {
        this.#probing = false;
        this.#schedule(this.#pace.maxDoubtMs);
      }
      return;
    }
    this.#budget.spend(result.wireBytes);
    this.#wireBytes += result.wireBytes;
    if (signal.aborted) return;
    this.#probing = false;
    this.#take(result);
    onChange();
    if (signal.aborted) return;
    this.#schedule(this.#doubted ? 0 : this.#pauseAfter());
  }

  /** A path that traffic has proven needs no probe, but for the exit address now and then. */
  #isWanted(): boolean {
    const now = this.#options.clock.monotonicMs();
    const provenLately = now - this.#provenAt < this.#pace.quietMs;
    if (this.#doubted || !provenLately || this.#facts.address === null) return true;
    return this.#stalled > 0 || now - this.#probedAt >= this.#pace.busyMs;
  }

  #take(result: ProbeResult): void {
    const { clock, log } = this.#options;
    const before = this.#facts;
    this.#probedAt = clock.monotonicMs();
    this.#results.push(result);
    if (this.#results.length > RESULTS_KEPT) this.#results.shift();
    const { outcome } = result;
    switch (outcome.kind) {
      case 'carries':
        this.#facts = {
          proof: { kind: 'carries' },
          address: outcome.address,
          problem: outcome.problem,
          provenSinceApiFailed: true,
        };
        if (outcome.address !== before.address) log.info('exit address', { exit: outcome.address });
        // It answers but does not tell: another one may.
        if (outcome.address === null) this.#next += 1;
        return;
      case 'captive':
        this.#facts = {
          ...NO_PATH,
          proof: { kind: 'captive', problem: outcome.problem, credit: outcome.credit },
        };
        return;
      case 'silent': {
        const failures = before.proof.kind === 'silent' ? before.proof.failures + 1 : 1;
        const carriedBefore =
          before.proof.kind === 'carries' || (before.proof.kind === 'silent' && before.proof.carriedBefore);
        this.#next += 1;
        this.#facts = {
          ...before,
          proof: { kind: 'silent', failures, problem: outcome.problem, carriedBefore },
          problem: outcome.problem,
          address: failures > 1 ? null : before.address,
          provenSinceApiFailed: false,
        };
      }
    }
  }

  #pauseAfter(): number {
    const { proof, address } = this.#facts;
    const { quietMs, doubtMs, maxDoubtMs, captiveMs } = this.#pace;
    if (proof.kind === 'captive') return captiveMs;
    if (proof.kind === 'silent') return Math.min(maxDoubtMs, doubtMs * 2 ** Math.min(proof.failures - 1, 16));
    return address === null ? Math.min(quietMs, maxDoubtMs) : quietMs;
  }
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length / 2) - 1] ?? null;
}
