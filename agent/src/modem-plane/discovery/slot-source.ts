/**
 * Discovered modems as slots that the plane can bring up: which driver each gets, through which port, and whether its
 * interface leads to a router in the modem or bears the carrier's own address. That depends on the kernel driver of
 * the interface, which shows the USB mode that the modem is in.
 */
import { join } from 'node:path';
import type { Profile } from '@mastline/shared/profile/schema';
import { HILINK_ADDRESS, type InterfaceSlot, type SlotApi } from '../slot-config';
import type { SlotSource } from '../slot-source';
import type { DiscoveredModem, Discovery } from './discovery';

/** Ethernet to a router in the modem (quectel-at.md: usbnet 1, 3 and 5). */
const ROUTER_DRIVERS = new Set(['cdc_ether', 'rndis_host', 'cdc_ncm']);
/** The carrier's address is the interface's. */
const CARRIER_DRIVERS = new Set(['cdc_mbim', 'huawei_cdc_ncm']);

export interface Obstacle {
  obstacle: string;
}

/** The part of discovery that is needed here. */
export type Finder = Pick<Discovery, 'start' | 'modems' | 'learn' | 'onChange' | 'close'> &
  Partial<Pick<Discovery, 'conflicts'>>;

/** `dev`: where device files are. */
export function discoveredSlots(
  finder: Finder,
  frame: { profiles: readonly Profile[]; dev: string },
): SlotSource {
  return {
    start: () => finder.start(),
    slots: () =>
      finder.modems().flatMap(modem => {
        const slot = slotOf(modem, frame);
        return 'obstacle' in slot ? [] : [slot];
      }),
    whyAbsent: config => absenceOf(config.usbPath, finder.modems(), frame),
    learn: (usbPath, identity) => finder.learn(usbPath, identity),
    isPluggedIn: usbPath => finder.modems().some(modem => modem.usbPath === usbPath),
    conflicts: async () => (await finder.conflicts?.()) ?? [],
    onChange: listener => finder.onChange(listener),
    close: () => finder.close(),
  };
}

/** The slot as the plane takes it, or what keeps it from being one. */
export function slotOf(
  modem: DiscoveredModem,
  frame: { profiles: readonly Profile[]; dev: string },
): InterfaceSlot | Obstacle {
  const { condition, slot, usbPath } = modem;
  const [best] = modem.speaks;
  if (condition.kind !== 'ready')
    return { obstacle: [condition.reason, condition.remedy].filter(part => part !== '').join('. ') };
  const name = modem.interface;
  if (name === null)
    return {
      obstacle: `the modem at USB ${usbPath} has no network interface. Set its USB mode to ECM or MBIM (Quectel: AT+QCFG="usbnet",1 or ,2), then restart it`,
    };
  const common = { slot, usbPath, virtual: false, interface: name };
  if (best === undefined) return { obstacle: `no driver speaks to the modem at USB ${usbPath}` };
  switch (best) {
    case 'hilink':
      return { ...common, api: { kind: 'hilink', url: `http://${HILINK_ADDRESS}` }, gateway: HILINK_ADDRESS };
    case 'mbim': {
      const control = modem.ports.find(port => port.kind === 'control')?.name;
      if (control === undefined) return { obstacle: `the modem at USB ${usbPath} has no MBIM port` };
      return { ...common, api: { kind: 'mbim', device: join(frame.dev, control) } };
    }
    case 'at':
      return atSlot(modem, common, frame);
  }
}

function atSlot(
  modem: DiscoveredModem,
  common: Omit<InterfaceSlot, 'api'>,
  frame: { profiles: readonly Profile[]; dev: string },
): InterfaceSlot | Obstacle {
  const { atPort, profileId, netDriver, undecided, identified, usbPath } = modem;
  if (atPort === null || profileId === null)
    return { obstacle: `no serial port of the modem at USB ${usbPath} answers AT` };
  const api: SlotApi = {
    kind: 'at',
    port: join(frame.dev, atPort),
    profile: profileId,
    // Several models fit: it is asked first, and dialled by the profile of the one that it is.
    ...(undecided.length > 0 && !identified ? { identifying: true } : {}),
  };
  if (netDriver !== null && CARRIER_DRIVERS.has(netDriver)) return { ...common, api };
  if (netDriver === null || !ROUTER_DRIVERS.has(netDriver))
    return {
      obstacle: `the interface ${common.interface} is driven by ${netDriver ?? 'an unknown driver'}, which AT cannot set up. Set the USB mode to ECM or MBIM (Quectel: AT+QCFG="usbnet",1 or ,2), then restart the modem`,
    };
  if (api.identifying === true) return { ...common, api };
  const gateway = frame.profiles.find(profile => profile.id === profileId)?.connect.lanAddress;
  if (gateway === undefined)
    return {
      obstacle: `profile ${profileId} does not say at which address the modem routes. List the slot in the configuration, with its "gateway"`,
    };
  return { ...common, api, gateway };
}

/** Why a slot that was up has nothing to bring up now. */
export function absenceOf(
  usbPath: string,
  modems: readonly DiscoveredModem[],
  frame: { profiles: readonly Profile[]; dev: string },
): string {
  const modem = modems.find(one => one.usbPath === usbPath);
  if (modem === undefined) return `nothing is plugged in at USB ${usbPath}`;
  const slot = slotOf(modem, frame);
  return 'obstacle' in slot ? slot.obstacle : `the modem at USB ${usbPath} is on its way`;
}
