/** Other programs that want the modems, as /proc, udev and NetworkManager tell of them. */
import assert from 'node:assert/strict';
import { assess } from '../../../../agent/src/modem-plane/discovery/assess';
import { findConflicts } from '../../../../agent/src/modem-plane/discovery/conflicts';
import { readText } from '../../../../agent/src/modem-plane/discovery/sysfs';
import { readUsbTree } from '../../../../agent/src/modem-plane/discovery/usb-tree';
import { loadCatalogue } from '../../../../firmware-profiles/catalogue';
import { suite } from '../../../support/suite';
import { type FakeUsb, fakeUsb } from './fake-usb';
import { ec25, hilinkStick } from './models';

const test = suite('agent/modem-plane/discovery: conflicts');
const profiles = loadCatalogue();
let usb: FakeUsb;
test.beforeEach(async () => {
  usb = await fakeUsb();
  usb.plug('1-1.1', ec25(0));
  usb.plug('1-1.2', hilinkStick('eth1'));
});
test.afterEach(() => usb.remove());

async function conflicts(ownPid = 1) {
  const modems = (await readUsbTree(usb.roots)).flatMap(device => {
    const verdict = assess({ device, profiles, configurations: null, identity: null });
    return verdict.kind === 'modem'
      ? [{ usbPath: device.path, vendorId: device.vendorId, ports: verdict.ports }]
      : [];
  });
  assert.equal(modems.length, 2);
  return findConflicts(modems, usb.roots, ownPid);
}
const named = async () => (await conflicts()).map(one => `${one.kind} ${one.usbPath}`);

test('nothing runs: nothing is said', async () => {
  assert.deepEqual(await conflicts(), []);
});

test('ModemManager is named for modems with ports, with the rule that keeps it away', async () => {
  usb.process(400, 'ModemManager');
  const [found, ...more] = await conflicts();
  assert.deepEqual(more, []);
  assert.equal(found?.usbPath, '1-1.1');
  assert.match(found?.remedy ?? '', /ATTR\{idVendor\}=="2c7c", ENV\{ID_MM_DEVICE_IGNORE\}="1"/);
});

test('a modem that udev keeps from ModemManager is no conflict', async () => {
  usb.process(400, 'ModemManager');
  const device = await readText(`${usb.roots.sysfs}/bus/usb/devices/1-1.1/dev`);
  usb.file('run', `udev/data/c${device}`, 'E:ID_VENDOR_ID=2c7c\nE:ID_MM_DEVICE_IGNORE=1');
  assert.deepEqual(await named(), []);
});

test('NetworkManager is named for each interface that it manages, and only for those', async () => {
  usb.process(500, 'NetworkManager');
  const index = await readText(`${usb.roots.sysfs}/class/net/eth1/ifindex`);
  usb.file('run', `NetworkManager/devices/${index}`, '[device]\nmanaged=false');
  assert.deepEqual(await named(), []);
  usb.file('run', `NetworkManager/devices/${index}`, '[device]\nmanaged=true');
  assert.deepEqual(await named(), ['network-manager 1-1.2']);
});

test('a leftover file of a NetworkManager that does not run is no conflict', async () => {
  const index = await readText(`${usb.roots.sysfs}/class/net/eth1/ifindex`);
  usb.file('run', `NetworkManager/devices/${index}`, '[device]\nmanaged=true');
  assert.deepEqual(await named(), []);
});

test('whoever holds a port is named once with its process; the agent itself is not', async () => {
  usb.process(600, 'minicom', ['ttyUSB2', 'ttyUSB2', 'null']);
  const [found, ...more] = await conflicts();
  assert.deepEqual(more, []);
  assert.equal(found?.kind, 'port-in-use');
  assert.match(found?.message ?? '', /minicom \(process 600\) holds .*ttyUSB2/);
  assert.deepEqual(await conflicts(600), []);
});

test.run();
