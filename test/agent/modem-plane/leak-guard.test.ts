/** What the leak guard asks of nftables, and what it does when that fails. What it holds back is dead-modem-leaks.test.ts. */
import { guardTable, LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import type { Log } from '@mastline/agent/observe/log';
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('leak guard');

/** An nft that keeps what it was given; `fails` says why it does not work. */
function recordingNft() {
  const scripts: string[] = [];
  const nft = {
    scripts,
    fails: '',
    run: async (args: readonly string[], script = '') => {
      if (nft.fails !== '') throw new Error(nft.fails);
      if (args[0] === 'list')
        return 'table inet mastline_s1_0\ntable inet mastline_s999999999_7\ntable inet mine\n';
      scripts.push(script);
      return '';
    },
  };
  return nft;
}

test('each address has its own interface and the loopback, and nothing else', () => {
  const text = guardTable(
    't',
    new Map([
      ['192.168.8.101', 'wwx1'],
      ['2001:db8::2', 'wwx1'],
      ['10.64.1.2', 'wwx2'],
    ]),
  );
  assert.match(text, /own_ip \{ type ipv4_addr; elements = \{ 192\.168\.8\.101, 10\.64\.1\.2 \} \}/);
  assert.match(text, /10\.64\.1\.2 \. "wwx2", 10\.64\.1\.2 \. "lo"/);
  assert.match(text, /elements = \{ 2001:db8::2 \. "wwx1", 2001:db8::2 \. "lo" \}/);
  assert.match(text, /ip6 saddr @own_ip6 ip6 saddr \. oifname != @way_ip6 counter drop/);
  assert.not.match(guardTable('t', new Map([['10.0.0.1', 'x']])), /ip6/);
  assert.not.match(guardTable('t', new Map()), /chain/);
});

test('tables of processes that are gone go, those of others stay; the last slot takes its own along', async () => {
  const nft = recordingNft();
  const guard = new LeakGuard({ clock: fakeClock(), log: quietLog, run: nft.run });
  await guard.hold('10.0.0.1', 'wwx1');
  assert.equal(
    nft.scripts.map(script => /delete table inet (\S+)/.exec(script)?.[1]),
    ['mastline_s1_0', 'mastline_s999999999_7', guard.table],
  );
  await guard.hold('10.0.0.1', 'wwx1');
  assert.is(nft.scripts.length, 3, 'what holds already is not loaded again');
  await guard.release(['10.0.0.9']);
  assert.is(nft.scripts.length, 3);
  await guard.release(['10.0.0.1']);
  assert.not.match(nft.scripts[3] ?? '', /chain/);
  await guard.close();
  assert.is(nft.scripts.length, 4);
});

test('it is loaded again every minute, since a firewall that is reloaded takes it away', async () => {
  const clock = fakeClock();
  const nft = recordingNft();
  const guard = new LeakGuard({ clock, log: quietLog, run: nft.run });
  await guard.tend();
  assert.is(nft.scripts.length, 0);
  await guard.hold('10.0.0.1', 'wwx1');
  const before = nft.scripts.length;
  await guard.tend();
  assert.is(nft.scripts.length, before);
  await clock.advance(60_000);
  await guard.tend();
  assert.is(nft.scripts.length, before + 1);
});

test('an IPv6 address of the past leaves by nothing for twenty minutes, one of IPv4 is forgotten', async () => {
  const clock = fakeClock();
  const nft = recordingNft();
  const guard = new LeakGuard({ clock, log: quietLog, run: nft.run });
  assert.is(await guard.hold('10.0.0.1', 'wwx1'), true);
  await guard.hold('2001:db8::2', 'wwx1');
  await guard.release(['10.0.0.1', '2001:db8::2']);
  const held = nft.scripts.at(-1) ?? '';
  assert.match(held, /own_ip6 \{ type ipv6_addr; elements = \{ 2001:db8::2 \} \}/);
  assert.match(held, /way_ip6 \{ [^}]*elements = \{ 2001:db8::2 \. "lo" \} \}/);
  assert.not.match(held, /10\.0\.0\.1|wwx1/);
  await clock.advance(60_000);
  await guard.tend();
  assert.match(nft.scripts.at(-1) ?? '', /2001:db8::2/, 'a firewall that is reloaded does not set it free');
  // Somebody gets it again: it is his.
  await guard.hold('2001:db8::2', 'wwx2');
  assert.match(nft.scripts.at(-1) ?? '', /2001:db8::2 \. "wwx2"/);
  await guard.release(['2001:db8::2']);
  await clock.advance(20 * 60_000);
  await guard.tend();
  assert.not.match(nft.scripts.at(-1) ?? '', /2001:db8/);
});

test('past addresses are bounded, and gone with the agent', async () => {
  const nft = recordingNft();
  const guard = new LeakGuard({ clock: fakeClock(), log: quietLog, run: nft.run });
  for (let at = 0; at < 1030; at += 1) {
    await guard.hold(`2001:db8::${at}`, 'wwx1');
    await guard.release([`2001:db8::${at}`]);
  }
  const held = nft.scripts.at(-1) ?? '';
  assert.is(held.match(/2001:db8::\d+ \. "lo"/g)?.length, 1024);
  assert.not.match(held, /2001:db8::5 /);
  await guard.close();
  assert.not.match(nft.scripts.at(-1) ?? '', /chain/);
});

test('only IPv6 addresses are closed to strangers', () => {
  assert.not.match(guardTable('t', new Map([['10.0.0.1', 'x']])), /strangers/);
  const text = guardTable('t', new Map([['2001:db8::2', 'x']]));
  assert.match(text, /ip6 daddr @own_ip6 tcp flags & \(syn \| ack\) == syn counter drop/);
  assert.match(text, /ip6 daddr @own_ip6 udp dport != \d+-\d+ counter drop/);
});

test('without nftables the slot serves all the same, the log says so once, and it is tried again', async () => {
  const said: string[] = [];
  const log = { ...quietLog, warn: (message: string) => void said.push(message) } as unknown as Log;
  const nft = recordingNft();
  const guard = new LeakGuard({ clock: fakeClock(), log, run: nft.run });
  nft.fails = 'nft is not installed';
  assert.is(await guard.hold('10.0.0.1', 'wwx1'), false);
  await guard.tend();
  assert.is(said.length, 1);
  assert.match(said[0] ?? '', /only routing rules/);
  nft.fails = '';
  await guard.tend();
  assert.match(nft.scripts.at(-1) ?? '', /10\.0\.0\.1/);
});

test.run();
