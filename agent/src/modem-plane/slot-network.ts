/**
 * Gives an interface slot its way out: an address, a routing table of its own that ends in `unreachable`, and the rule
 * that leads from the one to the other. Where the modem is a router (HiLink, ECM) the address is one of ours in its
 * subnet, so that sticks with the same address and MAC do not collide; else it is the carrier's own, as MBIM or a
 * Huawei NDIS connection gives it, or, where that is in use here, one of ours before a namespace (slot-namespace.ts). What should leave through a dead modem leaves nowhere. Modems keep their settings.
 */
import { readFileSync } from 'node:fs';
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
const CAP_NET_ADMIN = 12n;

/** What a slot has been given; `items` are wanted as long as the agent runs. */
export interface SlotNetwork {
  sourceAddress: string;
  items: NetworkItem[];
  /** Where the modem's interface is, when its address is in use here. */
  namespace?: SlotNamespace;
}

/** What of a data connection goes onto the interface. */
export type CarrierAddress = Pick<Bearer, 'prefixLength' | 'gateway' | 'mtu'> & { address: string };

/** The part of a bearer that the network is made of; null while there is nothing to make it of. */
export function carrierAddressOf(bearer: Bearer | null): CarrierAddress | null {
  if (bearer === null || !bearer.connected || bearer.address === null) return null;
  const { address, prefixLength, gateway, mtu } = bearer;
  return { address, prefixLength, gateway, mtu };
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
  },
): Promise<SlotNetwork> {
  return withMachineLock(parts.clock, async () => {
    const survey = await surveyNetwork(parts.runIp);
    const wanted = planSlot(slot, survey, parts.carrier ?? null);
    const missing = wanted.items.filter(item => !isPresent(item, survey));
    parts.journal.record(missing);
    try {
      await parts.guard?.hold(wanted.sourceAddress, wanted.namespace?.veth ?? slot.interface);
      await make(missing, survey, parts.runIp);
    } catch (error) {
      // Half a network is none; the next try begins from nothing.
      await parts.journal.remove(missing);
      await parts.guard?.release([wanted.sourceAddress]);
      throw wanted.namespace ? addressTaken(slot, parts.carrier?.address ?? '', error) : error;
    }
    return wanted;
  });
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

/** The address that the carrier gave, with everything behind it reached through the interface. */
function planOnCarrier(slot: InterfaceSlot, carrier: CarrierAddress, survey: NetworkSurvey): SlotNetwork {
  const { address: sourceAddress, gateway, mtu } = carrier;
  const isTaken =
    survey.addresses.some(one => one.address === sourceAddress && one.interface !== slot.interface) ||
    survey.rules.some(one => one.from === sourceAddress);
  if (isTaken) return planApart(slot, carrier, survey);
  const table = freeTable(slot, survey);
  const before = survey.links.get(slot.interface)?.mtu;
  const limit: NetworkItem[] =
    mtu !== null && mtu >= MIN_MTU && before !== undefined && before !== mtu
      ? [{ kind: 'mtu', interface: slot.interface, mtu, before }]
      : [];
  // Carriers name gateways outside of their prefix, and a link without ARP needs none.
  const way =
    gateway === null
      ? ['default', 'dev', slot.interface, 'src', sourceAddress]
      : ['default', 'via', gateway, 'dev', slot.interface, 'src', sourceAddress, 'onlink'];
  const items = itemsOf({ slot, sourceAddress, prefix: carrier.prefixLength ?? 32, table, ways: [way] });
  return { sourceAddress, items: [...items.slice(0, 1), ...limit, ...items.slice(1)] };
}

/** The address is another's here already: the modem gets a network namespace, and leaves from an address of ours. */
function planApart(slot: InterfaceSlot, carrier: CarrierAddress, survey: NetworkSurvey): SlotNetwork {
  const table = freeTable(slot, survey);
  const namespace = namespaceOf(table, slot.interface);
  const pair = freePair(survey);
  if (pair === null) throw addressTaken(slot, carrier.address);
  const { ours: sourceAddress, theirs } = pair;
  const before = survey.links.get(slot.interface)?.mtu;
  const limit: NetworkItem[] =
    carrier.mtu !== null && carrier.mtu >= MIN_MTU && before !== undefined && before !== carrier.mtu
      ? [{ kind: 'mtu', interface: slot.interface, mtu: carrier.mtu, before }]
      : [];
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
      ...limit,
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
