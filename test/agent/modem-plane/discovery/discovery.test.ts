/** Plugging, unplugging, swapping and repairing, on a fake sysfs and a fake clock. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { CodedError } from '@mastline/shared/base/coded-error';
import { Discovery, LOOK_EVERY_MS, SETTLING_MS } from '../../../../agent/src/modem-plane/discovery/discovery';
import { REPAIR_PAUSE_MS, REPAIR_TRIES } from '../../../../agent/src/modem-plane/discovery/repair';
import { SLOT_BOOK_NAME, SlotBook } from '../../../../agent/src/modem-plane/discovery/slot-book';
import { quietLog } from '../../../../agent/src/observe/log';
import { loadCatalogue } from '../../../../firmware-profiles/catalogue';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { eventually } from '../../../support/eventually';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { type FakeUsb, fakeUsb } from './fake-usb';
import { ec25, hilinkStick, networkAdapter, rm520n, zeroCd } from './models';

const test = suite('agent/modem-plane/discovery: plugging and unplugging');
const profiles = loadCatalogue();

let usb: FakeUsb;
let clock: FakeClock;
let folder: Awaited<ReturnType<typeof tempDir>>;
let discovery: Discovery;
/** Ports that answer AT. */
let answering: Set<string>;
let opened: string[];
let tools: string[][];
let onTool: (args: readonly string[]) => void;

test.beforeEach(async () => {
  usb = await fakeUsb();
  clock = fakeClock();
  folder = await tempDir('slots');
  answering = new Set(['ttyUSB2']);
  opened = [];
  tools = [];
  onTool = () => undefined;
  discovery = make();
});
test.afterEach(async () => {
  await discovery.close();
  assert.equal(clock.pending(), 0, 'timers are left');
  await usb.remove();
  await folder.remove();
});

function make(): Discovery {
  return new Discovery({
    profiles,
    book: new SlotBook({ dataDir: folder.path, reserved: new Set([0]) }),
    clock,
    log: quietLog,
    roots: usb.roots,
    write: usb.write,
    openPort: async path => {
      const name = path.slice(path.lastIndexOf('/') + 1);
      opened.push(name);
      return new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          if (answering.has(name) && chunk.toString() === 'AT\r') this.push('\r\nOK\r\n');
          done();
        },
      });
    },
    runTool: async (program, args) => {
      tools.push([program, ...args]);
      onTool(args);
      return '';
    },
  });
}

const slots = () =>
  discovery.modems().map(one => `${one.slot} ${one.usbPath} ${one.interface} ${one.condition.kind}`);
const at = (path: string) => discovery.modems().find(one => one.usbPath === path);

test('numbers slots by USB path at the first start, past those that the configuration has', async () => {
  usb.plug('1-1.10', hilinkStick('eth3'));
  usb.plug('1-1.2', hilinkStick('eth2'));
  usb.plug('2-1', networkAdapter);
  await discovery.start();
  assert.deepEqual(slots(), ['1 1-1.2 eth2 ready', '2 1-1.10 eth3 ready']);
});

test('notices plugging and unplugging within 2 seconds', async () => {
  await discovery.start();
  assert.deepEqual(slots(), []);
  usb.plug('1-1.2', hilinkStick('eth1'));
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => slots().join() === '1 1-1.2 eth1 ready');
  usb.unplug('1-1.2');
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => slots().length === 0);
  assert.ok(2 * LOOK_EVERY_MS <= 2000);
});

test('tells each change once, and nothing while nothing changes', async () => {
  let told = 0;
  discovery.onChange(() => {
    told += 1;
  });
  usb.plug('1-1.2', hilinkStick('eth1'));
  await discovery.start();
  assert.equal(told, 1);
  await clock.advance(60_000);
  assert.equal(told, 1);
});

test('two equal sticks that swap places: each slot keeps its number and has the other stick’s interface', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.plug('1-1.2', hilinkStick('eth2'));
  await discovery.start();
  assert.deepEqual(slots(), ['1 1-1.1 eth1 ready', '2 1-1.2 eth2 ready']);
  usb.unplug('1-1.1');
  usb.unplug('1-1.2');
  usb.plug('1-1.2', hilinkStick('eth1'));
  usb.plug('1-1.1', hilinkStick('eth2'));
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => slots().join() === '1 1-1.1 eth2 ready,2 1-1.2 eth1 ready');
});

test('a stick swapped between two looks is a new arrival: what its predecessor said is forgotten', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  await discovery.start();
  discovery.learn('1-1.1', { model: 'E3372h-320', hardware: 'CL4E3372HM', firmware: '10.0.3.1' });
  assert.equal(at('1-1.1')?.profileId, 'huawei/e3372h-320');
  usb.unplug('1-1.1');
  usb.plug('1-1.1', hilinkStick('eth1'));
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => at('1-1.1')?.profileId === 'generic/hilink');
});

test('slots keep their numbers through a restart and through being empty', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.plug('1-1.2', hilinkStick('eth2'));
  await discovery.start();
  await discovery.close();
  usb.unplug('1-1.1');
  usb.plug('1-1.0', hilinkStick('eth0'));
  discovery = make();
  await discovery.start();
  assert.deepEqual(slots(), ['2 1-1.2 eth2 ready', '3 1-1.0 eth0 ready'].sort());
  assert.deepEqual(JSON.parse(readFileSync(join(folder.path, SLOT_BOOK_NAME), 'utf8')).slots, {
    '1-1.1': 1,
    '1-1.2': 2,
    '1-1.0': 3,
  });
});

test('a damaged or contradicting book of slots is refused with its remedy', () => {
  const path = join(folder.path, SLOT_BOOK_NAME);
  const open = (reserved: number[]) => new SlotBook({ dataDir: folder.path, reserved: new Set(reserved) });
  writeFileSync(path, '{"version":1,');
  assert.throws(() => open([]), { code: 'slots/damaged' });
  writeFileSync(path, JSON.stringify({ version: 1, slots: { '1-1': 4, '1-2': 4 } }));
  assert.throws(() => open([]), /two USB paths/);
  writeFileSync(path, JSON.stringify({ version: 1, slots: { '1-1': 4 } }));
  assert.throws(() => open([4]), { code: 'slots/taken' });
});

test('an interface that the system renames after plugging in is followed', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  await discovery.start();
  usb.unplug('1-1.1');
  usb.plug('1-1.1', hilinkStick('eth7'));
  await clock.advance(2 * LOOK_EVERY_MS);
  await eventually(() => at('1-1.1')?.interface === 'eth7');
});

test('asks the ports in the order of their roles until one answers AT', async () => {
  answering = new Set(['ttyUSB3']);
  usb.plug('1-1.1', ec25(0));
  await discovery.start();
  assert.deepEqual(at('1-1.1')?.condition, {
    kind: 'preparing',
    reason: 'looking for the port that answers AT',
    remedy: '',
  });
  await eventually(async () => {
    await clock.advance(300);
    return at('1-1.1')?.condition.kind === 'ready';
  });
  assert.deepEqual(opened, ['ttyUSB2', 'ttyUSB3']);
  assert.equal(at('1-1.1')?.atPort, 'ttyUSB3');
  assert.equal(at('1-1.1')?.profileId, 'quectel/ec25');
});

test('a modem that never answers AT is named as unusable once it had time to boot', async () => {
  answering = new Set();
  usb.plug('1-1.1', ec25(0));
  await discovery.start();
  await eventually(async () => {
    await clock.advance(300);
    return at('1-1.1')?.condition.kind === 'unusable';
  });
  assert.ok(clock.monotonicMs() >= SETTLING_MS, 'it was given up while booting');
  const tried = opened.length;
  await clock.advance(30_000);
  assert.equal(opened.length, tried, 'it is still asked');
});

test('a modem with MBIM serves while its AT port is looked for', async () => {
  answering = new Set();
  usb.plug('1-1.1', rm520n(0));
  await discovery.start();
  assert.equal(at('1-1.1')?.condition.kind, 'ready');
  assert.deepEqual(at('1-1.1')?.speaks, ['mbim', 'at']);
  await eventually(async () => {
    await clock.advance(1000);
    return clock.monotonicMs() > 2 * SETTLING_MS;
  });
  assert.equal(at('1-1.1')?.condition.kind, 'ready');
});

test('a HiLink stick in NCM is put into ECM, past a kernel that says busy', async () => {
  usb.refuse('bConfigurationValue', 'usb/busy', 1);
  usb.plug('1-1.1', hilinkStick('eth1', 3));
  await discovery.start();
  assert.equal(at('1-1.1')?.condition.kind, 'preparing');
  await eventually(() => usb.writes.length === 2);
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => slots().join() === '1 1-1.1 eth1 ready');
  assert.deepEqual(usb.writes, ['1-1.1/bConfigurationValue=-1', '1-1.1/bConfigurationValue=2']);
});

test('a stick that plays CD is switched by bus and device number', async () => {
  usb.plug('1-1.1', zeroCd);
  onTool = () => {
    usb.unplug('1-1.1');
    usb.plug('1-1.1', hilinkStick('eth1'));
  };
  await discovery.start();
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => slots().join() === '1 1-1.1 eth1 ready');
  assert.deepEqual(tools, [['usb_modeswitch', '-v', '12d1', '-p', '1f01', '-b', '1', '-g', '2', '-J']]);
});

test('a stick that will not be switched is tried three times, switched off and on, then left to a person', async () => {
  usb.plug('1-1.1', zeroCd);
  await discovery.start();
  await eventually(async () => {
    await clock.advance(REPAIR_PAUSE_MS);
    return at('1-1.1')?.condition.kind === 'unusable';
  });
  assert.equal(tools.length, REPAIR_TRIES);
  assert.deepEqual(usb.writes, ['1-1.1/authorized=0', '1-1.1/authorized=1']);
  const condition = at('1-1.1')?.condition;
  assert.ok(condition?.kind === 'unusable');
  assert.match(condition.remedy, /Unplug/);
  await clock.advance(60_000);
  assert.equal(tools.length, REPAIR_TRIES, 'it is tried for ever');
});

test('without usb_modeswitch the missing program is named with the way to get it', async () => {
  onTool = () => {
    throw new CodedError('tool/missing', 'usb_modeswitch: not installed');
  };
  usb.plug('1-1.1', zeroCd);
  await discovery.start();
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => {
    const condition = at('1-1.1')?.condition;
    return condition?.kind === 'preparing' && /apt-get install -y usb-modeswitch/.test(condition.remedy);
  });
});

test('a stick that is unplugged while it is repaired leaves nothing behind', async () => {
  usb.plug('1-1.1', zeroCd);
  onTool = () => usb.unplug('1-1.1');
  await discovery.start();
  await clock.advance(LOOK_EVERY_MS);
  await eventually(() => discovery.modems().length === 0);
});

test.run();
