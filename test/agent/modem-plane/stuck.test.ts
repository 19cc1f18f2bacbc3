/**
 * What never ends by itself is ended: a rotation, its drain, a recovery, each by its deadline, with the reason in the
 * history; and the modem serves again. Virtual sticks, real sockets, minutes of virtual time.
 */
import type { PowerOutcome } from '@mastline/agent/modem-plane/discovery/usb-power';
import { ROTATION_TIMES } from '@mastline/agent/modem-plane/rotation';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { ASKING_MS, Rig } from './recovery/rig';

const test = suite('what is stuck');
const never = () => new Promise<never>(() => undefined);
const rotation = { limits: { coolDownMs: 0, perHour: 100, perDay: 100 } };
/** The rig takes waits of some lengths for requests. */
const profiles = loadCatalogue().map(profile => ({
  ...profile,
  rotation: profile.rotation.map(step =>
    ASKING_MS.has(1000 * step.dwellSeconds) ? { ...step, dwellSeconds: 5 } : step,
  ),
}));

let rig: Rig;
test.afterEach(() => rig.close());

const serves = () =>
  rig.report().state === 'connected' &&
  rig.report().exitAddress !== null &&
  rig.plane.egresses()[0]?.ready === true;
const history = () => rig.plane.rotations.history(1);

test('a rotation in which the stick falls silent ends with its reason, and the next one works', async () => {
  rig = await Rig.start({ plane: { rotation, profiles } });
  const stick = rig.stick();
  const begun = rig.now();
  let silent = false;
  rig.plane.onChange(() => {
    if (silent || !/changes its address/.test(rig.report().reason)) return;
    silent = true;
    void rig.kill(stick, 'api', 'nothing');
  });
  const record = await rig.plane.rotations.rotate(1, { askedFor: 'test' });
  assert.ok(silent);
  assert.is(record.outcome, 'failed');
  assert.is(record.connected, false);
  assert.ok(record.reason.length > 10, record.reason);
  const { deadlineMs, rollBackMs, stuckMs } = ROTATION_TIMES;
  assert.ok(rig.now() - begun <= deadlineMs + rollBackMs + stuckMs + 60_000, `${rig.now() - begun} ms`);
  assert.equal(history().at(-1)?.reason, record.reason);
  await rig.heal(stick);
  await rig.until(serves, 'serves again');
  assert.is((await rig.plane.rotations.rotate(1, { askedFor: 'test' })).outcome, 'rotated');
});

test('a drain whose flows nobody can count ends with the grace period, and the history says so', async () => {
  rig = await Rig.start({ plane: { openFlows: never, rotation, profiles } });
  const before = rig.report().exitAddress;
  const record = await rig.plane.rotations.rotate(1, { askedFor: 'test' });
  assert.is(record.outcome, 'rotated', record.reason);
  assert.is.not(record.newAddress, before);
  assert.match(history().at(-1)?.reason ?? '', /^changed after 10 s; running flows cannot be counted: /);
  await rig.until(serves, 'serves again');
});

test('a drain whose flows never end ends with the grace period, and the history tells how many were left', async () => {
  rig = await Rig.start({ plane: { openFlows: async () => 3, rotation, profiles } });
  const record = await rig.plane.rotations.rotate(1, { askedFor: 'test' });
  assert.is(record.outcome, 'rotated', record.reason);
  assert.is(history().at(-1)?.reason, '3 flows still ran when it changed after 10 s');
  await rig.until(serves, 'serves again');
});

test('a recovery whose hub never answers ends with the budgets of its rungs, and the modem is taken up when it is well', async () => {
  const asked: string[] = [];
  rig = await Rig.start({
    plane: {
      recovery: {
        cycleUsb: (_, { way }): Promise<PowerOutcome> => {
          asked.push(way);
          return never();
        },
      },
    },
  });
  const stick = rig.stick();
  await rig.kill(stick, 'hung', 'power');
  await rig.until(() => rig.report().recovery != null, 'the climb is over');
  const told = rig.report().recovery;
  assert.is(told?.outcome, 'not-mended');
  assert.equal(asked, ['authorized', 'power']);
  for (const rung of told?.rungs ?? []) assert.match(rung.evidence, /not within \d+ s/, rung.rung);
  assert.match(rig.report().reason, /tried again later/);
  await rig.heal(stick);
  await rig.until(serves, 'serves again');
});

test.run();
