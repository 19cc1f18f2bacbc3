/**
 * A tree of files and links that looks like sysfs, /proc, /dev and /run with USB devices in it, for code that takes
 * the roots as a parameter. It can be plugged, unplugged and written to; what a kernel would do on a write is done by
 * `write`. Which attribute lies where: Linux Documentation/ABI/testing/sysfs-bus-usb.
 */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { WriteAttribute } from '../../../../agent/src/modem-plane/discovery/sysfs';
import type { SystemRoots } from '../../../../agent/src/modem-plane/discovery/system-roots';
import { tempDir } from '../../../support/temp';

export interface FakeInterface {
  /** `class/subclass/protocol` in hex, as `lsusb` has them. */
  is: string;
  driver?: string;
  tty?: string;
  net?: string;
  control?: string;
}

export interface FakeDevice {
  id: string;
  product?: string;
  deviceClass?: string;
  maxPower?: string;
  speed?: string;
  /** Configuration value → interfaces. */
  configurations: Record<number, FakeInterface[]>;
  /** The one that the kernel chose. */
  chosen?: number;
  /** Number of ports, for hubs. */
  ports?: number;
}

export interface FakeUsb {
  roots: SystemRoots;
  /** Every attribute that was written: `1-1/authorized=0`. */
  writes: string[];
  plug(path: string, device: FakeDevice): void;
  unplug(path: string): void;
  /** The kernel's side of writing an attribute. */
  write: WriteAttribute;
  /** The next writes of this attribute (its file name) fail with this code. */
  refuse(attribute: string, code: string, times: number): void;
  file(root: keyof SystemRoots, path: string, text: string): void;
  process(pid: number, name: string, opens?: string[]): void;
  remove(): Promise<void>;
}

export async function fakeUsb(): Promise<FakeUsb> {
  const folder = await tempDir('usb');
  const root = (name: string) => join(folder.path, name);
  const roots: SystemRoots = {
    sysfs: root('sys'),
    proc: root('proc'),
    dev: root('dev'),
    etc: root('etc'),
    run: root('run'),
  };
  for (const one of Object.values(roots)) mkdirSync(one, { recursive: true });
  const devices = join(roots.sysfs, 'bus/usb/devices');
  mkdirSync(devices, { recursive: true });
  const put = (path: string, text: string | Buffer) => {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, typeof text === 'string' ? `${text}\n` : text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(join(path, '..'), { recursive: true });
    symlinkSync(target, path);
  };
  const plugged = new Map<string, FakeDevice>();
  const refusals: { attribute: string; code: string; times: number }[] = [];
  const writes: string[] = [];
  let deviceNumber = 1;
  let nextIfindex = 10;

  const interfaceFolder = (path: string, value: number, number: number) =>
    join(devices, path, `${path}:${value}.${number}`);

  const showInterfaces = (path: string, device: FakeDevice, value: number) => {
    for (const [number, one] of (device.configurations[value] ?? []).entries()) {
      const at = interfaceFolder(path, value, number);
      const [kind = '', subclass = '', protocol = ''] = one.is.split('/');
      put(join(at, 'bInterfaceNumber'), number.toString(16).padStart(2, '0'));
      put(join(at, 'bInterfaceClass'), kind);
      put(join(at, 'bInterfaceSubClass'), subclass);
      put(join(at, 'bInterfaceProtocol'), protocol);
      if (one.driver) link(join(at, 'driver'), `../../../../bus/usb/drivers/${one.driver}`);
      if (one.tty) {
        mkdirSync(join(at, one.tty, 'tty', one.tty), { recursive: true });
        put(join(roots.dev, one.tty), '');
      }
      if (one.net) {
        mkdirSync(join(at, 'net', one.net), { recursive: true });
        put(join(roots.sysfs, 'class/net', one.net, 'ifindex'), String(nextIfindex++));
      }
      if (one.control) mkdirSync(join(at, 'usbmisc', one.control), { recursive: true });
    }
    for (let port = 1; port <= (device.ports ?? 0); port += 1)
      put(join(devices, path, `${path}:${value}.0`, `${path}-port${port}`, 'disable'), '0');
  };
  const hideInterfaces = (path: string, device: FakeDevice) => {
    for (const [value, list] of Object.entries(device.configurations))
      for (const [number, one] of list.entries()) {
        rmSync(interfaceFolder(path, Number(value), number), { recursive: true, force: true });
        if (one.net) rmSync(join(roots.sysfs, 'class/net', one.net), { recursive: true, force: true });
        if (one.tty) rmSync(join(roots.dev, one.tty), { force: true });
      }
  };

  const usb: FakeUsb = {
    roots,
    writes,
    plug(path, device) {
      usb.unplug(path);
      const at = (name: string) => join(devices, path, name);
      const [vendor = '', product = ''] = device.id.split(':');
      const values = Object.keys(device.configurations).map(Number);
      const chosen = device.chosen ?? values[0] ?? 0;
      plugged.set(path, device);
      deviceNumber += 1;
      put(at('idVendor'), vendor);
      put(at('idProduct'), product);
      put(at('bcdDevice'), '0102');
      if (device.product) put(at('product'), device.product);
      put(at('devnum'), String(deviceNumber));
      put(at('dev'), `189:${deviceNumber}`);
      put(at('authorized'), '1');
      put(at('bDeviceClass'), device.deviceClass ?? '00');
      put(at('bMaxPower'), device.maxPower ?? '500mA');
      put(at('speed'), device.speed ?? '480');
      put(at('power/control'), 'on');
      put(at('bNumConfigurations'), String(values.length));
      put(at('bConfigurationValue'), String(chosen));
      put(at('descriptors'), descriptorsOf(device));
      showInterfaces(path, device, chosen);
    },
    unplug(path) {
      const device = plugged.get(path);
      if (device) hideInterfaces(path, device);
      rmSync(join(devices, path), { recursive: true, force: true });
      plugged.delete(path);
    },
    async write(file, value) {
      const name = file.slice(file.lastIndexOf('/') + 1);
      const refusal = refusals.find(one => one.attribute === name && one.times > 0);
      if (refusal) {
        refusal.times -= 1;
        throw new CodedError(refusal.code, `${file} refuses "${value}"`);
      }
      writes.push(
        `${file
          .slice(roots.sysfs.length + 1)
          .replace('bus/usb/', '')
          .replace('devices/', '')}=${value}`,
      );
      const path = file.split('/').at(-2) ?? '';
      const device = plugged.get(path);
      if (name === 'bConfigurationValue' && device) {
        hideInterfaces(path, device);
        put(file, value === '-1' ? '' : value);
        showInterfaces(path, device, Number(value));
      } else if (name === 'authorized' && device) {
        hideInterfaces(path, device);
        put(file, value);
        if (value === '1')
          showInterfaces(path, device, device.chosen ?? Number(Object.keys(device.configurations)[0]));
      } else if (name === 'unbind') {
        const bound = plugged.get(value);
        if (bound) hideInterfaces(value, bound);
      } else if (name === 'bind') {
        const bound = plugged.get(value);
        if (bound) showInterfaces(value, bound, bound.chosen ?? Number(Object.keys(bound.configurations)[0]));
      } else if (name === 'disable') {
        put(file, value);
        const [hub = '', port = ''] = path.split('-port');
        const child = hub.startsWith('usb') ? `${hub.slice(3)}-${port}` : `${hub}.${port}`;
        const there = plugged.get(child);
        if (value === '1' && there) {
          usb.unplug(child);
          unpowered.set(child, there);
        }
        const waiting = unpowered.get(child);
        if (value === '0' && waiting) {
          unpowered.delete(child);
          usb.plug(child, waiting);
        }
      } else put(file, value);
    },
    refuse: (attribute, code, times) => void refusals.push({ attribute, code, times }),
    file: (name, path, text) => put(join(roots[name], path), text),
    process(pid, name, opens = []) {
      put(join(roots.proc, String(pid), 'comm'), name);
      mkdirSync(join(roots.proc, String(pid), 'fd'), { recursive: true });
      for (const [fd, path] of opens.entries())
        link(join(roots.proc, String(pid), 'fd', String(fd + 3)), join(roots.dev, path));
    },
    remove: folder.remove,
  };
  const unpowered = new Map<string, FakeDevice>();
  return usb;
}

/** Device, configuration and interface descriptors as the device would give them (USB 2.0, 9.6). */
export function descriptorsOf(device: FakeDevice): Buffer {
  const values = Object.entries(device.configurations);
  const head = Buffer.alloc(18);
  head.writeUInt8(18, 0);
  head.writeUInt8(1, 1);
  head.writeUInt8(values.length, 17);
  const parts = values.map(([value, interfaces]) => {
    const list = interfaces.map((one, number) => {
      const [kind = '0', subclass = '0', protocol = '0'] = one.is.split('/');
      const codes = [kind, subclass, protocol].map(text => Number.parseInt(text, 16));
      return Buffer.from([9, 4, number, 0, 1, ...codes, 0]);
    });
    const body = Buffer.concat(list);
    const total = 9 + body.length;
    return Buffer.concat([
      Buffer.from([9, 2, total & 255, total >> 8, interfaces.length, Number(value), 0, 0x80, 250]),
      body,
    ]);
  });
  return Buffer.concat([head, ...parts]);
}
