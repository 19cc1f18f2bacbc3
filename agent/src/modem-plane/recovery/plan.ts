/**
 * Which rungs may bring a modem back from a cause, in which order, and whether now. Pure. Rungs go from gentle to
 * harsh; those that cannot mend the cause are left out, and for causes that only a person can mend there are none:
 * climbing would cost their customers' flows for nothing. Carrying a rung out is climb.ts.
 */
import type { ModemCause } from '@mastline/shared/domain/modem';
import type { RecoveryRung } from '@mastline/shared/profile/schema';

export type Rung = RecoveryRung | 'host-reboot';

export interface RungBudget {
  rung: RecoveryRung;
  budgetSeconds: number;
}

export interface Step {
  rung: Rung;
  budgetMs: number;
}

interface Treatment {
  rungs: readonly Rung[];
  /** The cause has to last so long: much mends by itself. */
  patienceMs: number;
  /** Who can mend it, where no rung can. */
  remedy: string;
}

const ALL: readonly Rung[] = ['reconnect', 'radio', 'reset', 'usb-rebind', 'port-power', 'host-reboot'];
const UP_TO_RESET = ALL.slice(0, 3);
const FROM_RADIO = ALL.slice(1);
const FROM_RESET = ALL.slice(2);
/** What needs no answer of the modem. */
const FROM_OUTSIDE = ALL.slice(3);

const climbing = (rungs: readonly Rung[], patienceMs: number): Treatment => ({
  rungs,
  patienceMs,
  remedy: '',
});
const forPeople = (remedy: string): Treatment => ({ rungs: [], patienceMs: 0, remedy });

/** Patience with radio: half of the modems in the field are back within a minute (openwrt/packages PR 23590). */
export const TREATMENTS: Record<ModemCause, Treatment> = {
  'no-sim': forPeople('put a SIM in'),
  'pin-needed': forPeople('set the PIN of the SIM in the configuration'),
  'pin-refused': forPeople('set the right PIN in the configuration'),
  'puk-needed': forPeople('unlock the SIM with its PUK in a phone'),
  'sim-out-of-credit': forPeople('top up the SIM'),
  'captive-portal': forPeople('open the page of the carrier through this SIM'),
  'data-cap': forPeople('wait for the next billing period, or raise the cap'),
  'log-in': forPeople('set the password of the stick in the configuration'),
  'port-taken': forPeople('keep the other program off the modem'),
  'set-up': forPeople('see the reason'),
  'sim-failed': climbing(FROM_RESET, 30_000),
  'registration-denied': climbing(['radio'], 120_000),
  'no-registration': climbing(FROM_RADIO, 90_000),
  // Most often the APN or the contract: a restart may help, cutting the power will not.
  'connection-refused': climbing(UP_TO_RESET, 20_000),
  'no-data-connection': climbing(ALL, 20_000),
  // Two probes have failed by then.
  'data-dead': climbing(ALL, 0),
  'api-dead': climbing(FROM_OUTSIDE, 0),
  'stick-hung': climbing(FROM_OUTSIDE, 0),
  // A modem that restarts is away for some seconds.
  'usb-gone': climbing(['port-power', 'host-reboot'], 20_000),
  'hub-power': climbing(['port-power', 'host-reboot'], 20_000),
};

/** What came of a rung for this kind of modem and cause, so far. */
export interface Experience {
  tries: number;
  mended: number;
  /** Climbs since its last try that passed it over. */
  passed: number;
}

/** Harsh rungs wear a modem and its flash: not more of them within a day. */
export const DAILY: Partial<Record<Rung, number>> = {
  reset: 24,
  'usb-rebind': 24,
  'port-power': 12,
  'host-reboot': 1,
};
/** Experience that speaks: so many tries without one success, and a rung is passed over. */
const HOPELESS_TRIES = 5;
/** And tried again in one of so many climbs, since firmware changes; whether they come in a row or weeks apart. */
const HOPELESS_EVERY = 5;
/** The last one fails only by what happens after the boot. */
const REBOOT_BUDGET_MS = 60_000;

export interface PlanFacts {
  cause: ModemCause;
  /** Of the modem's profile. */
  ladder: readonly RungBudget[];
  /** Null when nothing is known. */
  experience: (rung: Rung) => Experience | null;
  /** Rungs done to this slot within the last 24 hours. */
  doneToday: (rung: Rung) => number;
  /** Other modems of the node were meant to carry and none does: it is not this modem's fault alone. */
  allSilent: boolean;
  /** The operator's choice; never while another modem carries. */
  mayReboot: boolean;
}

export interface ClimbPlan {
  steps: Step[];
  /** Why there are none. */
  why: string;
  /** Rungs that never helped, and are left out for that. */
  hopeless: Rung[];
}

/** The rungs to climb now; empty with the reason when none is. */
export function planClimb(facts: PlanFacts): ClimbPlan {
  const { cause, ladder, experience, doneToday } = facts;
  const { rungs, remedy } = TREATMENTS[cause];
  if (rungs.length === 0) return { steps: [], why: remedy, hopeless: [] };
  // A carrier or a service that is down is not mended by restarting everybody's modem.
  const gently = facts.allSilent && cause === 'data-dead';
  const steps: Step[] = [];
  const passed: string[] = [];
  const hopeless: Rung[] = [];
  for (const { rung, budgetSeconds } of ladder) {
    if (!rungs.includes(rung)) continue;
    const known = experience(rung);
    const neverHelps = known !== null && known.tries >= HOPELESS_TRIES && known.mended === 0;
    if (gently && rung !== 'reconnect') passed.push(`${rung}: no modem of this node carries`);
    else if (doneToday(rung) >= (DAILY[rung] ?? Number.POSITIVE_INFINITY))
      passed.push(`${rung}: ${DAILY[rung]} times a day are the limit`);
    else if (neverHelps && known.passed < HOPELESS_EVERY - 1) {
      hopeless.push(rung);
      passed.push(`${rung}: has never helped`);
    } else steps.push({ rung, budgetMs: budgetSeconds * 1000 });
  }
  if (facts.mayReboot && rungs.includes('host-reboot') && !gently && doneToday('host-reboot') === 0)
    steps.push({ rung: 'host-reboot', budgetMs: REBOOT_BUDGET_MS });
  const why = steps.length > 0 ? '' : passed.join('; ') || 'its profile names no rung for that';
  return { steps, why, hopeless };
}

const PAUSES_MS = [60_000, 3 * 60_000, 10 * 60_000, 30 * 60_000];
/** A modem that has been well for so long begins anew. */
export const WELL_FOR_MS = 10 * 60_000;

/** How long to leave it alone after so many climbs in a row that did not last. */
export function pauseAfter(climbs: number): number {
  return climbs === 0 ? 0 : (PAUSES_MS[Math.min(climbs, PAUSES_MS.length) - 1] ?? 0);
}
