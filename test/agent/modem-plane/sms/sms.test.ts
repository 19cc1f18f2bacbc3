import {
  packSeptets,
  packUssd,
  septetsToText,
  textToSeptets,
  unpackSeptets,
  unpackUssd,
} from '@mastline/agent/modem-plane/sms/gsm7';
import { joinParts, partIndexes } from '@mastline/agent/modem-plane/sms/join-parts';
import { readStoredPdu } from '@mastline/agent/modem-plane/sms/pdu';
import { codeOf } from '@mastline/shared/base/coded-error';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';

const test = suite('short messages');
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** 3GPP example that many handbooks print: from 27838890001, "hellohello". */
const HELLO = hex('07917283010010F5 040BC87238880900F1 0000 99309251619580 0A E8329BFD4697D9EC37');

test('reads the handbook message', () => {
  assert.equal(readStoredPdu(HELLO), {
    kind: 'deliver',
    sender: '27838890001',
    // 1999-03-29 15:16:59 +02:00 in the original; the two digit year is of this century.
    sentAtMs: Date.parse('2099-03-29T15:16:59+02:00'),
    text: 'hellohello',
    part: null,
  });
});

test('every prefix of a message is refused with a code, never read past its end', () => {
  for (let length = 0; length < HELLO.length; length += 1) {
    let code: string | undefined;
    try {
      readStoredPdu(HELLO.subarray(0, length));
    } catch (error) {
      code = codeOf(error);
    }
    assert.is(code, 'sms/malformed', `${length} octets`);
  }
});

test('any octets are read or refused with a code', async () => {
  await fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), octets => {
      try {
        const read = readStoredPdu(octets);
        if (read.kind === 'deliver') assert.ok(read.text.length < 400);
      } catch (error) {
        assert.is(codeOf(error), 'sms/malformed');
      }
    }),
    { numRuns: 3000 },
  );
});

test('reads an alphanumeric sender', () => {
  // "Carrier" is 7 letters: 49 bits, 13 semi-octets (0D) in 7 octets.
  const name = packSeptets(textToSeptets('Carrier') ?? []);
  const pdu = Buffer.concat([
    hex('00 04 0D D0'),
    name,
    hex('0000 62113121436500 02'),
    packSeptets([0x4f, 0x4b]),
  ]);
  const read = readStoredPdu(pdu);
  assert.is(read.kind === 'deliver' && read.sender, 'Carrier');
});

test('reads UCS2, also outside the basic plane', () => {
  const text = 'Баланс 12 ₽ 😀';
  const body = Buffer.from(text, 'utf16le').swap16();
  const pdu = Buffer.concat([hex('00 04 0481 2143 0008 62113121436500'), Buffer.from([body.length]), body]);
  const read = readStoredPdu(pdu);
  assert.is(read.kind === 'deliver' && read.text, text);
  assert.is(read.kind === 'deliver' && read.sender, '1234');
});

test('reads 7-bit text behind a concatenation header of 6 and of 7 octets', () => {
  for (const [header, reference] of [
    ['05 00 03 2A 03 02', 0x2a],
    ['06 08 04 01 2A 03 02', 0x12a],
  ] as const) {
    const head = hex(header);
    const fill = Math.ceil((head.length * 8) / 7);
    const septets = textToSeptets('second part {€}') ?? [];
    const packed = packSeptets([...Array(fill).fill(0), ...septets]);
    head.copy(packed);
    const pdu = Buffer.concat([
      hex('00 44 0481 2143 0000 62113121436500'),
      Buffer.from([fill + septets.length]),
      packed,
    ]);
    const read = readStoredPdu(pdu);
    assert.is(read.kind === 'deliver' && read.text, 'second part {€}');
    assert.equal(read.kind === 'deliver' && read.part, { reference, total: 3, number: 2 });
  }
});

test('a timestamp west of Greenwich and one that is no date', () => {
  const at = (stamp: string) => {
    const read = readStoredPdu(Buffer.concat([hex('00 04 0481 2143 0000'), hex(stamp), hex('00')]));
    return read.kind === 'deliver' ? read.sentAtMs : undefined;
  };
  // Zone -20 quarters: 02 swapped, with the sign bit 08.
  assert.is(at('62 11 31 21 43 65 0A'), Date.parse('2026-11-13T12:34:56-05:00'));
  assert.is(at('62 20 03 21 43 65 00'), null);
  assert.is(at('FF FF FF FF FF FF FF'), null);
  assert.is(at('00 00 00 00 00 00 00'), null);
});

test('stored messages of our own and delivery reports are told apart', () => {
  assert.equal(readStoredPdu(hex('00 11 000B916407281553F80000AA0AE8329BFD4697D9EC37')), {
    kind: 'other',
    type: 'submit',
  });
  assert.equal(readStoredPdu(hex('00 06 01')), { kind: 'other', type: 'status-report' });
});

test('septets survive packing at every length and offset', async () => {
  await fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 127 }), { maxLength: 200 }),
      fc.integer({ min: 0, max: 6 }),
      (septets, skip) => {
        assert.equal(unpackSeptets(packSeptets(septets, skip), septets.length, skip), septets);
      },
    ),
  );
});

test('USSD text of every length comes back without a spurious "@"', () => {
  for (let length = 0; length <= 40; length += 1) {
    const text = '*100#'.repeat(8).slice(0, length);
    assert.is(unpackUssd(packUssd(text) ?? Buffer.alloc(0)), text);
  }
  // 23.038 part 6.1.2.3.1: "*100#" packed.
  assert.is(packUssd('*100#')?.toString('hex'), 'aa180c3602');
  assert.is(packUssd('баланс'), null);
});

test('the alphabet has 128 places and every letter of it comes back', () => {
  for (let septet = 0; septet < 128; septet += 1) {
    if (septet === 0x1b) continue;
    const letter = septetsToText([septet]);
    assert.is([...letter].length, 1);
    assert.equal(textToSeptets(letter), [septet]);
  }
  assert.is(septetsToText([0x1b, 0x65, 0x1b]), '€ ');
});

test('parts of long messages are joined in order; missing ones leave one mark', () => {
  const part = (index: string, number: number, total = 4) => ({
    index,
    sender: '+1',
    receivedAt: number,
    text: `<${number}>`,
    unread: index === '9',
    part: { reference: 7, total, number },
  });
  const single = { index: '2', sender: '+1', receivedAt: null, text: 'alone', unread: false, part: null };
  assert.equal(joinParts([part('9', 4), single, part('3', 1)]), [
    { index: '3,9', sender: '+1', receivedAt: 4, text: '<1>[…]<4>', unread: true },
    { index: '2', sender: '+1', receivedAt: null, text: 'alone', unread: false },
  ]);
  assert.equal(partIndexes('3,9'), ['3', '9']);
  assert.is(joinParts([part('1', 1, 2), part('2', 1, 2)]).length, 2);
});

test.run();
