/**
 * The rotation bench, held to what it says, on two modems: what customers notice is exact whatever the machine does.
 * The times are for `npm run bench:rotation`.
 */
import * as assert from 'uvu/assert';
import { measureRotations, type RotationFigures, rotationLines } from './bench/rotation';
import { suite } from './support/suite';

const test = suite('rotation bench');

const good: RotationFigures = {
  rotations: 2,
  rotated: 2,
  overheadP50Ms: 100,
  overheadP95Ms: 200,
  overheadMaxMs: 300,
  newFlows: 10,
  newFlowsRefused: 0,
  graceFlows: 2,
  graceFlowsCut: 0,
  problems: {},
};

test(
  'no new flow is refused while a sibling is up, and none is cut in its grace period',
  async () => {
    const figures = await measureRotations({ rotations: 2, modems: 2 });
    assert.is(figures.rotations, 2);
    assert.is(figures.rotated, 2, JSON.stringify(figures.problems));
    assert.is(figures.newFlowsRefused, 0, JSON.stringify(figures.problems));
    assert.is(figures.graceFlowsCut, 0, JSON.stringify(figures.problems));
    assert.ok(figures.newFlows > 10 && figures.graceFlows === 2);
  },
  { deadlineMs: 60_000 },
);

test('meets its goals only when every one is met', () => {
  assert.is(rotationLines(good).met, true);
  for (const worse of [
    { overheadP50Ms: 501 },
    { overheadP95Ms: 1501 },
    { newFlowsRefused: 1 },
    { newFlows: 0 },
    { graceFlowsCut: 1 },
    { graceFlows: 0 },
    { rotated: 1 },
  ])
    assert.is(rotationLines({ ...good, ...worse }).met, false, JSON.stringify(worse));
});

test.run();
