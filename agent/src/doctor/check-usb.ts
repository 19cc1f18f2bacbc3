/**
 * The USB side of the modems: power asked for against power there is, hubs without a supply of their own, speed,
 * autosuspend, and how many endpoints each host controller has to serve.
 */
import { join } from 'node:path';
import { namesIn, readText } from '../modem-plane/discovery/sysfs';
import type { SystemRoots } from '../modem-plane/discovery/system-roots';
import { deviceFolder, parentOf, type UsbDevice } from '../modem-plane/discovery/usb-tree';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient, Seen } from './patient';

/** What all ports of a board may give together, in mA (Raspberry Pi documentation, "USB power"). */
const BOARDS: { board: RegExp; totalMa: number; note: string }[] = [
  { board: /^Raspberry Pi (?:4|Compute Module 4)\b/, totalMa: 1200, note: '' },
  {
    board: /^Raspberry Pi (?:5|Compute Module 5)\b/,
    totalMa: 600,
    note: ' (1600 mA with a 5 A supply, or usb_max_current_enable=1 in config.txt)',
  },
  { board: /^Raspberry Pi (?:2|3)\b/, totalMa: 1200, note: '' },
];
/** USB 2.0, 7.2.1.1: a hub that lives of its upstream port has 500 mA in all. */
const BUS_POWERED_HUB_MA = 500;
/** Bit 6 of bmAttributes (USB 2.0, table 9-10). */
const SELF_POWERED = 0x40;
/** Below this a modem is on USB 1.1: a bad cable, or a port that gave up. */
const HIGH_SPEED_MBIT = 480;

export async function checkUsb(patient: Patient): Promise<Finding[]> {
  const { modems, roots } = patient;
  const say = sayer('usb');
  if (modems.length === 0) return [say.ok('No modem is on USB.')];
  const findings = [
    ...(await boardPower(patient)),
    ...(await hubPower(patient)),
    ...modems.flatMap(seen => habits(seen, roots)),
    ...(await endpoints(patient)),
  ];
  return findings.some(one => one.severity !== 'note' && one.severity !== 'ok')
    ? findings
    : [...findings, say.ok('Power and speed of the USB ports are enough by what the devices ask for.')];
}

async function boardPower({ roots, devices }: Patient): Promise<Finding[]> {
  const say = sayer('usb');
  const board =
    (await readText(join(roots.sysfs, 'firmware/devicetree/base/model')))?.replaceAll('\0', '') ?? null;
  const budget = BOARDS.find(one => board !== null && one.board.test(board));
  if (!budget) return [];
  let askedMa = 0;
  for (const device of devices)
    if (await drawsFromBoard(device, devices, roots)) askedMa += device.maxPowerMa ?? 0;
  const told = `The USB devices ask ${board} for up to ${askedMa} mA; it has ${budget.totalMa} mA for all ports together${budget.note}`;
  return [
    askedMa > budget.totalMa
      ? say.warning(`${told}.`, 'Put the modems on a hub with a power supply of its own.')
      : say.ok(`${told}.`),
  ];
}

/** Not what hangs behind a hub with its own supply. */
async function drawsFromBoard(
  device: UsbDevice,
  devices: readonly UsbDevice[],
  roots: SystemRoots,
): Promise<boolean> {
  for (let { hub } = parentOf(device.path); !hub.startsWith('usb'); { hub } = parentOf(hub)) {
    const parent = devices.find(one => one.path === hub);
    if (!parent) return true;
    // The hub inside a Raspberry Pi 4 calls itself self-powered, and is fed by the board.
    if ((await isSelfPowered(hub, roots)) && !(parent.vendorId === '2109' && hub === '1-1')) return false;
  }
  return true;
}

async function hubPower({ devices, roots }: Patient): Promise<Finding[]> {
  const say = sayer('usb');
  const findings: Finding[] = [];
  for (const hub of devices.filter(one => one.hub)) {
    if (await isSelfPowered(hub.path, roots)) continue;
    const behind = devices.filter(one => parentOf(one.path).hub === hub.path);
    const askedMa = behind.reduce((sum, one) => sum + (one.maxPowerMa ?? 0), 0);
    if (askedMa > BUS_POWERED_HUB_MA)
      findings.push(
        say.warning(
          `The hub at USB ${hub.path} has no power supply of its own, and what hangs on it asks for up to ${askedMa} mA; it has ${BUS_POWERED_HUB_MA} mA.`,
          'Use a hub with a power supply. Modems that lack power vanish when they transmit.',
        ),
      );
  }
  return findings;
}

async function isSelfPowered(path: string, roots: SystemRoots): Promise<boolean> {
  const attributes = Number.parseInt(
    (await readText(join(deviceFolder(roots, path), 'bmAttributes'))) ?? '',
    16,
  );
  return !Number.isNaN(attributes) && (attributes & SELF_POWERED) !== 0;
}

function habits({ device }: Seen, roots: SystemRoots): Finding[] {
  const say = sayer('usb');
  const findings: Finding[] = [];
  if (device.powerControl === 'auto')
    findings.push(
      say.warning(
        `The modem at USB ${device.path} may be put to sleep by the kernel (autosuspend), from which many do not wake.`,
        `echo on > ${join(deviceFolder(roots, device.path), 'power/control')} — and for good by a udev rule: ACTION=="add", SUBSYSTEM=="usb", ATTR{idVendor}=="${device.vendorId}", TEST=="power/control", ATTR{power/control}="on"`,
      ),
    );
  if (device.speed !== null && device.speed < HIGH_SPEED_MBIT)
    findings.push(
      say.warning(
        `The modem at USB ${device.path} runs at ${device.speed} Mbit/s.`,
        'Try another cable and port: a modem that fell back to USB 1.1 has a bad contact.',
      ),
    );
  if (device.configuration === null)
    findings.push(
      say.failure(
        `The modem at USB ${device.path} has no configuration: the port lacks power, or the host controller has no room for its endpoints.`,
        'Put it on another controller or a powered hub. "dmesg | grep -i usb" names which it is ("Not enough host controller resources", "over-current").',
      ),
    );
  return findings;
}

/** Controllers have room for a limited number and say so only in the kernel's log: here it is told how many there are. */
async function endpoints({ devices, roots }: Patient): Promise<Finding[]> {
  const byBus = new Map<string, { count: number; devices: number }>();
  for (const device of devices) {
    const bus = device.path.split('-')[0] ?? '';
    const folder = deviceFolder(roots, device.path);
    const folders = (await namesIn(folder)).filter(name => name.startsWith(`${device.path}:`));
    const names = await Promise.all([folder, ...folders.map(name => join(folder, name))].map(namesIn));
    const count = names.flat().filter(name => /^ep_[0-9a-f]{2}$/.test(name)).length;
    const before = byBus.get(bus) ?? { count: 0, devices: 0 };
    byBus.set(bus, { count: before.count + count, devices: before.devices + 1 });
  }
  return [...byBus].map(([bus, { count, devices: number }]) =>
    sayer('usb').note(`USB bus ${bus} serves ${number} devices with ${count} endpoints.`),
  );
}
