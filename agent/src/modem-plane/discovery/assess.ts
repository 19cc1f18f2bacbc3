/**
 * What a USB device is to us: a modem with its profile, drivers and ports, a stick that still plays CD, one in the
 * wrong configuration, or none of our business. Pure: facts of usb-tree.ts in, a verdict with its reason out. Doing
 * something about it is repair.ts.
 */
import { matchProfile, type ProfileMatch } from '@mastline/shared/profile/match';
import type { DriverKind, PortRole, Profile } from '@mastline/shared/profile/schema';
import { ethernetConfiguration, type UsbConfiguration } from './usb-descriptors';
import type { UsbDevice, UsbInterface } from './usb-tree';

export interface ModemPort {
  role: PortRole | null;
  interface: number;
  kind: 'tty' | 'net' | 'control';
  /** `ttyUSB2`, `eth1`, `cdc-wdm0` */
  name: string;
}

export interface ModemIdentityFacts {
  model: string | null;
  hardware: string | null;
  firmware: string | null;
}

export type Assessment =
  | { kind: 'not-a-modem' }
  /** Shows the CD with its Windows driver and has to be switched over. */
  | { kind: 'zero-cd' }
  /** `wanted` is the configuration that makes it an Ethernet card; null when it offers none. */
  | { kind: 'wrong-configuration'; wanted: number | null; reason: string }
  /** A modem that cannot be used as it is. */
  | { kind: 'unusable'; reason: string; remedy: string }
  | { kind: 'modem'; match: ProfileMatch; speaks: DriverKind[]; ports: ModemPort[] };

const HUAWEI = '12d1';
/** Huawei ids that are a CD-ROM. 14fe, 1505, 155a and 1c0b look alike but are not: switching those does harm. */
const ZERO_CD = new Set(['1f01', '1f02', '1f10', '1f11', '1f12', '1f13', '1f14', '1440']);
const SWITCHING_BY_THEMSELVES = new Set(['14fe', '1505', '155a', '1c0b']);
const FIRMWARE_LOADER = '1442';

const ETHERNET_DRIVERS = new Set(['cdc_ether', 'rndis_host']);
const NCM_DRIVERS = new Set(['huawei_cdc_ncm', 'cdc_ncm']);
/** Drivers that only modems have. cdc_ether alone may be any network adapter, ftdi_sio any serial cable. */
const MODEM_DRIVERS = new Set(['option', 'cdc_mbim', 'qmi_wwan', 'huawei_cdc_ncm', 'qcserial', 'sierra']);

export interface AssessInput {
  device: UsbDevice;
  profiles: readonly Profile[];
  /** All that the device offers; null when its descriptors could not be read. */
  configurations: readonly UsbConfiguration[] | null;
  /** What the modem said of itself, once somebody has asked. */
  identity: ModemIdentityFacts | null;
}

export function assess(input: AssessInput): Assessment {
  const { device, profiles } = input;
  if (device.hub) return { kind: 'not-a-modem' };
  if (device.vendorId === HUAWEI) {
    if (ZERO_CD.has(device.productId)) return { kind: 'zero-cd' };
    if (SWITCHING_BY_THEMSELVES.has(device.productId))
      return {
        kind: 'unusable',
        reason: `${device.vendorId}:${device.productId} is a stick on its way to another mode`,
        remedy: 'Wait a minute. If it stays like this, unplug it and plug it in again.',
      };
    if (device.productId === FIRMWARE_LOADER)
      return {
        kind: 'unusable',
        reason: 'the stick is in its firmware loader',
        remedy: 'Finish or repeat the firmware update by the maker’s program.',
      };
  }
  if (!looksLikeModem(device, profiles)) return { kind: 'not-a-modem' };
  if (!device.authorized)
    return {
      kind: 'unusable',
      reason: 'the USB device is switched off (authorized is 0)',
      remedy: `Switch it on: echo 1 > /sys/bus/usb/devices/${device.path}/authorized`,
    };

  const ttys = device.interfaces.some(one => one.ttys.length > 0);
  const network = device.interfaces.find(one => one.nets.length > 0);
  // HiLink firmware offers NCM, too, and the kernel may take it: then there is neither DHCP nor a web server. A stick
  // with serial ports has the other firmware, where NCM is right.
  const ncm = device.interfaces.some(one => one.driver !== null && NCM_DRIVERS.has(one.driver));
  if (ncm && !ttys && mayBeHilink(device, profiles))
    return {
      kind: 'wrong-configuration',
      wanted: input.configurations === null ? null : ethernetConfiguration(input.configurations),
      reason: `USB configuration ${device.configuration ?? '?'} is NCM, in which a HiLink stick has no web server`,
    };

  const speaks = speaksOf(device, profiles);
  const match = matchProfile(profiles, {
    vendorId: device.vendorId,
    productId: device.productId,
    usbProduct: device.product,
    speaks,
    identity: input.identity,
  });
  if (speaks.length === 0 || match === null) return { kind: 'unusable', ...whyUnusable(device, network) };
  // Models that USB cannot tell apart lay out their ports alike: what they all know is worth more than nothing.
  const equals = profiles.filter(profile => match.undecided.includes(profile.id));
  return { kind: 'modem', match, speaks, ports: portsOf(device, [match.profile, ...equals]) };
}

function whyUnusable(
  device: UsbDevice,
  network: UsbInterface | undefined,
): { reason: string; remedy: string } {
  const id = `${device.vendorId}:${device.productId}`;
  const drivers = device.interfaces.map(one => one.driver);
  if (device.configuration === null)
    return {
      reason: `${id} has no USB configuration`,
      remedy: `It may lack power. Else: echo 1 > /sys/bus/usb/devices/${device.path}/bConfigurationValue`,
    };
  if (drivers.includes('qmi_wwan'))
    return {
      reason: `${id} is in QMI mode, which no driver here speaks, and has no serial port`,
      remedy: 'Set another mode with AT+QCFG="usbnet",2 (MBIM) or ,1 (ECM), then restart the modem.',
    };
  if (network === undefined && drivers.every(driver => driver === null))
    return {
      reason: `no kernel driver has taken ${id}`,
      remedy: `modprobe option && echo ${device.vendorId} ${device.productId} > /sys/bus/usb-serial/drivers/option1/new_id`,
    };
  return {
    reason: `${id} has no port that a driver here can use (kernel drivers: ${[...new Set(drivers.map(one => one ?? 'none'))].join(', ')})`,
    remedy: 'Install the kernel’s modem modules (option, cdc_mbim, cdc_ether) and plug the modem in again.',
  };
}

function looksLikeModem(device: UsbDevice, profiles: readonly Profile[]): boolean {
  if (device.interfaces.some(one => one.driver !== null && MODEM_DRIVERS.has(one.driver))) return true;
  return profiles.some(profile =>
    profile.match.usb.some(id => id.vendorId === device.vendorId && id.productId === device.productId),
  );
}

/** By the maker alone: new HiLink sticks come with new ids. */
function mayBeHilink(device: UsbDevice, profiles: readonly Profile[]): boolean {
  return profiles.some(
    profile =>
      profile.drivers.some(driver => driver.kind === 'hilink') &&
      profile.match.usb.some(id => id.vendorId === device.vendorId),
  );
}

/** Drivers of ours that the present interfaces allow, best first. */
export function speaksOf(device: UsbDevice, profiles: readonly Profile[]): DriverKind[] {
  const speaks: DriverKind[] = [];
  const has = (fits: (one: UsbInterface) => boolean) => device.interfaces.some(fits);
  const ttys = has(one => one.ttys.length > 0);
  if (
    !ttys &&
    mayBeHilink(device, profiles) &&
    has(one => one.nets.length > 0 && ETHERNET_DRIVERS.has(one.driver ?? ''))
  )
    speaks.push('hilink');
  if (has(one => one.driver === 'cdc_mbim' && one.controls.length > 0)) speaks.push('mbim');
  if (ttys) speaks.push('at');
  return speaks;
}

function portsOf(device: UsbDevice, candidates: readonly Profile[]): ModemPort[] {
  const all = candidates.flatMap(profile => profile.ports.rules);
  return device.interfaces.flatMap(one => {
    const rules = all.filter(rule =>
      rule.class === undefined
        ? rule.interface === one.number
        : rule.class.class === one.class &&
          rule.class.subclass === one.subclass &&
          rule.class.protocol === one.protocol,
    );
    const roleFor = (kind: ModemPort['kind']): PortRole | null => {
      if (kind === 'net') return 'network';
      if (kind === 'control') return 'control';
      // A number may stand for something else in another USB mode: a tty is never the network.
      return rules.find(rule => rule.role !== 'network' && rule.role !== 'control')?.role ?? null;
    };
    const port = (kind: ModemPort['kind']) => (name: string) => ({
      role: roleFor(kind),
      interface: one.number,
      kind,
      name,
    });
    return [...one.ttys.map(port('tty')), ...one.nets.map(port('net')), ...one.controls.map(port('control'))];
  });
}
