/** The slot's machine, its statistics and its desk: pure parts of a rotation. */

import { FRESH, type Machine, type MachineEvent, shown, step } from '@mastline/agent/modem-plane/machine';
import { RotationDesk } from '@mastline/agent/modem-plane/rotation-desk';
import { type Experience, RotationStatistics } from '@mastline/agent/modem-plane/rotation-statistics';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';

const test = suite('rotation, pure parts');

const connected = { state: 'connected', reason: '', ready: true, cause: null } as const;
const walk = (...events: MachineEvent[]) =>
  events.reduce<Machine>((machine, event) => step(machine, event).machine, FRESH);
const asked = { kind: 'rotation-asked' } as const;

test('only a connected modem may be rotated, and only once at a time', () => {
  assert.is(step(FRESH, asked).actions[0]?.kind, 'refuse-rotation');
  const down = walk({
    kind: 'judged',
    verdict: { state: 'failed', reason: 'no SIM', ready: false, cause: 'no-sim' },
  });
  const refused = step(down, asked).actions[0];
  assert.ok(refused?.kind === 'refuse-rotation' && /failed \(no SIM\)/.test(refused.reason));
  const up = walk({ kind: 'judged', verdict: connected });
  const begun = step(up, asked);
  assert.equal(begun.actions, [{ kind: 'begin-rotation' }]);
  const twice = step(begun.machine, asked).actions[0];
  assert.ok(twice?.kind === 'refuse-rotation' && /under way/.test(twice.reason));
});

test('while it rotates no new flow may leave, whatever the modem says; afterwards its word counts', () => {
  const rotating = walk(
    { kind: 'judged', verdict: connected },
    asked,
    { kind: 'rotation-phase', phase: 'change', detail: 'data-switch' },
    { kind: 'judged', verdict: connected },
  );
  assert.equal(shown(rotating), {
    state: 'rotating',
    reason: 'changes its address: data-switch',
    ready: false,
    cause: null,
  });
  const ended = step(rotating, { kind: 'rotation-ended' }).machine;
  assert.equal(shown(ended), connected);
  // A phase that is told late changes nothing.
  assert.equal(step(ended, { kind: 'rotation-phase', phase: 'verify', detail: '' }).machine, ended);
});

test('a modem that is being brought back is not rotated, and one that rotates is not brought back', () => {
  const recovery = { kind: 'recovery-asked', cause: 'data-dead' } as const;
  const up = walk({ kind: 'judged', verdict: connected });
  const recovering = step(up, recovery);
  assert.equal(recovering.actions, [{ kind: 'begin-recovery' }]);
  const told = step(recovering.machine, { kind: 'recovery-step', detail: 'restarts it (1 of 2)' }).machine;
  assert.equal(shown(told), {
    state: 'recovering',
    reason: 'Connected, but carries nothing: restarts it (1 of 2)',
    ready: false,
    cause: 'data-dead',
  });
  const refused = step(told, asked).actions[0];
  assert.ok(refused?.kind === 'refuse-rotation' && /brought back/.test(refused.reason));
  assert.is(step(told, recovery).actions[0]?.kind, 'refuse-recovery');
  // The end of the one is not the end of the other.
  assert.equal(step(told, { kind: 'rotation-ended' }).machine, told);
  assert.equal(shown(step(told, { kind: 'recovery-ended' }).machine), connected);
  assert.is(step(step(up, asked).machine, recovery).actions[0]?.kind, 'refuse-recovery');
});

test('readiness is never shown while something is done to the modem, in any order of events', () => {
  const event = fc.constantFrom<MachineEvent>(
    { kind: 'judged', verdict: connected },
    { kind: 'judged', verdict: { state: 'failed', reason: 'x', ready: false, cause: 'data-dead' } },
    asked,
    { kind: 'rotation-phase', phase: 'drain', detail: '' },
    { kind: 'rotation-ended' },
    { kind: 'recovery-asked', cause: 'stick-hung' },
    { kind: 'recovery-step', detail: 'x' },
    { kind: 'recovery-ended' },
  );
  void fc.assert(
    fc.property(fc.array(event), events => {
      const machine = walk(...events);
      const { ready, state } = shown(machine);
      assert.is(state === 'rotating', machine.activity.kind === 'rotating');
      assert.is(state === 'recovering', machine.activity.kind === 'recovering');
      if (ready) assert.is(machine.verdict.ready && machine.activity.kind === 'watching', true);
    }),
  );
});

const LADDER = [
  { method: 'data-switch', dwellSeconds: 4, expectSeconds: 12 },
  { method: 'mode-toggle', dwellSeconds: 20, expectSeconds: 60 },
  { method: 'reset', dwellSeconds: 0, expectSeconds: 90 },
] as const;
const experience = (over: Partial<Experience>): Experience => ({
  ...{ modem: 'imei', carrier: '26201', method: 'data-switch', outcome: 'rotated', tookMs: 10_000 },
  ...over,
});
const order = (statistics: RotationStatistics, modem = 'imei', carrier = '26201') =>
  statistics.order(LADDER, modem, carrier).map(one => one.method);

test('without experience the ladder is kept; a method that never works sinks, for that modem and carrier only', () => {
  const statistics = new RotationStatistics();
  assert.equal(order(statistics), ['data-switch', 'mode-toggle', 'reset']);
  for (let i = 0; i < 9; i += 1) statistics.add(experience({ outcome: 'collision' }));
  assert.equal(order(statistics), ['mode-toggle', 'data-switch', 'reset']);
  assert.equal(order(statistics, 'other'), ['data-switch', 'mode-toggle', 'reset']);
  assert.equal(order(statistics, 'imei', '99970'), ['data-switch', 'mode-toggle', 'reset']);
  for (let i = 0; i < 50; i += 1) statistics.add(experience({}));
  assert.equal(order(statistics), ['data-switch', 'mode-toggle', 'reset']);
});

test('keeps figures of the latest fifty', () => {
  const statistics = new RotationStatistics();
  for (let i = 1; i <= 60; i += 1) statistics.add(experience({ tookMs: i }));
  statistics.add(experience({ outcome: 'collision' }));
  const [figures] = statistics.figures();
  assert.is(figures?.tries, 50);
  assert.is(figures?.rotated, 49);
  assert.is(figures?.collisionRate, 1 / 50);
  assert.is(figures?.p50Ms, 36);
  assert.is(figures?.p95Ms, 58);
});

test('has a cool-down, and caps within the hour and the day', async () => {
  const clock = fakeClock();
  const desk = new RotationDesk(clock, { coolDownMs: 10_000, perHour: 3, perDay: 5 });
  const three = async (count: number) => {
    for (let i = 0; i < count; i += 1) {
      assert.is(desk.obstacle(), null);
      desk.end();
      assert.match(desk.obstacle()?.reason ?? '', /less than 10 s ago; try again in 10 s/);
      assert.is(desk.obstacle()?.retryAfterMs, 10_000);
      await clock.advance(10_000);
    }
  };
  await three(3);
  assert.match(desk.obstacle()?.reason ?? '', /3 rotations within the hour/);
  assert.is(desk.obstacle()?.retryAfterMs, 3_600_000 - 30_000);
  await clock.advance(3_600_000 - 30_000);
  await three(2);
  await clock.advance(3_600_000);
  assert.match(desk.obstacle()?.reason ?? '', /5 rotations within the day/);
  assert.is(desk.obstacle()?.retryAfterMs, 86_400_000 - 3_600_000 - 3_600_000 - 20_000);
});

test('cool-down and caps go on through a restart, also when the clock was set back meanwhile', async () => {
  const clock = fakeClock();
  const limits = { coolDownMs: 60_000, perHour: 2, perDay: 9 };
  const past = [clock.now() - 1_800_000, clock.now() - 20_000];
  const desk = new RotationDesk(clock, limits, past);
  assert.is(desk.obstacle()?.retryAfterMs, 40_000);
  await clock.advance(40_000);
  assert.match(desk.obstacle()?.reason ?? '', /2 rotations within the hour/);
  const setBack = new RotationDesk(clock, limits, [clock.now() + 86_400_000]);
  assert.is(setBack.obstacle()?.retryAfterMs, 60_000);
});

test.run();
