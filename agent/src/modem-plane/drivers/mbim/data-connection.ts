/**
 * The rows of the data connection (USB-IF MBIM 1.0, parts 10.5.10, 10.5.12, 10.5.15 and 10.5.20): attach, connect, IP
 * configuration, counters. One session (0) with the context type "internet" is all that this agent uses.
 */
import { type Command, command, plainQuery } from './command';
import { type InfoReader, InfoWriter } from './layout';
import { CIDS, CONTEXT_TYPES, SERVICES } from './services';

const at = (name: string, cid: number, deadlineMs?: number) => ({
  name,
  service: SERVICES.basicConnect,
  cid,
  ...(deadlineMs === undefined ? {} : { deadlineMs }),
});

/** The network answers an attach or a connect within 30 s or gives up; modems try more than once. */
const NETWORK_DEADLINE_MS = 60_000;
const SESSION = 0;

const PACKET_STATES = ['unknown', 'attaching', 'attached', 'detaching', 'detached'] as const;

export interface PacketService {
  networkError: number;
  state: (typeof PACKET_STATES)[number];
  /** One bit of the data classes: what is in use now. */
  highestDataClass: number;
  uplinkBitsPerSecond: number;
  downlinkBitsPerSecond: number;
}

export function readPacketService(reader: InfoReader): PacketService {
  return {
    networkError: reader.u32('network error'),
    state: PACKET_STATES[reader.u32('packet service state')] ?? 'unknown',
    highestDataClass: reader.u32('highest data class'),
    uplinkBitsPerSecond: reader.u64('uplink speed'),
    downlinkBitsPerSecond: reader.u64('downlink speed'),
  };
}

export const packetService: Command<void, PacketService> = plainQuery(
  at('packet service', CIDS.packetService),
  readPacketService,
);

export const setPacketService: Command<'attach' | 'detach', PacketService> = command(
  at('packet service switch', CIDS.packetService, NETWORK_DEADLINE_MS),
  'set',
  { write: wish => new InfoWriter().u32(wish === 'attach' ? 0 : 1).finish(), read: readPacketService },
);

const ACTIVATION_STATES = ['unknown', 'activated', 'activating', 'deactivated', 'deactivating'] as const;

export interface ConnectState {
  session: number;
  state: (typeof ACTIVATION_STATES)[number];
  networkError: number;
}

export function readConnectState(reader: InfoReader): ConnectState {
  const session = reader.u32('session');
  const state = ACTIVATION_STATES[reader.u32('activation state')] ?? 'unknown';
  reader.u32('voice call state');
  reader.u32('IP type');
  reader.uuid('context type');
  return { session, state, networkError: reader.u32('network error') };
}

export const connectState: Command<void, ConnectState> = command(
  at('connection state', CIDS.connect),
  'query',
  {
    // The reply's layout with nothing but the session and the context type in it.
    write: () =>
      new InfoWriter().u32(SESSION).u32(0).u32(0).u32(0).uuid(CONTEXT_TYPES.internet).u32(0).finish(),
    read: readConnectState,
  },
);

const AUTHENTICATION = { none: 0, pap: 1, chap: 2 } as const;
const IP_TYPES = { default: 0, ipv4: 1, ipv6: 2, ipv4v6: 3 } as const;

export interface ConnectRequest {
  activate: boolean;
  /** Empty: the carrier's own choice. */
  accessString: string;
  username: string;
  password: string;
  authentication: keyof typeof AUTHENTICATION;
  ipType: keyof typeof IP_TYPES;
}

export const DEACTIVATE: ConnectRequest = {
  activate: false,
  accessString: '',
  username: '',
  password: '',
  authentication: 'none',
  ipType: 'default',
};

export const setConnect: Command<ConnectRequest, ConnectState> = command(
  at('connect', CIDS.connect, NETWORK_DEADLINE_MS),
  'set',
  {
    write: request =>
      new InfoWriter()
        .u32(SESSION)
        .u32(request.activate ? 1 : 0)
        .string(request.accessString)
        .string(request.username)
        .string(request.password)
        .u32(0)
        .u32(AUTHENTICATION[request.authentication])
        .u32(IP_TYPES[request.ipType])
        .uuid(CONTEXT_TYPES.internet)
        .finish(),
    read: readConnectState,
  },
);

export interface IpSettings {
  address: string | null;
  prefixLength: number | null;
  gateway: string | null;
  dnsServers: string[];
  mtu: number | null;
}

export interface IpConfiguration {
  session: number;
  ipv4: IpSettings;
  ipv6: IpSettings;
}

const IP_CONFIGURATION_BYTES = 60;

export const ipConfiguration: Command<void, IpConfiguration> = command(
  at('IP configuration', CIDS.ipConfiguration),
  'query',
  {
    // The reply's layout with nothing but the session in it; some firmware refuses a shorter one.
    write: () => Buffer.alloc(IP_CONFIGURATION_BYTES),
    read: reader => {
      const session = reader.u32('session');
      const flags4 = reader.u32('IPv4 flags');
      const flags6 = reader.u32('IPv6 flags');
      const addresses4 = elements(reader, 'IPv4 address', 8);
      const addresses6 = elements(reader, 'IPv6 address', 20);
      const gateway4 = reader.elements('IPv4 gateway', { count: 1, elementBytes: 4 });
      const gateway6 = reader.elements('IPv6 gateway', { count: 1, elementBytes: 16 });
      const dns4 = elements(reader, 'IPv4 name server', 4);
      const dns6 = elements(reader, 'IPv6 name server', 16);
      const mtu4 = reader.u32('IPv4 MTU');
      const mtu6 = reader.u32('IPv6 MTU');
      return {
        session,
        ipv4: settings(flags4, { addresses: addresses4, gateway: gateway4, dns: dns4, mtu: mtu4 }),
        ipv6: settings(flags6, { addresses: addresses6, gateway: gateway6, dns: dns6, mtu: mtu6 }),
      };
    },
  },
);

const HAS_ADDRESS = 1;
const HAS_GATEWAY = 2;
const HAS_DNS = 4;
const HAS_MTU = 8;

/** A count, then the offset of so many elements. */
function elements(reader: InfoReader, field: string, elementBytes: number): Buffer[] {
  const count = reader.u32(`${field} count`);
  return reader.elements(field, { count, elementBytes });
}

/** The flags say which fields mean anything; an element is its prefix length (u32) and the address. */
function settings(
  flags: number,
  found: { addresses: Buffer[]; gateway: Buffer[]; dns: Buffer[]; mtu: number },
): IpSettings {
  const first = (flags & HAS_ADDRESS) === 0 ? undefined : found.addresses[0];
  const gateway = (flags & HAS_GATEWAY) === 0 ? undefined : found.gateway[0];
  const longest = first === undefined ? 0 : (first.length - 4) * 8;
  const prefix = first?.readUInt32LE(0);
  return {
    address: first === undefined ? null : addressText(first.subarray(4)),
    prefixLength: prefix === undefined || prefix > longest ? null : prefix,
    gateway: gateway === undefined ? null : addressText(gateway),
    dnsServers: (flags & HAS_DNS) === 0 ? [] : found.dns.map(addressText),
    mtu: (flags & HAS_MTU) === 0 || found.mtu === 0 ? null : found.mtu,
  };
}

/** Network order. IPv6 is written out in full groups: correct everywhere, shortened nowhere. */
function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let index = 0; index < bytes.length; index += 2) groups.push(bytes.readUInt16BE(index).toString(16));
  return groups.join(':');
}

export interface PacketStatistics {
  rxBytes: number;
  txBytes: number;
}

export const packetStatistics: Command<void, PacketStatistics> = plainQuery(
  at('packet statistics', CIDS.packetStatistics),
  reader => {
    reader.u32('discarded in');
    reader.u32('errors in');
    const rxBytes = reader.u64('octets in');
    reader.u64('packets in');
    const txBytes = reader.u64('octets out');
    reader.u64('packets out');
    return { rxBytes, txBytes };
  },
);
