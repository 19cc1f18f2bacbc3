/** The sliding window against a plain set of everything that came. */
import assert from 'node:assert/strict';
import { PacketWindow, WINDOW_PACKETS } from '@mastline/shared/protocols/shadowsocks/packet-window';
import fc from 'fast-check';
import { suite } from '../../../support/suite';
import { holds } from '../property';

const test = suite('shadowsocks packet window');

test('takes each number once, unless it is older than the window', () => {
  const step = fc.oneof(
    fc.integer({ min: -70, max: 70 }),
    fc.integer({ min: -3000, max: 3000 }),
    fc.constantFrom(-WINDOW_PACKETS, -WINDOW_PACKETS + 1, WINDOW_PACKETS, 1, 0, 2 ** 33),
  );
  holds(
    fc.property(fc.nat(100_000), fc.array(step, { minLength: 1, maxLength: 200 }), (start, steps) => {
      const window = new PacketWindow();
      const seen = new Set<number>();
      let highest = -1;
      let last = start;
      for (const move of steps) {
        const number = Math.max(0, last + move);
        const expected = number > highest - WINDOW_PACKETS && !seen.has(number);
        assert.equal(window.isFresh(number), expected, `fresh ${number} with highest ${highest}`);
        assert.equal(window.take(number), expected);
        if (expected) {
          seen.add(number);
          highest = Math.max(highest, number);
        }
        last = number;
      }
    }),
    500,
  );
});

test('counts on to the last safe integer', () => {
  const window = new PacketWindow();
  assert.ok(window.take(Number.MAX_SAFE_INTEGER - 1));
  assert.ok(window.take(Number.MAX_SAFE_INTEGER));
  assert.ok(!window.take(Number.MAX_SAFE_INTEGER));
  assert.ok(!window.take(5));
});

test.run();
