import {
  inRange,
  isLoopbackAddress,
  isPublicAddress,
  parseAddressRange,
} from '@mastline/shared/domain/ip-range';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

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
    '2001::1',
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

test.run();
