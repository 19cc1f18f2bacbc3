/** Names: asked through the slot, kept for their time, whatever the server does. Time moves when told. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { MAX_BYTES, MAX_ENTRIES, type NameAnswer, NameCache } from '@mastline/agent/data-plane/name-cache';
import { Resolver, type ResolvingEgress } from '@mastline/agent/data-plane/resolver';
import type { Family } from '@mastline/agent/data-plane/source-address';
import { encode } from 'dns-packet';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { holds } from '../../shared/protocols/property';
import { type FakeClock, fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import {
  type Asked,
  a,
  aaaa,
  RCODE,
  type Reply,
  type ScriptedNameServer,
  soa,
  startNames,
} from './scripted-name-server';

const test = suite('names through a slot');
const NAME = 'www.example';
const SECOND = 1_000;

interface Bench {
  clock: FakeClock;
  resolver: Resolver;
  names: ScriptedNameServer;
  egress: ResolvingEgress;
  /** Settles when the resolver has answered; time stands still meanwhile. */
  ask(name?: string, egress?: ResolvingEgress, family?: Family): Promise<NameAnswer>;
  close(): Promise<void>;
}

async function bench(script: (asked: Asked) => Reply | Promise<Reply>): Promise<Bench> {
  const clock = fakeClock();
  const resolver = new Resolver(clock);
  const names = await startNames(script);
  const egress: ResolvingEgress = {
    slot: 1,
    sourceAddress: '127.0.0.1',
    dnsServers: [names.server],
    imei: null,
  };
  return {
    clock,
    resolver,
    names,
    egress,
    ask: (name = NAME, through = egress, family = 4) =>
      new Promise(resolve => {
        // Both families, so that what one of them lacks is not asked of the other.
        resolver.lookup(name, { egress: through, families: [4, 6] }, (which, answer) => {
          if (which === family) resolve(answer);
        });
      }),
    async close() {
      resolver.close();
      await names.close();
    },
  };
}

const found = (...addresses: string[]): NameAnswer => ({ kind: 'found', addresses });
const TIMED_OUT: NameAnswer = { kind: 'failed', reason: 'resolver-timeout' };
const FAILED: NameAnswer = { kind: 'failed', reason: 'resolver-failed' };
const NO_NAME: NameAnswer = { kind: 'none', exists: false };
const NO_ADDRESS: NameAnswer = { kind: 'none', exists: true };

test('an answer is kept for its TTL, the least of its records, and asked for again behind it', async () => {
  const at = await bench(({ name, before }) => ({
    answers: [a(name, `192.0.2.${before}`, 60), a(name, '192.0.2.9', 300)],
  }));
  assert.equal(await at.ask(), found('192.0.2.0', '192.0.2.9'));
  await at.clock.advance(59 * SECOND);
  assert.equal(await at.ask(), found('192.0.2.0', '192.0.2.9'));
  assert.is(at.names.count(NAME, 'A'), 1);
  await at.clock.advance(SECOND);
  assert.equal(await at.ask(), found('192.0.2.1', '192.0.2.9'));
  assert.is(at.names.count(NAME, 'A'), 2);
  await at.close();
});

for (const [what, ttl, keptS] of [
  ['a TTL of 0 is a second', 0, 1],
  ['a TTL of a year is an hour', 31_536_000, 3_600],
  ['a TTL with its highest bit set is none, which is a second', 0x80000000, 1],
] as const)
  test(what, async () => {
    const at = await bench(({ name }) => ({ answers: [a(name, '192.0.2.1', ttl)] }));
    await at.ask();
    await at.clock.advance(keptS * SECOND - 1);
    await at.ask();
    assert.is(at.names.count(NAME, 'A'), 1);
    await at.clock.advance(1);
    await at.ask();
    assert.is(at.names.count(NAME, 'A'), 2);
    await at.close();
  });

for (const [what, reply, expected, keptS] of [
  ['a name that does not exist', { flags: RCODE.nxdomain, authorities: [soa(300, 20)] }, NO_NAME, 20],
  ['a name without such an address', { authorities: [soa(10, 3_600)] }, NO_ADDRESS, 10],
  ['a denial for a day', { flags: RCODE.nxdomain, authorities: [soa(86_400, 86_400)] }, NO_NAME, 300],
  ['a denial without SOA', { flags: RCODE.nxdomain }, NO_NAME, 1],
  ['a failure', { flags: RCODE.failure }, FAILED, 1],
] as const satisfies [string, Reply, NameAnswer, number][])
  test(`${what} is known for ${keptS} s`, async () => {
    const at = await bench(() => ({ ...reply }) as Reply);
    assert.equal(await at.ask(), expected);
    await at.clock.advance(keptS * SECOND - 1);
    assert.equal(await at.ask(), expected);
    assert.is(at.names.count(NAME, 'A'), 1);
    await at.clock.advance(1);
    await at.ask();
    assert.is(at.names.count(NAME, 'A'), 2);
    await at.close();
  });

test('who asks what is being asked waits for the same answer', async () => {
  let answer = (_reply: Reply) => {};
  const held = new Promise<Reply>(resolve => {
    answer = resolve;
  });
  const at = await bench(async ({ type }) => (type === 'A' ? held : {}));
  const all = Promise.all(Array.from({ length: 100 }, () => at.ask()));
  await eventually(() => at.names.count(NAME, 'A') === 1);
  answer({ answers: [a(NAME, '192.0.2.1')] });
  for (const one of await all) assert.equal(one, found('192.0.2.1'));
  assert.is(at.names.count(NAME, 'A'), 1);
  await at.close();
});

test('who stopped is not answered; what was asked is kept for the next', async () => {
  const at = await bench(({ name }) => ({ answers: [a(name, '192.0.2.1')] }));
  let told = 0;
  const stop = at.resolver.lookup(NAME, { egress: at.egress, families: [4] }, () => {
    told += 1;
  });
  stop();
  assert.equal(await at.ask(), found('192.0.2.1'));
  assert.equal([told, at.names.count(NAME, 'A')], [0, 1]);
  await at.close();
});

test("one slot's answers are not another's, and each asks from its own address", async () => {
  const at = await bench(({ name, from }) => ({ answers: [a(name, from.replace('127.', '198.'))] }));
  const other = { ...at.egress, slot: 2, sourceAddress: '127.3.3.3' };
  assert.equal(await at.ask(), found('198.0.0.1'));
  assert.equal(await at.ask(NAME, other), found('198.3.3.3'));
  assert.equal(await at.ask(), found('198.0.0.1'));
  assert.is(at.names.count(NAME, 'A'), 2);
  await at.close();
});

test('another address, server or modem forgets; a plan that leaves them alone does not', async () => {
  const at = await bench(({ name }) => ({ answers: [a(name, '192.0.2.1', 3_600)] }));
  let asked = 0;
  const forgets = async (egress: ResolvingEgress, yes: boolean, what: string) => {
    await at.ask();
    asked = at.names.count(NAME, 'A');
    at.resolver.adopt([egress]);
    await at.ask();
    assert.is(at.names.count(NAME, 'A') - asked, yes ? 1 : 0, what);
  };
  await forgets({ ...at.egress }, false, 'the same');
  await forgets({ ...at.egress, sourceAddress: '127.3.3.3' }, true, 'another address');
  await forgets({ ...at.egress, sourceAddress6: '::1' }, true, 'a second address');
  await forgets(
    { ...at.egress, dnsServers: ['127.0.0.1:1', ...at.egress.dnsServers] },
    true,
    'another server',
  );
  await forgets({ ...at.egress, imei: '490154203237518' }, true, 'another modem');
  await forgets({ ...at.egress, slot: 9 }, true, 'the slot is gone');
  // Also where it was asked for before the plan was told.
  await at.ask(NAME, { ...at.egress, sourceAddress: '127.3.3.4' });
  assert.is(at.names.asked.at(-1)?.from, '127.3.3.4');
  await at.close();
});

test('a question under way fails when its slot loses the address, and nothing of it is kept', async () => {
  const at = await bench(() => null);
  const waiting = at.ask();
  await eventually(() => at.names.count(NAME, 'A') === 1);
  at.resolver.adopt([{ ...at.egress, sourceAddress: '127.3.3.3' }]);
  assert.equal(await waiting, FAILED);
  const again = at.ask();
  await eventually(() => at.names.count(NAME, 'A') === 2);
  at.resolver.close();
  assert.equal(await again, FAILED);
  await at.close();
});

test('lost answers: the question is repeated after 1, 3 and 5 s, and the third try is answered', async () => {
  const at = await bench(({ name, before }) => (before < 2 ? null : { answers: [a(name, '192.0.2.1')] }));
  const waiting = at.ask();
  for (const [count, waitMs] of [
    [1, 1_000],
    [2, 2_000],
  ] as const) {
    await eventually(() => at.names.count(NAME, 'A') === count);
    await at.clock.advance(waitMs - 1);
    assert.is(at.names.count(NAME, 'A'), count);
    await at.clock.advance(1);
  }
  assert.equal(await waiting, found('192.0.2.1'));
  await at.close();
});

test('an answer that comes after the next try began is taken all the same', async () => {
  let late = (_reply: Reply) => {};
  const held = new Promise<Reply>(resolve => {
    late = resolve;
  });
  const at = await bench(({ type, before }) => (type === 'A' && before === 0 ? held : null));
  const waiting = at.ask();
  await eventually(() => at.names.count(NAME, 'A') === 1);
  await at.clock.advance(SECOND);
  await eventually(() => at.names.count(NAME, 'A') === 2);
  late({ answers: [a(NAME, '192.0.2.7')] });
  assert.equal(await waiting, found('192.0.2.7'));
  await at.close();
});

test('silence is a time-out after 8 s', async () => {
  const at = await bench(() => null);
  let answer: NameAnswer | null = null;
  void at.ask().then(one => {
    answer = one;
  });
  for (const waitMs of [1_000, 2_000, 2_000]) await at.clock.advance(waitMs);
  await at.clock.advance(2_999);
  assert.is(answer, null);
  await at.clock.advance(1);
  assert.equal(answer, TIMED_OUT);
  await at.close();
});

test('the second server is asked when the first is silent, fails, refuses, or is not there', async () => {
  const good = await startNames(({ name }) => ({ answers: [a(name, '192.0.2.2')] }), '127.0.0.2');
  for (const reply of [null, { flags: RCODE.failure }, { flags: RCODE.refused }, 'nobody'] as const) {
    const at = await bench(() => (reply === 'nobody' ? null : reply));
    const first = reply === 'nobody' ? `127.0.0.1:${await freePort()}` : at.names.server;
    const waiting = at.ask(NAME, { ...at.egress, dnsServers: [first, good.server] });
    if (reply === null) {
      await eventually(() => at.names.count(NAME, 'A') === 1);
      await at.clock.advance(SECOND);
    }
    assert.equal(await waiting, found('192.0.2.2'), JSON.stringify(reply));
    await at.close();
  }
  await good.close();
});

test('an answer that was cut is asked for again by TCP; a server without TCP has failed', async () => {
  const at = await bench(({ name, transport }) => {
    if (transport === 'udp') return { flags: 0x200 };
    return name === NAME
      ? { answers: Array.from({ length: 100 }, (_, nth) => a(name, `192.0.2.${nth}`)) }
      : null;
  });
  const answer = await at.ask();
  assert.is(answer.kind === 'found' && answer.addresses.length, 16, 'no more is kept than anybody tries');
  assert.equal(
    at.names.asked.filter(({ type }) => type === 'A').map(({ transport }) => transport),
    ['udp', 'tcp'],
  );
  assert.equal(await at.ask('no-tcp.example'), FAILED);
  await at.close();
});

test('forged and broken answers are not listened to', async () => {
  const at = await bench(({ name, type, packet }) => [
    Buffer.from('no message'),
    { id: ((packet.id ?? 0) + 1) & 0xffff, answers: [a(name, '192.0.2.66')] },
    { questions: [{ name: 'evil.example', type: 'A', class: 'IN' }], answers: [a(name, '192.0.2.67')] },
    { questions: [{ name, type: 'TXT', class: 'IN' }], answers: [a(name, '192.0.2.68')] },
    { answers: type === 'A' ? [a('evil.example', '192.0.2.69'), a(name, '192.0.2.1')] : [] },
  ]);
  assert.equal(await at.ask(), found('192.0.2.1'));
  await at.close();
});

test('what others than the server send to the port of a question is dropped', async () => {
  const forger = createSocket('udp4');
  forger.bind(0, '127.0.0.9');
  await once(forger, 'listening');
  // Knows id, question and port, but does not have the server's address.
  const at = await bench(async ({ name, packet, port }) => {
    const forged = encode({
      type: 'response',
      id: packet.id ?? 0,
      questions: packet.questions ?? [],
      answers: [a(name, '192.0.2.66')],
    });
    await new Promise(resolve => forger.send(forged, port, '127.0.0.1', resolve));
    return { answers: [a(name, '192.0.2.1')] };
  });
  assert.equal(await at.ask(), found('192.0.2.1'));
  forger.close();
  await at.close();
});

test('a server that does not know EDNS is asked without', async () => {
  const at = await bench(({ name, edns }) =>
    edns ? { flags: RCODE.format } : { answers: [a(name, '192.0.2.1')] },
  );
  assert.equal(await at.ask(), found('192.0.2.1'));
  assert.equal(
    at.names.asked.filter(({ type }) => type === 'A').map(({ edns }) => edns),
    [true, false],
  );
  await at.close();
});

test('a slot whose address is gone fails, and asks from no other', async () => {
  const at = await bench(({ name }) => ({ answers: [a(name, '192.0.2.1')] }));
  assert.equal(await at.ask(NAME, { ...at.egress, sourceAddress: '203.0.113.7' }), FAILED);
  // Servers of a family that the slot does not have, and what is no server at all.
  assert.equal(await at.ask(NAME, { ...at.egress, dnsServers: ['[2001:db8::53]:53', 'nonsense'] }), FAILED);
  assert.is(at.names.asked.length, 0);
  await at.close();
});

test('a slot without IPv6 says whether a name has addresses that it cannot reach', async () => {
  const at = await bench(({ name, type }) =>
    name === 'six.example' && type === 'AAAA' ? { answers: [aaaa(name, '2001:db8::1')] } : {},
  );
  const ask = (name: string) =>
    new Promise<NameAnswer>(resolve => {
      at.resolver.lookup(name, { egress: at.egress, families: [4] }, (_, answer) => resolve(answer));
    });
  assert.equal(await ask('six.example'), found('2001:db8:0:0:0:0:0:1'));
  assert.equal(await ask('neither.example'), NO_ADDRESS);
  await at.close();
});

test('localhost, .invalid and .onion are asked of nobody', async () => {
  const at = await bench(() => ({}));
  assert.equal(await at.ask('localhost'), found('127.0.0.1'));
  assert.equal(await at.ask('x.localhost', at.egress, 6), found('::1'));
  assert.equal(await at.ask('x.invalid'), NO_NAME);
  assert.equal(await at.ask('x.onion'), NO_NAME);
  assert.is(at.names.asked.length, 0);
  await at.close();
});

test("without servers the system's resolver is asked, once for both families", async () => {
  const resolver = new Resolver(fakeClock());
  const ask = (name: string) =>
    new Promise<Record<Family, NameAnswer>>(resolve => {
      const answers: Partial<Record<Family, NameAnswer>> = {};
      const egress = { slot: 1, sourceAddress: null, dnsServers: [], imei: null };
      resolver.lookup(name, { egress, families: [6, 4] }, (family, answer) => {
        answers[family] = answer;
        if (answers[4] && answers[6]) resolve({ 4: answers[4], 6: answers[6] });
      });
    });
  // The system knows this one without asking anybody: an address as inet_aton(3) reads it.
  assert.equal(await ask('0x7f.3'), { 4: found('127.0.0.3'), 6: NO_ADDRESS });
  // A label of 64 bytes is in no DNS.
  assert.equal(await ask(`${'x'.repeat(64)}.example`), { 4: NO_NAME, 6: NO_NAME });
  resolver.close();
});

test('questions under way are bounded', async () => {
  const at = await bench(() => null);
  const answers = Array.from({ length: 400 }, (_, nth) => at.ask(`n${nth}.example`));
  // Two questions each: 256 names fit.
  const refused = await Promise.race([answers[256]!, answers[0]!]);
  assert.equal(refused, FAILED);
  at.resolver.close();
  for (const answer of answers) assert.equal(await answer, FAILED);
  await at.close();
});

test('the cache stays within its bounds and forgets first what was asked for least lately', () => {
  const cache = new NameCache();
  for (let nth = 0; nth < 3 * MAX_ENTRIES; nth += 1) {
    cache.keep(`4 n${nth}.example`, found('192.0.2.1'), 1_000);
    assert.ok(cache.get('4 n0.example', 0), 'in use all the time');
    assert.ok(cache.size <= MAX_ENTRIES && cache.bytes <= MAX_BYTES);
  }
  assert.is(cache.get('4 n1.example', 0), null);
  const names = fc.stringMatching(/^[a-z]{1,253}$/);
  holds(
    fc.property(fc.array(fc.tuple(names, fc.nat(16), fc.nat(100)), { maxLength: 200 }), entries => {
      const small = new NameCache();
      for (const [name, addresses, untilMs] of entries) {
        small.keep(name, found(...Array.from({ length: addresses }, () => '192.0.2.1')), untilMs);
        if (untilMs > 50) assert.ok(small.get(name, 50));
      }
      for (const [name] of entries) small.get(name, 100);
      assert.equal([small.size, small.bytes], [0, 0], 'all of it is forgotten in time');
    }),
    100,
  );
});

test.run();
