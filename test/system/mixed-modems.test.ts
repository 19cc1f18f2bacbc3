/**
 * Virtual modems of all kinds on one node, as real networks: a HiLink stick, a Quectel module in router mode, a Huawei
 * stick by NDIS and an MBIM modem. Each gets a network of its own, leaves by its own carrier, rotates, goes and comes.
 * Needs root, iproute2, nftables, socat and curl.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import * as assert from 'uvu/assert';
import { whyNoNamespaces } from '../simulators/run-tool';
import { Changes } from '../support/changes';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('virtual modems of all kinds', { needs: ['socat', 'curl'] });
const run = promisify(execFile);
const obstacle = await whyNoNamespaces();

const WISHES = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at', name: 'module' },
  { profile: 'huawei/e3372h-153', driver: 'at', carrier: 'sticky' },
  { profile: 'quectel/em12', driver: 'mbim', name: 'm2-card' },
];

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
const changes = new Changes();

const until = (slot: number, holds: (report: SlotReport) => boolean) =>
  changes.slot(() => plane, slot, holds);

const isUp = (report: SlotReport) => report.state === 'connected' && report.exitAddress !== null;

async function curl(args: string[]): Promise<string> {
  const { stdout } = await run('curl', ['-sS', '--max-time', '8', '--noproxy', '', ...args]);
  return stdout.trim();
}

async function words(...args: string[]): Promise<string> {
  return (await run('ip', args)).stdout;
}

if (obstacle !== undefined) test.skip('mixed kinds', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('mixed');
    const stateDir = join(dir.path, 'net');
    net = await startVirtualNetwork(stateDir, 'namespaces', ['--modems', '0']);
    plane = createModemPlane({
      slots: [],
      sources: [new VirtualSlots({ stateDir, clock: systemClock, log: quietLog })],
      echoUrls: [],
      dataDir: join(dir.path, 'agent'),
      clock: systemClock,
      log: quietLog,
      openFlows: async () => 0,
    });
    plane.onChange(changes.tell);
    await plane.start();
    for (const wish of WISHES) await net.control('POST', '/modems', wish);
  });

  test(
    'are plugged in while the agent runs, and each comes up by its own way',
    async () => {
      const reports = await Promise.all(
        [1, 2, 3, 4].map(slot => until(slot, one => isUp(one) && one.model !== null)),
      );
      const k = net.ready.instance;
      assert.equal(
        reports.map(one => one.usbPath),
        [`virtual-${k}.1`, 'virtual-module', `virtual-${k}.3`, 'virtual-m2-card'],
      );
      assert.match(reports[0]?.sourceAddress ?? '', /^192\.168\.8\.1\d\d$/);
      assert.match(reports[1]?.sourceAddress ?? '', /^192\.168\.225\.1\d\d$/);
      assert.match(reports[2]?.sourceAddress ?? '', new RegExp(`^10\\.${k}\\.3\\.`));
      assert.match(reports[3]?.sourceAddress ?? '', new RegExp(`^10\\.${k}\\.4\\.`));
      assert.equal(
        reports.map(one => one.model),
        ['E3372', 'RM520N-GL', 'E3372', 'EM12-G'],
      );
      assert.is(new Set(reports.map(one => one.imei)).size, 4);
      for (const [index, { exitAddress, virtual }] of reports.entries()) {
        assert.match(exitAddress ?? '', new RegExp(`^198\\.18\\.${k}\\.${index + 1}\\d$`));
        assert.is(virtual, true);
      }
    },
    { deadlineMs: 60_000 },
  );

  test('carry flows of customers, each by its own carrier, counted to the byte', async () => {
    const { origin } = net.ready;
    const totals = new Map<number, { upBytes: number; downBytes: number; flows: number }>();
    const dataPlane = createDataPlane({
      sink: {
        commit: async deltas => {
          for (const { slot, upBytes, downBytes, flows } of deltas) {
            const sum = totals.get(slot) ?? { upBytes: 0, downBytes: 0, flows: 0 };
            totals.set(slot, {
              upBytes: sum.upBytes + upBytes,
              downBytes: sum.downBytes + downBytes,
              flows: sum.flows + flows,
            });
          }
        },
      },
      log: quietLog,
      threads: 1,
      onFault: fault => {
        throw fault;
      },
    });
    try {
      const slots = [1, 2, 3, 4];
      const ports: number[] = [];
      while (ports.length < slots.length) ports.push(await freePort());
      await dataPlane.apply({
        endpoints: slots.map((slot, index) => ({
          id: `e${slot}`,
          name: `e${slot}`,
          protocols: ['socks5'],
          reach: 'direct',
          listen: { host: '127.0.0.1', port: ports[index] ?? 0 },
          slots: [slot],
        })),
        credentials: [
          {
            id: 'alice',
            username: 'alice',
            verifier: createHash('sha256').update('s').digest('hex'),
            endpointIds: null,
            suspended: false,
          },
        ],
        egresses: plane.egresses(),
        allowTargets: [`${origin.address}:${origin.port}`],
      });
      const bytes = 3_000_000;
      const sizes = await Promise.all(
        slots.map((slot, index) =>
          curl([
            ...['--proxy', `socks5h://alice:s@127.0.0.1:${ports[index]}`, '-o', '/dev/null'],
            ...['-w', '%{size_header} %{size_download} %{size_request}'],
            `${origin.url}/bytes/${bytes}?id=mixed-${slot}`,
          ]),
        ),
      );
      const seen = await Promise.all(slots.map(slot => net.report(`mixed-${slot}`)));
      for (const [index, slot] of slots.entries()) {
        const exit = plane.slots().find(one => one.slot === slot)?.exitAddress;
        assert.equal(
          seen[index]?.connections.map(one => one.remoteAddress),
          [exit],
        );
        const [header = 0, body = 0, request = 0] = (sizes[index] ?? '').split(' ').map(Number);
        assert.is(body, bytes);
        await eventually(() => (totals.get(slot)?.downBytes ?? 0) >= header + body);
        assert.equal(totals.get(slot), { upBytes: request, downBytes: header + body, flows: 1 });
      }
    } finally {
      await dataPlane.close(0);
    }
  });

  test(
    'a new data connection brings a new address, and what was made of the old one goes',
    async () => {
      const before = plane.slots().find(one => one.slot === 4);
      await net.knob(4, 'connection', { up: false });
      const down = await until(4, report => report.state !== 'connected');
      assert.is(plane.egresses().find(one => one.slot === 4)?.ready, false);
      assert.match(down.reason, /subscribed|no data connection|connecting/i);
      await until(4, report => report.sourceAddress === null);
      await eventually(async () => !(await words('rule')).includes(` ${before?.sourceAddress} `));
      await eventually(async () => !(await words('-4', 'address')).includes(` ${before?.sourceAddress}/`));
      await net.knob(4, 'connection', { up: true });
      const after = await until(4, isUp);
      assert.is.not(after.sourceAddress, before?.sourceAddress);
      assert.is.not(after.exitAddress, before?.exitAddress);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'a rotation gives module and card another exit address',
    async () => {
      const exitOf = (slot: number) => plane.slots().find(one => one.slot === slot)?.exitAddress;
      const before = [2, 4].map(exitOf);
      const ends = await Promise.all([2, 4].map(slot => plane.rotations.rotate(slot, { askedFor: 'test' })));
      assert.equal(
        ends.map(end => end.outcome),
        ['rotated', 'rotated'],
        JSON.stringify(ends),
      );
      for (const [index, slot] of [2, 4].entries()) {
        await until(slot, isUp);
        assert.is.not(exitOf(slot), before[index]);
        assert.is(ends[index]?.newAddress, exitOf(slot));
      }
    },
    { deadlineMs: 120_000 },
  );

  test(
    'a module that leaves the bus and comes back is taken up again',
    async () => {
      await net.knob(2, 'api', { mode: 'dead' });
      await until(2, report => report.state !== 'connected');
      assert.is(plane.egresses().find(one => one.slot === 2)?.ready, false);
      await net.knob(2, 'api', { mode: 'up' });
      await until(2, isUp);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'one that is pulled out for good is forgotten with all its network, and the others stay',
    async () => {
      const gone = plane.slots().find(one => one.slot === 3);
      await net.control('DELETE', '/modems/3');
      await changes.until(() => !plane.slots().some(one => one.slot === 3));
      assert.not((await words('rule')).includes(` ${gone?.sourceAddress} `));
      assert.equal(
        plane.slots().map(one => [one.slot, one.state]),
        [
          [1, 'connected'],
          [2, 'connected'],
          [4, 'connected'],
        ],
      );
      const { slots } = await net.control('GET', '/state');
      assert.is((slots as unknown[]).length, 3);
    },
    { deadlineMs: 60_000 },
  );

  test('the modems were asked nothing they do not know', async () => {
    assert.equal(await net.faults(), []);
  });

  test(
    'ends with nothing left in the network',
    async () => {
      const sources = plane.slots().map(one => one.sourceAddress);
      await plane.close();
      const rules = await words('rule');
      for (const source of sources)
        assert.not(rules.includes(` ${source} `), `a rule from ${source} is left`);
      assert.not(existsSync(join(dir.path, 'agent/network-journal.json')));
      assert.is(await net.stop(), 0);
      const left = `${await words('netns', 'list')}${await words('-o', 'link')}`;
      assert.not(new RegExp(`\\bml${net.ready.instance}-`).test(left));
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

test.run();
