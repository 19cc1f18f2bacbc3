/** What the start leaves behind is given back once, when nobody is kept waiting by it. */
import assert from 'node:assert/strict';
import { FEW_ARRIVING, FIRST_LOOK_MS, giveBackWhenCalm } from '@mastline/cloud/server/first-garbage';
import { fakeClock } from '../support/clock';
import { suite } from '../support/suite';

const test = suite('cloud: what the start leaves behind');

function rig(arriving: number) {
  const clock = fakeClock();
  const at = { arriving, given: 0 };
  giveBackWhenCalm({
    clock,
    arriving: () => at.arriving,
    giveBack: () => {
      at.given += 1;
    },
  });
  return { clock, at };
}

test('it is given back when the first jobs have run, once', async () => {
  const { clock, at } = rig(0);
  await clock.advance(FIRST_LOOK_MS - 1);
  assert.equal(at.given, 0);
  await clock.advance(1_000);
  assert.equal(at.given, 1);
  await clock.advance(3_600_000);
  assert.equal(at.given, 1);
  assert.equal(clock.pending(), 0);
});

test('while many nodes are being let in it waits', async () => {
  const { clock, at } = rig(200);
  await clock.advance(FIRST_LOOK_MS + 60_000);
  assert.equal(at.given, 0);
  at.arriving = FEW_ARRIVING;
  await clock.advance(1_000);
  assert.equal(at.given, 1);
});

test.run();
