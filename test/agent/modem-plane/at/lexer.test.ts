/** Bytes to lines and prompts, however they are cut and whatever dirt is between them. */
import assert from 'node:assert/strict';
import { Lexer, MAX_LINE_BYTES, type Token } from '@mastline/agent/modem-plane/drivers/at/lexer';
import fc from 'fast-check';
import { everySplit } from '../../../support/chunks';
import { suite } from '../../../support/suite';

const test = suite('AT lexer');

const line = (text: string): Token => ({ kind: 'line', text });
const read = (chunks: Iterable<Uint8Array>): Token[] => {
  const lexer = new Lexer();
  return [...chunks].flatMap(chunk => lexer.push(chunk));
};

const conversations: [string, string | Buffer, Token[]][] = [
  ['a reply', '\r\n+CSQ: 22,99\r\n\r\nOK\r\n', [line('+CSQ: 22,99'), line('OK')]],
  [
    'an echo, which ends in CR alone',
    'AT+CSQ\r\r\n+CSQ: 22,99\r\n\r\nOK\r\n',
    [line('AT+CSQ'), line('+CSQ: 22,99'), line('OK')],
  ],
  ['results as digits', 'AT\r0\r', [line('AT'), line('0')]],
  ['a prompt, which nothing ends', 'AT+CMGS=23\r\r\n> ', [line('AT+CMGS=23'), { kind: 'prompt' }]],
  ['a line that begins like a prompt', '\r\n>\r\n>x\r\n', [line('>'), line('>x')]],
  ['control bytes and NULs', '\x00\r\n+C\x00SQ:\x07 1,99\x7f\r\n', [line('+CSQ: 1,99')]],
  ['a carrier in UTF-8', '\r\n+COPS: 0,0,"МегаФон",7\r\n', [line('+COPS: 0,0,"МегаФон",7')]],
  ['bytes that are no UTF-8', Buffer.from('\r\n+X: \xff\xfe\r\n', 'latin1'), [line('+X: \xff\xfe')]],
  ['nothing but line ends', '\r\n\r\r\n\n', []],
];
for (const [what, bytes, expected] of conversations)
  test(`reads ${what}, split anywhere`, () => {
    for (const chunks of everySplit(Buffer.from(bytes))) assert.deepEqual(read(chunks), expected);
  });

test('drops the tail of a line without end, says so once, and reads the next one', () => {
  const long = Buffer.concat([Buffer.alloc(MAX_LINE_BYTES * 3, 'x'), Buffer.from('\r\nOK\r\n')]);
  assert.deepEqual(read([long]), [{ kind: 'overlong', head: 'x'.repeat(80) }, line('OK')]);
  assert.deepEqual(read([Buffer.alloc(MAX_LINE_BYTES, 'y'), Buffer.from('\r')]), [
    line('y'.repeat(MAX_LINE_BYTES)),
  ]);
});

test('any bytes cut in any way give the same tokens, and never more than they hold', async () => {
  const dirty = fc.array(
    fc.oneof(
      fc.constantFrom('\r', '\n', '\r\n', '> ', 'OK', '+CSQ: 1,2', '\x00', '"', 'ä'),
      fc.string({ maxLength: 6 }),
      fc.uint8Array({ maxLength: 6 }).map(bytes => Buffer.from(bytes).toString('latin1')),
    ),
    { maxLength: 40 },
  );
  await fc.assert(
    fc.property(dirty, fc.array(fc.nat(200), { maxLength: 12 }), (pieces, cuts) => {
      const bytes = Buffer.from(pieces.join(''), 'latin1');
      const whole = read([bytes]);
      const places = [0, ...cuts.filter(cut => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const chunks = places.slice(1).map((place, i) => bytes.subarray(places[i], place));
      assert.deepEqual(read(chunks), whole);
      for (const token of whole) if (token.kind === 'line') assert.doesNotMatch(token.text, /[\r\n]|^$/);
    }),
    { numRuns: 2000 },
  );
});

test('forgets half a line when told', () => {
  const lexer = new Lexer();
  lexer.push(Buffer.from('\r\n+CS'));
  lexer.clear();
  assert.deepEqual(lexer.push(Buffer.from('OK\r\n')), [line('OK')]);
});

test.run();
