/**
 * What is on the USB buses, read from sysfs. The path (`1-1.2`: bus, then the port of each hub) is the key of a
 * device: names, MACs and serial numbers repeat from stick to stick. What a device is for is assess.ts.
 */
import { join } from 'node:path';
import { linkName, namesIn, readBytes, readNumber, readText } from './sysfs';
import type { SystemRoots } from './system-roots';

export interface UsbInterface {
  number: number;
  class: number;
  subclass: number;
  protocol: number;
  /** Kernel driver that has it; null when none wants it. */
  driver: string | null;
  /** `ttyUSB2` */
  ttys: string[];
  /** `eth1`, `wwan0` */
  nets: string[];
  /** `cdc-wdm0` */
  controls: string[];
}

export interface UsbDevice {
  path: string;
  /** Counts up with every plugging in: the same path with another number is another arrival. */
  deviceNumber: number;
  vendorId: string;
  productId: string;
  /** `bcdDevice`, firmware release in hex. */
  release: string | null;
  manufacturer: string | null;
  product: string | null;
  /** Mbit/s */
  speed: number | null;
  authorized: boolean;
  /** Current configuration; null while unconfigured. */
  configuration: number | null;
  configurations: number;
  /** mA that it asks for. */
  maxPowerMa: number | null;
  /** `on` (never suspended) or `auto`. */
  powerControl: string | null;
  hub: boolean;
  interfaces: UsbInterface[];
}

const DEVICE = /^\d+-\d+(?:\.\d+)*$/;
const ROOT_HUB = /^usb\d+$/;
const HUB_CLASS = 9;

/** Folder of a device, root hubs (`usb1`) included. */
export const deviceFolder = (roots: SystemRoots, path: string): string =>
  join(roots.sysfs, 'bus/usb/devices', path);

/** The hub that a device hangs on, and the number of its port there: `1-1.2` → `1-1`, 2; `1-3` → `usb1`, 3. */
export function parentOf(path: string): { hub: string; port: number } {
  const dot = path.lastIndexOf('.');
  if (dot !== -1) return { hub: path.slice(0, dot), port: Number(path.slice(dot + 1)) };
  const [bus, port] = path.split('-');
  return { hub: `usb${bus}`, port: Number(port) };
}

/** In the order in which one would count ports: bus, then each hub's port, by number. */
export function compareUsbPaths(a: string, b: string): number {
  const one = a.split(/[-.]/).map(Number);
  const two = b.split(/[-.]/).map(Number);
  for (let i = 0; i < Math.max(one.length, two.length); i += 1) {
    const difference = (one[i] ?? -1) - (two[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Every device, root hubs left out, by path. One that vanishes meanwhile is left out, too. */
export async function readUsbTree(roots: SystemRoots): Promise<UsbDevice[]> {
  const names = await namesIn(join(roots.sysfs, 'bus/usb/devices'));
  const found = await Promise.all(
    names.filter(name => DEVICE.test(name)).map(name => readDevice(roots, name)),
  );
  return found
    .filter((one): one is UsbDevice => one !== null)
    .sort((a, b) => compareUsbPaths(a.path, b.path));
}

/** Which devices are there, root hubs left out, with their device numbers: cheap, for a look every second. */
export async function arrivals(roots: SystemRoots): Promise<Map<string, number>> {
  const names = await namesIn(join(roots.sysfs, 'bus/usb/devices'));
  const found = await Promise.all(
    names
      .filter(name => DEVICE.test(name))
      .map(async name => [name, await readNumber(join(deviceFolder(roots, name), 'devnum'))] as const),
  );
  return new Map(found.filter((one): one is [string, number] => one[1] !== null));
}

/** Names of the root hubs: `usb1`, `usb2`. */
export async function rootHubs(roots: SystemRoots): Promise<string[]> {
  return (await namesIn(join(roots.sysfs, 'bus/usb/devices'))).filter(name => ROOT_HUB.test(name));
}

/** One device; null when it is not there. */
export async function readDevice(roots: SystemRoots, path: string): Promise<UsbDevice | null> {
  const at = (name: string) => join(deviceFolder(roots, path), name);
  const [vendorId, productId, deviceNumber] = await Promise.all([
    readText(at('idVendor')),
    readText(at('idProduct')),
    readNumber(at('devnum')),
  ]);
  if (vendorId === null || productId === null || deviceNumber === null) return null;
  const [
    release,
    manufacturer,
    product,
    speed,
    authorized,
    configuration,
    configurations,
    power,
    control,
    kind,
  ] = await Promise.all([
    readText(at('bcdDevice')),
    readText(at('manufacturer')),
    readText(at('product')),
    readNumber(at('speed')),
    readText(at('authorized')),
    readNumber(at('bConfigurationValue')),
    readNumber(at('bNumConfigurations')),
    readText(at('bMaxPower')),
    readText(at('power/control')),
    readText(at('bDeviceClass')),
  ]);
  const names = (await namesIn(deviceFolder(roots, path))).filter(name => name.startsWith(`${path}:`));
  const interfaces = await Promise.all(names.map(name => readInterface(at(name))));
  return {
    path,
    deviceNumber,
    vendorId: vendorId.toLowerCase(),
    productId: productId.toLowerCase(),
    release,
    manufacturer,
    product,
    speed,
    authorized: authorized !== '0',
    configuration: configuration === 0 ? null : configuration,
    configurations: configurations ?? 1,
    maxPowerMa: power === null ? null : Number.parseInt(power, 10) || null,
    powerControl: control,
    hub: kind !== null && Number.parseInt(kind, 16) === HUB_CLASS,
    interfaces: interfaces
      .filter((one): one is UsbInterface => one !== null)
      .sort((a, b) => a.number - b.number),
  };
}

/** The raw descriptors of all configurations, as the device gave them; null when they cannot be had. */
export function readDescriptors(roots: SystemRoots, path: string): Promise<Buffer | null> {
  return readBytes(join(deviceFolder(roots, path), 'descriptors'));
}

async function readInterface(folder: string): Promise<UsbInterface | null> {
  const hex = async (name: string) => {
    const text = await readText(join(folder, name));
    return text === null ? Number.NaN : Number.parseInt(text, 16);
  };
  const [number, kind, subclass, protocol, driver, names, acm, nets, controls] = await Promise.all([
    hex('bInterfaceNumber'),
    hex('bInterfaceClass'),
    hex('bInterfaceSubClass'),
    hex('bInterfaceProtocol'),
    linkName(join(folder, 'driver')),
    namesIn(folder),
    namesIn(join(folder, 'tty')),
    namesIn(join(folder, 'net')),
    namesIn(join(folder, 'usbmisc')),
  ]);
  if ([number, kind, subclass, protocol].some(Number.isNaN)) return null;
  return {
    number,
    class: kind,
    subclass,
    protocol,
    driver,
    // usb-serial puts the port into the folder itself, cdc_acm into `tty`.
    ttys: [...names.filter(name => /^tty[A-Z]+\d+$/.test(name)), ...acm],
    nets,
    controls,
  };
}
