/** Received messages, from the examples of the standard's readers and from an encoder of our own; and hostile ones. */
import assert from 'node:assert/strict';
import { packUssd, unpackUssd } from '@mastline/agent/modem-plane/sms/gsm7';
import { readStoredPdu } from '@mastline/agent/modem-plane/sms/pdu';
import { readUcs2Hex } from '@mastline/agent/modem-plane/sms/ucs2';
import { codeOf } from '@mastline/shared/base/coded-error';
import fc from 'fast-check';
import { type Delivered, delivered } from '../../../simulators/at/deliver-pdu';
import { suite } from '../../../support/suite';

const test = suite('delivered messages');
/** Null for what is no whole message; any other failure than that is thrown. */
function readDeliver(hex: string) {
  try {
    const pdu = readStoredPdu(Buffer.from(hex, 'hex'));
    if (pdu.kind === 'other') return null;
    const { sender, sentAtMs, text, part } = pdu;
    return { sender, receivedAt: sentAtMs, text, part };
  } catch (error) {
    if (codeOf(error) === 'sms/malformed') return null;
    throw error;
  }
}

const NOON = { year: 24, month: 1, day: 31, hour: 12, minute: 0, second: 30, quarters: 0 };

test('reads a published message', () => {
  const read = readDeliver('07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37');
  // 99-03-29 15:16:59 +02:00. The century is ours: two digits say no more.
  assert.deepEqual(read, {
    sender: '27838890001',
    receivedAt: Date.UTC(2099, 2, 29, 13, 16, 59),
    text: 'hellohello',
    part: null,
  });
});

const cases: [string, Partial<Delivered>][] = [
  ['escaped letters and @', { text: 'pay 5€ @ shop' }],
  ['eight septets that fill their octets', { text: 'abcdefgh' }],
  ['UCS2 with letters beyond 16 bits', { text: 'Баланс 😀', alphabet: 'ucs2' }],
  ['a named sender', { sender: 'MegaFon', text: 'x' }],
  ['a short number', { sender: '3311', text: 'x' }],
  [
    'a first part in 7 bits, after a fill bit',
    { text: 'a'.repeat(153), part: { reference: 255, total: 3, number: 1 } },
  ],
  ['a last part in UCS2', { text: 'конец', alphabet: 'ucs2', part: { reference: 1, total: 2, number: 2 } }],
  ['nothing at all', { text: '' }],
];
for (const [what, change] of cases)
  test(`reads ${what}`, () => {
    const message: Delivered = { sender: '+4915112345678', text: '', alphabet: 'gsm7', at: NOON, ...change };
    const read = readDeliver(delivered(message).pdu);
    assert.equal(read?.text, message.text);
    assert.equal(read?.sender, message.sender);
    assert.deepEqual(read?.part, message.part ?? null);
    assert.equal(read?.receivedAt, Date.UTC(2024, 0, 31, 12, 0, 30));
  });

test('zones east and west of Greenwich', () => {
  const at = (quarters: number) =>
    readDeliver(delivered({ sender: '1', text: '', alphabet: 'gsm7', at: { ...NOON, quarters } }).pdu)
      ?.receivedAt;
  assert.equal(at(12), Date.UTC(2024, 0, 31, 9, 0, 30));
  assert.equal(at(-20), Date.UTC(2024, 0, 31, 17, 0, 30));
});

test('a date that there is not is no date', () => {
  const wrong = { ...NOON, month: 2, day: 30 };
  const read = readDeliver(delivered({ sender: '1', text: 'x', alphabet: 'gsm7', at: wrong }).pdu);
  assert.equal(read?.receivedAt, null);
  assert.equal(read?.text, 'x');
});

test('every text comes back as it was written', async () => {
  const letters = fc.stringOf(fc.constantFrom(...'abcXYZ 0189@€.,:?!'), { maxLength: 120 });
  const anything = fc.fullUnicodeString({ maxLength: 60 });
  await fc.assert(
    fc.property(letters, anything, (plain, wide) => {
      const base = { sender: '+4915112345678', at: NOON };
      assert.equal(readDeliver(delivered({ ...base, text: plain, alphabet: 'gsm7' }).pdu)?.text, plain);
      assert.equal(readDeliver(delivered({ ...base, text: wide, alphabet: 'ucs2' }).pdu)?.text, wide);
    }),
  );
});

test('a message cut short is none', () => {
  const { pdu } = delivered({
    sender: '+4915112345678',
    text: 'hello there',
    alphabet: 'gsm7',
    at: NOON,
    part: { reference: 1, total: 2, number: 1 },
  });
  for (let length = 0; length < pdu.length; length += 1)
    assert.equal(readDeliver(pdu.slice(0, length)), null, `${length}`);
  assert.ok(readDeliver(pdu));
});

test('hostile bytes give a message or none, and nothing else', async () => {
  await fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      const read = readDeliver(Buffer.from(bytes).toString('hex'));
      if (read) assert.ok(read.text.length <= 420 && read.sender.length <= 21);
    }),
    { numRuns: 5000 },
  );
});

test('codes are packed as Huawei sticks want them', () => {
  assert.equal(packUssd('*100#')?.toString('hex'), 'aa180c3602');
  for (const code of ['*100#', '*1#', '1234567', '12345678', '#123*45*6789#'])
    assert.equal(unpackUssd(packUssd(code) ?? Buffer.alloc(0)), code, code);
  assert.equal(packUssd('Ж'), null);
});

test('broken UCS2 does not become broken text', () => {
  assert.equal(readUcs2Hex('D83D'), '\ufffd');
  assert.equal(readUcs2Hex('D83DDE00'), '😀');
  assert.equal(readUcs2Hex('004'), null);
});

test.run();
