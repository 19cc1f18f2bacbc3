/**
 * What a virtual E3372h says, element by element and in a real stick's order: empty fields stay empty and `maxsignal`
 * stands there twice, as in recordings of the real thing. Values come from the virtual carrier.
 */
import { type CarrierStatus, CONNECTED } from './carrier';

export interface StickIdentity {
  imei: string;
  imsi: string;
  iccid: string;
  serial: string;
  model: string;
  hardware: string;
  firmware: string;
  webUi: string;
}

export type Element = readonly [name: string, value: string | number];

/** A stick with an IMEI of its own (with its Luhn digit), the same for the same number. */
export function identityOf(instance: number, slot: number): StickIdentity {
  const unit = String(instance * 100 + slot).padStart(6, '0');
  const body = `86123403${unit}`;
  return {
    imei: `${body}${luhnDigit(body)}`,
    imsi: `99970${unit.padStart(10, '0')}`,
    iccid: `8999970${unit.padStart(12, '0')}`,
    serial: `VIRTUAL${unit.padStart(9, '0')}`,
    model: 'E3372',
    hardware: 'CL2E3372HM',
    firmware: '22.329.63.00.1460',
    webUi: '17.100.20.03.1460',
  };
}

function luhnDigit(digits: string): number {
  let sum = 0;
  for (let i = 0; i < digits.length; i += 1) {
    const digit = Number(digits[digits.length - 1 - i]);
    const doubled = i % 2 === 0 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return (10 - (sum % 10)) % 10;
}

/** The carrier hands sticks private addresses; the public one is behind its NAT. */
export interface StickView {
  identity: StickIdentity;
  carrier: CarrierStatus;
  wanAddress: string;
  dnsServers: readonly string[];
  /** Carried for the LAN since power-on. */
  bytes: { up: number; down: number };
  /** Elements that read otherwise than usual. */
  status: Record<string, string>;
  signal: Record<string, string>;
}

/** Puts other values in, and what is not there at the end. */
function otherwise(elements: Element[], other: Record<string, string>): Element[] {
  const names = new Set(elements.map(([name]) => name));
  return [
    ...elements.map(([name, value]): Element => [name, other[name] ?? value]),
    ...Object.entries(other).filter(([name]) => !names.has(name)),
  ];
}

const up = (view: StickView) => view.carrier.connection === CONNECTED;

/** `GET device/information` */
export function deviceInformation(view: StickView): Element[] {
  const { identity } = view;
  return [
    ['DeviceName', identity.model],
    ['SerialNumber', identity.serial],
    ['Imei', identity.imei],
    ['Imsi', identity.imsi],
    ['Iccid', identity.iccid],
    ['Msisdn', ''],
    ['HardwareVersion', identity.hardware],
    ['SoftwareVersion', identity.firmware],
    ['WebUIVersion', identity.webUi],
    ['MacAddress1', '0C:5B:8F:27:9A:64'],
    ['MacAddress2', ''],
    ['WanIPAddress', up(view) ? view.wanAddress : ''],
    ['WanIPv6Address', ''],
    ['ProductFamily', 'LTE'],
    ['Classify', 'hilink'],
    ['supportmode', 'LTE|WCDMA|GSM'],
    ['workmode', view.carrier.registered ? 'LTE' : 'NO SERVICE'],
  ];
}

/** `GET device/basic_information`: what a stick says before log-in. */
export function basicInformation(view: StickView): Element[] {
  return [
    ['productfamily', 'LTE'],
    ['classify', 'hilink'],
    ['multimode', '0'],
    ['restore_default_status', '1'],
    ['devicename', view.identity.model],
    ['SoftwareVersion', view.identity.firmware],
    ['WebUIVersion', view.identity.webUi],
  ];
}

/** `GET monitoring/status` */
export function monitoringStatus(view: StickView): Element[] {
  const { carrier } = view;
  const service = carrier.registered;
  const usual: Element[] = [
    ['ConnectionStatus', carrier.connection],
    ['WifiConnectionStatus', ''],
    ['SignalStrength', ''],
    ['SignalIcon', service ? 4 : 0],
    ['CurrentNetworkType', service ? 19 : 0],
    ['CurrentServiceDomain', service ? 3 : 0],
    ['RoamingStatus', 0],
    ['BatteryStatus', ''],
    ['BatteryLevel', ''],
    ['BatteryPercent', ''],
    ['simlockStatus', 0],
    ['PrimaryDns', up(view) ? (view.dnsServers[0] ?? '') : ''],
    ['SecondaryDns', up(view) ? (view.dnsServers[1] ?? '') : ''],
    ['PrimaryIPv6Dns', ''],
    ['SecondaryIPv6Dns', ''],
    ['CurrentWifiUser', ''],
    ['TotalWifiUser', ''],
    ['currenttotalwifiuser', 0],
    ['ServiceStatus', service ? 2 : 0],
    ['SimStatus', 1],
    ['WifiStatus', ''],
    ['CurrentNetworkTypeEx', service ? 101 : 0],
    ['maxsignal', 5],
    ['wifiindooronly', -1],
    ['wififrequence', 0],
    ['classify', 'hilink'],
    ['flymode', 0],
    ['cellroam', 1],
    ['maxsignal', 5],
  ];
  return otherwise(usual, view.status);
}

/** `GET device/signal`: strings with units. */
export function deviceSignal(view: StickView): Element[] {
  const service = view.carrier.registered;
  const usual: Element[] = [
    ['pci', service ? '12' : ''],
    ['sc', ''],
    ['cell_id', service ? '1234567' : ''],
    ['rsrq', service ? '-9dB' : ''],
    ['rsrp', service ? '-95dBm' : ''],
    ['rssi', service ? '-67dBm' : ''],
    ['sinr', service ? '12dB' : ''],
    ['rscp', ''],
    ['ecio', ''],
    ['mode', service ? '7' : ''],
    ['ulbandwidth', service ? '10MHz' : ''],
    ['dlbandwidth', service ? '10MHz' : ''],
    ['earfcn', service ? 'DL:1850 UL:19850' : ''],
    ['band', service ? '3' : ''],
  ];
  return otherwise(usual, view.signal);
}

/** `GET net/current-plmn` (999 70 is the test network of E.212). */
export function currentPlmn(view: StickView): Element[] {
  const service = view.carrier.registered;
  return [
    ['State', service ? 0 : 1],
    ['FullName', service ? 'Mastline Virtual' : ''],
    ['ShortName', service ? 'MLV' : ''],
    ['Numeric', service ? '99970' : ''],
    ['Rat', service ? 7 : ''],
  ];
}

/** `GET monitoring/traffic-statistics` */
export function trafficStatistics(view: StickView): Element[] {
  const { bytes } = view;
  return [
    ['CurrentConnectTime', ''],
    ['CurrentUpload', bytes.up],
    ['CurrentDownload', bytes.down],
    ['CurrentDownloadRate', 0],
    ['CurrentUploadRate', 0],
    ['TotalUpload', bytes.up],
    ['TotalDownload', bytes.down],
    ['TotalConnectTime', ''],
    ['showtraffic', 1],
  ];
}

/** A reply's text; `<response>` for good. */
export function responseXml(elements: readonly Element[]): string {
  const lines = elements.map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`);
  return `<?xml version="1.0" encoding="UTF-8"?>\r\n<response>\r\n${lines.join('\r\n')}\r\n</response>\r\n`;
}

export const OK_XML = '<?xml version="1.0" encoding="UTF-8"?><response>OK</response>';

/** Errors come with HTTP status 200, too. */
export function errorXml(code: number): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\r\n<error>\r\n<code>${code}</code>\r\n<message></message>\r\n</error>\r\n`;
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`);
}
