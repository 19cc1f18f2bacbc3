/** Length units of busy streams: bit by bit what node:crypto makes, and nothing forged opens. */
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { Aead, FORGED } from '@mastline/shared/protocols/shadowsocks/aead';
import { ChunkOpener, ChunkSealer } from '@mastline/shared/protocols/shadowsocks/chunks';
import { GcmLengths } from '@mastline/shared/protocols/shadowsocks/gcm-lengths';
import fc from 'fast-check';
import { suite } from '../../../support/suite';
import { holds } from '../property';
import { methodOf, run, seal, u16 } from './reference';

const test = suite('shadowsocks lengths of busy streams');

const ciphers = [
  ['aes-128-gcm', 16],
  ['aes-256-gcm', 32],
] as const;
const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map(made => Buffer.from(made));

/** `nonce` as the little-endian counter that it is, `steps` later. */
function later(nonce: Buffer, steps: number): Buffer {
  const value = [...nonce].reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n) + BigInt(steps);
  return Buffer.from(Array.from({ length: 12 }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn)));
}

for (const [cipher, keyBytes] of ciphers) {
  test(`${cipher}: each length is sealed as node:crypto seals it`, () => {
    const key = run(5, keyBytes);
    const aead = new Aead(cipher, createSecretKey(key));
    const lengths = new GcmLengths(aead);
    const out = Buffer.alloc(18);
    for (let length = 0; length <= 0xffff; length += 13) {
      assert.equal(lengths.seal(length, out, 0), 18);
      assert.deepEqual(out, seal(cipher, key, Buffer.from(aead.nonce), u16(length)), `length ${length}`);
      aead.advance();
      aead.advance();
    }
  });

  test(`${cipher}: for random keys and nonces too, also where the counter carries, and it opens what it seals`, () => {
    const nonce = fc.oneof(
      bytes(6),
      fc.constantFrom(
        Buffer.from('fdffffff0000', 'hex'),
        Buffer.from('ffffffffff00', 'hex'),
        Buffer.alloc(6),
      ),
    );
    holds(
      fc.property(
        bytes(keyBytes),
        nonce,
        fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 40 }),
        (key, start, all) => {
          const [sealing, opening] = [0, 1].map(() => new Aead(cipher, createSecretKey(key))) as [Aead, Aead];
          for (const aead of [sealing, opening]) aead.nonce.set(start);
          const [sealer, opener] = [new GcmLengths(sealing), new GcmLengths(opening)];
          const out = Buffer.alloc(18);
          for (const [at, length] of all.entries()) {
            sealer.seal(length, out, 0);
            const first = Buffer.concat([start, Buffer.alloc(6)]);
            assert.deepEqual(out, seal(cipher, key, later(first, at * 2), u16(length)));
            assert.equal(opener.open(out, 0), length);
            for (const aead of [sealing, sealing, opening, opening]) aead.advance();
          }
        },
      ),
      60,
    );
  });

  test(`${cipher}: any flipped bit, and any other nonce, is FORGED`, () => {
    const fresh = () => new Aead(cipher, createSecretKey(run(5, keyBytes)));
    const unit = Buffer.alloc(18);
    new GcmLengths(fresh()).seal(1234, unit, 0);
    for (let bit = 0; bit < 18 * 8; bit += 1) {
      const bent = Buffer.from(unit);
      bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(new GcmLengths(fresh()).open(bent, 0), FORGED);
    }
    assert.equal(new GcmLengths(fresh()).open(unit, 0), 1234);
    const back = fresh();
    const lengths = new GcmLengths(back);
    assert.equal(lengths.open(unit, 0), 1234);
    back.advance();
    assert.equal(lengths.open(unit, 0), FORGED);
    back.nonce.fill(0);
    assert.equal(lengths.open(unit, 0), 1234);
    const other = fresh();
    other.advance();
    assert.equal(new GcmLengths(other).open(unit, 0), FORGED);
  });
}

test('a stream turns busy without a seam: every chunk is what node:crypto makes of it', () => {
  for (const name of ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305', '2022-blake3-aes-256-gcm']) {
    const method = methodOf(name);
    const key = run(1, method.keyBytes);
    const sealer = new ChunkSealer(method, new Aead(method.cipher, createSecretKey(key)));
    const opener = new ChunkOpener(method, new Aead(method.cipher, createSecretKey(key)));
    const [out, plain] = [Buffer.alloc(200), Buffer.alloc(200)];
    for (let chunk = 0; chunk < 60; chunk += 1) {
      const payload = run(chunk, 1 + chunk);
      const end = sealer.seal(payload, out, 0);
      const units = [u16(payload.length), payload].map((unit, at) =>
        seal(method.cipher, key, chunk * 2 + at, unit),
      );
      assert.deepEqual(out.subarray(0, end), Buffer.concat(units));
      assert.equal(opener.open(out.subarray(0, end), plain), payload.length);
      assert.deepEqual(plain.subarray(0, payload.length), payload);
    }
    // Busy or not, a bent length breaks the stream.
    sealer.seal(run(0, 5), out, 0);
    out[3] = (out[3] ?? 0) ^ 4;
    assert.equal(opener.open(out.subarray(0, 39), plain), -1);
    assert.equal(opener.cause, 'forged');
  }
});

test.run();
