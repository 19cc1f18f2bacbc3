import { isIPv6 } from 'node:net';
import { parseSocks5Datagram, socks5Associated, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { holds } from './property';

const test = suite('SOCKS5 datagrams');
const bytes = (hex: string) => Buffer.from(hex.replace(/ /g, ''), 'hex');

test('reads the three kinds of address, and the payload behind them', () => {
  const cases: [string, string, number][] = [
    ['0000 00 01 01020304 0035 aabb', '1.2.3.4', 53],
    ['0000 00 04 20010db8000000000000000000000001 01bb aabb', '2001:db8:0:0:0:0:0:1', 443],
    ['0000 00 03 09 6c6f63616c686f7374 0050 aabb', 'localhost', 80],
  ];
  for (const [hex, host, port] of cases) {
    const read = parseSocks5Datagram(bytes(hex));
    assert.equal(read, { kind: 'datagram', target: { host, port }, payload: bytes('aabb') });
  }
  const empty = parseSocks5Datagram(bytes('0000 00 01 01020304 0035'));
  assert.is(empty.kind === 'datagram' && empty.payload.length, 0, 'an empty datagram is one');
});

test('a fragment is told from what is malformed', () => {
  for (const fragment of ['01', '80', 'ff'])
    assert.equal(parseSocks5Datagram(bytes(`0000 ${fragment} 01 01020304 0035 aa`)), {
      kind: 'drop',
      cause: 'fragment',
    });
  const malformed = [
    '',
    '000000',
    '0001 00 01 01020304 0035',
    '0000 00 01 01020304 0000',
    '0000 00 02 01020304 0035',
    '0000 00 03 00 0035',
    '0000 00 03 05 61 0035',
    '0000 00 03 04 612f6264 0035',
  ];
  for (const hex of malformed)
    assert.equal(parseSocks5Datagram(bytes(hex)), { kind: 'drop', cause: 'malformed' }, hex);
});

test('every datagram cut at every byte is malformed or whole, never a fault', () => {
  const whole = bytes('0000 00 03 09 6c6f63616c686f7374 0050');
  for (let length = 0; length < whole.length; length += 1)
    assert.is(parseSocks5Datagram(whole.subarray(0, length)).kind, 'drop');
  holds(
    fc.property(fc.uint8Array({ maxLength: 600 }), noise => {
      const read = parseSocks5Datagram(Buffer.from(noise));
      assert.ok(read.kind === 'drop' || read.payload.length < noise.length);
    }),
    2_000,
  );
});

test('what is written is read again', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6().filter(isIPv6), fc.constant('a-b.example'));
  holds(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), fc.uint8Array(), (host, port, payload) => {
      const read = parseSocks5Datagram(socks5Datagram({ host, port }, payload));
      assert.is(read.kind, 'datagram');
      if (read.kind !== 'datagram') return;
      assert.ok(read.payload.equals(payload));
      assert.is(read.target.port, port);
      const again = parseSocks5Datagram(socks5Datagram(read.target, payload));
      assert.equal(again, read);
    }),
  );
});

test('the reply names the relay', () => {
  assert.is(socks5Associated({ host: '127.0.0.1', port: 4660 }).toString('hex'), '050000017f0000011234');
  assert.is(socks5Associated({ host: '::1', port: 1 }).toString('hex'), `05000004${'00'.repeat(15)}010001`);
});

test.run();
