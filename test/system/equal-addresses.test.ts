/**
 * Two MBIM cards whose carriers hand out the same private address: both serve at once on one box, the second from a
 * network namespace of its own. It is unplugged, comes back, the agent is killed, and nothing is left of any of it.
 * Needs root, iproute2, nftables, socat and curl.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import * as assert from 'uvu/assert';
import { ip, whyNoNamespaces } from '../simulators/run-tool';
import { Changes } from '../support/changes';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('two carriers with one private address', { needs: ['socat', 'curl'] });
const run = promisify(execFile);
const obstacle = await whyNoNamespaces();

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
const changes = new Changes();

const until = (holds: () => boolean) => changes.until(holds);

const reportOf = (slot: number) => plane.slots().find(one => one.slot === slot);
const isUp = (slot: number) => reportOf(slot)?.state === 'connected' && reportOf(slot)?.exitAddress !== null;
const sourceOf = (slot: number) => reportOf(slot)?.sourceAddress ?? '';
/** The namespace that the slot's reason names. */
const namespaceIn = (report: SlotReport | undefined) =>
  /namespace (mastline-\d+)/.exec(report?.reason ?? '')?.[1];

const vethOf = (namespace: string) => namespace.replace('mastline-', 'mastv');

async function curl(address: string, ...args: string[]): Promise<string> {
  const words = ['-sS', '--max-time', '8', '--noproxy', '*', '--interface', address, ...args];
  return (await run('curl', words)).stdout.trim();
}

const exits = (slot: number) => new RegExp(`^198\\.18\\.${net.ready.instance}\\.${slot}\\d$`);

async function planeOn(dataDir: string): Promise<RotatingModemPlane> {
  const made = createModemPlane({
    slots: [],
    sources: [new VirtualSlots({ stateDir: join(dir.path, 'net'), clock: systemClock, log: quietLog })],
    echoUrls: net.ready.echoUrls,
    dataDir,
    clock: systemClock,
    log: quietLog,
    guard: new LeakGuard({ clock: systemClock, log: quietLog }),
    openFlows: async () => 0,
  });
  made.onChange(changes.tell);
  await made.start();
  return made;
}

const CARD = { profile: 'quectel/em12', driver: 'mbim' };

if (obstacle !== undefined) test.skip('equal addresses', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('equal');
    net = await startVirtualNetwork(join(dir.path, 'net'), 'namespaces', ['--modems', '0']);
    plane = await planeOn(join(dir.path, 'agent'));
    await net.control('POST', '/modems', CARD);
    await until(() => isUp(1));
    await net.control('POST', '/modems', { ...CARD, addressesOf: 1 });
  });

  test(
    'both serve at once, each by its own carrier, TCP and names',
    async () => {
      await until(() => isUp(2));
      const k = net.ready.instance;
      assert.match(sourceOf(1), new RegExp(`^10\\.${k}\\.1\\.`));
      assert.match(sourceOf(2), /^169\.254\.2\d\d\./);
      const namespace = namespaceIn(reportOf(2));
      assert.ok(namespace, reportOf(2)?.reason);
      assert.ok(
        (await ip('-4 address show', namespace)).includes(` ${sourceOf(1)}/`),
        'it has the same address',
      );
      const { origin } = net.ready;
      for (const slot of [1, 2]) assert.match(await curl(sourceOf(slot), `${origin.url}/ip`), exits(slot));
      await Promise.all(
        [1, 2].map(slot =>
          curl(sourceOf(slot), '-o', '/dev/null', `${origin.url}/bytes/5000000?id=equal-${slot}`),
        ),
      );
      for (const slot of [1, 2]) {
        const { connections } = await net.report(`equal-${slot}`);
        assert.is(connections.length, 1);
        assert.match(connections[0]?.remoteAddress ?? '', exits(slot));
      }
      // Names go the same way: by UDP to the carrier's server, from the slot's address.
      const egress = plane.egresses().find(one => one.slot === 2);
      assert.equal(egress?.dnsServers, [`198.18.${k}.2`]);
      const resolver = new Resolver({ timeout: 3000, tries: 2 });
      resolver.setServers(egress?.dnsServers ?? []);
      resolver.setLocalAddress(sourceOf(2));
      assert.equal(await resolver.resolve4('origin.mastline.test'), [origin.address]);
    },
    { deadlineMs: 90_000 },
  );

  test('while the second carries nothing, nothing of it leaves by the first', async () => {
    await net.knob(2, 'data', { carries: false });
    const before = (await net.report('silent')).connections.length;
    await curl(sourceOf(2), '--max-time', '2', `${net.ready.origin.url}/ip?id=silent`).then(
      () => assert.unreachable(),
      error => assert.is((error as { code?: number }).code, 28),
    );
    assert.is((await net.report('silent')).connections.length, before);
    await net.knob(2, 'data', { carries: true });
    await until(() => isUp(2));
  });

  test(
    'one that is pulled out is forgotten with its namespace, the first stays, and it comes back as before',
    async () => {
      const namespace = namespaceIn(reportOf(2)) ?? '';
      assert.ok((await ip('netns list')).includes(namespace));
      await net.control('DELETE', '/modems/2');
      await until(() => reportOf(2) === undefined);
      await eventually(async () => !(await ip('netns list')).includes(namespace));
      assert.not((await ip('-o link')).includes(vethOf(namespace)));
      assert.match(await curl(sourceOf(1), `${net.ready.origin.url}/ip`), exits(1));
      await net.control('POST', '/modems', { ...CARD, addressesOf: 1 });
      await until(() => isUp(2));
      assert.ok(namespaceIn(reportOf(2)));
    },
    { deadlineMs: 90_000 },
  );

  test(
    'a namespace that another program deletes is made again',
    async () => {
      await ip(`link del ${vethOf(namespaceIn(reportOf(2)) ?? '')}`);
      await until(() => !isUp(2));
      await until(() => isUp(2));
      assert.match(await curl(sourceOf(2), `${net.ready.origin.url}/ip`), exits(2));
    },
    { deadlineMs: 60_000 },
  );

  test(
    'another data connection of the second brings another address, for which it needs no namespace',
    async () => {
      const before = sourceOf(2);
      await net.knob(2, 'connection', { up: false });
      await until(() => sourceOf(2) !== before);
      await net.knob(2, 'connection', { up: true });
      await until(() => isUp(2));
      assert.match(sourceOf(2), /^10\./);
      assert.is(namespaceIn(reportOf(2)), undefined);
      assert.match(await curl(sourceOf(2), `${net.ready.origin.url}/ip`), exits(2));
      assert.match(await curl(sourceOf(1), `${net.ready.origin.url}/ip`), exits(1));
    },
    { deadlineMs: 90_000 },
  );

  test(
    'an agent that is killed leaves the interface in the namespace; the next one brings it back and serves again',
    async () => {
      await plane.close();
      for (const slot of [1, 2]) await net.control('DELETE', `/modems/${slot}`);
      await net.control('POST', '/modems', CARD);
      await net.control('POST', '/modems', { ...CARD, addressesOf: 1 });
      const dataDir = join(dir.path, 'killed');
      const killed = await planeProcess(dataDir);
      const namespace = killed.reports.map(namespaceIn).find(one => one !== undefined);
      assert.ok(namespace, JSON.stringify(killed.reports));
      const gone = once(killed.child, 'exit');
      killed.child.kill('SIGKILL');
      await gone;
      assert.ok((await ip('netns list')).includes(namespace), 'the kill left it');
      plane = await planeOn(dataDir);
      await until(() => isUp(1) && isUp(2));
      for (const slot of [1, 2])
        assert.match(await curl(sourceOf(slot), `${net.ready.origin.url}/ip`), exits(slot));
      const inUse = [1, 2].map(slot => namespaceIn(reportOf(slot))).filter(one => one !== undefined);
      assert.is(inUse.length, 1);
      await plane.close();
      const left = await ip('netns list');
      for (const one of [namespace, ...inUse])
        assert.not(left.includes(`${one} `) || left.split('\n').includes(one ?? ''));
      // The interfaces are back where they were.
      for (const slot of [1, 2]) await ip(`link show ml${net.ready.instance}-s${slot}`);
      assert.not((await ip('-o link')).includes(vethOf(namespace)));
    },
    { deadlineMs: 120_000 },
  );

  test(
    'and the modems were asked nothing they do not know',
    async () => {
      assert.equal(await net.faults(), []);
      assert.is(await net.stop(), 0);
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

const AGENT = `
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
const [, , stateDir, echoUrls, dataDir] = process.argv;
const plane = createModemPlane({ slots: [], sources: [new VirtualSlots({ stateDir, clock: systemClock, log: quietLog })], echoUrls: JSON.parse(echoUrls), dataDir, clock: systemClock, log: quietLog });
const told = () => { const all = plane.slots(); if (all.length === 2 && all.every(one => one.state === 'connected')) { console.log(JSON.stringify(all)); } };
plane.onChange(told);
plane.start().then(told);
`;

/** The plane in a process of its own; resolves when both slots are connected. */
async function planeProcess(dataDir: string): Promise<{ child: ChildProcess; reports: SlotReport[] }> {
  const script = join(import.meta.dirname, `.equal-${process.pid}.mts`);
  writeFileSync(script, AGENT);
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, join(dir.path, 'net'), JSON.stringify(net.ready.echoUrls), dataDir],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    const line = await new Promise<string>((resolve, reject) => {
      let out = '';
      child.stdout?.on('data', chunk => {
        out += chunk;
        if (out.includes('\n')) resolve(out.slice(0, out.indexOf('\n')));
      });
      child.once('exit', code => reject(new Error(`the agent ended with ${code}`)));
      setTimeout(() => reject(new Error('the agent’s slots did not come up')), 60_000).unref();
    });
    return { child, reports: JSON.parse(line) as SlotReport[] };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    rmSync(script, { force: true });
  }
}

test.run();
