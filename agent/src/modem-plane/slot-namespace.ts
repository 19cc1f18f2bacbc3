/**
 * The way out of a slot whose carrier gave it an address that this machine has already, from another carrier most
 * likely: a network namespace. The modem's interface is moved there and bears the address; a veth pair joins it to
 * ours, and nftables inside turns our side's address into the carrier's. Ours is a link-local one that nobody has
 * (RFC 3927), with a rule and a table like every slot's (slot-network.ts). Inside there is the modem and the way back,
 * so what the modem does not carry goes nowhere; IPv6 is off in there. All of it is journaled; the interface comes back at the end.
 */
import { z } from 'zod';
import type { NetworkItem } from './network-journal';
import type { NetworkSurvey } from './network-survey';
import type { RunIp } from './run-ip';
import type { CarrierAddress4 } from './slot-network';

/** Pairs of addresses are taken from 169.254.200.0 to 169.254.254.255: automatic addresses seldom lie there. */
const FIRST_THIRD = 200;
const LAST_THIRD = 254;
const PAIRS_IN_EACH = 64;

/** Before anything is up in there; `all` is every interface that there is and will be. */
const NO_IPV6 =
  'for on in all default; do [ ! -d /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/$on/disable_ipv6; done';

export interface SlotNamespace {
  name: string;
  /** Our side of the veth pair: what the slot's traffic leaves by, as far as this namespace knows. */
  veth: string;
  /** The modem's, in there. */
  interface: string;
}

/** The addresses of our side and of the other; null when all are taken. Pure. */
export function freePair(survey: NetworkSurvey): { ours: string; theirs: string } | null {
  const taken = new Set([...survey.addresses.map(one => one.address), ...survey.rules.map(one => one.from)]);
  for (let third = FIRST_THIRD; third <= LAST_THIRD; third += 1)
    for (let pair = 0; pair < PAIRS_IN_EACH; pair += 1) {
      const ours = `169.254.${third}.${4 * pair + 1}`;
      const theirs = `169.254.${third}.${4 * pair + 2}`;
      if (!taken.has(ours) && !taken.has(theirs)) return { ours, theirs };
    }
  return null;
}

/** Names go by the routing table, which is the slot's alone on this machine. */
export function namespaceOf(table: number, interfaceName: string): SlotNamespace {
  return { name: `mastline-${table}`, veth: `mastv${table}`, interface: interfaceName };
}

/** All that is made before our side gets its address, table and rule. Pure. */
export function namespaceItems(
  way: SlotNamespace,
  carrier: CarrierAddress4,
  pair: { ours: string; theirs: string },
): NetworkItem[] {
  const { name, veth, interface: modem } = way;
  const step = (...words: string[]): NetworkItem => ({ kind: 'step', veth, words });
  const inside = (...words: string[]) => step('-n', name, ...words);
  const mtu = carrier.mtu === null ? [] : ['mtu', String(carrier.mtu)];
  const gateway = carrier.gateway === null ? [] : ['via', carrier.gateway];
  return [
    { kind: 'namespace', name, veth },
    { kind: 'moved', interface: modem, namespace: name, veth },
    { kind: 'veth', veth, namespace: name },
    step('netns', 'exec', name, 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'),
    step('netns', 'exec', name, 'sh', '-c', NO_IPV6),
    // First the address that it leaves with and what may pass, then the ways.
    step('netns', 'exec', name, 'nft', natScript(modem, carrier.address)),
    inside('link', 'set', 'dev', 'lo', 'up'),
    inside('link', 'set', 'dev', 'host', ...mtu, 'up'),
    inside('address', 'add', `${pair.theirs}/30`, 'dev', 'host'),
    inside('link', 'set', 'dev', modem, 'up'),
    inside(
      'address',
      'add',
      `${carrier.address}/${carrier.prefixLength ?? 32}`,
      'dev',
      modem,
      'noprefixroute',
    ),
    inside('route', 'add', 'default', ...gateway, 'dev', modem, ...(gateway.length === 0 ? [] : ['onlink'])),
    step('link', 'set', 'dev', veth, ...mtu, 'up'),
  ];
}

function natScript(modem: string, address: string): string {
  return `table ip mastline {
    chain pass { type filter hook forward priority 0; policy drop; iifname "host" oifname "${modem}" accept; iifname "${modem}" oifname "host" ct state established,related accept; }
    chain out { type nat hook postrouting priority 100; oifname "${modem}" snat to ${address}; }
  }`;
}

const Links = z.array(
  z.looseObject({
    ifname: z.string(),
    flags: z.array(z.string()).optional(),
    addr_info: z.array(z.looseObject({ local: z.string().optional() })).optional(),
  }),
);

/** How the modem's interface is in there: it carries, it lost something and is to be set up anew, or it is unplugged. */
export async function lookInside(
  way: SlotNamespace,
  carrierAddress: string,
  runIp: RunIp,
): Promise<'well' | 'broken' | 'gone'> {
  let links: z.infer<typeof Links>;
  try {
    links = Links.parse(JSON.parse((await runIp(['-n', way.name, '-j', '-4', 'address', 'show'])) || '[]'));
  } catch {
    // Somebody has deleted the namespace: what is left of it is taken down.
    return 'broken';
  }
  const named = (name: string) => links.find(one => one.ifname === name);
  const up = (name: string) => named(name)?.flags?.includes('UP') ?? false;
  const there = await isThere(way, runIp);
  if (!there) return 'gone';
  const bears = named(way.interface)?.addr_info?.some(one => one.local === carrierAddress) ?? false;
  return bears && up(way.interface) && up('host') ? 'well' : 'broken';
}

/** `address show` leaves out what has no address. */
async function isThere(way: SlotNamespace, runIp: RunIp): Promise<boolean> {
  const links = Links.parse(JSON.parse((await runIp(['-n', way.name, '-j', 'link', 'show'])) || '[]'));
  return links.some(one => one.ifname === way.interface);
}
