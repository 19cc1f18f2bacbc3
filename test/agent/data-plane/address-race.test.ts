/** Happy Eyeballs (RFC 8305), attempt by attempt: no sockets, time moves when told. */
import { AddressRace, type AttemptOutcome } from '@mastline/agent/data-plane/address-race';
import type { NameAnswer } from '@mastline/agent/data-plane/name-cache';
import type { Family } from '@mastline/agent/data-plane/source-address';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { holds } from '../../shared/protocols/property';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('the race of addresses');
const found = (...addresses: string[]): NameAnswer => ({ kind: 'found', addresses });
const NONE: NameAnswer = { kind: 'none', exists: true };
const NO_NAME: NameAnswer = { kind: 'none', exists: false };
const FAILED: NameAnswer = { kind: 'failed', reason: 'resolver-failed' };
const [S1, S2, F1, F2] = ['2001:db8::1', '2001:db8::2', '192.0.2.1', '192.0.2.2'];

function start(families: readonly Family[] = [6, 4], immediate: Record<string, RefusalReason | 'won'> = {}) {
  const clock = fakeClock();
  const began: string[] = [];
  const stopped: string[] = [];
  const running = new Map<string, (outcome: AttemptOutcome<string>) => void>();
  const outcomes: AttemptOutcome<string>[] = [];
  const race = new AddressRace<string>({
    clock,
    families,
    attempt: (address, settled) => {
      began.push(address);
      const at = immediate[address];
      if (at) settled(at === 'won' ? { ok: true, won: address } : { ok: false, reason: at });
      else running.set(address, settled);
      return () => {
        stopped.push(address);
        running.delete(address);
      };
    },
    over: outcome => outcomes.push(outcome),
  });
  const settle = (address: string, outcome: AttemptOutcome<string>) => {
    const settled = running.get(address);
    if (!settled) throw new Error(`${address} is not being tried`);
    running.delete(address);
    settled(outcome);
  };
  return {
    race,
    clock,
    began,
    stopped,
    outcomes,
    running,
    wins: (address: string) => settle(address, { ok: true, won: address }),
    fails: (address: string, reason: RefusalReason = 'origin-refused') =>
      settle(address, { ok: false, reason }),
  };
}

test('IPv6 begins as soon as it is known, families take turns, 250 ms apart; the losers are given up', async () => {
  const at = start();
  at.race.answered(6, found(S1, S2));
  assert.equal(at.began, [S1]);
  at.race.answered(4, found(F1, F2));
  await at.clock.advance(249);
  assert.equal(at.began, [S1]);
  await at.clock.advance(1);
  assert.equal(at.began, [S1, F1]);
  await at.clock.advance(250);
  assert.equal(at.began, [S1, F1, S2]);
  at.wins(F1);
  assert.equal(at.outcomes, [{ ok: true, won: F1 }]);
  assert.equal(at.stopped, [S1, S2]);
  assert.is(at.clock.pending(), 0);
  await at.clock.advance(10_000);
  assert.equal(at.began, [S1, F1, S2]);
});

test('IPv4 waits 50 ms for the answer about IPv6, and no longer', async () => {
  const at = start();
  at.race.answered(4, found(F1));
  await at.clock.advance(49);
  assert.equal(at.began, []);
  await at.clock.advance(1);
  assert.equal(at.began, [F1]);
  // Late, but within the pace of attempts.
  at.race.answered(6, found(S1));
  assert.equal(at.began, [F1]);
  await at.clock.advance(250);
  assert.equal(at.began, [F1, S1]);
});

test('an answer about IPv6 within the 50 ms ends them, whatever it says', async () => {
  for (const [answer, first] of [
    [found(S1), S1],
    [NONE, F1],
    [FAILED, F1],
  ] as const) {
    const at = start();
    at.race.answered(4, found(F1));
    await at.clock.advance(20);
    at.race.answered(6, answer);
    assert.equal(at.began, [first]);
  }
});

test('addresses that become known when the pace has passed are tried at once', async () => {
  const at = start();
  at.race.answered(4, found(F1));
  await at.clock.advance(1_000);
  assert.equal(at.began, [F1]);
  at.race.answered(6, found(S1));
  assert.equal(at.began, [F1, S1]);
});

test('a failure lets the next begin at once; one that was overtaken does not change the pace', async () => {
  const at = start([4]);
  at.race.answered(4, found(F1, F2, '192.0.2.3', '192.0.2.4'));
  at.fails(F1);
  assert.equal(at.began, [F1, F2]);
  await at.clock.advance(250);
  assert.equal(at.began.length, 3);
  await at.clock.advance(100);
  at.fails(F2);
  assert.equal(at.began.length, 3);
  await at.clock.advance(150);
  assert.equal(at.began.length, 4);
});

test('it ends only when nothing is being tried and nothing can come', async () => {
  const at = start();
  at.race.answered(6, found(S1));
  at.fails(S1, 'network-unreachable');
  assert.equal(at.outcomes, []);
  at.race.answered(4, found(F1, F2));
  at.fails(F1, 'origin-unreachable');
  at.fails(F2, 'origin-timeout');
  assert.equal(at.outcomes, [{ ok: false, reason: 'origin-unreachable' }]);
  assert.is(at.clock.pending(), 0);
});

test('attempts that are refused within the call, by policy or for want of a family, cost no time', () => {
  const at = start([6, 4], {
    [S1]: 'network-unreachable',
    [S2]: 'network-unreachable',
    [F1]: 'private-target',
  });
  at.race.answered(6, found(S1, S2));
  at.race.answered(4, found(F1));
  assert.equal(at.began, [S1, S2, F1]);
  assert.equal(at.outcomes, [{ ok: false, reason: 'private-target' }]);
  const won = start([6, 4], { [S1]: 'private-target', [F1]: 'won' });
  won.race.answered(6, found(S1));
  won.race.answered(4, found(F1));
  assert.equal(won.outcomes, [{ ok: true, won: F1 }]);
  assert.is(won.clock.pending(), 0);
});

for (const [what, answers, reason] of [
  ['does not exist', [NO_NAME, FAILED], 'name-not-found'],
  ['has no address and one server failed', [NONE, FAILED], 'resolver-failed'],
  ['has no address at all', [NONE, NONE], 'name-not-found'],
] as const)
  test(`a name that ${what}: ${reason}`, () => {
    const at = start();
    at.race.answered(6, answers[0]);
    at.race.answered(4, answers[1]);
    assert.equal(at.outcomes, [{ ok: false, reason }]);
    assert.is(at.race.giveUp(), null);
  });

test('time is up: the reason is what was waited for, or what a target said', () => {
  assert.is(start().race.giveUp(), 'resolver-timeout');
  const hanging = start();
  hanging.race.answered(6, found(S1, S2));
  hanging.fails(S1, 'network-unreachable');
  assert.is(hanging.race.giveUp(), 'origin-timeout');
  assert.equal(hanging.stopped, [S2]);
  assert.equal([hanging.outcomes.length, hanging.clock.pending()], [0, 0]);
  const refused = start();
  refused.race.answered(6, found(S1, S2));
  refused.fails(S1, 'origin-refused');
  assert.is(refused.race.giveUp(), 'origin-refused');
  const between = start();
  between.race.answered(6, found(S1));
  between.fails(S1, 'private-target');
  assert.is(between.race.giveUp(), 'private-target');
});

test('no more than eight are tried', () => {
  const at = start([4]);
  at.race.answered(4, found(...Array.from({ length: 16 }, (_, nth) => `192.0.2.${nth}`)));
  for (let nth = 0; nth < 8; nth += 1) at.fails(`192.0.2.${nth}`);
  assert.is(at.began.length, 8);
  assert.equal(at.outcomes, [{ ok: false, reason: 'origin-refused' }]);
});

test('whatever happens in whatever order, it ends once, and leaves nothing behind', () => {
  const answer = (family: Family) =>
    fc.oneof(
      fc.constantFrom(NONE, NO_NAME, FAILED),
      fc
        .array(fc.nat(20), { minLength: 1, maxLength: 6 })
        .map(all =>
          found(...[...new Set(all)].map(one => (family === 4 ? `192.0.2.${one}` : `2001:db8::${one}`))),
        ),
    );
  const steps = fc.array(fc.tuple(fc.constantFrom('win', 'fail', 'fail', 'fail', 'four', 'six'), fc.nat(7)), {
    maxLength: 40,
  });
  holds(
    fc.property(answer(4), answer(6), steps, fc.boolean(), (four, six, events, cancelled) => {
      const at = start();
      const told = { 4: false, 6: false };
      const tell = (family: Family) => {
        if (!told[family]) at.race.answered(family, family === 4 ? four : six);
        told[family] = true;
      };
      for (const [event, which] of events) {
        const running = [...at.running.keys()];
        const address = running[which % Math.max(1, running.length)];
        if (event === 'four') tell(4);
        else if (event === 'six') tell(6);
        else if (address !== undefined && event === 'win') at.wins(address);
        else if (address !== undefined) at.fails(address);
        assert.ok(at.outcomes.length <= 1);
      }
      if (cancelled) at.race.giveUp();
      else {
        tell(4);
        tell(6);
        while (at.outcomes.length === 0 && at.running.size > 0) at.fails([...at.running.keys()][0]!);
        assert.is(at.outcomes.length, 1);
      }
      assert.equal([at.running.size, at.clock.pending()], [0, 0]);
      assert.is(new Set(at.began).size, at.began.length, 'no address is tried twice');
    }),
    2_000,
  );
});

test.run();
