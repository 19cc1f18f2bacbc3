/**
 * What a stick's replies mean, in the words of the driver contract. Pure: reply in, value out; elements that are
 * missing, empty or of another form become null, and where one stands twice the first counts.
 */
import type {
  Cell,
  DataCounters,
  DataState,
  ModemIdentity,
  ModemStatus,
  Registration,
  ShortMessage,
  Signal,
  SimState,
} from '../../driver';
import { textOf, type XmlElement } from './xml';

/** Everything that one `monitoring/status` tells. */
export interface HilinkStatus extends ModemStatus {
  /** 900 connecting, 901 connected, 902 disconnected, 903 disconnecting, others are failures; null when not said. */
  connection: number | null;
}

const MAX_TEXT = 80;

export function identityOf(reply: XmlElement): ModemIdentity {
  const imei = said(reply, 'Imei');
  return {
    imei: imei !== null && /^\d{14,16}$/.test(imei) ? imei : null,
    model: said(reply, 'DeviceName', 'devicename')?.slice(0, MAX_TEXT) ?? null,
    firmware: said(reply, 'SoftwareVersion')?.slice(0, MAX_TEXT) ?? null,
    imsi: said(reply, 'Imsi'),
    iccid: said(reply, 'Iccid'),
  };
}

/** Turns a `monitoring/status` reply into values. */
export function statusOf(reply: XmlElement): HilinkStatus {
  const connection = numberIn(reply, 'ConnectionStatus');
  const dnsServers = ['PrimaryDns', 'SecondaryDns'].flatMap(name => addressIn(reply, name) ?? []);
  return {
    connection,
    data: dataStateOf(connection),
    bearer: {
      connected: connection === 901,
      address: addressIn(reply, 'WanIPAddress'),
      address6: null,
      prefixLength: null,
      gateway: null,
      dnsServers: [...new Set(dnsServers)],
      mtu: null,
    },
    registration: {
      state: registrationState(numberIn(reply, 'ServiceStatus'), numberIn(reply, 'RoamingStatus')),
      carrier: null,
      plmn: null,
      technology: technologyOf(
        numberIn(reply, 'CurrentNetworkTypeEx') ?? numberIn(reply, 'CurrentNetworkType'),
      ),
    },
    sim: simOfStatus(numberIn(reply, 'SimStatus')),
  };
}

/** `net/current-plmn` beside what the status told. */
export function withCarrier(registration: Registration, reply: XmlElement): Registration {
  const plmn = said(reply, 'Numeric');
  return {
    ...registration,
    carrier: said(reply, 'FullName', 'ShortName')?.slice(0, MAX_TEXT) ?? null,
    plmn: plmn !== null && /^\d{5,6}$/.test(plmn) ? plmn : null,
  };
}

/** `pin/status`. 255 to 259 are as reported from the field, not proven. */
export function simOfPinStatus(reply: XmlElement): SimState {
  const state = numberIn(reply, 'SimState');
  switch (state) {
    case 257:
    case 258:
      return { state: 'ready' };
    case 260:
      return { state: 'pin-needed', triesLeft: numberIn(reply, 'SimPinTimes') };
    case 261:
      return { state: 'puk-needed', triesLeft: numberIn(reply, 'SimPukTimes') };
    case 255:
      return { state: 'absent' };
    case 259:
      return { state: 'failed', reason: 'the PIN is being checked' };
    default:
      return { state: 'failed', reason: `the SIM is in state ${state ?? 'that the stick does not tell'}` };
  }
}

/** `device/signal`: numbers with units, sometimes with a comparison before them (`>=-51dBm`). */
export function signalOf(reply: XmlElement): Signal {
  const level = (name: string, unit: string) => {
    const match = /^(?:[<>]=?)?\s*(-?\d{1,4}(?:\.\d{1,2})?)\s*(dBm|dB)?$/i.exec(textOf(reply, name) ?? '');
    if (!match || (match[2] ?? unit).toLowerCase() !== unit.toLowerCase()) return null;
    return Number(match[1]);
  };
  return {
    rssiDbm: level('rssi', 'dBm'),
    rsrpDbm: level('rsrp', 'dBm'),
    rsrqDb: level('rsrq', 'dB'),
    sinrDb: level('sinr', 'dB'),
  };
}

/** The cell out of the same reply. */
export function cellOf(reply: XmlElement): Cell {
  const channel = /(?:^|DL:)(\d{1,6})\b/.exec(textOf(reply, 'earfcn') ?? '')?.[1];
  const band = said(reply, 'band');
  return {
    cellId: said(reply, 'cell_id'),
    pci: numberIn(reply, 'pci'),
    channel: channel === undefined ? null : Number(channel),
    band: band !== null && /^\d{1,3}$/.test(band) ? `B${band}` : band,
  };
}

/** `monitoring/traffic-statistics`; null when the numbers are missing or past what counts exactly. */
export function countersOf(reply: XmlElement): DataCounters | null {
  const bytes = (name: string) => {
    const text = textOf(reply, name) ?? '';
    const value = /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
    return Number.isSafeInteger(value) ? value : null;
  };
  const [rxBytes, txBytes] = [bytes('CurrentDownload'), bytes('CurrentUpload')];
  return rxBytes === null || txBytes === null ? null : { rxBytes, txBytes };
}

/** A page of `sms/sms-list`. The stick's dates are its local time without a zone, hence no instants. */
export function messagesOf(reply: XmlElement): ShortMessage[] {
  const list = reply.children.find(child => child.name === 'Messages');
  return (list?.children ?? [])
    .filter(child => child.name === 'Message')
    .map(message => ({
      index: textOf(message, 'Index') ?? '',
      sender: textOf(message, 'Phone') ?? '',
      receivedAt: null,
      text: textOf(message, 'Content') ?? '',
      unread: textOf(message, 'Smstat') === '0',
    }));
}

export function numberIn(reply: XmlElement, name: string): number | null {
  const text = textOf(reply, name);
  return text !== undefined && /^-?\d{1,9}$/.test(text) ? Number(text) : null;
}

/** An IPv4 address that means something. */
export function addressIn(reply: XmlElement, name: string): string | null {
  const text = textOf(reply, name);
  return text !== undefined && /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text !== '0.0.0.0' ? text : null;
}

function dataStateOf(connection: number | null): DataState {
  if (connection === 901) return { state: 'up', reason: '' };
  const reason = whyDown(connection);
  if (connection === 902) return { state: 'down', reason };
  return { state: connection === 900 || connection === 903 ? 'changing' : 'refused', reason };
}

/** Why there is no data connection, by the stick's status number. */
export function whyDown(connection: number | null): string {
  switch (connection) {
    case null:
      return 'the modem does not say whether it is connected';
    case 900:
      return 'connecting';
    case 902:
      return 'no data connection';
    case 903:
      return 'disconnecting';
    case 904:
      return 'the data connection failed or timed out (904)';
    case 905:
      return 'the network refused service (905)';
    case 906:
      return 'the data connection is not allowed, for instance when roaming (906)';
    case 907:
      return 'no network (907)';
    default:
      return `no data connection (status ${connection})`;
  }
}

function said(reply: XmlElement, ...names: string[]): string | null {
  for (const name of names) {
    const value = textOf(reply, name);
    if (value !== undefined && value !== '') return value;
  }
  return null;
}

function registrationState(service: number | null, roaming: number | null): Registration['state'] {
  if (service === null) return 'unknown';
  if (service === 2 || service === 3) return roaming === 1 ? 'roaming' : 'registered';
  return 'searching';
}

function technologyOf(type: number | null): Registration['technology'] {
  if (type === null || type === 0) return null;
  if (type === 111) return '5g-sa';
  if (type === 19 || type === 44 || type === 45 || type === 101 || type === 1011) return '4g';
  if (type <= 3) return '2g';
  return '3g';
}

function simOfStatus(status: number | null): SimState {
  if (status === 255) return { state: 'absent' };
  if (status === 0) return { state: 'failed', reason: 'no SIM, or it is not valid' };
  return { state: 'ready' };
}
