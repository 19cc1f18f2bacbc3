/** Text to and from sticks: escaping, CESU-8 split and broken at every byte, and proofs of a password. */
import {
  hashedProof,
  MAX_ITERATIONS,
  plainProof,
  scramProof,
} from '@mastline/agent/modem-plane/drivers/hilink/login-proof';
import { readReply } from '@mastline/agent/modem-plane/drivers/hilink/session';
import { decodeStickText, requestXml } from '@mastline/agent/modem-plane/drivers/hilink/stick-text';
import { parseXml } from '@mastline/agent/modem-plane/drivers/hilink/xml';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';

const test = suite('HiLink text');

/** Each UTF-16 unit as a code point of its own. */
function cesu8(text: string): Buffer {
  const parts = Array.from({ length: text.length }, (_, i) => {
    const unit = text.charCodeAt(i);
    return unit >= 0x800
      ? Buffer.from([0xe0 | (unit >> 12), 0x80 | ((unit >> 6) & 0x3f), 0x80 | (unit & 0x3f)])
      : Buffer.from(text[i] ?? '', 'utf8');
  });
  return Buffer.concat(parts);
}

test('reads any text, as UTF-8 and as CESU-8', () => {
  assert.equal([...cesu8('😀')], [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
  void fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      assert.is(decodeStickText(cesu8(text)), text);
      assert.is(decodeStickText(Buffer.from(text)), text);
    }),
    { numRuns: 2000 },
  );
});

test('reads any bytes without throwing, cut anywhere', () => {
  const whole = cesu8('a😀한é😀');
  for (let end = 0; end <= whole.length; end += 1) decodeStickText(whole.subarray(0, end));
  void fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), bytes => void decodeStickText(bytes)));
  // Halves in the wrong order are no character.
  assert.match(decodeStickText(Buffer.from([0xed, 0xb8, 0x80, 0xed, 0xa0, 0xbd])), /^\ufffd+$/);
});

test('what is written is read back, whatever the values', () => {
  void fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      const root = parseXml(
        requestXml([
          ['A', text],
          ['B', [['C', 1]]],
        ]),
      );
      assert.is(root.children[0]?.text, text);
      assert.is(root.children[1]?.children[0]?.text, '1');
    }),
  );
});

for (const [what, body, code] of [
  ['an empty body', '', 'hilink/bad-xml'],
  ['a login page', '<html><body>hi</body></html>', 'hilink/bad-reply'],
  ['an error without a number', '<error><message/></error>', 'hilink/bad-reply'],
  ['a number', '<error><code>125002</code><message> </message></error>', '125002'],
] as const)
  test(`${what} is a fault`, () => {
    const reply = readReply('x', Buffer.from(body));
    assert.is(reply.ok ? 'ok' : reply.fault.code, code);
  });

// Computed with Python's hashlib and hmac, apart from this code.
test('proofs are those that another implementation computes', () => {
  assert.is(plainProof('secret'), 'c2VjcmV0');
  assert.is(hashedProof({ username: 'admin', password: 'secret', token: 'T'.repeat(32) }), HASHED);
  assert.is(
    scramProof({
      password: 'secret',
      saltHex: '00ff'.repeat(8),
      iterations: 100,
      firstNonce: 'ab',
      serverNonce: 'abcd',
    }),
    SCRAM,
  );
});

test('a challenge that makes no sense is refused', () => {
  const good = { password: 'x', saltHex: '00', iterations: 1, firstNonce: 'a', serverNonce: 'ab' };
  scramProof(good);
  for (const bad of [
    { saltHex: 'zz' },
    { saltHex: '' },
    { iterations: 0 },
    { iterations: MAX_ITERATIONS + 1 },
    { iterations: Number.NaN },
    { serverNonce: 'b' },
  ])
    assert.throws(
      () => scramProof({ ...good, ...bad }),
      (error: unknown) => error instanceof RangeError,
    );
});

const HASHED = 'OGEyNzg1YmUyNTg4NTAyYzZhMTE0NWRhN2JlODc3ZWVjNDUwY2M5MjI2NDRhZjZkODg2YzNlYjY5YzlkYWZlMw==';
const SCRAM = 'b57e4f56d73e4a0fb2eb690b006ef6be207b746c6f27af4af6860d3a562bfa6b';

test.run();
