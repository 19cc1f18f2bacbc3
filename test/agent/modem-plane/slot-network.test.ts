/** What a slot's network is made of, and that every bit of it is written down before it is made. No rights needed. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import {
  JOURNAL_NAME,
  makeOf,
  type NetworkItem,
  NetworkJournal,
} from '@mastline/agent/modem-plane/network-journal';
import { isPresent, type NetworkSurvey } from '@mastline/agent/modem-plane/network-survey';
import type { InterfaceSlot } from '@mastline/agent/modem-plane/slot-config';
import { carrierAddressOf, planSlot, setUpSlot } from '@mastline/agent/modem-plane/slot-network';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('slot network');

const slot: InterfaceSlot = {
  slot: 1,
  usbPath: '1-1.2',
  interface: 'wwx1',
  gateway: '192.168.8.1',
  api: { kind: 'hilink', url: 'http://192.168.8.1' },
  virtual: false,
};
const empty = (): NetworkSurvey => ({
  links: new Map([['wwx1', { up: false }]]),
  addresses: [],
  rules: [],
  routes: [],
});

test('takes the first address and table, and ends the table in unreachable', () => {
  const { sourceAddress, items } = planSlot(slot, empty());
  assert.is(sourceAddress, '192.168.8.101');
  assert.equal(
    items.map(item => item.kind),
    ['link-up', 'route', 'rule', 'address', 'route', 'route'],
  );
  assert.equal(items[1], {
    kind: 'route',
    table: 1001,
    words: ['unreachable', 'default', 'metric', '4278198272'],
  });
  assert.equal(items[2], { kind: 'rule', from: '192.168.8.101', table: 1001, priority: 1001 });
});

test('keeps out of the way of addresses, rules and tables of others', () => {
  const survey = empty();
  survey.addresses.push({ interface: 'wwx0', address: '192.168.8.101', prefix: 24 });
  survey.rules.push({ priority: 1002, from: '192.168.8.102', table: 1001 });
  survey.routes.push({ dst: 'default', dev: 'wwx9', gateway: '', table: 1003, metric: 0 });
  const { sourceAddress, items } = planSlot(slot, survey);
  assert.is(sourceAddress, '192.168.8.103');
  assert.equal(items[2], { kind: 'rule', from: '192.168.8.103', table: 1004, priority: 1004 });
});

const bearer: InterfaceSlot = {
  slot: 4,
  usbPath: '1-1.4',
  interface: 'wwx1',
  api: { kind: 'mbim', device: '/dev/cdc-wdm0' },
  virtual: false,
};
const carrier = { address: '10.64.1.2', prefixLength: 30, gateway: '10.64.1.1', mtu: 1430 };

test("a modem that does not route gets the carrier's address, and its packet size", () => {
  const survey = empty();
  survey.links.set('wwx1', { up: false, mtu: 1500 });
  const { sourceAddress, items } = planSlot(bearer, survey, carrier);
  assert.is(sourceAddress, '10.64.1.2');
  assert.equal(items, [
    { kind: 'link-up', interface: 'wwx1' },
    { kind: 'mtu', interface: 'wwx1', mtu: 1430, before: 1500 },
    { kind: 'route', table: 1004, words: ['unreachable', 'default', 'metric', '4278198272'] },
    { kind: 'rule', from: '10.64.1.2', table: 1004, priority: 1004 },
    { kind: 'address', interface: 'wwx1', address: '10.64.1.2', prefix: 30 },
    {
      kind: 'route',
      table: 1004,
      words: ['default', 'via', '10.64.1.1', 'dev', 'wwx1', 'src', '10.64.1.2', 'onlink'],
    },
  ]);
  const bare = planSlot(bearer, survey, { ...carrier, gateway: null, prefixLength: null, mtu: null });
  assert.equal(bare.items.at(-1), {
    kind: 'route',
    table: 1004,
    words: ['default', 'dev', 'wwx1', 'src', '10.64.1.2'],
  });
  assert.not(bare.items.some(item => item.kind === 'mtu'));
});

test('an address that is in use here already is borne in a namespace, and ours stands for it', () => {
  const survey = empty();
  survey.links.set('wwx1', { up: false, mtu: 1500 });
  survey.addresses.push({ interface: 'wwx0', address: '10.64.1.2', prefix: 30 });
  survey.rules.push({ priority: 900, from: '169.254.200.1', table: 900 });
  const { sourceAddress, namespace, items } = planSlot(bearer, survey, carrier);
  assert.is(sourceAddress, '169.254.200.5');
  assert.equal(namespace, { name: 'mastline-1004', veth: 'mastv1004', interface: 'wwx1' });
  const told = items.map(item => makeOf(item).join(' '));
  // The interface is taken away before anything, and our side begins with the dead end.
  assert.equal(told.slice(0, 4), [
    'link set dev wwx1 mtu 1430',
    'netns add mastline-1004',
    'link set dev wwx1 netns mastline-1004',
    'link add mastv1004 type veth peer name host netns mastline-1004',
  ]);
  assert.ok(told.some(one => /policy drop; .* snat to 10\.64\.1\.2/s.test(one)));
  assert.ok(told.includes('-n mastline-1004 address add 10.64.1.2/30 dev wwx1 noprefixroute'));
  assert.ok(told.includes('-n mastline-1004 route add default via 10.64.1.1 dev wwx1 onlink'));
  assert.equal(told.slice(-4), [
    '-4 route add unreachable default metric 4278198272 table 1004',
    '-4 rule add from 169.254.200.5 lookup 1004 priority 1004',
    'address add 169.254.200.5/30 dev mastv1004 noprefixroute',
    '-4 route add default via 169.254.200.6 dev mastv1004 src 169.254.200.5 onlink table 1004',
  ]);
});

const six = '2001:db8:7::2';

test('IPv6 has the same table, its own dead end and rule first, and no gateway', () => {
  const survey = empty();
  const plan = planSlot(bearer, survey, { ...carrier, address6: six });
  assert.is(plan.sourceAddress, '10.64.1.2');
  assert.is(plan.sourceAddress6, six);
  assert.equal(
    plan.items.slice(-4).map(item => makeOf(item).join(' ')),
    [
      '-6 route add unreachable default metric 4278198272 table 1004',
      `-6 rule add from ${six} lookup 1004 priority 1004`,
      `-6 address add ${six}/128 dev wwx1 noprefixroute nodad`,
      `-6 route add default dev wwx1 src ${six} metric 1024 table 1004`,
    ],
  );
  const alone = planSlot(bearer, survey, { ...carrier, address: null, address6: six });
  assert.is(alone.sourceAddress, six);
  assert.is(alone.sourceAddress6, undefined);
  assert.equal(
    alone.items.map(item => item.kind),
    ['link-up', 'route', 'rule', 'address', 'route'],
  );
});

test('a route of the other family is not taken for its own', () => {
  const survey = empty();
  const { items } = planSlot(bearer, survey, { ...carrier, address6: six });
  const [dead4, dead6] = items.filter(item => item.kind === 'route' && item.words[0] === 'unreachable');
  survey.routes.push({ dst: 'default', dev: 'lo', gateway: '', table: 1004, metric: 4278198272 });
  assert.is(isPresent(dead4 as NetworkItem, survey), true);
  assert.is(isPresent(dead6 as NetworkItem, survey), false);
  survey.routes.push({ dst: 'default', dev: 'lo', gateway: '', table: 1004, metric: 4278198272, family: 6 });
  assert.is(isPresent(dead6 as NetworkItem, survey), true);
});

/** A guard that does what nftables would, or does not. */
const guardThat = (holds: boolean) => {
  const held: string[] = [];
  const guard = {
    hold: async (address: string) => {
      if (holds) held.push(address);
      return holds;
    },
    release: async () => undefined,
  };
  return { held, guard: guard as unknown as LeakGuard };
};

test('IPv6 is used only where it is held: by nftables, on an interface that takes nothing else', async () => {
  const dir = await tempDir('journal');
  try {
    const made = async (carry: object, more: object) => {
      const ip = recordingIp();
      const journal = new NetworkJournal({ dataDir: dir.path, runIp: ip.run });
      const given = { ...carrier, address6: six, ...carry };
      const parts = { runIp: ip.run, journal, clock: systemClock, carrier: given, ...more };
      const network = await setUpSlot(bearer, parts);
      await journal.removeAll();
      return network;
    };
    const good = guardThat(true);
    const both = await made({}, { guard: good.guard, mayIpv6: true });
    assert.is(both.sourceAddress6, six);
    assert.equal(good.held, [six, '10.64.1.2'], 'held before it is there');
    for (const [carry, more, why] of [
      [{}, { guard: guardThat(false).guard, mayIpv6: true }, /nftables/],
      [{}, { mayIpv6: true }, /nftables/],
      [{}, { guard: good.guard, mayIpv6: false }, /settings/],
      [{ mtu: 1279 }, { guard: good.guard, mayIpv6: true }, /1280/],
    ] as const) {
      const one = await made(carry, more);
      assert.is(one.sourceAddress, '10.64.1.2');
      assert.is(one.sourceAddress6, undefined);
      assert.match(one.problem6 ?? '', why);
      assert.not(one.items.some(item => JSON.stringify(item).includes(six)));
    }
    await made({ address: null }, { mayIpv6: true }).then(
      () => assert.unreachable(),
      error => {
        assert.is(codeOf(error), 'network/no-ipv6');
        assert.match((error as CodedError).userMessage, /IPv6 address only.*nftables/);
      },
    );
  } finally {
    await dir.remove();
  }
});

test('of a connection only an MBIM modem’s IPv6 address is used, as the kernel spells it, and no link-local one', () => {
  const mbim = { api: bearer.api };
  const at = { api: { kind: 'at', port: '/dev/ttyUSB2', profile: 'generic/at' } } as const;
  const given = { ...carrier, connected: true, dnsServers: [] };
  const of = (address6: string | null, slotApi: Parameters<typeof carrierAddressOf>[1] = mbim) =>
    carrierAddressOf({ ...given, address6 }, slotApi);
  assert.is(of('2a02:0:0:0:0:0:0:5')?.address6, '2a02::5');
  assert.is(of('2a02::5', at)?.address6, undefined);
  for (const useless of [
    'fe80:0:0:0:0:0:0:1',
    '0:0:0:0:0:0:0:0',
    'ff02::1',
    '::1',
    '::ffff:10.0.0.1',
    '2::1',
  ])
    assert.is(of(useless)?.address6, undefined, useless);
  assert.is(carrierAddressOf({ ...given, address: null, address6: 'fe80::1' }, mbim), null);
});

test('what was made of a namespace is taken down in order: the interface comes back before it goes', async () => {
  const dir = await tempDir('journal');
  try {
    const ip = recordingIp(undefined, {
      answer: words =>
        words === 'address show'
          ? '[{"ifname":"wwx0","addr_info":[{"local":"10.64.1.2","prefixlen":30}]}]'
          : undefined,
    });
    const { run } = ip;
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: run });
    await setUpSlot(bearer, { runIp: run, journal, clock: systemClock, carrier });
    ip.commands.length = 0;
    // As after a kill: by what is on disk alone.
    await new NetworkJournal({ dataDir: dir.path, runIp: run }).recover();
    assert.equal(ip.commands.slice(-3), [
      'link del mastv1004',
      `-n mastline-1004 link set dev wwx1 netns ${process.pid}`,
      'netns del mastline-1004',
    ]);
    assert.not(existsSync(join(dir.path, JOURNAL_NAME)));
  } finally {
    await dir.remove();
  }
});

test('without nftables the second one fails and says what to install', async () => {
  const dir = await tempDir('journal');
  try {
    const ip = recordingIp(words => (/ nft /.test(words) ? 'network/ip-failed' : undefined), {
      answer: words => (words === 'rule show' ? '[{"priority":9,"src":"10.64.1.2","table":9}]' : undefined),
    });
    const { run } = ip;
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: run });
    await setUpSlot(bearer, { runIp: run, journal, clock: systemClock, carrier }).then(
      () => assert.unreachable(),
      error => {
        assert.is(codeOf(error), 'network/address-taken');
        assert.match((error as CodedError).userMessage, /apt-get install -y nftables/);
      },
    );
    assert.is(ip.commands.at(-1), 'netns del mastline-1004');
    assert.not(existsSync(join(dir.path, JOURNAL_NAME)));
  } finally {
    await dir.remove();
  }
});

test('says when the subnet is full', () => {
  const survey = empty();
  for (let host = 101; host <= 199; host += 1)
    survey.addresses.push({ interface: 'x', address: `192.168.8.${host}`, prefix: 24 });
  assert.throws(
    () => planSlot(slot, survey),
    (error: unknown) => codeOf(error) === 'network/no-address',
  );
});

/**
 * An `ip` that remembers what was asked of it; `refuse` says how a command fails, `answer` what it shows. A batch ends at
 * the first line that fails, and says which it was.
 */
function recordingIp(
  refuse: (words: string) => string | undefined = () => undefined,
  { journalPath = '', answer = (_: string): string | undefined => undefined } = {},
) {
  const commands: string[] = [];
  const journals: string[] = [];
  const one = (words: string): string => {
    if (/ show/.test(words))
      return answer(words) ?? (words.startsWith('link') ? '[{"ifname":"wwx1","flags":[]}]' : '[]');
    const code = refuse(words);
    if (code) throw new CodedError(code, words);
    if (journalPath !== '') journals.push(existsSync(journalPath) ? readFileSync(journalPath, 'utf8') : '');
    commands.push(words);
    return '';
  };
  const run = async (args: readonly string[], input = '') => {
    if (!args.includes('-batch')) return one(args.join(' '));
    const lines = input.trim().split('\n');
    const said = lines.map((line, at) => {
      try {
        return one(line);
      } catch (error) {
        throw new CodedError(codeOf(error) ?? '', `${line}: Command failed -:${at + 1}`);
      }
    });
    return said.join('\n');
  };
  return { run, commands, journals };
}

test('is in the journal before it is made, and gone from both afterwards', async () => {
  const dir = await tempDir('journal');
  try {
    const path = join(dir.path, JOURNAL_NAME);
    const ip = recordingIp(undefined, { journalPath: path });
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: ip.run });
    const { items } = await setUpSlot(slot, { runIp: ip.run, journal, clock: systemClock });
    assert.is(ip.commands.length, items.length);
    for (const text of ip.journals) assert.equal(JSON.parse(text).items, items);
    ip.commands.length = 0;
    await journal.removeAll();
    assert.is(ip.commands.length, items.length);
    assert.match(ip.commands[0] ?? '', /route del default/);
    assert.not(existsSync(path));
  } finally {
    await dir.remove();
  }
});

test('a set-up that fails half-way leaves nothing, neither made nor written', async () => {
  const dir = await tempDir('journal');
  try {
    const ip = recordingIp(words => (/address add/.test(words) ? 'network/ip-failed' : undefined));
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: ip.run });
    await setUpSlot(slot, { runIp: ip.run, journal, clock: systemClock }).then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'network/ip-failed'),
    );
    assert.ok(ip.commands.some(words => /rule del from 192.168.8.101/.test(words)));
    assert.not(existsSync(join(dir.path, JOURNAL_NAME)));
  } finally {
    await dir.remove();
  }
});

test("a carrier's address and packet size are written down, and taken back", async () => {
  const dir = await tempDir('journal');
  try {
    const ip = recordingIp(undefined, {
      answer: words => (words === 'link show' ? '[{"ifname":"wwx1","flags":[],"mtu":1500}]' : undefined),
    });
    const { run } = ip;
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: run });
    await setUpSlot(bearer, { runIp: run, journal, clock: systemClock, carrier });
    assert.ok(ip.commands.includes('link set dev wwx1 mtu 1430'));
    ip.commands.length = 0;
    await new NetworkJournal({ dataDir: dir.path, runIp: run }).recover();
    assert.ok(ip.commands.includes('link set dev wwx1 mtu 1500'));
    const at = (start: string) => ip.commands.findIndex(words => words.includes(start));
    // The address goes before the rule that keeps it out of the main table.
    assert.ok(at('address del 10.64.1.2/30') < at('rule del from 10.64.1.2'));
    await setUpSlot(bearer, { runIp: run, journal, clock: systemClock, carrier: null }).then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'network/no-carrier-address'),
    );
  } finally {
    await dir.remove();
  }
});

test('the next start takes down what a crash left, and keeps in mind what it could not', async () => {
  const dir = await tempDir('journal');
  try {
    const first = recordingIp();
    await setUpSlot(slot, {
      runIp: first.run,
      journal: new NetworkJournal({ dataDir: dir.path, runIp: first.run }),
      clock: systemClock,
    });
    let stuck = true;
    const second = recordingIp(words =>
      /rule del/.test(words) && stuck
        ? 'network/not-permitted'
        : /address del/.test(words)
          ? 'network/gone'
          : undefined,
    );
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: second.run });
    await journal.recover().then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'network/not-permitted'),
    );
    const left = JSON.parse(readFileSync(join(dir.path, JOURNAL_NAME), 'utf8')).items as NetworkItem[];
    assert.equal(
      left.map(item => item.kind),
      ['rule'],
    );
    stuck = false;
    assert.is(await new NetworkJournal({ dataDir: dir.path, runIp: second.run }).recover(), 1);
    assert.not(existsSync(join(dir.path, JOURNAL_NAME)));
  } finally {
    await dir.remove();
  }
});

test('a journal of another boot is forgotten, not acted on; a damaged one is named', async () => {
  const dir = await tempDir('journal');
  try {
    const path = join(dir.path, JOURNAL_NAME);
    const ip = recordingIp();
    const journal = new NetworkJournal({ dataDir: dir.path, runIp: ip.run });
    writeFileSync(
      path,
      JSON.stringify({
        version: 1,
        where: 'elsewhere',
        items: [{ kind: 'rule', from: '192.168.8.101', table: 1, priority: 1 }],
      }),
    );
    assert.is(await journal.recover(), 0);
    assert.equal(ip.commands, []);
    writeFileSync(path, '{"version":1');
    await journal.recover().then(
      () => assert.unreachable(),
      error => {
        assert.is(codeOf(error), 'network/journal');
        assert.match((error as CodedError).userMessage, /delete the file/);
      },
    );
  } finally {
    await dir.remove();
  }
});

test('presence is judged by what makes an item work', () => {
  const survey = empty();
  const [, , rule, address, subnet, way] = planSlot(slot, survey).items as NetworkItem[];
  survey.rules.push({ priority: 1001, from: '192.168.8.101', table: 1001 });
  survey.routes.push({ dst: 'default', dev: 'eth0', gateway: '192.168.8.1', table: 1001, metric: 0 });
  survey.routes.push({ dst: '192.168.8.0/24', dev: 'wwx1', gateway: '', table: 1001, metric: 0 });
  assert.equal(
    [rule, address, subnet, way].map(item => isPresent(item!, survey)),
    [true, false, true, false],
  );
});

test('a wrong configuration is refused with every field named', async () => {
  const dir = await tempDir('config');
  try {
    const make = (slots: unknown, echoUrls: unknown) =>
      createModemPlane({
        slots: slots as [],
        echoUrls: echoUrls as [],
        dataDir: dir.path,
        clock: systemClock,
        log: quietLog,
      });
    assert.throws(() => make([{ ...slot, gateway: 'router' }], []), /slots\[0\] is not valid: gateway/);
    assert.throws(() => make([slot, { ...slot }], []), /slots\[1\]\.slot/);
    assert.throws(() => make([slot], ['ftp://x']), /echoUrls is not valid: \[0\]/);
  } finally {
    await dir.remove();
  }
});

test.run();
