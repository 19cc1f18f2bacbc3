import { Roll } from '@mastline/agent/data-plane/roll';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('roll');

test('keeps the order in which things came, whoever leaves', () => {
  const roll = new Roll<number>();
  const places = [1, 2, 3, 4, 5].map(item => roll.add(item));
  assert.equal([...roll], [1, 2, 3, 4, 5]);
  for (const at of [2, 0, 4]) {
    const place = places[at];
    if (!place) throw new Error('no such place');
    assert.ok(roll.remove(place));
    assert.not.ok(roll.remove(place));
  }
  assert.equal([...roll], [2, 4]);
  assert.is(roll.size, 2);
  assert.is(roll.first, 2);
  roll.add(6);
  assert.equal([...roll], [2, 4, 6]);
});

test('is empty again when all have left, and can be used on', () => {
  const roll = new Roll<string>();
  const places = ['a', 'b'].map(item => roll.add(item));
  for (const place of places) roll.remove(place);
  assert.is(roll.first, null);
  assert.is(roll.size, 0);
  roll.add('c');
  assert.equal([...roll], ['c']);
});

test('who has left points to nobody, so that nobody outlives a collection for its sake', () => {
  const roll = new Roll<string>();
  const [first, second] = ['a', 'b'].map(item => roll.add(item));
  if (!first || !second) throw new Error('no places');
  roll.remove(first);
  assert.is(first.after, null);
  assert.is(second.before, null);
});

test('members may leave while a copy is gone through', () => {
  const roll = new Roll<number>();
  const places = [0, 1, 2, 3].map(item => roll.add(item));
  const seen: number[] = [];
  for (const item of [...roll]) {
    seen.push(item);
    for (const at of [item, item + 1]) {
      const place = places[at];
      if (place) roll.remove(place);
    }
  }
  assert.equal(seen, [0, 1, 2, 3]);
  assert.is(roll.size, 0);
});

test.run();
