/** What an interface may take from its modem, on a /proc of files. What the kernel makes of it is test/system/ipv6-slots.test.ts. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LinkShield, SHIELD_NAME } from '@mastline/agent/modem-plane/link-shield';
import type { Log } from '@mastline/agent/observe/log';
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('link shield');
const DEFAULTS = { accept_ra: 1, accept_redirects: 1, autoconf: 1, addr_gen_mode: 0, disable_ipv6: 0 };
type Settings = Record<keyof typeof DEFAULTS, number>;

let dir: Awaited<ReturnType<typeof tempDir>>;

const folder = (name: string) => join(dir.path, 'proc/sys/net/ipv6/conf', name);

function plugIn(name: string, index: number, settings: Partial<Settings> = {}): void {
  mkdirSync(folder(name), { recursive: true });
  for (const [what, value] of Object.entries({ ...DEFAULTS, ...settings }))
    writeFileSync(join(folder(name), what), `${value}\n`);
  mkdirSync(join(dir.path, 'proc/self/net/dev_snmp6'), { recursive: true });
  writeFileSync(
    join(dir.path, 'proc/self/net/dev_snmp6', name),
    `ifIndex                         \t${index}\n`,
  );
}

function unplug(name: string): void {
  rmSync(folder(name), { recursive: true });
  rmSync(join(dir.path, 'proc/self/net/dev_snmp6', name));
}

const settings = (name: string) =>
  Object.fromEntries(
    Object.keys(DEFAULTS).map(what => [what, Number(readFileSync(join(folder(name), what), 'utf8'))]),
  );

const made = (log: Log = quietLog) =>
  new LinkShield({ dataDir: dir.path, log, proc: join(dir.path, 'proc') });
const SHUT = { accept_ra: 0, accept_redirects: 0, autoconf: 0, addr_gen_mode: 1 };

test.beforeEach(async () => {
  dir = await tempDir('shield');
});
test.afterEach(() => dir.remove());

test('IPv6 is off where the slot has none, and takes nothing where it has', () => {
  plugIn('wwx1', 7);
  const shield = made();
  assert.is(shield.hold('wwx1', false), true);
  assert.equal(settings('wwx1'), { ...SHUT, disable_ipv6: 1 });
  assert.is(shield.hold('wwx1', true), true);
  assert.equal(settings('wwx1'), { ...SHUT, disable_ipv6: 0 });
});

test('what others change is put back, and the end is as it was before us', () => {
  plugIn('wwx1', 7, { accept_ra: 2 });
  const shield = made();
  shield.hold('wwx1', true);
  writeFileSync(join(folder('wwx1'), 'accept_ra'), '1');
  shield.hold('wwx1', true);
  assert.equal(settings('wwx1'), { ...SHUT, disable_ipv6: 0 });
  shield.close();
  assert.equal(settings('wwx1'), { ...DEFAULTS, accept_ra: 2 });
  assert.not(existsSync(join(dir.path, SHIELD_NAME)));
});

test('the next start puts back what a killed one has left, and not on another stick of the same name', () => {
  plugIn('wwx1', 7);
  plugIn('wwx2', 8);
  const killed = made();
  killed.hold('wwx1', false);
  killed.hold('wwx2', false);
  unplug('wwx2');
  plugIn('wwx2', 9, { accept_ra: 0 });
  assert.is(made().recover(), 2);
  assert.equal(settings('wwx1'), DEFAULTS);
  assert.equal(settings('wwx2'), { ...DEFAULTS, accept_ra: 0 });
  assert.is(made().recover(), 0);
});

test('sticks that come and go do not fill the file', () => {
  const shield = made();
  for (let index = 1; index <= 50; index += 1) {
    plugIn('wwx1', index);
    shield.hold('wwx1', false);
    unplug('wwx1');
  }
  plugIn('wwx2', 100);
  shield.hold('wwx2', false);
  assert.is(JSON.parse(readFileSync(join(dir.path, SHIELD_NAME), 'utf8')).links.length, 1);
});

test('a file that cannot be read, or of another boot, is forgotten and keeps nobody from serving', () => {
  const said: string[] = [];
  const log = { ...quietLog, warn: (message: string) => void said.push(message) } as unknown as Log;
  writeFileSync(join(dir.path, SHIELD_NAME), '{');
  assert.is(made(log).recover(), 0);
  assert.is(said.length, 1);
  plugIn('wwx1', 7);
  const link = { interface: 'wwx1', index: 7, before: { accept_ra: 9 } };
  writeFileSync(
    join(dir.path, SHIELD_NAME),
    JSON.stringify({ version: 1, where: 'elsewhere', links: [link] }),
  );
  assert.is(made().recover(), 0);
  assert.equal(settings('wwx1'), DEFAULTS);
});

test('without IPv6 in the kernel, or an interface, there is nothing to hold and no IPv6 to be had', () => {
  assert.is(made().hold('wwx1', true), false);
});

test('settings that cannot be written are said once, with the remedy', () => {
  const said: unknown[] = [];
  const log = { ...quietLog, warn: (_: string, fields: object) => void said.push(fields) } as unknown as Log;
  plugIn('wwx1', 7);
  // A folder in the place of the file fails for root, too.
  rmSync(join(folder('wwx1'), 'accept_ra'));
  mkdirSync(join(folder('wwx1'), 'accept_ra'));
  chmodSync(join(folder('wwx1'), 'accept_ra'), 0o500);
  const shield = made(log);
  assert.is(shield.hold('wwx1', true), false);
  assert.is(shield.hold('wwx1', true), false);
  assert.is(said.length, 1);
  assert.match(JSON.stringify(said[0]), /sysctl -w net\.ipv6\.conf\.wwx1\.disable_ipv6=1/);
});

test.run();
