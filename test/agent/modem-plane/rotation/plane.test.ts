/** Rotation through the modem plane, on rootless virtual modems in real time: the dwell of four seconds is real. */
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../../../support/virtual-network';

const test = suite('rotation by the modem plane');

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
/** Every state that slot 1 and the readiness that slot 2 showed. */
const seen: string[] = [];
let siblingFell = false;

test.before(async () => {
  dir = await tempDir('rotate');
  net = await startVirtualNetwork(dir.path, 'rootless');
  plane = createModemPlane({
    slots: net.ready.slots,
    echoUrls: net.ready.echoUrls,
    dataDir: dir.path,
    clock: systemClock,
    log: quietLog,
    openFlows: async () => 0,
    rotation: { limits: { coolDownMs: 60_000 } },
  });
  await plane.start();
  plane.onChange(() => {
    const [one, two] = plane.slots();
    const [egress, sibling] = plane.egresses();
    const now = `${one?.state} ${egress?.ready ? 'ready' : 'closed'}`;
    if (seen.at(-1) !== now) seen.push(now);
    if (two?.state !== 'connected' || !sibling?.ready) siblingFell = true;
  });
});

test('gives slot 1 another address while slot 2 serves on', async () => {
  const before = plane.slots()[0]?.exitAddress;
  const rotation = plane.rotations.rotate(1, { askedFor: 'test' });
  const second = await plane.rotations.rotate(1, { askedFor: 'impatient' });
  assert.is(second.outcome, 'unavailable');
  assert.match(second.reason, /under way/);
  const report = await rotation;
  assert.is(report.outcome, 'rotated', report.reason);
  assert.is(report.oldAddress, before ?? null);
  assert.is.not(report.newAddress, before);
  assert.is(report.method, 'data-switch');
  assert.is(report.askedFor, 'test');
  assert.is(plane.slots()[0]?.state, 'connected');
  assert.is(plane.slots()[0]?.exitAddress, report.newAddress);
  assert.equal(seen, ['rotating closed', 'connected ready']);
  assert.is(siblingFell, false);
});

test('is refused during the cool-down, with the time to wait', async () => {
  const report = await plane.rotations.rotate(1, { askedFor: 'again' });
  assert.is(report.outcome, 'unavailable');
  assert.match(report.reason, /try again in \d+ s/);
  assert.ok((report.retryAfterMs ?? 0) > 0);
});

test('is refused for a slot that is not there or not connected', async () => {
  assert.match((await plane.rotations.rotate(99, { askedFor: 'x' })).reason, /no slot 99/);
  await net.knob(2, 'connection', { up: false });
  await new Promise<void>(resolve => {
    const check = () => {
      if (plane.slots()[1]?.state !== 'connected') resolve();
    };
    plane.onChange(check);
    check();
  });
  assert.match((await plane.rotations.rotate(2, { askedFor: 'x' })).reason, /registering/);
});

test('keeps the history and the figures', () => {
  const figures = plane.rotations.figures();
  assert.is(plane.rotations.history(1).length, 1);
  assert.is(plane.rotations.history(2).length, 0);
  assert.is(figures.length, 1);
  assert.is(figures[0]?.rotated, 1);
  assert.is(figures[0]?.carrier, '99970');
});

test('says by which carrier a slot leaves, for customers who ask for one', () => {
  const [egress] = plane.egresses();
  assert.is(egress?.carrier, 'Mastline Virtual');
  assert.is(egress?.country, null);
});

test('a start anew knows the history, the figures and the cool-down', async () => {
  await plane.close();
  const rotation = { coolDownSeconds: 600, schedule: { everyMinutes: 600 } };
  plane = createModemPlane({
    slots: net.ready.slots.map(slot => ({ ...slot, rotation })),
    echoUrls: net.ready.echoUrls,
    dataDir: dir.path,
    clock: systemClock,
    log: quietLog,
  });
  await plane.start();
  const [past] = plane.rotations.history(1);
  assert.is(past?.outcome, 'rotated');
  assert.equal(
    plane.rotations.unnoted().map(one => one.id),
    [past?.id],
  );
  assert.is(plane.rotations.figures()[0]?.rotated, 1);
  assert.match((await plane.rotations.rotate(1, { askedFor: 'x' })).reason, /less than 600 s ago/);
  // The same request again is answered with what came of it, not done again.
  assert.equal(await plane.rotations.rotate(1, { id: past?.id, askedFor: 'x' }), past);
  plane.rotations.note([past?.id ?? '']);
  assert.equal(plane.rotations.unnoted(), []);
});

test('the schedule of the configuration counts from the last rotation, and the cloud’s goes before it', () => {
  const last = plane.rotations.history(1).at(-1)?.endedAt ?? 0;
  const minutes = (count: number) => last + count * 60_000;
  assert.is(plane.rotations.due(1), minutes(600));
  plane.rotations.schedule([{ slot: 1, schedule: { everyMinutes: 1200 } }]);
  assert.is(plane.rotations.due(1), minutes(1200));
  plane.rotations.schedule([]);
  assert.is(plane.rotations.due(1), minutes(600));
});

test('names what is wrong with a slot’s rotation', () => {
  const [slot] = net.ready.slots;
  const wrong = { ...slot, rotation: { perHour: 0, schedule: { at: ['25:00'] } } };
  assert.throws(
    () =>
      createModemPlane({
        slots: [wrong as never],
        echoUrls: [],
        dataDir: dir.path,
        clock: systemClock,
        log: quietLog,
      }),
    /slots\[0\].*rotation\.schedule\.at\[0\].*rotation\.perHour/,
  );
});

test('asks the sticks nothing they do not know, and ends cleanly', async () => {
  assert.equal(await net.faults(), []);
  await plane.close();
  assert.is((await plane.rotations.rotate(1, { askedFor: 'x' })).reason, 'the agent is stopping');
  assert.is(await net.stop(), 0);
  await dir.remove();
});

test.run();
