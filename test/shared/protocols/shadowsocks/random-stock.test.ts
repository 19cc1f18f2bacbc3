/** Random bytes out of a stock: all of them are given, none twice. */
import assert from 'node:assert/strict';
import { fillRandom } from '@mastline/shared/protocols/shadowsocks/random-stock';
import { suite } from '../../../support/suite';

const test = suite('random stock');

test('fills all of what it is given and nothing beside it', () => {
  for (const size of [0, 1, 16, 32, 4_095, 4_096, 4_097, 20_000]) {
    const memory = Buffer.alloc(size + 2);
    fillRandom(memory.subarray(1, size + 1));
    assert.equal(memory[0], 0);
    assert.equal(memory[size + 1], 0);
    // 16 zeros in a row have a chance of 2^-128 each.
    if (size >= 32) assert.equal(memory.subarray(1, size + 1).includes(Buffer.alloc(16)), false);
  }
});

test('gives no salt twice, over many stocks', () => {
  const seen = new Set<string>();
  const salt = Buffer.alloc(32);
  for (let round = 0; round < 2_000; round += 1) {
    fillRandom(salt);
    seen.add(salt.toString('hex'));
  }
  assert.equal(seen.size, 2_000);
});

test.run();
