/**
 * How soon a dead stick is back: virtual sticks die at random moments in each of the ways that sticks have, in virtual
 * time, and what the agent takes beyond the sticks' own times (leaving USB, booting, registering, connecting) is told
 * as a distribution. Rungs that did not help count in full. Exits with 1 when a p95 is over its goal.
 *
 *     npm run bench:recovery -- --runs 60 --seed 7
 */

import { type Cure, type Death, Rig } from '../agent/modem-plane/recovery/rig';
import { readFlags, wholeFlag } from '../support/flags';
import { seeded } from '../support/random';
import { percentileOf } from './statistics';

interface Case {
  name: string;
  death: Death;
  cure: Cure;
  /** Goal for the p95, seconds; null where none is promised. */
  goalS: number | null;
  /** The stick has died so five times before: rungs that did not help are known. One climb of five tries them all the same. */
  known?: boolean;
}

const CASES: Case[] = [
  { name: 'API dead, it carries', death: 'api', cure: 'rebind', goalS: 60 },
  { name: 'data dead', death: 'data', cure: 'reconnect', goalS: 60 },
  { name: 'gone from USB', death: 'usb', cure: 'power', goalS: 60 },
  { name: 'hung whole', death: 'hung', cure: 'rebind', goalS: 60 },
  { name: 'data dead, only a restart helps', death: 'data', cure: 'reset', goalS: 60 },
  { name: 'data dead, only the power of the port helps', death: 'data', cure: 'power', goalS: null },
  {
    ...{
      name: 'the same, when it is known that nothing else helps',
      death: 'data',
      cure: 'power',
      goalS: 60,
    },
    known: true,
  },
];
/** Until a rung that never helped is passed over (recovery/plan.ts). */
const LESSONS = 5;
/** A modem that has been well for so long begins anew. */
const WELL_MS = 11 * 60_000;
/** So long a stick is well before it dies, and up to twice that: over a whole round of probes. */
const QUIET_MS = 60_000;

const values = readFlags({
  runs: { type: 'string', default: '60' },
  seed: { type: 'string', default: '7' },
});
const runs = wholeFlag('runs', values.runs, { least: 1, most: 100_000 });
const random = seeded(wholeFlag('seed', values.seed, { least: 0, most: 2 ** 32 - 1 }));
console.log(`${runs} runs each, seed ${values.seed}; seconds beyond the stick's own times`);
let missed = false;
for (const { name, death, cure, goalS, known = false } of CASES) {
  const seconds: number[] = [];
  while (seconds.length < runs) seconds.push(...(await deaths(death, cure, known)));
  const [p50, p95, max] = [percentileOf(seconds, 0.5), percentileOf(seconds, 0.95), percentileOf(seconds, 1)];
  const isMissed = goalS !== null && p95 > goalS;
  missed ||= isMissed;
  const goal = goalS === null ? '' : `, goal p95 ≤ ${goalS}${isMissed ? ': MISSED' : ''}`;
  console.log(`${name}: p50 ${p50.toFixed(1)}, p95 ${p95.toFixed(1)}, max ${max.toFixed(1)}${goal}`);
}
process.exit(missed ? 1 : 0);

/**
 * One death on a box without experience, so that no rung is passed over and no day's limit is met. `known`: five deaths
 * to learn from and then five that count, one of which tries all that never helped.
 */
async function deaths(death: Death, cure: Cure, known: boolean): Promise<number[]> {
  // As in a node: a modem that carries no flows is looked at less often.
  const rig = await Rig.start({ plane: { traffic: async () => [] } });
  try {
    if (!known) return [await oneDeath(rig, death, cure)];
    const seconds: number[] = [];
    for (let nth = 0; nth < 2 * LESSONS; nth += 1) {
      const took = await oneDeath(rig, death, cure);
      if (nth >= LESSONS) seconds.push(took);
      await rig.pass(WELL_MS);
    }
    return seconds;
  } finally {
    await rig.close();
  }
}

async function oneDeath(rig: Rig, death: Death, cure: Cure): Promise<number> {
  const stick = rig.stick();
  await rig.pass(QUIET_MS + Math.floor(random() * QUIET_MS));
  stick.ownMs = 0;
  const begun = rig.now();
  await rig.kill(stick, death, cure);
  await rig.until(() => {
    const { state, cause } = rig.report();
    return stick.death === null && state === 'connected' && cause === null;
  }, 'back');
  return Math.max(0, rig.now() - begun - stick.ownMs) / 1000;
}
