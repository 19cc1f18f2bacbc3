/**
 * Keeps the data plane at what the cloud wants, through what the modems offer. Modems tell of each step of theirs,
 * most of which change no way out; only those that do make a new plan, since a plan is judged against every flow. What
 * becomes of a plan is data-plane/data-plane.ts.
 */
import type { DesiredState } from '@mastline/shared/domain/desired-state';
import type { Log } from './observe/log';
import type { DataPlane, Egress, ListenerOutcome, ServicePlan } from './ports';

export interface PlanKeeperOptions {
  egresses: () => Egress[];
  dataPlane: Pick<DataPlane, 'apply'>;
  allowTargets: string[];
  log: Log;
}

export class PlanKeeper {
  readonly #options: PlanKeeperOptions;
  #state: DesiredState | null = null;
  #listeners: ListenerOutcome[] = [];
  /** The ways out of the plan that was handed over last, as text; null when it failed. */
  #ways: string | null = null;

  constructor(options: PlanKeeperOptions) {
    this.#options = options;
  }

  /** What came of each listener of the latest plan. */
  get listeners(): readonly ListenerOutcome[] {
    return this.#listeners;
  }

  /** Serves `state`; null: nothing at all, the lease has run out. Rejects when it cannot be applied as a whole. */
  serve(state: DesiredState | null): Promise<ListenerOutcome[]> {
    this.#state = state;
    return this.#apply();
  }

  /**
   * The modems may offer something else. A plan is handed over before this returns, or there is nothing new. Ports that
   * could not be opened are tried again whatever has changed.
   */
  modemsChanged(): void {
    const allOpen = this.#listeners.every(one => one.listening);
    if (allOpen && JSON.stringify(this.#options.egresses()) === this.#ways) return;
    this.#apply().catch(error =>
      this.#options.log.error('a change of the modems could not be applied', { error }),
    );
  }

  async #apply(): Promise<ListenerOutcome[]> {
    const { dataPlane, allowTargets } = this.#options;
    const egresses = this.#options.egresses();
    this.#ways = JSON.stringify(egresses);
    try {
      this.#listeners = await dataPlane.apply(planOf(this.#state, egresses, allowTargets));
    } catch (error) {
      this.#ways = null;
      throw error;
    }
    return this.#listeners;
  }
}

function planOf(
  state: DesiredState | null,
  egresses: ServicePlan['egresses'],
  allowTargets: string[],
): ServicePlan {
  const limits = new Map(state?.slotLimits?.map(one => [one.slot, one.limits]));
  return {
    endpoints: state?.endpoints ?? [],
    credentials: state?.credentials ?? [],
    egresses: egresses.map(egress => ({ ...egress, limits: limits.get(egress.slot) })),
    allowTargets,
  };
}
