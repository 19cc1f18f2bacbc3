/** Cutting a modem off USB and bringing it back, on a fake sysfs; and what is refused. */
import assert from 'node:assert/strict';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { RunTool } from '../../../../agent/src/modem-plane/discovery/run-tool';
import {
  cycleUsb,
  type PowerOutcome,
  type PowerWay,
} from '../../../../agent/src/modem-plane/discovery/usb-power';
import { switchableHubs } from '../../../../agent/src/modem-plane/discovery/usb-power-plan';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { eventually } from '../../../support/eventually';
import { suite } from '../../../support/suite';
import { type FakeUsb, fakeUsb } from './fake-usb';
import { hilinkStick, hub } from './models';

const test = suite('agent/modem-plane/discovery: USB power');
const EXTERNAL = '[05e3:0610 USB2.1 Hub, USB 2.10, 4 ports, ppps]';

let usb: FakeUsb;
let clock: FakeClock;
let calls: string[];
/** What uhubctl prints; null when it is not installed. */
let listing: string | null;
let onSwitch: (on: boolean) => void;

test.beforeEach(async () => {
  usb = await fakeUsb();
  clock = fakeClock();
  calls = [];
  listing = null;
  onSwitch = on => (on ? usb.plug('1-1.2', hilinkStick('eth1')) : usb.unplug('1-1.2'));
  usb.plug('1-1', hub('05e3:0610', 4));
  usb.plug('1-1.2', hilinkStick('eth1'));
});
test.afterEach(async () => {
  assert.equal(clock.pending(), 0, 'timers are left');
  await usb.remove();
});

const runTool: RunTool = async (program, args) => {
  if (listing === null) throw new CodedError('tool/missing', `${program} is not installed`);
  if (args.length === 0) return listing;
  calls.push(args.join(' '));
  onSwitch(args.at(-1) === 'on');
  return '';
};

async function cycle(way: PowerWay, cutNeighbours = false): Promise<PowerOutcome> {
  let outcome: PowerOutcome | undefined;
  let fault: unknown;
  cycleUsb('1-1.2', { way, cutNeighbours }, { roots: usb.roots, clock, write: usb.write, runTool }).then(
    value => {
      outcome = value;
    },
    error => {
      fault = error;
    },
  );
  await eventually(async () => {
    await clock.advance(250);
    return outcome !== undefined || fault !== undefined;
  });
  if (outcome === undefined) throw fault;
  return outcome;
}
const reasonOf = (outcome: PowerOutcome) => (outcome.kind === 'done' ? '' : outcome.reason);
const board = (name: string) => usb.file('sysfs', 'firmware/devicetree/base/model', `${name}\0`);

test('authorized is set to 0 for at least 2 seconds and back to 1', async () => {
  const outcome = await cycle('authorized');
  assert.ok(outcome.kind === 'done' && outcome.tookMs >= 2000);
  assert.deepEqual(usb.writes, ['1-1.2/authorized=0', '1-1.2/authorized=1']);
});

test('the driver is unbound and bound by USB path', async () => {
  assert.equal((await cycle('rebind')).kind, 'done');
  assert.deepEqual(usb.writes, ['drivers/usb/unbind=1-1.2', 'drivers/usb/bind=1-1.2']);
});

test('what may not be written is said with the remedy, and nothing is left off', async () => {
  usb.refuse('authorized', 'usb/not-permitted', 1);
  const outcome = await cycle('authorized');
  assert.ok(outcome.kind === 'failed' && outcome.stillThere);
  assert.deepEqual(usb.writes, ['1-1.2/authorized=1']);
});

test('a hub that switches its ports has this one port switched by uhubctl', async () => {
  listing = `Current status for hub 1-1 ${EXTERNAL}\n  Port 1: 0100 power\n`;
  const outcome = await cycle('power');
  assert.ok(outcome.kind === 'done' && outcome.certain && outcome.tookMs >= 3000);
  assert.deepEqual(calls, ['-l 1-1 -p 2 -a off', '-l 1-1 -p 2 -a on']);
});

test('a modem that has vanished from the bus can still be given its power anew', async () => {
  listing = `Current status for hub 1-1 ${EXTERNAL}\n`;
  usb.unplug('1-1.2');
  assert.equal((await cycle('power')).kind, 'done');
});

test('a hub that uhubctl does not list cannot, and nothing is tried', async () => {
  listing = `Current status for hub 2-1 ${EXTERNAL}\n`;
  const outcome = await cycle('power');
  assert.equal(outcome.kind, 'refused');
  assert.match(reasonOf(outcome), /this hub cannot: hub 1-1 \(05e3:0610\)/);
  assert.deepEqual([calls, usb.writes], [[], []]);
});

test('without uhubctl the kernel’s file of the port is used, and the result is not called certain', async () => {
  const outcome = await cycle('power');
  assert.ok(outcome.kind === 'done' && !outcome.certain);
  assert.deepEqual(usb.writes, ['1-1/1-1:1.0/1-1-port2/disable=1', '1-1/1-1:1.0/1-1-port2/disable=0']);
});

test('a hub that only pretends is found out', async () => {
  listing = `Current status for hub 1-1 ${EXTERNAL}\n`;
  onSwitch = () => undefined;
  const outcome = await cycle('power');
  assert.ok(outcome.kind === 'failed' && outcome.stillThere);
  assert.equal(calls.at(-1), '-l 1-1 -p 2 -a on', 'the power stays off');
});

test('a modem that does not come back is told within its deadline', async () => {
  listing = `Current status for hub 1-1 ${EXTERNAL}\n`;
  onSwitch = on => {
    if (!on) usb.unplug('1-1.2');
  };
  const outcome = await cycle('power');
  assert.ok(outcome.kind === 'failed' && !outcome.stillThere);
  assert.match(reasonOf(outcome), /did not come back/);
});

test('a Raspberry Pi 4 refuses while neighbours would go dark, and does it when told', async () => {
  board('Raspberry Pi 4 Model B Rev 1.4');
  usb.unplug('1-1');
  usb.plug('1-1', hub('2109:3431', 4));
  usb.plug('1-1.2', hilinkStick('eth1'));
  usb.plug('1-1.3', hilinkStick('eth2'));
  listing = 'Current status for hub 1-1 [2109:3431 USB2.0 Hub, USB 2.10, 4 ports, ppps]\n';
  const outcome = await cycle('power');
  assert.equal(outcome.kind, 'refused');
  assert.match(reasonOf(outcome), /USB 1-1\.3 would lose power/);
  assert.deepEqual(calls, []);
  assert.equal((await cycle('power', true)).kind, 'done');
  assert.deepEqual(calls, ['-l 1-1 -a off', '-l 2 -a off', '-l 1-1 -a on', '-l 2 -a on']);
});

test('a powered hub behind a Raspberry Pi is judged by itself', async () => {
  board('Raspberry Pi 5 Model B Rev 1.0');
  usb.plug('1-1.3', hilinkStick('eth2'));
  listing = `Current status for hub 1-1 ${EXTERNAL}\n`;
  assert.equal((await cycle('power')).kind, 'done');
});

test('only hubs with a switch for each port count in the listing', () => {
  const text = `Current status for hub 1-1.4 ${EXTERNAL}\n  Port 1: 0100 power\nCurrent status for hub 3 [1d6b:0003 xHCI, USB 3.00, 2 ports, ganged]\n`;
  assert.deepEqual(switchableHubs(text), ['1-1.4']);
});

test.run();
