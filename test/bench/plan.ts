/**
 * Which runs there are, in which order and of what size. Every round visits each scenario, every scenario each proxy,
 * and each round begins with another one, so that neither the time of day nor who came before favours anybody.
 */
import type { Contender } from './contender';
import type { Protocol, ProxyName, ScenarioName } from './measures';
import type { BenchOptions } from './options';
import type { RateScenario, Sizes } from './scenarios';
import { HELD, STALLED_FLOWS } from './verdicts';

export interface Step {
  repeat: number;
  scenario: ScenarioName;
  protocol: Protocol;
  contender: Contender;
}

const REPEATS = 5;
const FULL: Sizes = {
  seconds: 2,
  warmSeconds: 3,
  idleFlows: HELD.flows,
  stalledFlows: STALLED_FLOWS,
  holdSeconds: 3,
};
/** Cold: it shows the form more than the figures. */
const QUICK: Sizes = {
  seconds: 0.3,
  warmSeconds: 0.2,
  idleFlows: 2_000,
  stalledFlows: STALLED_FLOWS,
  holdSeconds: 0.5,
};
/** In the short form peers hold fewer flows: what one flow costs is seen all the same. */
const QUICK_PEER_FLOWS = 300;
/** What is left of the minute once programs are built, started and ended. */
export const QUICK_MS = 52_000;
/** Around a run: starting the generator, letting the proxy settle. */
const AROUND_SECONDS = 0.25;
/** A run on a fresh process: start, warm up, open the flows, prove them, stop. */
const FRESH_SECONDS = 2.5;
/** Files that a proxy needs beside its flows: the agent has about 40. */
const SPARE_FILES = 100;

export const isMemory = (scenario: ScenarioName): scenario is 'idle' | 'slow-readers' =>
  scenario === 'idle' || scenario === 'slow-readers';
export const isRate = (scenario: ScenarioName): scenario is RateScenario => !isMemory(scenario);

export const sizesOf = (quick: boolean): Sizes => (quick ? QUICK : FULL);

/** About how long a run takes on a machine that is not busy, milliseconds. */
export function expectedMs(step: Step, sizes: Sizes): number {
  const seconds = isMemory(step.scenario)
    ? FRESH_SECONDS + sizes.holdSeconds
    : sizes.seconds + AROUND_SECONDS;
  return seconds * 1000;
}

/** One round. */
function round(contenders: readonly Contender[], options: BenchOptions, repeat: number): Step[] {
  const steps: Step[] = [];
  options.scenarios.forEach((scenario, turn) => {
    const entries = contenders.flatMap(contender =>
      contender.protocols
        .filter(protocol => options.protocols.includes(protocol))
        // The short form weighs memory in one protocol of each proxy.
        .filter((_, index) => !(options.quick && isMemory(scenario) && index > 0))
        // One thread is only there to be compared with when connections are counted.
        .filter(
          () =>
            contender.name !== 'mastline' || contender.threads === options.threads || scenario === 'connect',
        )
        .map(protocol => ({ scenario, protocol, contender, repeat })),
    );
    const first = entries.length === 0 ? 0 : (repeat - 1 + turn) % entries.length;
    steps.push(...entries.slice(first), ...entries.slice(0, first));
  });
  return steps;
}

/** All rounds; the short form has as many as its time allows. */
export function planSteps(contenders: readonly Contender[], options: BenchOptions, timeMs: number): Step[] {
  const sizes = sizesOf(options.quick);
  const one = round(contenders, options, 1);
  const cost = one.reduce((sum, step) => sum + expectedMs(step, sizes), 0);
  const fitting = Math.min(REPEATS, Math.max(1, Math.floor(timeMs / Math.max(1, cost))));
  const repeats = options.repeats ?? (options.quick ? fitting : REPEATS);
  const steps = Array.from({ length: repeats }, (_, index) => round(contenders, options, index + 1)).flat();
  if (!options.quick) return steps;
  // Should the minute be too short, what is left out is what nobody is judged by: the peers' memory.
  const rank = (step: Step) =>
    step.contender.name === 'mastline' && isMemory(step.scenario) ? 0 : isRate(step.scenario) ? 1 : 2;
  return steps.toSorted((a, b) => rank(a) - rank(b));
}

/** How many flows a program is asked to hold, and for how long; `because` when fewer than the figure asks for. */
export function holding(
  step: Pick<Step, 'scenario' | 'repeat' | 'contender' | 'protocol'>,
  options: { quick: boolean; fileLimit: number },
): { flows: number; holdSeconds: number; because: string | null } {
  const sizes = sizesOf(options.quick);
  const { contender, scenario, repeat, protocol } = step;
  const ours = contender.name === 'mastline';
  const wanted = scenario === 'idle' ? sizes.idleFlows : sizes.stalledFlows;
  const bounds = [
    { flows: wanted, because: null },
    {
      flows: Math.floor((options.fileLimit - SPARE_FILES) / 2),
      because: `the file limit of ${options.fileLimit} (ulimit -n) allows no more, and this user may not raise it`,
    },
    ...(contender.mostFlows ? [contender.mostFlows] : []),
    ...(options.quick && !ours ? [{ flows: QUICK_PEER_FLOWS, because: null }] : []),
  ];
  const least = bounds.reduce((a, b) => (b.flows < a.flows ? b : a));
  const long =
    ours && !options.quick && scenario === 'idle' && repeat === 1 && protocol === contender.protocols[0];
  return { ...least, holdSeconds: long ? HELD.seconds : sizes.holdSeconds };
}

/** The names of those that a selection leaves out. */
export const isChosen = (options: BenchOptions, name: ProxyName, protocols: readonly Protocol[]) =>
  options.proxies.includes(name) && protocols.some(protocol => options.protocols.includes(protocol));
