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

test('without nftables the slot serves all the same, the log says so once, and it is tried again', async () => {
  const said: string[] = [];
  const log = { ...quietLog, warn: (message: string) => void said.push(message) } as unknown as Log;
  const nft = recordingNft();
  const guard = new LeakGuard({ clock: fakeClock(), log, run: nft.run });
  nft.fails = 'nft is not installed';
  await guard.hold('10.0.0.1', 'wwx1');
  await guard.tend();
  assert.is(said.length, 1);
  assert.match(said[0] ?? '', /only routing rules/);
  nft.fails = '';
  await guard.tend();
  assert.match(nft.scripts.at(-1) ?? '', /10\.0\.0\.1/);
});

test.run();
