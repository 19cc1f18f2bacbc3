/** Which rungs are climbed for which cause: pure. */
import {
  DAILY,
  type PlanFacts,
  pauseAfter,
  planClimb,
  TREATMENTS,
} from '@mastline/agent/modem-plane/recovery/plan';
import { MODEM_CAUSES, type ModemCause } from '@mastline/shared/domain/modem';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';

const test = suite('recovery plan');

const LADDER = [
  { rung: 'reconnect', budgetSeconds: 30 },
  { rung: 'radio', budgetSeconds: 60 },
  { rung: 'reset', budgetSeconds: 120 },
  { rung: 'usb-rebind', budgetSeconds: 90 },
  { rung: 'port-power', budgetSeconds: 150 },
] as const;
const facts = (over: Partial<PlanFacts>): PlanFacts => ({
  cause: 'data-dead',
  ladder: LADDER,
  experience: () => null,
  doneToday: () => 0,
  allSilent: false,
  mayReboot: false,
  ...over,
});
const climbed = (over: Partial<PlanFacts>) => planClimb(facts(over)).steps.map(one => one.rung);

const causes = Object.keys(MODEM_CAUSES) as ModemCause[];
const FOR_PEOPLE: ModemCause[] = [
  'no-sim',
  'pin-needed',
  'pin-refused',
  'puk-needed',
  'sim-out-of-credit',
  'captive-portal',
  'data-cap',
  'log-in',
  'port-taken',
  'set-up',
];

test('what only a person can mend is never climbed for, and says who mends it', () => {
  for (const cause of FOR_PEOPLE) {
    const { steps, why } = planClimb(facts({ cause, mayReboot: true }));
    assert.equal(steps, [], cause);
    assert.ok(why.length > 5, cause);
  }
});

test('everything else has rungs, gentle ones first, each with the budget of the profile', () => {
  const order = LADDER.map(one => one.rung as string);
  for (const cause of causes.filter(one => !FOR_PEOPLE.includes(one))) {
    const places = climbed({ cause }).map(rung => order.indexOf(rung));
    assert.ok(places.length > 0, cause);
    assert.equal(places, [...places].sort(), cause);
  }
  assert.is(planClimb(facts({})).steps[2]?.budgetMs, 120_000);
});

test('a modem that does not answer is not asked to do anything', () => {
  assert.equal(climbed({ cause: 'stick-hung' }), ['usb-rebind', 'port-power']);
  assert.equal(climbed({ cause: 'usb-gone' }), ['port-power']);
});

test('what the profile does not name is not done', () => {
  assert.equal(climbed({ ladder: LADDER.slice(0, 1) }), ['reconnect']);
  const { steps, why } = planClimb(facts({ cause: 'stick-hung', ladder: LADDER.slice(0, 1) }));
  assert.equal(steps, []);
  assert.match(why, /names no rung/);
});

test('when nobody carries only the gentlest is tried, and the box is not restarted', () => {
  assert.equal(climbed({ allSilent: true, mayReboot: true }), ['reconnect']);
});

test('a rung that never helped is passed over, but in one climb of five', () => {
  const known =
    (tries: number, mended: number, passed: number): PlanFacts['experience'] =>
    rung =>
      rung === 'reset' ? { tries, mended, passed } : null;
  const isClimbed = (experience: PlanFacts['experience']) => climbed({ experience }).includes('reset');
  for (const passed of [0, 1, 2, 3])
    assert.ok(!isClimbed(known(5, 0, passed)), `passed over ${passed} times`);
  assert.ok(isClimbed(known(5, 0, 4)));
  assert.ok(isClimbed(known(5, 1, 0)));
  assert.ok(isClimbed(known(4, 0, 0)));
  assert.equal(planClimb(facts({ experience: known(5, 0, 0) })).hopeless, ['reset']);
});

test('no rung is done more often in a day than it may', () => {
  for (const [rung, most] of Object.entries(DAILY)) {
    const done = (times: number) =>
      climbed({ cause: 'data-dead', mayReboot: true, doneToday: of => (of === rung ? times : 0) });
    assert.ok(done(most - 1).includes(rung as 'reset'), rung);
    assert.ok(!done(most).includes(rung as 'reset'), rung);
  }
});

test('whatever is known, the plan is in order, names no rung twice, and reboots last and only when it may', () => {
  const order = [...LADDER.map(one => one.rung as string), 'host-reboot'];
  void fc.assert(
    fc.property(
      fc.constantFrom(...causes),
      fc.boolean(),
      fc.boolean(),
      fc.array(fc.nat(30), { minLength: 6, maxLength: 6 }),
      (cause, allSilent, mayReboot, done) => {
        const rungs: string[] = climbed({
          ...{ cause, allSilent, mayReboot },
          doneToday: rung => done[order.indexOf(rung)] ?? 0,
        });
        const places = rungs.map(rung => order.indexOf(rung));
        assert.equal(places, [...new Set(places)].sort());
        if (!mayReboot) assert.ok(!rungs.includes('host-reboot'));
        for (const rung of rungs) assert.ok(TREATMENTS[cause].rungs.includes(rung as 'reset'));
      },
    ),
  );
});

test('the pause grows with climbs that did not last, up to half an hour', () => {
  assert.is(pauseAfter(0), 0);
  assert.is(pauseAfter(1), 60_000);
  assert.ok(pauseAfter(2) > pauseAfter(1));
  assert.is(pauseAfter(1000), 30 * 60_000);
});

test.run();
