/**
 * From MBIM's numbers to the values of the driver contract. Pure: replies in, readings out. The units are the
 * standard's (USB-IF MBIM 1.0, parts 10.5.9 to 10.5.15).
 */
import type { Bearer, Cell, Registration, Signal, SimState } from '../../driver';
import type { PinState, RegisterState, SignalState, SubscriberReady } from './basic-connect';
import type { IpConfiguration, PacketService } from './data-connection';
import type { BaseStations, LteCell } from './extensions';
import { DATA_CLASSES } from './services';

const RSSI_UNKNOWN = 99;
const RSSI_MOST = 31;

const TECHNOLOGIES: readonly (readonly [bits: number, technology: Registration['technology']])[] = [
  [DATA_CLASSES.nrStandalone, '5g-sa'],
  [DATA_CLASSES.nrNonStandalone, '5g-nsa'],
  [DATA_CLASSES.lte, '4g'],
  [DATA_CLASSES.umts | DATA_CLASSES.hsdpa | DATA_CLASSES.hsupa, '3g'],
  [DATA_CLASSES.gprs | DATA_CLASSES.edge, '2g'],
];

/** The best technology among data class bits; null where none is known. */
export function technologyOf(dataClass: number): Registration['technology'] {
  return TECHNOLOGIES.find(([bits]) => (dataClass & bits) !== 0)?.[1] ?? null;
}

const REGISTRATION_STATES: Record<RegisterState['state'], Registration['state']> = {
  unknown: 'unknown',
  deregistered: 'not-searching',
  searching: 'searching',
  home: 'registered',
  roaming: 'roaming',
  partner: 'roaming',
  denied: 'denied',
};

/** What is in use, where the packet service says; else the best that is available here. */
export function registrationOf(
  register: RegisterState,
  packetService: Pick<PacketService, 'state' | 'highestDataClass'> | null,
): Registration {
  const state = REGISTRATION_STATES[register.state];
  const attached = packetService?.state === 'attached' && packetService.highestDataClass !== 0;
  const dataClass = attached ? packetService.highestDataClass : register.availableDataClasses;
  return {
    state,
    carrier: textOrNull(register.providerName),
    plmn: textOrNull(register.providerId),
    technology: state === 'registered' || state === 'roaming' ? technologyOf(dataClass) : null,
  };
}

/** MBIM 1.0 has no SINR at all, and RSRP and RSRQ only by an extension. */
export function signalOf(signal: SignalState, cell: LteCell | null): Signal {
  const known = signal.rssi !== RSSI_UNKNOWN && signal.rssi <= RSSI_MOST;
  return {
    rssiDbm: known ? -113 + 2 * signal.rssi : null,
    rsrpDbm: cell?.rsrpDbm ?? null,
    rsrqDb: cell?.rsrqDb ?? null,
    sinrDb: null,
  };
}

export function cellOf(stations: BaseStations): Cell {
  const { lte } = stations;
  return {
    cellId: lte === null || lte.cellId === null ? null : String(lte.cellId),
    pci: lte?.pci ?? null,
    channel: lte?.earfcn ?? null,
    // MBIM names no band; the channel tells it to who has the table.
    band: null,
  };
}

/** What the SIM's state is without looking at its PIN; `ask-pin` where that decides. */
export function simOf(subscriber: SubscriberReady): SimState | 'ask-pin' | 'starting' {
  switch (subscriber.state) {
    case 'ready':
      return { state: 'ready' };
    case 'not-inserted':
      return { state: 'absent' };
    case 'locked':
      return 'ask-pin';
    case 'not-initialized':
      return 'starting';
    case 'bad':
      return { state: 'failed', reason: 'the modem cannot read the SIM' };
    case 'not-activated':
      return { state: 'failed', reason: 'the SIM is not activated with its carrier' };
    case 'failure':
    case 'unknown':
      return { state: 'failed', reason: 'the SIM failed' };
  }
}

/** The state of a SIM that is locked. */
export function lockedSimOf(pin: PinState): SimState {
  if (!pin.locked) return { state: 'failed', reason: 'the SIM says that it is locked, but by no PIN' };
  switch (pin.type) {
    case 'pin1':
      return { state: 'pin-needed', triesLeft: pin.triesLeft };
    case 'puk1':
      return { state: 'puk-needed', triesLeft: pin.triesLeft };
    default:
      return { state: 'failed', reason: 'the modem is locked to another carrier or SIM' };
  }
}

export const NO_BEARER: Bearer = {
  connected: false,
  address: null,
  address6: null,
  prefixLength: null,
  gateway: null,
  dnsServers: [],
  mtu: null,
};

/** The host sets these on the interface itself; there is no DHCP on an MBIM modem. */
export function bearerOf({ ipv4, ipv6 }: IpConfiguration): Bearer {
  return {
    connected: true,
    address: ipv4.address,
    address6: ipv6.address,
    // A /128 on a link to one modem needs neither.
    prefixLength: ipv4.prefixLength,
    gateway: ipv4.gateway,
    dnsServers: [...ipv4.dnsServers, ...ipv6.dnsServers],
    // The interface has one for both.
    mtu: ipv4.mtu === null || ipv6.mtu === null ? (ipv4.mtu ?? ipv6.mtu) : Math.min(ipv4.mtu, ipv6.mtu),
  };
}

export function textOrNull(text: string): string | null {
  const trimmed = text.trim();
  return trimmed === '' ? null : trimmed;
}
