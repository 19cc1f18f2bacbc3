/**
 * From the USB bus to the flow: modems that discovery finds (in a tree of files that looks like sysfs) become running
 * slots, on ports and interfaces of virtual modems that the agent takes for real ones. One of them first has to be
 * asked what it is. Needs root, iproute2, nftables and socat.
 */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Discovery } from '@mastline/agent/modem-plane/discovery/discovery';
import { SlotBook } from '@mastline/agent/modem-plane/discovery/slot-book';
import { discoveredSlots } from '@mastline/agent/modem-plane/discovery/slot-source';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { type FakeDevice, type FakeUsb, fakeUsb } from '../agent/modem-plane/discovery/fake-usb';
import { ec25, rm520n } from '../agent/modem-plane/discovery/models';
import { whyNoNamespaces } from '../simulators/run-tool';
import { Changes } from '../support/changes';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('from the USB bus to the flow', { needs: ['socat'] });
const obstacle = await whyNoNamespaces();

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let usb: FakeUsb;
let plane: RotatingModemPlane;
const changes = new Changes();

const until = (holds: () => boolean) => changes.until(holds);

const at = (usbPath: string) => plane.slots().find(one => one.usbPath === usbPath);
const isUp = (usbPath: string) => at(usbPath)?.state === 'connected' && at(usbPath)?.exitAddress !== null;

/** The device with its network interface under the name that it has on this machine. */
function withInterface(device: FakeDevice, name: string): FakeDevice {
  const [value, interfaces = []] = Object.entries(device.configurations)[0] ?? [];
  return {
    ...device,
    configurations: {
      [Number(value)]: interfaces.map(one => (one.net === undefined ? one : { ...one, net: name })),
    },
  };
}

/** What the kernel names `name` is the virtual modem's pty. */
function linkPort(name: string, target: string): void {
  const path = join(usb.roots.dev, name);
  mkdirSync(usb.roots.dev, { recursive: true });
  rmSync(path, { force: true });
  symlinkSync(target, path);
}

if (obstacle !== undefined) test.skip('discovered modems', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('found');
    usb = await fakeUsb();
    const stateDir = join(dir.path, 'net');
    net = await startVirtualNetwork(stateDir, 'namespaces', ['--modems', '0']);
    const module = await net.control('POST', '/modems', { profile: 'quectel/ec25' });
    const card = await net.control('POST', '/modems', { profile: 'quectel/rm520n' });
    // Without a product text EC25 and EG25-G are alike on USB.
    const { product: _product, ...nameless } = ec25(10);
    usb.plug('1-1.1', withInterface(nameless, String(module.interface)));
    usb.plug('1-1.2', withInterface(rm520n(20), String(card.interface)));
    linkPort('ttyUSB12', join(stateDir, 'ttyAT1'));
    linkPort('cdc-wdm20', join(stateDir, 'cdc-wdm2'));
    const profiles = loadCatalogue();
    const discovery = new Discovery({
      profiles,
      book: new SlotBook({ dataDir: dir.path, reserved: new Set() }),
      clock: systemClock,
      log: quietLog,
      roots: usb.roots,
    });
    plane = createModemPlane({
      slots: [],
      sources: [discoveredSlots(discovery, { profiles, dev: usb.roots.dev })],
      echoUrls: net.ready.echoUrls,
      dataDir: join(dir.path, 'agent'),
      clock: systemClock,
      log: quietLog,
    });
    plane.onChange(changes.tell);
    await plane.start();
  });

  test(
    'an MBIM card gets the carrier’s address, and is nobody’s virtual modem to the agent',
    async () => {
      await until(() => isUp('1-1.2'));
      const report = at('1-1.2');
      assert.match(report?.sourceAddress ?? '', new RegExp(`^10\\.${net.ready.instance}\\.2\\.`));
      assert.is(report?.virtual, false);
    },
    { deadlineMs: 60_000 },
  );

  test(
    'a module that shares its USB id with another model is asked, and then driven by its own profile',
    async () => {
      await until(() => isUp('1-1.1'));
      const report = at('1-1.1');
      assert.is(report?.model, 'EC25');
      // The address that only the profile of the model knows of.
      assert.match(report?.sourceAddress ?? '', /^192\.168\.225\.1\d\d$/);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'one that is unplugged keeps its slot, absent, and nothing leaves through it',
    async () => {
      const before = at('1-1.2');
      await net.knob(2, 'api', { mode: 'dead' });
      usb.unplug('1-1.2');
      await until(() => at('1-1.2')?.state === 'absent');
      assert.is(at('1-1.2')?.slot, before?.slot);
      assert.match(at('1-1.2')?.reason ?? '', /nothing is plugged in at USB 1-1\.2/);
      assert.is(plane.egresses().find(one => one.slot === before?.slot)?.ready, false);
      assert.ok(isUp('1-1.1'));
    },
    { deadlineMs: 60_000 },
  );

  test(
    'ends cleanly, and the modems were asked nothing else that they do not know',
    async () => {
      // The generic profile, by which the module was asked its name, tries every spelling of the SIM's number.
      const faults = (await net.faults()) as { path: string }[];
      assert.equal(
        faults.filter(fault => !/^\+I?CCID$/.test(fault.path)),
        [],
      );
      await plane.close();
      assert.is(await net.stop(), 0);
      await usb.remove();
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

test.run();
