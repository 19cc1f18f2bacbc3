/**
 * Gives an interface slot its way out: an address, a routing table of its own that ends in `unreachable`, and the rule
 * that leads from the one to the other. Where the modem is a router (HiLink, ECM) the address is one of ours in its
 * subnet, so that sticks with the same address and MAC do not collide; else it is the carrier's own, as MBIM or a
 * Huawei NDIS connection gives it, or, where that is in use here, one of ours before a namespace (slot-namespace.ts). What should leave through a dead modem leaves nowhere. Modems keep their settings.
 */
import { readFileSync } from 'node:fs';
import { SocketAddress } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Bearer } from './driver';
import type { LeakGuard } from './leak-guard';
import { withMachineLock } from './machine-lock';
import { makeOf, type NetworkItem, type NetworkJournal } from './network-journal';
import { isPresent, type NetworkSurvey, surveyNetwork } from './network-survey';
import { type RunIp, runInOrder } from './run-ip';
import { type InterfaceSlot, routerOf, subnetOf } from './slot-config';
import { freePair, namespaceItems, namespaceOf, type SlotNamespace } from './slot-namespace';

/** Host part of the first address that is tried: sticks hand out .100 themselves. */
const FIRST_HOST = 101;
const LAST_HOST = 199;
/** Tables and rule priorities are tried from 1000 + slot upward; the kernel's own are 253 to 255. */
const FIRST_TABLE = 1000;
const TABLES_TRIED = 4096;
/** Below every metric that anybody sets. */
const LAST_METRIC = '4278198272';
/** What IPv4 asks of every link (RFC 791). */
const MIN_MTU = 68;
/** What IPv6 asks of every link (RFC 8200); the kernel takes IPv6 off a link with less. */
const MIN_MTU6 = 1280;
/** What the kernel itself gives a route of IPv6. */
const METRIC6 = '1024';
const CAP_NET_ADMIN = 12n;

/** What a slot has been given; `items` are wanted as long as the agent runs. */
export interface SlotNetwork {
  /** Of IPv4; of IPv6 where the carrier gave nothing else. */
  sourceAddress: string;
  /** Of IPv6, beside one of IPv4. */
  sourceAddress6?: string;
  /** Why the carrier's IPv6 address is not used. */
  problem6?: string;
  items: NetworkItem[];
  /** Where the modem's interface is, when its address is in use here. */
  namespace?: SlotNamespace;
}

/** What of a data connection goes onto the interface. */
export type CarrierAddress = Pick<Bearer, 'address' | 'prefixLength' | 'gateway' | 'mtu'> & {
  /** As the kernel spells it. */
  address6?: string;
};

/** What every way but IPv6 alone has. */
export type CarrierAddress4 = CarrierAddress & { address: string };

/**
 * The part of a bearer that the network is made of; null while there is nothing to make it of. IPv6 of MBIM modems only:
 * others route by themselves, or want the address made up from their advertisements.
 */
export function carrierAddressOf(
  bearer: Bearer | null,
  { api }: Pick<InterfaceSlot, 'api'>,
): CarrierAddress | null {
  if (bearer === null || !bearer.connected) return null;
  const { address, prefixLength, gateway, mtu } = bearer;
  const address6 = api.kind === 'mbim' && bearer.address6 !== null ? spelled(bearer.address6) : null;
  if (address === null && address6 === null) return null;
  return { address, prefixLength, gateway, mtu, ...(address6 === null ? {} : { address6 }) };
}

/** Null for what is no address of a host out there: only global ones (RFC 4291) and unique local ones (RFC 4193) are. */
function spelled(address6: string): string | null {
  const { address } = new SocketAddress({ address: address6, family: 'ipv6' });
  const first = Number.parseInt(address.split(':')[0] || '0', 16);
  return first >> 13 === 0x1 || first >> 9 === 0x7e ? address : null;
}

/** True when this process may change addresses and routes. */
export function canChangeNetwork(): boolean {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return ((BigInt(`0x${match?.[1] ?? '0'}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

/** The IPv4 address that the interface has, for an agent that may not give it one. */
export function existingAddress(interfaceName: string): string | undefined {
  return networkInterfaces()[interfaceName]?.find(one => one.family === 'IPv4')?.address;
}

/**
 * Chooses and makes a slot's network. `carrier` is needed where the modem is no router. Throws `network/…` with what
 * to do.
 */
export async function setUpSlot(
  slot: InterfaceSlot,
  parts: {
    runIp: RunIp;
    journal: NetworkJournal;
    clock: Clock;
    carrier?: CarrierAddress | null;
    guard?: LeakGuard | undefined;
    /** Whether the interface is held to the slot's own IPv6 address (link-shield.ts). */
    mayIpv6?: boolean;
  },
): Promise<SlotNetwork> {
  const { runIp, journal, guard } = parts;
  return withMachineLock(parts.clock, async () => {
    const carrier = parts.carrier ?? null;
    const survey = await surveyNetwork(runIp, { ipv6: carrier?.address6 !== undefined });
    const problem6 = await whyNoIpv6(slot, carrier, { ...parts, survey });
    const wanted = {
      ...planSlot(slot, survey, carrier && problem6 !== '' ? withoutIpv6(slot, carrier, problem6) : carrier),
      ...(problem6 === '' ? {} : { problem6 }),
    };
    const missing = wanted.items.filter(item => !isPresent(item, survey));
    journal.record(missing);
    try {
      await guard?.hold(wanted.sourceAddress, wanted.namespace?.veth ?? slot.interface);
      await make(missing, survey, runIp);
    } catch (error) {
      // Half a network is none; the next try begins from nothing.
      await journal.remove(missing);
      await guard?.release(addressesOf(wanted));
      throw wanted.namespace ? addressTaken(slot, parts.carrier?.address ?? '', error) : error;
    }
    return wanted;
  });
}

/**
 * Why the carrier's IPv6 address is not to be used; empty when it is, and when there is none. The kernel lets a socket
 * send from an IPv6 address that is gone, by whatever link there is. So no slot has one that nftables does not hold.
 */
async function whyNoIpv6(
  slot: InterfaceSlot,
  carrier: CarrierAddress | null,
  parts: { survey: NetworkSurvey; guard?: LeakGuard | undefined; mayIpv6?: boolean },
): Promise<string> {
  const address6 = carrier?.address6;
  if (address6 === undefined) return '';
  const { survey, guard, mayIpv6 } = parts;
  const { addresses, rules } = survey;
  if (carrier?.mtu != null && carrier.mtu < MIN_MTU6) return `its packets are smaller than ${MIN_MTU6} bytes`;
  if (carrier?.address != null && isTaken(carrier.address, slot, survey))
    return 'its IPv4 address is in use here, and in a namespace it has that alone';
  if (addresses.some(one => one.address === address6 && one.interface !== slot.interface))
    return `${address6} is in use on this machine`;
  if (rules.some(one => one.from === address6)) return `${address6} is in use on this machine`;
  if (!mayIpv6) return 'the settings of its interface cannot be changed';
  if (guard && (await guard.hold(address6, slot.interface))) return '';
  await guard?.release([address6]);
  return 'nftables has to hold the address and is not to be had (apt-get install -y nftables; "firewall" not false)';
}

function withoutIpv6(slot: InterfaceSlot, carrier: CarrierAddress, why: string): CarrierAddress {
  const { address6: _, ...rest } = carrier;
  if (rest.address !== null) return rest;
  throw new CodedError('network/no-ipv6', `slot ${slot.slot} has only IPv6, and ${why}`, {
    userMessage: `Slot ${slot.slot}: the carrier gave an IPv6 address only, which cannot be used: ${why}.`,
    retryable: true,
  });
}

/** All that leave from the slot. */
export function addressesOf({ sourceAddress, sourceAddress6 }: SlotNetwork): string[] {
  return sourceAddress6 === undefined ? [sourceAddress] : [sourceAddress, sourceAddress6];
}

/** Makes what is missing of what is wanted: a flapping link takes its routes and addresses with it. Gives the number. */
export function repairSlot(wanted: SlotNetwork, survey: NetworkSurvey, runIp: RunIp): Promise<number> {
  return make(wanted.items, survey, runIp);
}

async function make(items: readonly NetworkItem[], survey: NetworkSurvey, runIp: RunIp): Promise<number> {
  const missing = items.filter(item => !isPresent(item, survey));
  let made = missing.length;
  await runInOrder(runIp, missing.map(makeOf), (_, error) => {
    // Nothing that comes after a failure may be made: the dead end is to be there before the address.
    if (codeOf(error) !== 'network/exists') throw error;
    made -= 1;
  });
  return made;
}

/** What the slot is to be given. Pure. */
export function planSlot(
  slot: InterfaceSlot,
  survey: NetworkSurvey,
  carrier: CarrierAddress | null = null,
): SlotNetwork {
  const router = routerOf(slot);
  if (router !== null) return planBehindRouter(slot, router, survey);
  if (carrier !== null) return planOnCarrier(slot, carrier, survey);
  throw new CodedError(
    'network/no-carrier-address',
    `slot ${slot.slot} has no data connection to take an address from`,
  );
}

/** The first address, table and priority that nobody on this machine uses. */
function planBehindRouter(slot: InterfaceSlot, gateway: string, survey: NetworkSurvey): SlotNetwork {
  const subnet = subnetOf(gateway);
  // A rule from an address counts, too: its owner's stick may be unplugged at the moment.
  const taken = new Set([...survey.addresses.map(one => one.address), ...survey.rules.map(one => one.from)]);
  const candidates = Array.from(
    { length: LAST_HOST - FIRST_HOST + 1 },
    (_, i) => `${subnet}.${FIRST_HOST + i}`,
  );
  const sourceAddress = candidates.find(address => address !== gateway && !taken.has(address));
  if (sourceAddress === undefined)
    throw new CodedError('network/no-address', `${subnet}.${FIRST_HOST} to .${LAST_HOST} are all in use`, {
      userMessage: `Slot ${slot.slot}: every address from ${subnet}.${FIRST_HOST} to .${LAST_HOST} is in use on this machine. Remove leftovers of other programs ("ip address", "ip rule").`,
    });

  const table = freeTable(slot, survey);
  const ways = [
    [`${subnet}.0/24`, 'dev', slot.interface, 'src', sourceAddress],
    ['default', 'via', gateway, 'dev', slot.interface, 'src', sourceAddress],
  ];
  return { sourceAddress, items: itemsOf({ slot, sourceAddress, prefix: 24, table, ways }) };
}

/** The addresses that the carrier gave, with everything behind them reached through the interface. */
function planOnCarrier(slot: InterfaceSlot, carrier: CarrierAddress, survey: NetworkSurvey): SlotNetwork {
  const { address, address6, gateway } = carrier;
  if (address !== null && isTaken(address, slot, survey))
    return planApart(slot, { ...carrier, address }, survey);
  const table = freeTable(slot, survey);
  const up: NetworkItem[] = [
    { kind: 'link-up', interface: slot.interface },
    ...limitOf(slot, carrier, survey),
  ];
  const six = address6 === undefined ? [] : itemsOfIpv6(slot, address6, table);
  if (address === null) return { sourceAddress: address6 ?? '', items: [...up, ...six] };
  // Carriers name gateways outside of their prefix, and a link without ARP needs none.
  const way =
    gateway === null
      ? ['default', 'dev', slot.interface, 'src', address]
      : ['default', 'via', gateway, 'dev', slot.interface, 'src', address, 'onlink'];
  const prefix = carrier.prefixLength ?? 32;
  const [, ...four] = itemsOf({ slot, sourceAddress: address, prefix, table, ways: [way] });
  const items = [...up, ...four, ...six];
  return { sourceAddress: address, items, ...(address6 === undefined ? {} : { sourceAddress6: address6 }) };
}

function isTaken(address: string, slot: InterfaceSlot, survey: NetworkSurvey): boolean {
  return (
    survey.addresses.some(one => one.address === address && one.interface !== slot.interface) ||
    survey.rules.some(one => one.from === address)
  );
}

/** The carrier's packet size, where it is another than the interface's. */
function limitOf(slot: InterfaceSlot, { mtu }: CarrierAddress, survey: NetworkSurvey): NetworkItem[] {
  const before = survey.links.get(slot.interface)?.mtu;
  return mtu !== null && mtu >= MIN_MTU && before !== undefined && before !== mtu
    ? [{ kind: 'mtu', interface: slot.interface, mtu, before }]
    : [];
}

/** As with IPv4: the dead end first, the way out last. The link goes to one modem, so that no gateway is needed. */
function itemsOfIpv6(slot: InterfaceSlot, address: string, table: number): NetworkItem[] {
  const dev = slot.interface;
  return [
    { kind: 'route', table, words: ['unreachable', 'default', 'metric', LAST_METRIC], family: 6 },
    { kind: 'rule', from: address, table, priority: table },
    { kind: 'address', interface: dev, address, prefix: 128 },
    {
      ...{ kind: 'route', table, family: 6 },
      words: ['default', 'dev', dev, 'src', address, 'metric', METRIC6],
    },
  ];
}

/** The address is another's here already: the modem gets a network namespace, and leaves from an address of ours. */
function planApart(slot: InterfaceSlot, carrier: CarrierAddress4, survey: NetworkSurvey): SlotNetwork {
  const table = freeTable(slot, survey);
  const namespace = namespaceOf(table, slot.interface);
  const pair = freePair(survey);
  if (pair === null) throw addressTaken(slot, carrier.address);
  const { ours: sourceAddress, theirs } = pair;
  const [, ...host] = itemsOf({
    slot,
    sourceAddress,
    prefix: 30,
    table,
    ways: [['default', 'via', theirs, 'dev', namespace.veth, 'src', sourceAddress, 'onlink']],
  });
  return {
    sourceAddress,
    namespace,
    items: [
      ...limitOf(slot, carrier, survey),
      ...namespaceItems(namespace, carrier, pair),
      ...host.map(item => (item.kind === 'address' ? { ...item, interface: namespace.veth } : item)),
    ],
  };
}

function addressTaken(slot: InterfaceSlot, address: string, cause?: unknown): CodedError {
  const why = cause === undefined ? '' : ` That could not be done: ${messageOf(cause)}.`;
  return new CodedError('network/address-taken', `${address} is in use on this machine`, {
    userMessage: `Slot ${slot.slot}: the carrier gave ${address}, which is in use on this machine already, so it needs a network namespace and nftables (apt-get install -y nftables).${why}`,
    retryable: true,
    cause,
  });
}

function itemsOf(plan: {
  slot: InterfaceSlot;
  sourceAddress: string;
  prefix: number;
  table: number;
  ways: string[][];
}): NetworkItem[] {
  const { slot, sourceAddress, prefix, table } = plan;
  return [
    { kind: 'link-up', interface: slot.interface },
    // The dead end first and the ways out last: at no moment does the address lead into the main table.
    { kind: 'route', table, words: ['unreachable', 'default', 'metric', LAST_METRIC] },
    { kind: 'rule', from: sourceAddress, table, priority: table },
    { kind: 'address', interface: slot.interface, address: sourceAddress, prefix },
    ...plan.ways.map((words): NetworkItem => ({ kind: 'route', table, words })),
  ];
}

function freeTable(slot: InterfaceSlot, survey: NetworkSurvey): number {
  const numbers = new Set([
    ...survey.rules.flatMap(one => [one.table, one.priority]),
    ...survey.routes.map(one => one.table),
  ]);
  let table = FIRST_TABLE + slot.slot;
  const end = table + TABLES_TRIED;
  while (numbers.has(table) && table < end) table += 1;
  if (table === end)
    throw new CodedError(
      'network/no-table',
      `no routing table from ${FIRST_TABLE + slot.slot} to ${end} is free`,
    );
  return table;
}
