/** What each model is taken for, from a fake sysfs; and the parser of USB descriptors. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type Assessment,
  assess,
  type ModemIdentityFacts,
} from '../../../../agent/src/modem-plane/discovery/assess';
import {
  configurationsIn,
  ethernetConfiguration,
} from '../../../../agent/src/modem-plane/discovery/usb-descriptors';
import {
  compareUsbPaths,
  parentOf,
  readDescriptors,
  readDevice,
} from '../../../../agent/src/modem-plane/discovery/usb-tree';
import { loadCatalogue } from '../../../../firmware-profiles/catalogue';
import { suite } from '../../../support/suite';
import { descriptorsOf, type FakeDevice, type FakeUsb, fakeUsb } from './fake-usb';
import * as models from './models';

const test = suite('agent/modem-plane/discovery: what a USB device is');
const profiles = loadCatalogue();
let usb: FakeUsb;
test.beforeEach(async () => {
  usb = await fakeUsb();
});
test.afterEach(() => usb.remove());

async function judged(model: FakeDevice, identity: ModemIdentityFacts | null = null): Promise<Assessment> {
  usb.plug('1-1', model);
  const device = await readDevice(usb.roots, '1-1');
  const descriptors = await readDescriptors(usb.roots, '1-1');
  assert.ok(device && descriptors);
  return assess({ device, profiles, configurations: configurationsIn(descriptors), identity });
}

interface Expected {
  name: string;
  model: FakeDevice;
  profile: string;
  speaks: string[];
  /** Role → port. */
  ports: Record<string, string>;
}
const quectel = { diagnostics: 'ttyUSB0', gnss: 'ttyUSB1', at: 'ttyUSB2', 'at-secondary': 'ttyUSB3' };
const withMbim = { ...quectel, network: 'wwan0', control: 'cdc-wdm0' };
const expected: Expected[] = [
  {
    name: 'a HiLink stick that has not said its name',
    model: models.hilinkStick('eth1'),
    profile: 'generic/hilink',
    speaks: ['hilink'],
    ports: { network: 'eth1' },
  },
  {
    name: 'a HiLink stick on RNDIS',
    model: models.hilinkStick('eth1', 1),
    profile: 'generic/hilink',
    speaks: ['hilink'],
    ports: { network: 'eth1' },
  },
  {
    name: 'a Huawei stick with serial ports',
    model: models.huaweiStick(0),
    profile: 'generic/at',
    speaks: ['at'],
    ports: { modem: 'ttyUSB0', at: 'ttyUSB1', network: 'wwan0', control: 'cdc-wdm0' },
  },
  {
    name: 'an E3372h-320 in its other mode',
    model: models.huaweiStick(0, '12d1:155e'),
    profile: 'huawei/e3372h-320',
    speaks: ['at'],
    ports: { modem: 'ttyUSB0', at: 'ttyUSB1', network: 'wwan0', control: 'cdc-wdm0' },
  },
  {
    name: 'EC25',
    model: models.ec25(0),
    profile: 'quectel/ec25',
    speaks: ['at'],
    ports: { ...quectel, network: 'usb0' },
  },
  {
    name: 'EG25-G',
    model: models.eg25g(0),
    profile: 'quectel/eg25-g',
    speaks: ['at'],
    ports: { ...quectel, network: 'usb0' },
  },
  { name: 'EP06', model: models.ep06(0), profile: 'quectel/ep06', speaks: ['mbim', 'at'], ports: withMbim },
  { name: 'EM12', model: models.em12(0), profile: 'quectel/em12', speaks: ['mbim', 'at'], ports: withMbim },
  {
    name: 'RM500Q',
    model: models.rm500q(0),
    profile: 'quectel/rm500q',
    speaks: ['mbim', 'at'],
    ports: withMbim,
  },
  {
    name: 'RM520N',
    model: models.rm520n(0),
    profile: 'quectel/rm520n',
    speaks: ['mbim', 'at'],
    ports: withMbim,
  },
];
for (const { name, model, profile, speaks, ports } of expected)
  test(`${name} has its profile, drivers and ports`, async () => {
    const verdict = await judged(model);
    assert.ok(verdict.kind === 'modem', JSON.stringify(verdict));
    assert.equal(verdict.match.profile.id, profile);
    assert.deepEqual(verdict.speaks, speaks);
    assert.deepEqual(Object.fromEntries(verdict.ports.map(port => [port.role, port.name])), ports);
  });

test('a model without a profile is driven by the generic one, whatever the numbers of its ports', async () => {
  const verdict = await judged(models.em060k);
  assert.ok(verdict.kind === 'modem');
  assert.equal(verdict.match.profile.id, 'generic/at');
  assert.equal(verdict.ports.filter(port => port.kind === 'tty').length, 4);
});

test('the word of the modem decides among sticks with one USB id', async () => {
  const verdict = await judged(models.hilinkStick('eth1'), {
    model: 'E3372h-320',
    hardware: 'CL4E3372HM',
    firmware: '10.0.3.1(H192SP1C983)',
  });
  assert.ok(verdict.kind === 'modem');
  assert.equal(verdict.match.profile.id, 'huawei/e3372h-320');
});

test('a stick that plays CD is to be switched, one that merely looks like it is not', async () => {
  assert.equal((await judged(models.zeroCd)).kind, 'zero-cd');
  usb.unplug('1-1');
  for (const id of ['14fe', '1505', '155a', '1c0b']) {
    const verdict = await judged({ ...models.zeroCd, id: `12d1:${id}` });
    assert.equal(verdict.kind, 'unusable', id);
    usb.unplug('1-1');
  }
});

test('a HiLink stick in NCM is to go to ECM; one that offers neither ECM nor RNDIS has no way out', async () => {
  const verdict = await judged(models.hilinkStick('eth1', 3));
  assert.ok(verdict.kind === 'wrong-configuration');
  assert.equal(verdict.wanted, 2);
  usb.unplug('1-1');
  const { 3: ncm = [] } = models.hilinkStick('eth1').configurations;
  const stuck = await judged({ id: '12d1:14dc', configurations: { 3: ncm } });
  assert.ok(stuck.kind === 'wrong-configuration');
  assert.equal(stuck.wanted, null);
});

test('network adapters, serial cables and hubs are none of our business', async () => {
  for (const one of [models.networkAdapter, models.serialCable, models.hub('2109:3431', 4)]) {
    assert.deepEqual(await judged(one), { kind: 'not-a-modem' });
    usb.unplug('1-1');
  }
});

test('a modem that no kernel driver has taken is named with the remedy', async () => {
  const verdict = await judged({ id: '2c7c:0801', configurations: { 1: [{ is: 'ff/00/00' }] } });
  assert.ok(verdict.kind === 'unusable');
  assert.match(verdict.remedy, /option1\/new_id/);
  assert.match(verdict.remedy, /2c7c 0801/);
});

test('a modem whose only way in is QMI says how to change that', async () => {
  const verdict = await judged({
    id: '2c7c:0801',
    configurations: { 1: [{ is: 'ff/ff/ff', driver: 'qmi_wwan', net: 'wwan0', control: 'cdc-wdm0' }] },
  });
  assert.ok(verdict.kind === 'unusable');
  assert.match(verdict.reason, /QMI/);
  assert.match(verdict.remedy, /usbnet/);
});

test('a device that was switched off says how to switch it on', async () => {
  usb.plug('1-1', models.hilinkStick('eth1'));
  await usb.write(`${usb.roots.sysfs}/bus/usb/devices/1-1/authorized`, '0');
  const device = await readDevice(usb.roots, '1-1');
  assert.ok(device);
  const verdict = assess({ device, profiles, configurations: null, identity: null });
  assert.ok(verdict.kind === 'unusable');
  assert.match(verdict.remedy, /1-1\/authorized/);
});

test('descriptors cut anywhere give fewer configurations or none, never wrong ones', () => {
  const whole = descriptorsOf(models.hilinkStick('eth1'));
  const full = configurationsIn(whole);
  assert.equal(ethernetConfiguration(full ?? []), 2);
  assert.deepEqual(
    full?.map(one => one.value),
    [1, 2, 3],
  );
  for (let end = 0; end < whole.length; end += 1) {
    const part = configurationsIn(whole.subarray(0, end));
    for (const [i, one] of (part ?? []).entries()) {
      assert.equal(one.value, full?.[i]?.value);
      assert.deepEqual(one.interfaces, full?.[i]?.interfaces.slice(0, one.interfaces.length));
    }
  }
});

test('any bytes at all are parsed or refused as descriptors, without an exception', () => {
  void fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      const found = configurationsIn(Buffer.from(bytes));
      return found === null || found.length <= bytes.length;
    }),
    { numRuns: 2000 },
  );
});

test('RNDIS serves where there is no ECM', () => {
  const { 1: rndis = [], 3: ncm = [] } = models.hilinkStick('eth1').configurations;
  const offered = configurationsIn(descriptorsOf({ id: '12d1:14dc', configurations: { 3: ncm, 7: rndis } }));
  assert.equal(ethernetConfiguration(offered ?? []), 7);
});

test('USB paths are ordered as one counts ports, and know their hub', () => {
  assert.deepEqual(['1-1.10', '2-1', '1-1.2', '1-1', '1-1.2.1'].sort(compareUsbPaths), [
    '1-1',
    '1-1.2',
    '1-1.2.1',
    '1-1.10',
    '2-1',
  ]);
  assert.deepEqual(parentOf('1-1.2'), { hub: '1-1', port: 2 });
  assert.deepEqual(parentOf('2-3'), { hub: 'usb2', port: 3 });
});

test.run();
