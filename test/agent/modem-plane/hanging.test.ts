/**
 * Modems that take everything and say nothing, one of each way to drive one, beside one that is well: it is looked at,
 * rotated and noticed as if it were alone. Rootless; needs socat.
 */
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import * as assert from 'uvu/assert';
import { Changes } from '../../support/changes';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../../support/virtual-network';

const test = suite('modems that hang', { needs: ['socat'] });
const WISHES = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at' },
  { profile: 'quectel/em12', driver: 'mbim' },
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
];
const HANGING = [1, 2, 3];
const WELL = 4;

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
const changes = new Changes();

const until = (slot: number, holds: (report: SlotReport) => boolean) =>
  changes.slot(() => plane, slot, holds);
const isUp = (report: SlotReport) => report.state === 'connected' && report.exitAddress !== null;
const isSilent = ({ cause }: SlotReport) => cause === 'api-dead' || cause === 'stick-hung';

test.before(async () => {
  dir = await tempDir('hanging');
  net = await startVirtualNetwork(dir.path, 'rootless', ['--modems', '0']);
  plane = createModemPlane({
    slots: [],
    sources: [new VirtualSlots({ stateDir: dir.path, clock: systemClock, log: quietLog })],
    echoUrls: net.ready.echoUrls,
    dataDir: dir.path,
    clock: systemClock,
    log: quietLog,
    openFlows: async () => 0,
  });
  plane.onChange(changes.tell);
  await plane.start();
  for (const wish of WISHES) await net.control('POST', '/modems', wish);
  await Promise.all([...HANGING, WELL].map(slot => until(slot, isUp)));
});

test('one of each kind is told of as silent', async () => {
  for (const slot of HANGING) await net.knob(slot, 'api', { mode: 'hang' });
  await Promise.all(HANGING.map(slot => until(slot, isSilent)));
  assert.is(plane.slots().find(one => one.slot === WELL)?.state, 'connected');
});

test('the one that is well is rotated meanwhile, with the methods and attempts of one that is alone', async () => {
  const before = plane.slots().find(one => one.slot === WELL)?.exitAddress;
  const record = await plane.rotations.rotate(WELL, { askedFor: 'test' });
  assert.is(record.outcome, 'rotated', record.reason);
  assert.is(record.attempts, 1);
  assert.is(record.oldAddress, before);
  assert.is.not(record.newAddress, before);
});

test('what befalls it is noticed while the others hang, and so is that it is well again', async () => {
  await net.knob(WELL, 'connection', { up: false });
  await until(WELL, one => one.state !== 'connected');
  await net.knob(WELL, 'connection', { up: true });
  await until(WELL, isUp);
  assert.ok(HANGING.every(slot => plane.slots().some(one => one.slot === slot && isSilent(one))));
});

test('those that answer again are well again', async () => {
  for (const slot of HANGING) await net.knob(slot, 'api', { mode: 'up' });
  await Promise.all(HANGING.map(slot => until(slot, one => isUp(one) && one.cause === null)));
});

test('a plane ends at once though a modem hangs', async () => {
  for (const slot of HANGING) await net.knob(slot, 'api', { mode: 'hang' });
  await plane.close();
  assert.is(await net.stop(), 0);
  await dir.remove();
});

test.run();
