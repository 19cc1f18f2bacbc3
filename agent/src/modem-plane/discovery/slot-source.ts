/**
 * Discovered modems as slots that the plane can bring up. Today these are sticks with an Ethernet interface of their
 * own (HiLink); modems on serial ports and MBIM are found and told of, and their slots are kept for them.
 */
import type { InterfaceSlot } from '../slot-config';
import type { DiscoveredModem } from './discovery';

/** Where a stick of an untouched HiLink firmware is. */
const STICK_ADDRESS = '192.168.8.1';

/** What the plane needs of discovery. */
export interface SlotSource {
  /** Resolves after the first look. */
  start(): Promise<void>;
  modems(): readonly DiscoveredModem[];
  onChange(listener: () => void): void;
  close(): Promise<void>;
}

/** Those that can be brought up now, by slot. */
export function slotsOf(modems: readonly DiscoveredModem[]): InterfaceSlot[] {
  return modems.flatMap(modem =>
    modem.condition.kind === 'ready' && modem.speaks[0] === 'hilink' && modem.interface !== null
      ? [
          {
            slot: modem.slot,
            usbPath: modem.usbPath,
            api: { kind: 'hilink' as const, url: `http://${STICK_ADDRESS}` },
            virtual: false,
            interface: modem.interface,
            gateway: STICK_ADDRESS,
          },
        ]
      : [],
  );
}

/** Why a slot that was up has nothing to bring up now. */
export function absenceOf(usbPath: string, modems: readonly DiscoveredModem[]): string {
  const modem = modems.find(one => one.usbPath === usbPath);
  if (modem === undefined) return `nothing is plugged in at USB ${usbPath}`;
  if (modem.condition.kind === 'ready')
    return `the modem at USB ${usbPath} is driven by ${modem.speaks.join(' or ')}, which discovered slots do not serve yet`;
  return [modem.condition.reason, modem.condition.remedy].filter(part => part !== '').join('. ');
}
