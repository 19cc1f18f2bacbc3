import { FloodAftermath } from '@mastline/agent/data-plane/flood-aftermath';
import { createSourceMemory, SourceGuard } from '@mastline/agent/data-plane/source-guard';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('room for strangers of one source');

const LIMITS = {
  sourceHandshakes: 4,
  sourceConnects: 10,
  sourceConnectsPerSecond: 2,
  strangers: 40,
  strangersPerSecond: 5,
};
const guardWith = (limits: Partial<typeof LIMITS> = {}) =>
  new SourceGuard(createSourceMemory(), { ...LIMITS, ...limits });
/** How many of `tries` from `address` are let in; each is over at once, as a stranger's. */
function letIn(guard: SourceGuard, address: string, tries = 100): number {
  const place = guard.placeOf(address);
  let count = 0;
  for (let at = 0; at < tries; at += 1)
    if (guard.begin(place)) {
      guard.over(place, false);
      count += 1;
    }
  return count;
}

test('a source may hold so many handshakes open and no more; one that is over makes room', () => {
  const guard = guardWith();
  const place = guard.placeOf('198.51.100.1');
  assert.equal(
    Array.from({ length: 6 }, () => guard.begin(place)),
    [true, true, true, true, false, false],
  );
  guard.over(place, false);
  assert.is(guard.begin(place), true);
  assert.is(guard.open(place), 4);
});

test('connects that come to nothing are counted, and forgiven by time', () => {
  const guard = guardWith();
  assert.is(letIn(guard, '198.51.100.1'), 10);
  assert.is(letIn(guard, '198.51.100.2'), 10, 'another source has room of its own');
  guard.onTick();
  assert.is(letIn(guard, '198.51.100.1'), 2);
  for (let second = 0; second < 20; second += 1) guard.onTick();
  assert.is(letIn(guard, '198.51.100.1'), 10, 'never more than at the start');
});

test('a log-in gives back what its connect took: a customer may come as often as it likes', () => {
  const guard = guardWith();
  const place = guard.placeOf('198.51.100.1');
  for (let at = 0; at < 1_000; at += 1) {
    assert.ok(guard.begin(place));
    guard.over(place, true);
  }
  assert.is(guard.open(place), 0);
});

test('all unknown sources together have a bound; a known one is let in beyond it, with more room, and forgotten at last', () => {
  const guard = guardWith();
  const customer = guard.placeOf('203.0.113.7');
  assert.ok(guard.begin(customer));
  guard.over(customer, true);
  let strangers = 0;
  for (let at = 0; at < 100; at += 1) strangers += letIn(guard, `198.51.100.${at}`, 1);
  assert.is(strangers, 40);
  assert.is(letIn(guard, '203.0.113.7'), 40);
  assert.is(letIn(guard, '203.0.113.8'), 0);
  for (let second = 0; second < 1_800; second += 1) guard.onTick();
  assert.is(guard.known(customer), false);
  assert.is(letIn(guard, '203.0.113.7'), 10);
});

test('a source is an IPv4 address, however it is written, or an IPv6 /64', () => {
  const guard = guardWith();
  const same = (one: string, other: string) => guard.placeOf(one) === guard.placeOf(other);
  assert.ok(same('192.0.2.1', '::ffff:192.0.2.1'));
  assert.not.ok(same('192.0.2.1', '192.0.2.2'));
  assert.ok(same('2001:db8::1', '2001:db8::2'));
  assert.ok(same('2001:db8::1', '2001:db8:0:0:ffff:1:2:3'));
  assert.ok(same('2001:db8:0:1::', '2001:db8::1:2:3:4:5'));
  assert.not.ok(same('2001:db8::1', '2001:db8:0:1::1'));
  assert.ok(same('::1', '::2'));
  assert.ok(same('1:2:3:4:5:6:7:8', '1:2:3:4::'));
});

test('twenty thousand sources leave room for one that is not among them', () => {
  const guard = guardWith({ strangers: 1_000_000 });
  for (let at = 0; at < 20_000; at += 1) letIn(guard, `10.${at >> 14}.${(at >> 7) & 127}.${at & 127}`, 1);
  let served = 0;
  for (let at = 0; at < 200; at += 1) if (letIn(guard, `203.0.113.${at}`, 1) === 1) served += 1;
  assert.ok(served >= 190, `${served} of 200`);
});

test('memory is given back once for each flood, when all is quiet again', () => {
  let given = 0;
  const aftermath = new FloodAftermath(3, () => {
    given += 1;
  });
  const ticks = (turnedAway: number, count: number) => {
    for (let at = 0; at < count; at += 1) aftermath.onTick(turnedAway);
  };
  ticks(100, 10);
  assert.is(given, 0, 'some strangers are no flood');
  for (let total = 1_000; total <= 10_000; total += 1_000) aftermath.onTick(total);
  assert.is(given, 0, 'not while it lasts');
  ticks(10_000, 3);
  assert.is(given, 1);
  ticks(10_020, 100);
  assert.is(given, 1);
  ticks(20_000, 5);
  assert.is(given, 2);
});

test.run();
