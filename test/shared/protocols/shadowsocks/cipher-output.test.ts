/** A cipher's output is copied and its memory is free at once; what is not its own is left alone. */
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { Aead, TAG_BYTES } from '@mastline/shared/protocols/shadowsocks/aead';
import { moveOutput } from '@mastline/shared/protocols/shadowsocks/cipher-output';
import { suite } from '../../../support/suite';

const test = suite('cipher output');

test('is copied and its memory is gone', () => {
  const output = Buffer.allocUnsafeSlow(100).fill(7);
  const into = Buffer.alloc(200);
  assert.equal(moveOutput(output, into, 50), 150);
  assert.deepEqual(into, Buffer.concat([Buffer.alloc(50), Buffer.alloc(100, 7), Buffer.alloc(50)]));
  assert.equal(output.buffer.byteLength, 0);
  assert.equal(output.length, 0);
});

test('that shares its memory with others leaves it to them', () => {
  const whole = Buffer.allocUnsafeSlow(100).fill(7);
  const into = Buffer.alloc(10);
  assert.equal(moveOutput(whole.subarray(10, 20), into, 0), 10);
  assert.deepEqual(into, Buffer.alloc(10, 7));
  assert.deepEqual(whole, Buffer.alloc(100, 7));
});

test('of no bytes is nothing', () => {
  assert.equal(moveOutput(Buffer.alloc(0), Buffer.alloc(1), 1), 1);
});

test('leaves nothing to the garbage collector, however much is sealed and opened', () => {
  const aead = new Aead('aes-256-gcm', createSecretKey(Buffer.alloc(32, 1)));
  const plain = Buffer.alloc(16_383, 2);
  const sealed = Buffer.alloc(plain.length + TAG_BYTES);
  const opened = Buffer.alloc(plain.length);
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let round = 0; round < 500; round += 1) {
    aead.seal(plain, sealed, 0);
    assert.equal(aead.open(sealed, opened, 0), plain.length);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.deepEqual(opened, plain);
  // 16 MB went through the cipher's hands.
  assert.ok(most < 1024 * 1024, `${most} bytes of outputs were alive`);
});

test.run();
