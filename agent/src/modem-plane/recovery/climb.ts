/**
 * One climb of the recovery ladder: rung after rung, each within its budget, until the modem carries again. Whether a
 * rung helped is judged by the slot's verdict, which rests on what comes through, never by the modem's word. Which
 * rungs is plan.ts, what each does is rungs.ts, when to climb is recovery.ts.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { ModemCause, RecoveryReport } from '@mastline/shared/domain/modem';
import type { SlotVerdict } from '../slot-state';
import { type Rung, type Step, TREATMENTS } from './plan';
import { type Deed, RUNGS, type RungTools } from './rungs';

const LOOK_MS = 250;
/** A SIM is not there for a moment after every restart: a cause for people counts when it lasts. */
const FOR_PEOPLE_MS = 15_000;
/** A modem that only left the bus and did not restart answers within so long. */
const REBIND_SILENCE_MS = 20_000;
const RADIO_ON_MS = 20_000;
const MAX_EVIDENCE = 200;

export interface ClimbParts {
  cause: ModemCause;
  steps: readonly Step[];
  tools: RungTools;
  /** What the facts say now, whatever is shown meanwhile. */
  verdict: () => SlotVerdict;
  /** Something was done: what is known of the path is old, and the modem is to be looked at soon. */
  onDone: () => void;
  /** A verb did not end within its budget: the driver has to be let go, or the next one waits behind it. */
  onStuck: () => void;
  onStep: (detail: string) => void;
  /** Why a rung must not be climbed now, by what has become known meanwhile; null when it may. */
  obstacle: (rung: Rung) => string | null;
  /** Called before a harsh rung that the record has to know of even if the power goes. */
  beforeRung: (rung: Rung) => Promise<void>;
  clock: Clock;
  signal: AbortSignal;
}

type RungReport = RecoveryReport['rungs'][number];
export interface ClimbEnd {
  outcome: RecoveryReport['outcome'];
  /** Why it ended so, where it did not mend. */
  reason: string;
  tookMs: number;
  rungs: RungReport[];
}

/** Never rejects. Takes at most the sum of the budgets. */
export async function climb(parts: ClimbParts): Promise<ClimbEnd> {
  const { clock, steps, signal } = parts;
  const begun = clock.monotonicMs();
  const rungs: RungReport[] = [];
  const end = (outcome: ClimbEnd['outcome'], reason: string): ClimbEnd => ({
    outcome,
    reason,
    rungs,
    tookMs: Math.round(clock.monotonicMs() - begun),
  });
  let restarted = false;
  for (const [i, step] of steps.entries()) {
    // A modem that restarted has left USB and come back by itself, and more.
    if (step.rung === 'usb-rebind' && restarted) continue;
    if (signal.aborted) return end('given-up', messageOf(signal.reason));
    const obstacle = parts.obstacle(step.rung);
    if (obstacle !== null) return end('not-mended', obstacle);
    parts.onStep(`${WORDS[step.rung]} (${i + 1} of ${steps.length})`);
    const from = clock.monotonicMs();
    const { outcome, evidence, cause, done } = await climbRung(step, parts);
    restarted ||= step.rung === 'reset' && done;
    const tookMs = Math.round(clock.monotonicMs() - from);
    rungs.push({ rung: step.rung, outcome, tookMs, evidence: evidence.slice(0, MAX_EVIDENCE) });
    if (outcome === 'mended') return end('mended', '');
    if (outcome === 'given-up') return end('given-up', cause === null ? evidence : TREATMENTS[cause].remedy);
  }
  return end(
    'not-mended',
    rungs.every(one => one.outcome === 'impossible') ? 'no rung could be climbed here' : 'no rung helped',
  );
}

const WORDS: Record<Rung, string> = {
  reconnect: 'connects it anew',
  radio: 'switches its radio off and on',
  reset: 'restarts it',
  'usb-rebind': 'takes it off USB and back',
  'port-power': 'cuts the power of its port',
  'host-reboot': 'restarts the box',
};

interface RungEnd {
  outcome: RungReport['outcome'];
  evidence: string;
  /** The cause for people that ended it. */
  cause: ModemCause | null;
}

/** `done`: the modem did what it was told. */
type RungClimbed = RungEnd & { done: boolean };

async function climbRung({ rung, budgetMs }: Step, parts: ClimbParts): Promise<RungClimbed> {
  const { clock, tools } = parts;
  const begun = clock.monotonicMs();
  const over = new AbortController();
  const signal = AbortSignal.any([parts.signal, over.signal]);
  const timer = clock.after(budgetMs, () => over.abort(new Error(`not within ${budgetMs / 1000} s`)));
  let done = false;
  const ended = (
    outcome: RungEnd['outcome'],
    evidence: string,
    cause: ModemCause | null = null,
  ): RungClimbed => ({ outcome, evidence, cause, done });
  try {
    let deed: Deed;
    try {
      await parts.beforeRung(rung);
      deed = await untilAborted(RUNGS[rung]({ ...tools, signal }), signal);
    } catch (error) {
      if (parts.signal.aborted) return ended('given-up', messageOf(parts.signal.reason));
      // A verb that did not end, or a fault of ours: the next rung is harsher and may still help.
      if (over.signal.aborted) {
        parts.onStuck();
        // The verb that would have switched it on again may have been given up with the others.
        if (rung === 'radio') await radioOn(tools, clock);
      }
      deed = { kind: 'failed', reason: messageOf(error) };
    }
    if (deed.kind === 'impossible') return ended('impossible', deed.reason);
    done = deed.kind === 'done';
    parts.onDone();
    if (deed.kind === 'failed' && !MAY_WORK_ANYWAY.has(rung)) return ended('not-mended', deed.reason);
    const seen = await watch(rung, parts, { begun, signal });
    const said = deed.kind === 'done' ? deed.evidence : deed.reason;
    return ended(seen.outcome, [said, seen.evidence].filter(part => part !== '').join('; '), seen.cause);
  } finally {
    timer.cancel();
  }
}

/** A radio must not stay off, whatever became of the rung. Whether it is on is seen by what comes after. */
async function radioOn({ driver }: RungTools, clock: Clock): Promise<void> {
  const late = new AbortController();
  const timer = clock.after(RADIO_ON_MS, () =>
    late.abort(new Error('the radio was not switched on in time')),
  );
  try {
    await untilAborted<unknown>(driver()?.radio(true) ?? Promise.resolve(), late.signal);
  } catch (error) {
    if (!late.signal.aborted) throw error;
  } finally {
    timer.cancel();
  }
}

/** A connect that gave up may still come up: modems go on trying. Elsewhere a failed deed has changed nothing. */
const MAY_WORK_ANYWAY: ReadonlySet<Rung> = new Set(['radio', 'usb-rebind', 'port-power']);

/** Looks until it carries, until it shows that it will not, or until the budget is spent. */
async function watch(
  rung: Rung,
  parts: ClimbParts,
  times: { begun: number; signal: AbortSignal },
): Promise<RungEnd> {
  const { clock, verdict } = parts;
  const done = clock.monotonicMs();
  let forPeopleSince: number | null = null;
  for (;;) {
    const now = verdict();
    if (now.ready && now.cause === null) return { outcome: 'mended', evidence: '', cause: null };
    const forPeople = now.cause !== null && TREATMENTS[now.cause].rungs.length === 0;
    if (!forPeople) forPeopleSince = null;
    else forPeopleSince ??= clock.monotonicMs();
    if (forPeopleSince !== null && clock.monotonicMs() - forPeopleSince >= FOR_PEOPLE_MS)
      return { outcome: 'given-up', evidence: now.reason, cause: now.cause };
    if (isProof(rung, now, clock.monotonicMs() - done))
      return { outcome: 'not-mended', evidence: now.reason, cause: null };
    if (times.signal.aborted) {
      const given = parts.signal.aborted;
      return given || !forPeople
        ? { outcome: given ? 'given-up' : 'not-mended', evidence: now.reason, cause: null }
        : { outcome: 'given-up', evidence: now.reason, cause: now.cause };
    }
    try {
      await sleep(clock, LOOK_MS, times.signal);
    } catch (error) {
      if (!times.signal.aborted) throw error;
    }
  }
}

/** True when waiting longer would not change that this rung did not help. */
function isProof(rung: Rung, { cause }: SlotVerdict, sinceDoneMs: number): boolean {
  if (cause === 'data-dead') return true;
  const silent = cause === 'api-dead' || cause === 'stick-hung';
  switch (rung) {
    case 'reconnect':
    case 'radio':
      return silent;
    case 'usb-rebind':
      return silent && sinceDoneMs >= REBIND_SILENCE_MS;
    case 'reset':
    case 'port-power':
    case 'host-reboot':
      return false;
  }
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
