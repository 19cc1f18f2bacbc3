import { BlockList, isIPv4 } from 'node:net';
import {
  inRange,
  isLoopbackAddress,
  isPublicAddress,
  parseAddressRange,
} from '@mastline/shared/domain/ip-range';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { holds as holdsAlways } from '../protocols/property';

const test = suite('address ranges');

test('only plain public unicast is public', () => {
  for (const address of ['8.8.8.8', '93.184.216.34', '2606:4700::1111', '::ffff:8.8.8.8', '64:ff9b::808:808'])
    assert.is(isPublicAddress(address), true, address);
  for (const address of [
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '100.64.0.1',
    '100.100.100.200',
    '127.0.0.1',
    '127.255.0.1',
    '169.254.169.254',
    '168.63.129.16',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.0.192',
    '192.0.2.1',
    '192.168.8.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    'fc00::1',
    'fd00:ec2::254',
    'ff02::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '2002:808:808::1',
    '2001::1',
    '2001:0:808:808::f7f7:f7f7',
    '64:ff9b:1:a00:0:100:808:808',
    '64:ff9b:1::8.8.8.8',
    '64:ff9b::192.168.8.1',
    '64:ff9b::169.254.169.254',
    '::10.0.0.1',
    '::ffff:0:10.0.0.1',
    '100::1',
    '2001:2::1',
    '2001:20::1',
    '3fff::1',
    '5f00::1',
    'ff0e::1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:a9fe:a9fe',
    '64:ff9b::7f00:1',
    '::127.0.0.1',
    '4000::1',
    'fec0::1',
    'fe80::1%eth0',
    'example.com',
    '',
  ])
    assert.is(isPublicAddress(address), false, address);
});

test('reads ranges with and without ports, and refuses the rest', () => {
  for (const [text, prefix, port] of [
    ['10.0.0.0/8', 8, null],
    ['127.0.0.1', 32, null],
    ['127.0.0.1:8000', 32, 8000],
    ['10.0.0.0/8:25', 8, 25],
    ['fd00::/8', 8, null],
    ['[fd00::/8]:443', 8, 443],
    ['[::1]', 128, null],
    ['::1', 128, null],
  ] as const) {
    const range = parseAddressRange(text);
    assert.equal([range?.prefix, range?.port], [prefix, port], text);
  }
  for (const text of [
    '',
    '10.0.0.0/33',
    '10.0.0/8',
    '1.2.3.4:0',
    '1.2.3.4:65536',
    'fd00::/129',
    '[fd00::/8',
    'localhost',
    '10.0.0.0/8/8',
    '[10.0.0.1',
    '0x7f.1.1.1',
    '127.1',
  ])
    assert.is(parseAddressRange(text), null, text);
});

test('a range holds its addresses, mapped ones too, on its port', () => {
  const holds = (range: string, address: string, port = 80) => {
    const parsed = parseAddressRange(range);
    return parsed !== null && inRange(parsed, address, port);
  };
  assert.ok(holds('10.0.0.0/8', '10.255.0.1'));
  assert.not(holds('10.0.0.0/8', '11.0.0.1'));
  assert.ok(holds('192.168.8.0/23', '192.168.9.255'));
  assert.not(holds('192.168.8.0/23', '192.168.10.0'));
  assert.ok(holds('0.0.0.0/0', '8.8.8.8'));
  assert.not(holds('0.0.0.0/0', '2606::1'));
  assert.ok(holds('10.0.0.0/8', '::ffff:10.0.0.1'));
  assert.ok(holds('127.0.0.1:8000', '127.0.0.1', 8000));
  assert.not(holds('127.0.0.1:8000', '127.0.0.1', 8001));
  assert.ok(holds('fd00::/8', 'fd12::1'));
  assert.not(holds('fd00::/8', 'fe00::1'));
});

test('loopback in all its spellings', () => {
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
    assert.ok(isLoopbackAddress(address));
  for (const address of ['128.0.0.1', '::2', 'x']) assert.not(isLoopbackAddress(address));
});

/**
 * The IANA special-purpose address registries (RFC 6890 and what updates it), every block that is not globally
 * reachable, with multicast and what has no business being reached by a proxy (deprecated anycast and tunnels).
 */
const SPECIAL = [
  '0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24',
  '192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4',
  '::/128 ::1/128 ::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20',
  '5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 0200::/7 4000::/3 8000::/1',
].flatMap(line => line.split(' '));

/** Any address: as 4 or 16 bytes, half of them within a special block. */
const bytesOf = (address: string): number[] =>
  isIPv4(address)
    ? address.split('.').map(Number)
    : (() => {
        const [head = '', tail] = address.split('::');
        const words = (text: string | undefined) =>
          text ? text.split(':').map(word => Number.parseInt(word, 16)) : [];
        const [before, after] = [words(head), words(tail)];
        const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
        return [...before, ...Array<number>(zeros).fill(0), ...after].flatMap(word => [
          word >> 8,
          word & 255,
        ]);
      })();
const textOf = (bytes: readonly number[]) =>
  bytes.length === 4
    ? bytes.join('.')
    : Array.from({ length: 8 }, (_, at) => ((bytes[2 * at]! << 8) | bytes[2 * at + 1]!).toString(16)).join(
        ':',
      );
const within = (block: string) => {
  const [address = '', prefix] = block.split('/');
  const base = bytesOf(address);
  return fc.array(fc.nat(255), { minLength: base.length, maxLength: base.length }).map(random =>
    textOf(
      base.map((byte, at) => {
        const kept = Math.max(0, Math.min(8, Number(prefix) - 8 * at));
        const hostBits = 0xff >> kept;
        return byte | ((random[at] ?? 0) & hostBits);
      }),
    ),
  );
};
const special = fc.constantFrom(...SPECIAL).chain(within);
const special4 = fc.constantFrom(...SPECIAL.filter(block => block.includes('.'))).chain(within);
const anyV4 = within('0.0.0.0/0');
const anyAddress = fc.oneof(anyV4, within('::/0'), within('2000::/3'), special);

test('nothing within a special-purpose block is public, and loses nothing by being written another way', () => {
  holdsAlways(
    fc.property(special, address => {
      assert.is(isPublicAddress(address), false, address);
    }),
    2_000,
  );
  const hex = (v4: string) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytesOf(v4);
    return [`${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`, [a, b, c, d]] as const;
  };
  holdsAlways(
    fc.property(special4, v4 => {
      const [words] = hex(v4);
      for (const spelling of [
        `::ffff:${v4}`,
        `::FFFF:${words}`,
        `0:0:0:0:0:ffff:${words}`,
        `::${words}`,
        `::ffff:0:${words}`,
        `64:ff9b::${v4}`,
        `64:ff9b::${words}`,
        `64:ff9b:1::${words}`,
        `2002:${words}::1`,
        `2001:0:${words}::1`,
        `2001::${words}`,
      ])
        assert.is(isPublicAddress(spelling), false, spelling);
    }),
    500,
  );
});

test('what is in no special block is public, so that nobody is refused by mistake', () => {
  const list = new BlockList();
  // Handed out, but to AS112 and AMT, which are no targets either.
  for (const block of [
    ...SPECIAL,
    '192.31.196.0/24',
    '192.52.193.0/24',
    '192.175.48.0/24',
    '168.63.129.16/32',
    '2620:4f:8000::/48',
  ]) {
    const [address = '', prefix] = block.split('/');
    list.addSubnet(address, Number(prefix), isIPv4(address) ? 'ipv4' : 'ipv6');
  }
  holdsAlways(
    fc.property(fc.oneof(anyV4, within('2000::/3')), address => {
      assert.is(isPublicAddress(address), !list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6'), address);
    }),
    5_000,
  );
});

test('a range holds what the system says it holds', () => {
  holdsAlways(
    fc.property(anyAddress, anyAddress, fc.nat(128), fc.boolean(), (base, other, bits, near) => {
      const kind = (address: string) => (isIPv4(address) ? 'ipv4' : 'ipv6');
      const prefix = Math.min(bits, isIPv4(base) ? 32 : 128);
      const list = new BlockList();
      list.addSubnet(base, prefix, kind(base));
      const range = parseAddressRange(`${base}/${prefix}`);
      // One family in a range of the other is no question: mapped addresses are read as what they map to.
      const address = near || kind(other) !== kind(base) ? base : other;
      // Forms that mean an IPv4 address are compared as that; they have a test of their own.
      fc.pre(!/^(?:0:0:0:0:0:ffff|64:ff9b:0:0:0:0):/.test(address));
      fc.pre(!/^(?:0:0:0:0:0:ffff|64:ff9b:0:0:0:0):/.test(base));
      assert.is(
        range !== null && inRange(range, address, 1),
        list.check(address, kind(address)),
        `${base}/${prefix} ${address}`,
      );
    }),
    3_000,
  );
});

test('text that is no address is neither public nor in a range', () => {
  holdsAlways(
    fc.property(fc.string(), text => {
      fc.pre(!/^[0-9a-fx.]+$/i.test(text) && !text.includes(':'));
      const all = parseAddressRange('0.0.0.0/0');
      assert.equal([isPublicAddress(text), all && inRange(all, text, 1)], [false, false], text);
    }),
    500,
  );
});

test.run();
