/**
 * How the power of a modem's USB port can be cut, if at all. Pure: facts about the hub in, steps or an honest refusal
 * out. Carrying the steps out is usb-power.ts.
 */
import { parentOf, type UsbDevice } from './usb-tree';

export interface PowerFacts {
  usbPath: string;
  devices: readonly UsbDevice[];
  /** The machine's model as its device tree has it; null on most PCs. */
  board: string | null;
  /** Hubs that uhubctl says it can switch port by port; null when it is not installed. */
  switchable: readonly string[] | null;
  /** The port has a `disable` file (Linux 6.0 and later). */
  portFile: boolean;
  /** A person has agreed that other devices on the hub lose power, too. */
  cutNeighbours: boolean;
}

export type PowerPlan =
  /** `certain` is false where only the result will tell whether the port lost its voltage. */
  | { kind: 'uhubctl'; hubs: { hub: string; port: number | null }[]; cuts: string[]; certain: boolean }
  | { kind: 'port-file'; hub: string; port: number; certain: boolean }
  | { kind: 'refused'; reason: string; remedy: string };

const POWERED_HUB = 'Put the modem on a powered hub that switches each port (list in the README of uhubctl).';

/** Boards whose own ports are switched together, and how (mvp/uhubctl, README). */
const GANGED: {
  board: RegExp;
  hubs: string[] | null;
  isOwn(hub: string, device: UsbDevice | null): boolean;
}[] = [
  {
    board: /^Raspberry Pi (?:4|Compute Module 4)\b/,
    hubs: ['1-1', '2'],
    isOwn: (hub, device) => hub.startsWith('usb') || (hub === '1-1' && device?.vendorId === '2109'),
  },
  {
    board: /^Raspberry Pi (?:5|Compute Module 5)\b/,
    hubs: ['2', '4'],
    isOwn: hub => hub.startsWith('usb'),
  },
  {
    // How the older ones are switched differs from board to board; their Ethernet hangs on the same hub.
    board: /^Raspberry Pi\b/,
    hubs: null,
    isOwn: (hub, device) => hub.startsWith('usb') || device?.vendorId === '0424',
  },
];

export function planPower(facts: PowerFacts): PowerPlan {
  const { usbPath, devices, board, switchable } = facts;
  const { hub, port } = parentOf(usbPath);
  const device = devices.find(one => one.path === hub) ?? null;
  const ganged = GANGED.find(one => board !== null && one.board.test(board));
  if (ganged?.isOwn(hub, device)) return planGanged(facts, ganged.hubs);

  const location = hub.startsWith('usb') ? hub.slice(3) : hub;
  if (switchable?.includes(location))
    return { kind: 'uhubctl', hubs: [{ hub: location, port }], cuts: [], certain: true };
  if (switchable !== null)
    return {
      kind: 'refused',
      reason: `this hub cannot: ${nameOf(hub, device)} does not switch the power of single ports`,
      remedy: POWERED_HUB,
    };
  if (facts.portFile) return { kind: 'port-file', hub, port, certain: false };
  return {
    kind: 'refused',
    reason: `nobody can tell whether ${nameOf(hub, device)} switches power: uhubctl is not installed`,
    remedy: 'Install it: apt-get install -y uhubctl',
  };
}

function planGanged(facts: PowerFacts, hubs: string[] | null): PowerPlan {
  const { board, usbPath, devices } = facts;
  if (hubs === null)
    return {
      kind: 'refused',
      reason: `this hub cannot: ${board} switches all its ports together, and its Ethernet with them`,
      remedy: POWERED_HUB,
    };
  // All ports of the board go dark: whatever is on USB, but for hubs, which are no loss by themselves.
  const cuts = devices.filter(one => !one.hub && one.path !== usbPath).map(one => one.path);
  if (cuts.length > 0 && !facts.cutNeighbours)
    return {
      kind: 'refused',
      reason: `${board} switches all its ports together: USB ${cuts.join(', ')} would lose power, too`,
      remedy: `Allow it explicitly if that does no harm. ${POWERED_HUB}`,
    };
  if (facts.switchable === null)
    return {
      kind: 'refused',
      reason: `${board} is switched by uhubctl, which is not installed`,
      remedy: 'Install it: apt-get install -y uhubctl',
    };
  return { kind: 'uhubctl', hubs: hubs.map(hub => ({ hub, port: null })), cuts, certain: true };
}

function nameOf(hub: string, device: UsbDevice | null): string {
  return device ? `hub ${hub} (${device.vendorId}:${device.productId})` : `the computer's own hub ${hub}`;
}

/**
 * Hubs in the listing of `uhubctl` without arguments, which has only those it can switch:
 * `Current status for hub 1-1.4 [05e3:0610 USB2.0 Hub, USB 2.10, 4 ports, ppps]`. Ganged ones do not count.
 */
export function switchableHubs(listing: string): string[] {
  return [...listing.matchAll(/^Current status for hub ([\d.-]+) \[.*, ppps\]\s*$/gm)].map(
    one => one[1] ?? '',
  );
}
