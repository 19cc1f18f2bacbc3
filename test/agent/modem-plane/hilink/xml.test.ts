/** The XML of HiLink sticks: recorded replies, duplicates, and everything that is not XML. */

import { faultOf } from '@mastline/agent/modem-plane/drivers/hilink/errors';
import { statusOf } from '@mastline/agent/modem-plane/drivers/hilink/readings';
import { MAX_XML_CHARS, parseXml, textOf } from '@mastline/agent/modem-plane/drivers/hilink/xml';
import { codeOf } from '@mastline/shared/base/coded-error';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';

const test = suite('HiLink XML');

const STATUS = `<?xml version="1.0" encoding="UTF-8"?>\r\n<response>\r\n<ConnectionStatus>901</ConnectionStatus>\r
<SignalStrength></SignalStrength><maxsignal>5</maxsignal><PrimaryDns>10.1.1.1</PrimaryDns><SecondaryDns>10.1.1.1</SecondaryDns>
<WanIPAddress/><SimStatus>1</SimStatus><ServiceStatus>2</ServiceStatus><RoamingStatus>0</RoamingStatus>
<CurrentNetworkTypeEx>101</CurrentNetworkTypeEx><maxsignal>5</maxsignal></response>\r\n`;

test('reads a status with empty and duplicate elements', () => {
  const root = parseXml(STATUS);
  assert.is(root.name, 'response');
  assert.is(root.children.filter(child => child.name === 'maxsignal').length, 2);
  assert.is(textOf(root, 'SignalStrength'), '');
  assert.is(textOf(root, 'Nothing'), undefined);
  const status = statusOf(root);
  assert.is(status.bearer.connected, true);
  assert.is(status.bearer.address, null);
  assert.equal(status.bearer.dnsServers, ['10.1.1.1']);
  assert.is(status.registration.state, 'registered');
  assert.is(status.registration.technology, '4g');
});

test('resolves entities and CDATA, and knows comments and a byte order mark', () => {
  const root = parseXml('\ufeff<!-- x --><a t="1"><b>&lt;&amp;&#65;&#x42;</b><c><![CDATA[<&>]]></c></a>');
  assert.is(textOf(root, 'b'), '<&AB');
  assert.is(textOf(root, 'c'), '<&>');
});

for (const [what, text] of [
  ['nothing', ''],
  ['an HTML page', '<html><head><meta charset=utf-8></head></html>'],
  ['a cut document', '<response><a>1</a>'],
  ['crossed tags', '<a><b></a></b>'],
  ['two roots', '<a/><b/>'],
  ['text outside', 'oops<a/>'],
  ['an unknown entity', '<a>&nope;</a>'],
  ['a bare ampersand', '<a>x & y</a>'],
  ['an entity past Unicode', '<a>&#x110000;</a>'],
  ['a document type', '<!DOCTYPE a><a/>'],
  ['too deep nesting', `${'<a>'.repeat(17)}${'</a>'.repeat(17)}`],
  ['too much', `<a>${'x'.repeat(MAX_XML_CHARS)}</a>`],
] as const)
  test(`refuses ${what}`, () => {
    try {
      parseXml(text);
    } catch (error) {
      return assert.is(codeOf(error), 'hilink/bad-xml');
    }
    assert.unreachable('it was taken');
  });

test('every cut of a reply is either refused or the whole', () => {
  const whole = STATUS.trimEnd();
  for (let end = 0; end < whole.length; end += 1) assert.throws(() => parseXml(whole.slice(0, end)));
  parseXml(whole);
});

test('any text that is written escaped is read back', () => {
  const escaped = (text: string) => text.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`);
  void fc.assert(
    fc.property(fc.string(), text => {
      assert.is(parseXml(`<a><b>${escaped(text)}</b></a>`).children[0]?.text, text);
    }),
  );
});

test('noise never does anything but throw the one code', () => {
  const piece = fc.constantFrom(
    '<',
    '>',
    '/',
    'a',
    '&',
    ';',
    '#',
    '"',
    '=',
    ' ',
    '<a>',
    '</a>',
    '<!--',
    '-->',
    '<![CDATA[',
    ']]>',
    '<?',
  );
  void fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
      try {
        parseXml(pieces.join(''));
      } catch (error) {
        assert.is(codeOf(error), 'hilink/bad-xml');
      }
    }),
    { numRuns: 3000 },
  );
});

test('error numbers decide what is done about them', () => {
  assert.equal(
    ['-1', '100004', '100002', '100003', '108006', '112001', '125002', '999'].map(
      code => faultOf(code, 'pin/operate').kind,
    ),
    ['busy', 'busy', 'unsupported', 'locked', 'locked', 'locked', 'failed', 'failed'],
  );
});

test.run();
