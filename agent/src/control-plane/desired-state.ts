/**
 * Keeps the node what it should be: takes signed states, believes them only by verify-state.ts, applies them through
 * an injected `apply`, keeps the last good one on disk, serves it at start before any cloud is there, stops when the
 * lease runs out, and reports what runs.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { DesiredState, SignedState } from '@mastline/shared/domain/desired-state';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { ListenerOutcome } from '../ports';
import type { Identity, StateStore } from '../spool/state-store';
import type { Boot } from './boot';
import { Lease } from './lease';
import { verifyState } from './verify-state';

/**
 * Makes the node serve `state`; null means nothing at all (the lease has run out). Resolves with what came of each
 * listener; rejects when the state as a whole could not be applied, and then the one before is applied again.
 */
export type ApplyState = (state: DesiredState | null) => Promise<ListenerOutcome[]>;

export type StateReport = UplinkBody<'state-report'>;
type Running = StateReport['running'];

export interface DesiredStateOptions {
  identity: Pick<Identity, 'nodeId' | 'stateKeys'>;
  store: Pick<StateStore, 'signedState' | 'saveSignedState' | 'leaseNote' | 'saveLeaseNote'>;
  apply: ApplyState;
  report(report: StateReport): void;
  clock: Clock;
  boot: Boot;
  now: () => number;
  log: Log;
}

interface Good {
  signed: SignedState;
  state: DesiredState;
}

const NOTHING: Running = { revision: 0, hash: null };
const MAX_PROBLEMS = 64;

export class DesiredStateKeeper {
  readonly #options: DesiredStateOptions;
  readonly #lease: Lease;
  /** The last that was verified and applied. */
  #good: Good | undefined;
  #running: Running = NOTHING;
  #lastReport: StateReport | undefined;
  /** Only the newest waits: what came before it would be replaced at once. */
  #next: SignedState | undefined;
  /** Set from a state's coming until the newest has its turn, so that a flood of states is one piece of work. */
  #taking: Promise<void> | undefined;
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: DesiredStateOptions) {
    this.#options = options;
    this.#lease = new Lease({
      clock: options.clock,
      boot: options.boot,
      now: options.now,
      store: options.store,
      log: options.log,
      onLapse: () => this.#queue(() => this.#lapse()),
      onRenew: () => this.#queue(() => this.#resume()),
    });
  }

  /** Serves what is on disk. A broken or forged file is named and left alone: the cloud sends a good one. */
  async start(): Promise<void> {
    const { store, log, identity } = this.#options;
    this.#lease.resume(await store.leaseNote());
    let signed: SignedState | undefined;
    try {
      signed = await store.signedState();
    } catch (error) {
      log.error('the stored desired state cannot be read: serving nothing until the cloud sends one', {
        error,
      });
      return;
    }
    if (!signed) return;
    const verdict = verifyState(signed, { ...identity, floor: NOTHING });
    if (verdict.is === 'refused') {
      log.error('the stored desired state is not to be believed: serving nothing until the cloud sends one', {
        code: verdict.code,
        reason: verdict.message,
      });
      return;
    }
    const good: Good = { signed, state: verdict.state };
    this.#good = good;
    if (this.#lease.setLength(good.state.leaseSeconds).lapsed) {
      log.error('the lease ran out while the agent was off: not serving until the cloud is heard', {
        code: 'lease/run-out',
      });
      return;
    }
    await this.#queue(() => this.#resume());
  }

  /** A state came from the cloud; resolves when it (or a newer one) has been dealt with. */
  receive(signed: SignedState): Promise<void> {
    this.#next = signed;
    this.#taking ??= this.#queue(async () => {
      const newest = this.#next;
      this.#next = undefined;
      this.#taking = undefined;
      if (newest) await this.#take(newest);
    });
    return this.#taking;
  }

  /** The cloud was heard: the lease begins anew. */
  contact(): void {
    this.#lease.contact();
  }

  /** What serves now. */
  running(): Running {
    return this.#running;
  }

  /** The latest report, for a session that may have missed it. */
  lastReport(): StateReport | undefined {
    return this.#lastReport;
  }

  lease(): { lapsed: boolean; remainingMs: number } {
    return { lapsed: this.#lease.lapsed, remainingMs: this.#lease.remainingMs() };
  }

  /** Takes nothing any more and finishes what is being applied; what serves goes on serving. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#lease.close();
    await this.#work;
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(async () => {
      if (this.#closed) return;
      try {
        await work();
      } catch (error) {
        this.#options.log.error('the desired state could not be dealt with', { error });
      }
    });
    return this.#work;
  }

  async #take(signed: SignedState): Promise<void> {
    const { identity, log, store } = this.#options;
    const floor = this.#good
      ? { revision: this.#good.signed.revision, hash: this.#good.signed.hash }
      : NOTHING;
    const verdict = verifyState(signed, { ...identity, floor });
    if (verdict.is === 'refused') {
      log.error('refused a desired state', { code: verdict.code, reason: verdict.message });
      this.#tell(signed.revision, 'refused', [{ code: verdict.code, message: verdict.message }]);
      return;
    }
    if (this.#running.hash === signed.hash && this.#lastReport?.outcome === 'applied') {
      // It runs already: the cloud had not heard so.
      this.#options.report(this.#lastReport);
      return;
    }
    const outcomes = await this.#apply({ signed, state: verdict.state });
    if (!outcomes) return;
    const problems = problemsIn(outcomes);
    try {
      await store.saveSignedState(signed);
    } catch (error) {
      log.error('the desired state is applied but cannot be stored', { error });
      problems.unshift({ code: codeOf(error) ?? 'state/not-stored', message: messageOf(error) });
    }
    this.#tell(signed.revision, 'applied', problems);
  }

  /** Applies; on failure goes back to the last good one, reports, and gives undefined. */
  async #apply(next: Good): Promise<ListenerOutcome[] | undefined> {
    const { apply, log } = this.#options;
    try {
      const outcomes = await apply(next.state);
      this.#good = next;
      this.#running = { revision: next.signed.revision, hash: next.signed.hash };
      this.#lease.setLength(next.state.leaseSeconds);
      log.info('serving', { revision: next.signed.revision, problems: problemsIn(outcomes).length });
      return outcomes;
    } catch (error) {
      log.error('a desired state could not be applied', { error, revision: next.signed.revision });
      await this.#fallBack();
      this.#tell(next.signed.revision, 'failed', [
        { code: codeOf(error) ?? 'state/failed', message: messageOf(error) },
      ]);
      return undefined;
    }
  }

  async #fallBack(): Promise<void> {
    const before = this.#running.revision === 0 ? undefined : this.#good;
    try {
      await this.#options.apply(before?.state ?? null);
    } catch (error) {
      this.#running = NOTHING;
      this.#options.log.error('the last good state cannot be applied either', { error });
    }
  }

  async #resume(): Promise<void> {
    const good = this.#good;
    if (!good || this.#lease.lapsed) return;
    const outcomes = await this.#apply(good);
    if (outcomes) this.#tell(good.signed.revision, 'applied', problemsIn(outcomes));
  }

  async #lapse(): Promise<void> {
    // The cloud may have come back while this waited its turn.
    if (!this.#lease.lapsed || !this.#good) return;
    this.#running = NOTHING;
    await this.#options.apply(null);
    this.#tell(this.#good.signed.revision, 'failed', [
      { code: 'lease/run-out', message: 'the lease ran out without contact to the cloud; nothing is served' },
    ]);
  }

  #tell(revision: number, outcome: StateReport['outcome'], problems: StateReport['problems']): void {
    const report: StateReport = {
      revision,
      outcome,
      problems: problems.slice(0, MAX_PROBLEMS).map(({ code, message, ...more }) => ({
        ...more,
        code: code.slice(0, 64),
        message: message.slice(0, 500),
      })),
      running: this.#running,
    };
    this.#lastReport = report;
    this.#options.report(report);
  }
}

function problemsIn(outcomes: readonly ListenerOutcome[]): StateReport['problems'] {
  return outcomes.flatMap(({ endpointId, problem }) =>
    problem ? [{ code: problem.code, message: problem.message, endpointId }] : [],
  );
}

/** The state that is on disk, if it is to be believed; for what has to be known before the control plane starts. */
export async function storedState(
  store: Pick<StateStore, 'signedState'>,
  identity: Identity,
): Promise<DesiredState | null> {
  try {
    const signed = await store.signedState();
    if (!signed) return null;
    const verdict = verifyState(signed, { ...identity, floor: NOTHING });
    return verdict.is === 'refused' ? null : verdict.state;
  } catch {
    // Named by the keeper, which starts with the same file.
    return null;
  }
}
