/** Rungs and climbs on drivers that hang, refuse and lie; virtual time. */
import type { Outcome } from '@mastline/agent/modem-plane/driver';
import { type ClimbEnd, type ClimbParts, climb } from '@mastline/agent/modem-plane/recovery/climb';
import type { Rung, Step } from '@mastline/agent/modem-plane/recovery/plan';
import { RUNGS, type RungTools } from '@mastline/agent/modem-plane/recovery/rungs';
import type { SlotVerdict } from '@mastline/agent/modem-plane/slot-state';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';

const test = suite('a climb');
const fine: Outcome<never> = { ok: true, value: undefined as never };
const fault = (kind: 'unreachable' | 'unsupported' | 'failed', message = kind as string): Outcome<never> => ({
  ok: false,
  fault: { kind, code: 'x', message },
});
const well: SlotVerdict = { state: 'connected', reason: '', ready: true, cause: null };
const dead: SlotVerdict = { state: 'failed', reason: 'no answer', ready: false, cause: 'data-dead' };
const unknown: SlotVerdict = { state: 'probing', reason: 'being probed', ready: false, cause: null };
const never = new Promise<never>(() => undefined);

let clock: FakeClock;
let verbs: string[];
let verdict: SlotVerdict;
let answers: Record<string, Outcome<never> | Promise<never>>;
let stuck: number;
test.beforeEach(() => {
  clock = fakeClock();
  verbs = [];
  verdict = dead;
  answers = {};
  stuck = 0;
});

const say = (verb: string) => {
  verbs.push(verb);
  return Promise.resolve(answers[verb] ?? fine);
};
const driver = {
  connect: () => say('connect'),
  disconnect: () => say('disconnect'),
  radio: (on: boolean) => say(on ? 'radio on' : 'radio off'),
  reset: () => say('reset'),
};
const tools = (signal = new AbortController().signal): RungTools => ({
  driver: () => driver,
  cycleUsb: null,
  rebootHost: async () => undefined,
  clock,
  signal,
});

async function climbed(steps: Step[], over: Partial<ClimbParts> = {}): Promise<ClimbEnd> {
  let end: ClimbEnd | undefined;
  void climb({
    cause: 'data-dead',
    steps,
    tools: tools(),
    verdict: () => verdict,
    onDone: () => undefined,
    onStuck: () => {
      stuck += 1;
    },
    onStep: () => undefined,
    obstacle: () => null,
    beforeRung: async () => undefined,
    clock,
    signal: new AbortController().signal,
    ...over,
  }).then(value => {
    end = value;
  });
  for (let i = 0; i < 1000 && end === undefined; i += 1) await clock.advance(250);
  if (end === undefined) throw new Error('the climb does not end');
  assert.is(clock.pending(), 0, 'timers are left');
  return end;
}
const step = (rung: Rung, seconds = 60): Step => ({ rung, budgetMs: seconds * 1000 });

test('ends with the rung after which it carries', async () => {
  answers.disconnect = fault('failed', 'nothing to hang up');
  const end = await climbed([step('reconnect'), step('reset')], {
    onDone: () => {
      verdict = verbs.includes('reset') ? well : dead;
    },
  });
  assert.is(end.outcome, 'mended');
  assert.equal(
    end.rungs.map(one => [one.rung, one.outcome]),
    [
      ['reconnect', 'not-mended'],
      ['reset', 'mended'],
    ],
  );
});

test('a radio that was switched off is switched on again, also when the climb is given up meanwhile', async () => {
  const abort = new AbortController();
  let over = false;
  const deed = RUNGS.radio(tools(abort.signal)).then(
    () => undefined,
    () => {
      over = true;
    },
  );
  await clock.advance(1000);
  abort.abort(new Error('stopping'));
  await deed;
  assert.ok(over);
  assert.equal(verbs, ['radio off', 'radio on']);
});

test('a verb that never ends costs its budget, is let go, and the radio is not left off', async () => {
  answers['radio off'] = never;
  const end = await climbed([step('radio', 30), step('reset', 5)]);
  assert.is(end.outcome, 'not-mended');
  assert.is(stuck, 1);
  assert.equal(verbs, ['radio off', 'radio on', 'reset']);
  assert.match(end.rungs[0]?.evidence ?? '', /not within 30 s/);
  assert.ok((end.rungs[0]?.tookMs ?? 0) < 35_000);
});

test('a modem that restarted is not taken off USB as well; one that would not restart is', async () => {
  const both = [step('reset', 5), step('usb-rebind'), step('port-power')];
  assert.equal(
    (await climbed(both)).rungs.map(one => one.rung),
    ['reset', 'port-power'],
  );
  answers.reset = fault('failed', 'not now');
  assert.equal(
    (await climbed(both)).rungs.map(one => one.rung),
    ['reset', 'usb-rebind', 'port-power'],
  );
});

test('what a modem cannot do is impossible, and costs nothing', async () => {
  answers['radio off'] = fault('unsupported', 'no radio switch');
  const end = await climbed([step('radio'), step('usb-rebind')]);
  assert.equal(
    end.rungs.map(one => [one.outcome, one.tookMs]),
    [
      ['impossible', 0],
      ['impossible', 0],
    ],
  );
  assert.match(end.reason, /no rung could be climbed/);
});

test('a modem that does not answer to the first word is not waited for', async () => {
  answers.disconnect = fault('unreachable', 'no answer');
  const end = await climbed([step('reconnect', 60)]);
  assert.is(end.outcome, 'not-mended');
  assert.ok(end.tookMs < 1000);
  assert.not(verbs.includes('connect'));
});

test('a cause for a person ends the climb, once it lasts', async () => {
  const locked: SlotVerdict = { state: 'locked', reason: 'PIN needed: x', ready: false, cause: 'pin-needed' };
  verdict = unknown;
  const end = await climbed([step('reset', 60), step('port-power', 60)], {
    onDone: () => {
      verdict = locked;
    },
  });
  assert.is(end.outcome, 'given-up');
  assert.match(end.reason, /set the PIN/);
  assert.is(end.rungs.length, 1);
  assert.ok(end.tookMs >= 15_000 && end.tookMs < 20_000);
});

test('a restart is waited for to the end of its budget, however silent the modem is', async () => {
  verdict = { state: 'failed', reason: 'silent', ready: false, cause: 'stick-hung' };
  const end = await climbed([step('reset', 60)]);
  assert.ok(end.tookMs >= 60_000);
});

test('what becomes known meanwhile can end it', async () => {
  const end = await climbed([step('reconnect'), step('reset')], {
    obstacle: rung => (rung === 'reset' ? 'nobody carries' : null),
  });
  assert.is(end.outcome, 'not-mended');
  assert.is(end.reason, 'nobody carries');
  assert.not(verbs.includes('reset'));
});

test('is given up when the agent stops', async () => {
  const abort = new AbortController();
  verdict = unknown;
  clock.after(5000, () => abort.abort(new Error('the agent is stopping')));
  const end = await climbed([step('reset', 60), step('reconnect')], { signal: abort.signal });
  assert.is(end.outcome, 'given-up');
  assert.is(end.rungs.length, 1);
});

test.run();
