/**
 * The driver under misbehaviour drawn by a seed: whatever the modem does, each verb ends with an outcome within its
 * bounded time, nothing is thrown, nothing is left behind, and a modem that comes to its senses is served again.
 */
import type { ModemDriver, Outcome } from '@mastline/agent/modem-plane/driver';
import * as assert from 'uvu/assert';
import { DEFAULT_KNOBS, type MbimKnobs } from '../../../simulators/mbim/knobs';
import { seeded } from '../../../support/random';
import { suite } from '../../../support/suite';
import { type Bench, bench, driverOn, passing } from './in-memory';

const test = suite('MBIM storm');

const SEEDS = 30;
const VERBS_A_RUN = 30;
/** The longest verb: re-attach by mode, two registrations of 120 s with a dwell between, and an opening. */
const LONGEST_VERB_MS = 300_000;

const verbs: readonly ((driver: ModemDriver) => Promise<Outcome<unknown>>)[] = [
  driver => driver.identity(),
  driver => driver.sim(),
  driver => driver.registration(),
  driver => driver.signal(),
  driver => driver.cell(),
  driver => driver.bearer(),
  driver => driver.connect(null),
  driver => driver.disconnect(),
  driver => driver.counters(),
  driver => driver.radio(false),
  driver => driver.radio(true),
  driver => driver.reattach('deregister'),
  driver => driver.reattach('mode-toggle'),
  driver => driver.messages(),
  driver => driver.ussd('*100#'),
  driver => driver.enterPin('4321'),
];

const miseries: readonly ((random: () => number) => Partial<MbimKnobs>)[] = [
  () => ({ hung: true }),
  random => ({ busyTimes: Math.floor(random() * 4) }),
  random => ({ nextStatus: Math.floor(random() * 40) }),
  random => ({ nextFunctionError: 1 + Math.floor(random() * 9) }),
  () => ({ nextWrongTransaction: true }),
  random => ({ nextTruncatedInfo: Math.floor(random() * 60) }),
  random => ({ fragmentBytes: 64 + Math.floor(random() * 40), nextFragmentFault: 'swapped' }),
  random => ({ fragmentBytes: 64 + Math.floor(random() * 40), nextFragmentFault: 'missing-last' }),
  random => ({ fragmentBytes: 64 + Math.floor(random() * 40), nextFragmentFault: 'doubled' }),
  random => ({ noiseBytes: Math.floor(random() * 50), writes: 'cut' }),
  () => ({ stormIndications: 50, writes: 'bytes', fragmentBytes: 64 }),
  random => ({ replyDelayMs: Math.floor(random() * 20_000) }),
  () => ({ connectStyle: 'activating', connectDelayMs: 100_000 }),
  () => ({ connectCause: 33 }),
  () => ({ registration: 'denied' }),
  () => ({ ussdDelayMs: 200_000 }),
  () => ({ lostSets: [3, 9, 10, 12] }),
  () => ({}),
];

function pick<T>(list: readonly T[], random: () => number): T {
  return list[Math.floor(random() * list.length)] as T;
}

function calm(modem: Bench['modem']): void {
  // The SIM stays what it has become.
  const { sim, pinTriesLeft } = modem.knobs;
  Object.assign(modem.knobs, DEFAULT_KNOBS, { sim, pinTriesLeft });
}

async function storm(seed: number): Promise<{ oks: number; faults: number }> {
  const random = seeded(seed);
  const on = bench({ seed });
  const driver = await driverOn(on);
  let oks = 0;
  let faults = 0;
  for (let turn = 0; turn < VERBS_A_RUN; turn += 1) {
    if (random() < 0.3) calm(on.modem);
    Object.assign(on.modem.knobs, pick(miseries, random)(random));
    const verb = pick(verbs, random);
    // Now and then two at once.
    const work = random() < 0.2 ? [verb(driver), pick(verbs, random)(driver)] : [verb(driver)];
    const outcomes = await passing(on.clock, Promise.all(work), LONGEST_VERB_MS * work.length);
    for (const outcome of outcomes) {
      if (outcome.ok) oks += 1;
      else {
        faults += 1;
        assert.match(outcome.fault.code, /^mbim\//);
        assert.ok(outcome.fault.message.length > 0);
      }
    }
  }
  calm(on.modem);
  // Long replies of before may still be on their way, and the session may have to be opened again.
  await on.clock.advance(25_000);
  let last: Outcome<unknown> = await passing(on.clock, driver.identity());
  for (let again = 0; again < 3 && !last.ok; again += 1) last = await passing(on.clock, driver.identity());
  assert.ok(last.ok, `seed ${seed}: ${JSON.stringify(last)}`);
  on.modem.assertNoFaults();
  await passing(on.clock, driver.close());
  on.modem.close();
  await on.clock.advance(25_000);
  assert.is(on.clock.pending(), 0, `seed ${seed}: a timer is left`);
  return { oks, faults };
}

test(
  `${SEEDS} seeds: every verb ends, and a modem that is calm again is served`,
  async () => {
    const sum = { oks: 0, faults: 0 };
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { oks, faults } = await storm(seed);
      sum.oks += oks;
      sum.faults += faults;
    }
    // Both must have happened often, or the storm was none.
    assert.ok(sum.oks > 200 && sum.faults > 200, JSON.stringify(sum));
  },
  { deadlineMs: 120_000 },
);

test('a modem that vanishes in the middle of any verb fails it at once', async () => {
  for (const [index, verb] of verbs.entries()) {
    const on = bench({ seed: index });
    const driver = await driverOn(on);
    on.modem.knobs.hung = true;
    const work = verb(driver);
    await on.clock.advance(20);
    on.modem.vanish();
    const outcome = await passing(on.clock, work, 10_000);
    assert.ok(outcome.ok || outcome.fault.kind === 'unreachable', JSON.stringify(outcome));
    await passing(on.clock, driver.close());
    assert.is(on.clock.pending(), 0);
  }
});

test.run();
