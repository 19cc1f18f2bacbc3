/**
 * Reply lines of data connections → addresses and states (TS 27.007 10.1; Quectel QMAP and QNETDEVSTATUS; Huawei NDIS).
 * Pure; null means "this makes no sense". Bringing a connection up is data-call.ts.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { allFieldsNamed, fieldsNamed, hexOf, wholeOf } from './fields';

export interface Addresses {
  address: string | null;
  address6: string | null;
  prefixLength: number | null;
  gateway: string | null;
  dnsServers: string[];
}

export const NO_ADDRESSES: Readonly<Addresses> = {
  address: null,
  address6: null,
  prefixLength: null,
  gateway: null,
  dnsServers: [],
};

/** `+CGDCONT: 1,"IPV4V6","internet","0.0.0.0",0,0`: one per context. */
export function readContexts(lines: readonly string[]): { context: number; ipType: string; apn: string }[] {
  return allFieldsNamed(lines, '+CGDCONT').flatMap(([cid, ipType, apn]) => {
    const context = wholeOf(cid);
    return context === null || ipType === undefined || apn === undefined ? [] : [{ context, ipType, apn }];
  });
}

/** `+CGACT: 1,1`: whether that context is active; null when the modem does not list it. */
export function readActive(lines: readonly string[], context: number): boolean | null {
  const found = allFieldsNamed(lines, '+CGACT').find(fields => wholeOf(fields[0]) === context);
  return found ? found[1] === '1' : null;
}

/** `+CGPADDR: 1,"10.76.51.180","2001…"`. */
export function readContextAddress(lines: readonly string[], context: number): Addresses | null {
  const found = allFieldsNamed(lines, '+CGPADDR').find(fields => wholeOf(fields[0]) === context);
  return found ? merge(found.slice(1).map(field => readAddress(field))) : null;
}

/** `+CGCONTRDP: 1,5,"apn","10.1.2.3.255.255.255.0","gw","dns1","dns2"`; one line per family. */
export function readContextDetails(lines: readonly string[], context: number): Addresses | null {
  const found = allFieldsNamed(lines, '+CGCONTRDP').filter(fields => wholeOf(fields[0]) === context);
  if (found.length === 0) return null;
  const all = found.map(fields => {
    const own = readAddress(fields[3] ?? '');
    const gateway = readAddress(fields[4] ?? '');
    const dns = [fields[5], fields[6]].map(field => readAddress(field ?? ''));
    return {
      ...own,
      gateway: gateway.address,
      dnsServers: dns.flatMap(one => one.address ?? one.address6 ?? []),
    };
  });
  return merge(all);
}

/** `+QMAP: "WWAN",1,1,"IPV4","10.1.2.3"`: router mode of RM5xx, one line per family. */
export function readQmapWwan(lines: readonly string[]): (Addresses & { connected: boolean }) | null {
  const found = allFieldsNamed(lines, '+QMAP').filter(fields => fields[0] === 'WWAN');
  if (found.length === 0) return null;
  const up = found.filter(fields => fields[1] === '1').map(fields => readAddress(fields[4] ?? ''));
  const addresses = merge(up);
  return { ...addresses, connected: addresses.address !== null || addresses.address6 !== null };
}

/** `+QNETDEVSTATUS: 1,2,4,1`: state 2 is connected; null when it says nothing of the state. */
export function readNetDevStatus(fields: readonly string[]): boolean | null {
  const state = wholeOf(fields[1]);
  return state === null ? null : state === 2;
}

/** `^NDISSTATQRY: 1,,,"IPV4"`: the first four fields are of IPv4, the next of IPv6. 3 is "connecting". */
export function readNdisState(lines: readonly string[]): 'up' | 'down' | 'connecting' | null {
  const fields = fieldsNamed(lines, '^NDISSTATQRY');
  const states = [wholeOf(fields?.[0]), wholeOf(fields?.[4])];
  if (states[0] === null) return null;
  if (states.includes(1)) return 'up';
  return states.includes(2) || states.includes(3) ? 'connecting' : 'down';
}

/** `^DHCP: <ip>,<mask>,<gw>,<dhcp>,<dns1>,<dns2>,…`: each 32 bits, least byte first, without leading zeros. */
export function readHuaweiDhcp(lines: readonly string[]): Addresses | null {
  const fields = fieldsNamed(lines, '^DHCP');
  if (!fields) return null;
  const [address, mask, gateway, , dns1, dns2] = fields.map(littleEndianAddress);
  if (!address) return null;
  return {
    address,
    address6: null,
    prefixLength: mask ? prefixLengthOf(mask.split('.').map(Number)) : null,
    gateway: gateway ?? null,
    dnsServers: [dns1, dns2].filter(one => one !== null && one !== undefined),
  };
}

function littleEndianAddress(field: string): string | null {
  const value = hexOf(field);
  if (value === null || value === 0 || value > 0xffff_ffff) return null;
  return [value, value / 2 ** 8, value / 2 ** 16, value / 2 ** 24]
    .map(one => Math.floor(one) % 256)
    .join('.');
}

/**
 * An address as modems write it: dotted IPv4, colon IPv6, IPv4 with its mask (8 numbers), IPv6 as 16 numbers or with
 * its mask (32 numbers). All zeros is no address.
 */
export function readAddress(field: string): Addresses {
  const text = field.trim();
  if (isIPv6(text)) return { ...NO_ADDRESSES, address6: text === '::' ? null : text };
  const numbers = text.split('.').map(Number);
  if (text === '' || numbers.some(one => !Number.isInteger(one) || one < 0 || one > 255))
    return { ...NO_ADDRESSES };
  if (numbers.every(one => one === 0)) return { ...NO_ADDRESSES };
  const first = (count: number) => numbers.slice(0, count);
  switch (numbers.length) {
    case 4:
    case 8: {
      const address = first(4).join('.');
      if (!isIPv4(address) || address === '0.0.0.0') return { ...NO_ADDRESSES };
      return {
        ...NO_ADDRESSES,
        address,
        prefixLength: numbers.length === 8 ? prefixLengthOf(numbers.slice(4)) : null,
      };
    }
    case 16:
    case 32:
      return { ...NO_ADDRESSES, address6: ipv6Of(first(16)) };
    default:
      return { ...NO_ADDRESSES };
  }
}

function ipv6Of(octets: readonly number[]): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0)).toString(16));
  return groups.join(':');
}

/** 255.255.255.0 → 24; null for a mask with holes. */
function prefixLengthOf(mask: readonly number[]): number | null {
  const bits = mask.map(one => one.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits) ? bits.replaceAll('0', '').length : null;
}

function merge(all: readonly Addresses[]): Addresses {
  return all.reduce<Addresses>(
    (sum, one) => ({
      address: sum.address ?? one.address,
      address6: sum.address6 ?? one.address6,
      prefixLength: sum.prefixLength ?? one.prefixLength,
      gateway: sum.gateway ?? one.gateway,
      dnsServers: [...new Set([...sum.dnsServers, ...one.dnsServers])],
    }),
    { ...NO_ADDRESSES, dnsServers: [] },
  );
}
