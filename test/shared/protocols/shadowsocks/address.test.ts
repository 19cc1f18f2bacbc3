import { AddressMemo, addressBytes, readAddress } from '@mastline/shared/protocols/shadowsocks/address';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { nearly } from '../mutations';
import { holds } from '../property';

const test = suite('addresses in Shadowsocks headers');

const TARGETS = [
  { host: '192.0.2.7', port: 53 },
  { host: '2001:db8:0:0:0:0:0:7', port: 443 },
  { host: 'a-b.example', port: 65_535 },
];

test('cut at every byte, an address waits for its rest and never reads beyond its end', () => {
  for (const target of TARGETS) {
    const bytes = addressBytes(target);
    for (let length = 0; length < bytes.length; length += 1)
      assert.is(readAddress(bytes.subarray(0, length), 0).kind, 'more', `${target.host}, ${length} bytes`);
    for (const at of [0, 3]) {
      const within = Buffer.concat([Buffer.alloc(at, 9), bytes, Buffer.from('payload')]);
      assert.equal(readAddress(within, at), { kind: 'address', target, end: at + bytes.length });
    }
  }
});

test('an address that is nearly right is bad, wants more, or is one that can be written again', () => {
  const near = fc
    .constantFrom(...TARGETS)
    .chain(target => nearly(addressBytes(target), ['\x03\xff', '\x00\x00']));
  const noise = fc.uint8Array({ maxLength: 300 }).map(made => Buffer.from(made));
  holds(
    fc.property(fc.oneof(near, noise), bytes => {
      const read = readAddress(bytes, 0);
      if (read.kind !== 'address') return;
      assert.ok(read.end <= bytes.length);
      const again = readAddress(addressBytes(read.target), 0);
      assert.equal(again.kind === 'address' && again.target, read.target);
    }),
    5_000,
  );
});

test('a memory of the last address changes nothing', () => {
  const memo = new AddressMemo();
  const near = fc.constantFrom(...TARGETS).chain(target => nearly(addressBytes(target)));
  holds(
    fc.property(near, bytes => assert.equal(memo.read(bytes, 0), readAddress(bytes, 0))),
    3_000,
  );
});

test.run();
