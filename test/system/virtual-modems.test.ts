/**
 * The modem plane on virtual modems that are real networks: identical sticks side by side, a dead one that must not
 * leak, and nothing left behind by anybody, killed or not. Needs root, iproute2, nftables and curl.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { ModemPlane } from '@mastline/agent/ports';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import * as assert from 'uvu/assert';
import { nft, runTool, whyNoNamespaces } from '../simulators/run-tool';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('virtual modems as networks');
const run = promisify(execFile);
const DEADLINE = { deadlineMs: 90_000 };

const obstacle = await whyNoNamespaces();
const FILTERS = '/proc/sys/net/ipv4/conf';
const rpFilters = () =>
  ['all', 'default', 'lo', 'eth0']
    .filter(name => existsSync(join(FILTERS, name)))
    .map(name => `${name}=${readFileSync(join(FILTERS, name, 'rp_filter'), 'utf8').trim()}`);

/** What of instance K and of the agent is in this machine's network. */
async function traces(net: RunningNetwork): Promise<string[]> {
  const k = net.ready.instance;
  const found: string[] = [];
  const all = [
    ...(await run('ip', ['netns', 'list'])).stdout.split('\n'),
    ...(await run('ip', ['-o', 'link'])).stdout.split('\n'),
    ...(await runTool('nft', ['list', 'tables'])).split('\n'),
  ];
  for (const line of all)
    if (new RegExp(`\\bml${k}-|mastline_v${k}$`).test(line.trim())) found.push(line.trim());
  return found;
}

async function rulesFrom(addresses: readonly (string | null)[]): Promise<string[]> {
  const rules = (await run('ip', ['rule'])).stdout.split('\n');
  return rules.filter(rule => addresses.some(address => address !== null && rule.includes(` ${address} `)));
}

/** curl from an address; its exit code stands for it when it fails. */
async function curl(address: string | null, url: string): Promise<string> {
  try {
    const { stdout } = await run('curl', [
      '-sS',
      '--max-time',
      '4',
      '--noproxy',
      '*',
      '--interface',
      address ?? '',
      url,
    ]);
    return stdout.trim();
  } catch (error) {
    return `curl ${(error as { code?: number }).code}`;
  }
}

async function planeOn(net: RunningNetwork, dataDir: string): Promise<ModemPlane> {
  const plane = createModemPlane({
    slots: net.ready.slots,
    echoUrls: net.ready.echoUrls,
    dataDir,
    clock: systemClock,
    log: quietLog,
  });
  await plane.start();
  return plane;
}

function scenario(name: string, body: (net: RunningNetwork, dir: string) => Promise<void>) {
  if (obstacle !== undefined) return test.skip(name, obstacle);
  test(
    name,
    async () => {
      const dir = await tempDir('vm');
      const filters = rpFilters();
      const net = await startVirtualNetwork(join(dir.path, 'net'), 'namespaces');
      try {
        await body(net, dir.path);
      } finally {
        if (net.child.exitCode === null && net.child.signalCode === null) await net.stop();
        await dir.remove();
      }
      assert.equal(rpFilters(), filters, 'rp_filter is left alone');
    },
    DEADLINE,
  );
}

scenario(
  'two identical sticks at once give two exit addresses, and all is gone afterwards',
  async (net, dir) => {
    const links = JSON.parse((await run('ip', ['-j', 'link'])).stdout) as {
      ifname: string;
      address: string;
    }[];
    const macs = links
      .filter(one => one.ifname.startsWith(`ml${net.ready.instance}-s`))
      .map(one => one.address);
    assert.equal(macs, ['0c:5b:8f:27:9a:64', '0c:5b:8f:27:9a:64']);

    const plane = await planeOn(net, join(dir, 'agent'));
    const [one, two] = plane.slots();
    assert.equal([one?.state, two?.state], ['connected', 'connected']);
    assert.is.not(one?.exitAddress, two?.exitAddress);
    const url = net.ready.origin.url;
    for (const report of [one, two]) {
      assert.match(report?.exitAddress ?? '', new RegExp(`^198\\.18\\.${net.ready.instance}\\.`));
      assert.is(await curl(report?.sourceAddress ?? null, `${url}/ip?id=two`), report?.exitAddress);
    }
    // Both at the same time, and the origin's own book has the two addresses.
    await Promise.all(
      [one, two].map(report => curl(report?.sourceAddress ?? null, `${url}/bytes/20000000?id=two`)),
    );
    const seen = new Set((await net.report('two')).connections.map(connection => connection.remoteAddress));
    assert.equal([...seen].sort(), [one?.exitAddress, two?.exitAddress].sort());

    const moved = (await net.knob(1, 'address', { to: 'next' })) as { carrier: { address: string } };
    assert.is(await curl(one?.sourceAddress ?? null, `${url}/ip`), moved.carrier.address);
    assert.is.not(moved.carrier.address, one?.exitAddress);

    assert.equal(await net.faults(), []);
    await plane.close();
    assert.equal(await rulesFrom([one?.sourceAddress ?? null, two?.sourceAddress ?? null]), []);
    assert.not(existsSync(join(dir, 'agent/network-journal.json')));
    assert.is(await net.stop(), 0);
    assert.equal(await traces(net), []);
  },
);

scenario('a dead modem leaks through no other link', async (net, dir) => {
  const plane = await planeOn(net, join(dir, 'agent'));
  const [one, two] = plane.slots();
  const source = one?.sourceAddress ?? '';
  const k = net.ready.instance;
  const table = `mastline_leak_${process.pid}`;
  // Counts packets of slot 1 that leave by anything but its own stick, whatever they have been rewritten to.
  await nft(`table ip ${table} {
    counter leaked { }
    counter own { }
    chain out { type filter hook output priority 0;
      ip saddr ${source} oifname "ml${k}-s1" counter name own
      ip saddr ${source} oifname != "ml${k}-s1" counter name leaked
      ip daddr 198.18.${k}.1 oifname != { "ml${k}-s1", "ml${k}-s2" } counter name leaked
    }
  }`);
  const counted = async (name: string) => {
    const listed = JSON.parse(await runTool('nft', ['-j', 'list', 'counter', 'ip', table, name])) as {
      nftables: { counter?: { packets: number } }[];
    };
    return listed.nftables.find(item => item.counter)?.counter?.packets;
  };
  const rule = (await rulesFrom([source]))[0] ?? '';
  const tableOf = (text: string) => /lookup (\d+)/.exec(text)?.[1] ?? 'no table';
  const interfaceOfOne = `ml${k}-s1`;
  const { origin } = net.ready;
  try {
    assert.is(await curl(source, `${origin.url}/ip?id=leak`), one?.exitAddress);
    assert.ok(((await counted('own')) ?? 0) > 0, 'the counter sees the stick');

    // No data connection: refused by the stick itself.
    await net.knob(1, 'connection', { up: false });
    assert.match(await curl(source, `${origin.url}/ip?id=leak`), /^curl (7|28)$/);
    // Silent: the stick takes packets and nothing comes.
    await net.knob(1, 'connection', { up: true });
    while (!(await curl(source, `${origin.url}/ip?id=leak`)).startsWith('198.18.'));
    await net.knob(1, 'data', { carries: false });
    assert.is(await curl(source, `${origin.url}/ip?id=leak`), 'curl 28');
    // Link down: the kernel takes the routes, and what is left in the table is the dead end.
    await run('ip', ['link', 'set', interfaceOfOne, 'down']);
    const left = (await run('ip', ['route', 'show', 'table', tableOf(rule)])).stdout;
    assert.match(left, /unreachable default/);
    for (const url of [`${origin.url}/ip?id=leak`, 'http://192.0.2.1/'])
      assert.match(await curl(source, url), /^curl (7|28)$/);
    // Gone: unplugged while in use.
    await run('ip', ['link', 'del', interfaceOfOne]);
    assert.match(await curl(source, `${origin.url}/ip?id=leak`), /^curl (7|28|45)$/);

    assert.is(await counted('leaked'), 0);
    // The origin saw addresses of slot 1's carrier only, never the sibling's or the machine's.
    for (const { remoteAddress } of (await net.report('leak')).connections)
      assert.match(remoteAddress, new RegExp(`^198\\.18\\.${k}\\.1\\d$`));
    assert.is(
      await curl(two?.sourceAddress ?? null, `${origin.url}/ip`),
      two?.exitAddress,
      'the sibling serves on',
    );
  } finally {
    await runTool('nft', ['delete', 'table', 'ip', table]);
    await plane.close();
  }
  assert.equal(await rulesFrom([source]), []);
});

const AGENT = `
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
const [, , slots, echoUrls, dataDir] = process.argv;
const plane = createModemPlane({ slots: JSON.parse(slots), echoUrls: JSON.parse(echoUrls), dataDir, clock: systemClock, log: quietLog });
plane.start().then(() => console.log(JSON.stringify(plane.slots())));
`;

/** The plane in a process of its own, so that it can be killed, or run without rights. */
async function planeProcess(
  net: RunningNetwork,
  dataDir: string,
  user: { uid?: number; gid?: number } = {},
): Promise<{ child: ChildProcess; reports: SlotReport[]; sources: string[] }> {
  const script = join(import.meta.dirname, `.plane-${process.pid}-${planes++}.mts`);
  writeFileSync(script, AGENT);
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, JSON.stringify(net.ready.slots), JSON.stringify(net.ready.echoUrls), dataDir],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      ...user,
      env: { ...process.env, HOME: dataDir, TMPDIR: dataDir },
    },
  );
  try {
    const line = await new Promise<string>((resolve, reject) => {
      let out = '';
      child.stdout?.on('data', chunk => {
        out += chunk;
        if (out.includes('\n')) resolve(out);
      });
      child.once('exit', code => reject(new Error(`the agent ended with ${code}`)));
    });
    const reports = JSON.parse(line) as SlotReport[];
    return { child, reports, sources: reports.flatMap(one => one.sourceAddress ?? []) };
  } finally {
    rmSync(script, { force: true });
  }
}
let planes = 0;

scenario(
  'agents side by side keep apart, and what a killed one leaves the next start removes',
  async (net, dir) => {
    const plane = await planeOn(net, join(dir, 'first'));
    const mine = plane.slots().map(report => report.sourceAddress);
    const second = await planeProcess(net, join(dir, 'second'));
    try {
      assert.equal(
        mine.filter(address => second.sources.includes(address ?? '')),
        [],
        'no address twice',
      );
      for (const address of [...mine, ...second.sources])
        assert.match(await curl(address, `${net.ready.origin.url}/ip`), /^198\.18\./);
    } finally {
      const gone = new Promise(resolve => second.child.once('exit', resolve));
      second.child.kill('SIGKILL');
      await gone;
    }
    assert.is((await rulesFrom(second.sources)).length, 2, 'the kill left its rules');

    const third = await planeOn(net, join(dir, 'second'));
    const now = third.slots().map(report => report.sourceAddress);
    assert.is(
      (await rulesFrom(second.sources)).length,
      now.filter(one => second.sources.includes(one ?? '')).length,
    );
    await third.close();
    assert.equal(await rulesFrom(second.sources), []);
    // The first never noticed.
    for (const address of mine) assert.match(await curl(address, `${net.ready.origin.url}/ip`), /^198\.18\./);
    assert.is((await rulesFrom(mine)).length, 2);
    await plane.close();
    assert.equal(await rulesFrom(mine), []);
  },
);

scenario(
  'without rights it uses the address that is there, says so, and changes nothing',
  async (net, dir) => {
    const [one] = net.ready.slots;
    const interfaceName = one !== undefined && 'interface' in one ? one.interface : '';
    const address = '192.168.8.150';
    const table = '29150';
    await run('ip', ['link', 'set', interfaceName, 'up']);
    await run('ip', ['address', 'add', `${address}/24`, 'dev', interfaceName, 'noprefixroute']);
    await run('ip', [
      'route',
      'add',
      'default',
      'via',
      '192.168.8.1',
      'dev',
      interfaceName,
      'onlink',
      'table',
      table,
    ]);
    await run('ip', ['rule', 'add', 'from', address, 'lookup', table]);
    const dataDir = join(dir, 'nobody');
    mkdirSync(dataDir);
    chmodSync(dir, 0o755);
    chmodSync(dataDir, 0o777);
    try {
      const before = (await run('ip', ['rule'])).stdout;
      const { child, reports } = await planeProcess(net, dataDir, { uid: 65534, gid: 65534 });
      const gone = new Promise(resolve => child.once('exit', resolve));
      child.kill('SIGTERM');
      await gone;
      assert.is(reports[0]?.state, 'connected');
      assert.is(reports[0]?.sourceAddress, address);
      assert.match(reports[0]?.reason ?? '', /CAP_NET_ADMIN/);
      assert.match(reports[0]?.exitAddress ?? '', /^198\.18\./);
      assert.is(reports[1]?.state, 'absent');
      assert.match(reports[1]?.reason ?? '', /CAP_NET_ADMIN/);
      assert.is((await run('ip', ['rule'])).stdout, before);
    } finally {
      await run('ip', ['rule', 'del', 'from', address]);
    }
  },
);

scenario('rules and routes that vanish are put back', async (net, dir) => {
  const plane = await planeOn(net, join(dir, 'agent'));
  const source = plane.slots()[0]?.sourceAddress ?? '';
  const rule = (await rulesFrom([source]))[0] ?? '';
  const priority = rule.split(':')[0] ?? '';
  await run('ip', ['rule', 'del', 'priority', priority]);
  const interfaceName = plane.slots()[0]?.interface ?? '';
  await run('ip', ['link', 'set', interfaceName, 'down']);
  // The repair is periodic; each look is an event of its own.
  for (;;) {
    if (
      (await rulesFrom([source])).length === 1 &&
      (await curl(source, `${net.ready.origin.url}/ip`)).startsWith('198.18.')
    )
      break;
  }
  await plane.close();
  assert.equal(await rulesFrom([source]), []);
});

scenario('a killed virtual network is removed by the next start', async (net, dir) => {
  await net.crash();
  assert.ok((await traces(net)).length > 0, 'the kill left its network');
  const next = await startVirtualNetwork(join(dir, 'next'), 'namespaces');
  try {
    const mine = await traces(next);
    assert.is(mine.filter(line => /netns|ml\d+-(net|m\d)/.test(line)).length > 0, true);
    if (next.ready.instance !== net.ready.instance) assert.equal(await traces(net), []);
    const helpers = readdirSync('/proc').filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`198.18.${net.ready.instance}.1"`);
      } catch {
        return false;
      }
    });
    assert.is(
      helpers.length,
      next.ready.instance === net.ready.instance ? 1 : 0,
      'no process of the killed one lives',
    );
  } finally {
    assert.is(await next.stop(), 0);
  }
  assert.equal(await traces(net), []);
  assert.equal(await traces(next), []);
});

test.run();
