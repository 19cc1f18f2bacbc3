/** The modem plane against rootless virtual modems: real sockets, no rights. */

import { boundRequest } from '@mastline/agent/modem-plane/bound-request';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { ModemPlane } from '@mastline/agent/ports';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import * as assert from 'uvu/assert';
import { Changes } from '../../support/changes';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../../support/virtual-network';

const test = suite('modem plane, rootless');

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: ModemPlane;
const changes = new Changes();

test.before(async () => {
  dir = await tempDir('vn');
  net = await startVirtualNetwork(dir.path, 'rootless');
  plane = createModemPlane({
    slots: net.ready.slots,
    echoUrls: net.ready.echoUrls,
    dataDir: dir.path,
    clock: systemClock,
    log: quietLog,
  });
  plane.onChange(changes.tell);
  await plane.start();
});

const until = (slot: number, holds: (report: SlotReport) => boolean) =>
  changes.slot(() => plane, slot, holds);

test('brings both modems up, each with identity and exit address of its own', async () => {
  const [one, two] = plane.slots();
  assert.is(one?.state, 'connected');
  assert.is(two?.state, 'connected');
  assert.is(one?.exitAddress, one?.sourceAddress);
  assert.is.not(one?.exitAddress, two?.exitAddress);
  assert.match(one?.imei ?? '', /^\d{15}$/);
  assert.is.not(one?.imei, two?.imei);
  assert.is(one?.model, 'E3372');
  assert.is(one?.virtual, true);
  const [egress] = plane.egresses();
  assert.is(egress?.ready, true);
  assert.is(egress?.guarded.length, 1);
});

test('asks names through the slot, our own and no others under .test', async () => {
  const [egress] = plane.egresses();
  const ask = (host: string) =>
    boundRequest({
      url: `http://${host}:${net.ready.origin.port}/ip`,
      localAddress: egress?.sourceAddress ?? null,
      dnsServers: egress?.dnsServers ?? [],
      deadlineMs: 5000,
      maxBytes: 1000,
      clock: systemClock,
    });
  assert.is((await ask('origin.mastline.test')).body.trim(), egress?.sourceAddress);
  await ask('nobody.mastline.test').then(
    () => assert.unreachable(),
    error => assert.match(error.message, /ENOTFOUND/),
  );
});

test(
  'loses readiness when the data connection goes, and finds the new exit address when it is back',
  async () => {
    const before = plane.slots()[0]?.exitAddress;
    await net.knob(1, 'connection', { up: false });
    const down = await until(1, report => report.state === 'registering');
    assert.is(down.exitAddress, null);
    assert.is(plane.egresses()[0]?.ready, false);
    assert.is(plane.egresses()[1]?.ready, true);
    await net.knob(1, 'connection', { up: true });
    const up = await until(1, report => report.state === 'connected' && report.exitAddress !== null);
    assert.is.not(up.exitAddress, before);
    assert.is(plane.egresses()[0]?.ready, true);
  },
  { deadlineMs: 40_000 },
);

test(
  'a dead API over a live connection is a remark',
  async () => {
    await net.knob(2, 'api', { mode: 'dead' });
    const carrying = await until(2, report => report.reason.includes('carries, but'));
    assert.is(carrying.state, 'connected');
    assert.is(carrying.cause, 'api-dead');
    assert.is.not(carrying.exitAddress, null);
    await net.knob(2, 'api', { mode: 'up' });
    await until(2, report => report.state === 'connected' && report.cause === null);
  },
  { deadlineMs: 60_000 },
);

test(
  'a dead API over a dead connection is a hung stick, its sibling serves on, and what cannot be climbed here is said',
  async () => {
    await net.knob(2, 'data', { carries: false });
    await net.knob(2, 'api', { mode: 'hang' });
    const hung = await until(2, report => report.recovery != null);
    assert.is(hung.recovery?.cause, 'stick-hung');
    assert.equal(
      hung.recovery?.rungs.map(one => [one.rung, one.outcome]),
      [
        ['usb-rebind', 'impossible'],
        ['port-power', 'impossible'],
      ],
    );
    const failed = await until(2, report => report.state === 'failed');
    assert.match(failed.reason, /^Stick hung: .*no answer.*no rung could be climbed here/);
    assert.is(plane.slots()[0]?.state, 'connected');
    await net.knob(2, 'api', { mode: 'up' });
    await net.knob(2, 'data', { carries: true });
    // The address is known when the next probe has come back.
    await until(
      2,
      report => report.state === 'connected' && report.cause === null && report.exitAddress !== null,
    );
  },
  { deadlineMs: 120_000 },
);

test('asks the sticks nothing they do not know', async () => {
  assert.equal(await net.faults(), []);
});

test('ends cleanly, and so does the virtual network', async () => {
  await plane.close();
  assert.is(await net.stop(), 0);
  await dir.remove();
});

test.run();
