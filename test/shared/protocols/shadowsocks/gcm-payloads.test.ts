/** Short payloads of busy streams: bit by bit what node:crypto makes, in any mixture with long ones; nothing forged opens. */
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { Aead, FORGED, TAG_BYTES } from '@mastline/shared/protocols/shadowsocks/aead';
import { BROKEN, ChunkOpener, ChunkSealer } from '@mastline/shared/protocols/shadowsocks/chunks';
import { GcmBlocks, UNPREPARED } from '@mastline/shared/protocols/shadowsocks/gcm-blocks';
import { GcmPayloads, SHORT_BYTES } from '@mastline/shared/protocols/shadowsocks/gcm-payloads';
import fc from 'fast-check';
import { suite } from '../../../support/suite';
import { holds } from '../property';
import { methodOf, run, seal, u16 } from './reference';

const test = suite('shadowsocks short payloads of busy streams');

const ciphers = [
  ['aes-128-gcm', 16],
  ['aes-256-gcm', 32],
] as const;

const whole = (bytes: Buffer) => ({ bytes, from: 0, to: bytes.length });

/** Where the payload behind the first length comes next, and its blocks are there. */
function atPayload(cipher: (typeof ciphers)[number][0], key: Buffer) {
  const aead = new Aead(cipher, createSecretKey(key));
  const blocks = new GcmBlocks(aead);
  const payloads = new GcmPayloads(blocks);
  assert.equal(payloads.seal(Buffer.of(1), Buffer.alloc(17), 0), UNPREPARED);
  blocks.length();
  aead.advance();
  return { aead, blocks, payloads };
}

for (const [cipher, keyBytes] of ciphers) {
  test(`${cipher}: every length is sealed as node:crypto seals it, and opens`, () => {
    holds(
      fc.property(
        fc.uint8Array({ minLength: keyBytes, maxLength: keyBytes }),
        fc.uint8Array({ maxLength: SHORT_BYTES }),
        (keyOf, plainOf) => {
          const [key, plain] = [Buffer.from(keyOf), Buffer.from(plainOf)];
          const { payloads } = atPayload(cipher, key);
          const out = Buffer.alloc(SHORT_BYTES + TAG_BYTES + 1, 0xee);
          const end = payloads.seal(plain, out, 1);
          assert.equal(end, 1 + plain.length + TAG_BYTES);
          assert.deepEqual(out.subarray(1, end), seal(cipher, key, 1, plain));
          const back = Buffer.alloc(plain.length + 1, 0xee);
          const opening = atPayload(cipher, key).payloads;
          assert.equal(opening.open({ bytes: out, from: 1, to: end }, back, 1), 1 + plain.length);
          assert.deepEqual(back.subarray(1), plain);
        },
      ),
      300,
    );
  });

  test(`${cipher}: any flipped bit, and any other nonce, is FORGED, and nothing of it is written`, () => {
    const key = run(5, keyBytes);
    const { payloads, aead, blocks } = atPayload(cipher, key);
    const unit = Buffer.alloc(20 + TAG_BYTES);
    payloads.seal(run(1, 20), unit, 0);
    const out = Buffer.alloc(20, 0xee);
    for (let bit = 0; bit < unit.length * 8; bit += 1) {
      const bent = Buffer.from(unit);
      bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(payloads.open(whole(bent), out, 0), FORGED);
    }
    assert.deepEqual(out, Buffer.alloc(20, 0xee));
    assert.equal(payloads.open(whole(unit), out, 0), 20);
    aead.advance();
    blocks.length();
    aead.advance();
    assert.equal(payloads.open(whole(unit), out, 0), FORGED);
    aead.advance();
    assert.equal(payloads.open(whole(unit), out, 0), UNPREPARED);
  });
}

test('long and short payloads follow each other without a seam, whatever came before', () => {
  const size = fc.oneof(fc.nat(SHORT_BYTES), fc.constantFrom(SHORT_BYTES + 1, 200, 16_383));
  holds(
    fc.property(
      fc.constantFrom('aes-128-gcm', 'aes-256-gcm', '2022-blake3-aes-128-gcm'),
      fc.array(fc.record({ size, times: fc.integer({ min: 1, max: 20 }) }), { minLength: 1, maxLength: 8 }),
      (name, runs) => {
        const method = methodOf(name);
        const key = run(1, method.keyBytes);
        const sealer = new ChunkSealer(method, new Aead(method.cipher, createSecretKey(key)));
        const opener = new ChunkOpener(method, new Aead(method.cipher, createSecretKey(key)));
        const [out, plain] = [Buffer.alloc(17_000), Buffer.alloc(17_000)];
        let nonce = 0;
        // Empty chunks are made by nobody, hence the byte more.
        for (const payload of runs.flatMap(one =>
          Array.from({ length: one.times }, () => run(nonce, 1 + one.size)),
        )) {
          const bytes = payload.subarray(0, method.maxPayload);
          const end = sealer.seal(bytes, out, 0);
          const units = [u16(bytes.length), bytes].map((unit, at) =>
            seal(method.cipher, key, nonce + at, unit),
          );
          nonce += 2;
          assert.deepEqual(out.subarray(0, end), Buffer.concat(units));
          assert.equal(opener.open(out.subarray(0, end), plain), bytes.length);
          assert.deepEqual(plain.subarray(0, bytes.length), bytes);
        }
      },
    ),
    60,
  );
});

test('a bent short payload breaks the stream', () => {
  const method = methodOf('aes-256-gcm');
  const key = createSecretKey(run(1, 32));
  const sealer = new ChunkSealer(method, new Aead(method.cipher, key));
  const opener = new ChunkOpener(method, new Aead(method.cipher, key));
  const [out, plain] = [Buffer.alloc(100), Buffer.alloc(100)];
  for (let chunk = 0; chunk < 30; chunk += 1) {
    const end = sealer.seal(run(chunk, 5), out, 0);
    assert.equal(opener.open(out.subarray(0, end), plain), 5);
  }
  const end = sealer.seal(run(1, 5), out, 0);
  out[20] = (out[20] ?? 0) ^ 1;
  assert.equal(opener.open(out.subarray(0, end), plain), BROKEN);
  assert.equal(opener.cause, 'forged');
});

test.run();
