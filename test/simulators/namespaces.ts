/**
 * Virtual modems as real networks. For instance K, here with a HiLink stick:
 *
 *     root namespace            mlK-mN (the stick)                     mlK-net (carrier, Internet)
 *     agent ── mlK-sN ═══ lan0 192.168.8.1 ─ NAT ─ wan0 ═══════ wanN ─┬─ origin 198.18.K.1:8080
 *                         web API on port 80                          ├─ name server 198.18.K.2
 *     eth0 ◀─ masquerade ─ mlK-up 198.19.K.1 ════════════════ uplink ─┘
 *
 * Sticks share address and MAC, as real ones do; a Quectel module in router mode is 192.168.225.1 and has a pty instead
 * of a web API. Where the host is to bear the carrier's address, lan0 is a link without ARP to the host's 10.K.N.x
 * (MBIM), or the Ethernet gateway 10.K.N.1 (Huawei NDIS). The NAT gives all traffic the carrier's public address, so
 * the origin sees that. IPv6 (2001:db8:K::/48) is there for MBIM modems that are wished with it: without a NAT, each
 * connection with a /64 of its own. The root namespace has no route to 198.18.K.0/24 but through a stick. Setting the host's side
 * of a slot up (address, table, rule) is the agent's work, not ours.
 */
import { existsSync } from 'node:fs';
import { withMachineLock } from '@mastline/agent/modem-plane/machine-lock';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { CarrierLink } from './carrier';
import { startInternetIn } from './carrier-process';
import type { Internet } from './internet';
import { acquireForwarding, releaseForwarding } from './ip-forward';
import { listenIn } from './netns-listen';
import { ip, nft, runTool } from './run-tool';
import { closeModem, type Place, startVirtualModem } from './virtual-modem';
import {
  type ModemSpec,
  type NetworkOptions,
  POOL_SIZE,
  type VirtualNetwork,
  type VirtualSlot,
} from './virtual-slot';

/** No kernel without it gets IPv6 in here. */
const hasIpv6 = existsSync('/proc/sys/net/ipv6');
const HILINK_ADDRESS = '192.168.8.1';
/** Of Quectel modules in ECM, RNDIS or NCM. */
const MODULE_ADDRESS = '192.168.225.1';
const HOST_MAC = '0c:5b:8f:27:9a:64';
const STICK_MAC = '0c:5b:8f:27:9a:63';
const ORIGIN_PORT = 8080;

const carrierNs = (k: number) => `ml${k}-net`;
const modemNs = (k: number, n: number) => `ml${k}-m${n}`;
const hostSide = (k: number, n: number) => `ml${k}-s${n}`;
const uplinkSide = (k: number) => `ml${k}-up`;
const tableName = (k: number) => `mastline_v${k}`;
const poolOf = (k: number, n: number) =>
  Array.from({ length: POOL_SIZE }, (_, i) => `198.18.${k}.${POOL_SIZE * n + i}`);
const siteOf = (k: number) => `2001:db8:${k.toString(16)}`;
/** Never the /64 of the origin and of the uplink. */
const pool6Of = (k: number, n: number) =>
  Array.from({ length: POOL_SIZE }, (_, i) => `${siteOf(k)}:${(256 * n + i).toString(16)}::2`);
const prefixOf = (address6: string) => address6.replace(/::2$/, '::/64');

/** How the host's side of a modem is linked to it. */
type Lan =
  | { kind: 'router'; address: string }
  /** Ethernet, with the carrier's address on the host. */
  | { kind: 'carrier'; gateway: string }
  /** Packets without Ethernet's ways, as cdc_mbim has them. */
  | { kind: 'bare' };

/** Third number of the private addresses that its carrier hands out. */
const innerOf = ({ slot, addressesOf }: ModemSpec) => addressesOf ?? slot;

function lanOf(k: number, spec: ModemSpec): Lan {
  const { driver, profile } = spec;
  if (driver === 'hilink') return { kind: 'router', address: HILINK_ADDRESS };
  if (driver === 'mbim') return { kind: 'bare' };
  return profile.startsWith('quectel/')
    ? { kind: 'router', address: MODULE_ADDRESS }
    : { kind: 'carrier', gateway: `10.${k}.${innerOf(spec)}.1` };
}

/** Builds the network and starts everything on it. Removes what it made when a step fails. */
export async function startNamespaces(options: NetworkOptions): Promise<VirtualNetwork> {
  const k = options.instance;
  const slots: VirtualSlot[] = [];
  let internet: Internet | undefined;
  const close = async () => {
    for (const one of slots) await closeModem(one);
    await internet?.close();
    await removeNamespaces(k);
    await withMachineLock(systemClock, async () => releaseForwarding(k));
  };
  try {
    await buildCarrier(k);
    await withMachineLock(systemClock, async () => acquireForwarding());
    internet = await startInternetIn({
      namespace: carrierNs(k),
      program: options.program,
      onDeath: how => options.onFailure(new Error(how)),
      addresses: {
        host: `198.18.${k}.1`,
        originPort: ORIGIN_PORT,
        dnsHost: `198.18.${k}.2`,
        dnsPort: 53,
        ...(hasIpv6 ? { six: { host: `${siteOf(k)}::1`, dnsHost: `${siteOf(k)}::2` } } : {}),
      },
    });
    const carrierInternet = internet;
    const add = async (spec: ModemSpec) => {
      try {
        await buildModem(k, spec);
        const made = await startSlot(options, spec, carrierInternet);
        slots.push(made);
        slots.sort((a, b) => a.slot - b.slot);
        return made;
      } catch (error) {
        await removeModem(k, spec.slot);
        throw error;
      }
    };
    const remove = async (slot: number) => {
      const at = slots.findIndex(one => one.slot === slot);
      const [gone] = at < 0 ? [] : slots.splice(at, 1);
      if (gone) await closeModem(gone);
      await removeModem(k, slot);
    };
    for (const spec of options.modems) await add(spec);
    return { slots, internet, echoUrls: [`${internet.origin.url}/ip`], add, remove, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startSlot(options: NetworkOptions, spec: ModemSpec, internet: Internet): Promise<VirtualSlot> {
  const k = options.instance;
  const n = spec.slot;
  const place: Place = {
    pool: poolOf(k, n),
    innerPool: Array.from({ length: POOL_SIZE }, (_, i) => `10.${k}.${innerOf(spec)}.${POOL_SIZE + 4 * i}`),
    dnsServers: [`198.18.${k}.2`],
    ...(hasIpv6 ? { six: { pool: pool6Of(k, n), dnsServers: [`${siteOf(k)}::2`] } } : {}),
    apply: linkApplier({ k, n, internet }),
    listen: () => listenIn(modemNs(k, n), HILINK_ADDRESS, 80),
    url: () => `http://${HILINK_ADDRESS}`,
    bytes: () => carried(modemNs(k, n)),
  };
  const running = await startVirtualModem(spec, place, options);
  const lan = lanOf(k, spec);
  return {
    ...running,
    slot: n,
    spec,
    config: {
      slot: n,
      usbPath: `virtual-${spec.name ?? `${k}.${n}`}`,
      interface: hostSide(k, n),
      ...(lan.kind === 'router' ? { gateway: lan.address } : {}),
      api: running.api,
      virtual: true,
    },
  };
}

async function buildCarrier(k: number): Promise<void> {
  const ns = carrierNs(k);
  await newNamespace(ns);
  await ip(`link add ${uplinkSide(k)} type veth peer name uplink netns ${ns}`);
  const mtu = await defaultMtu();
  await ip(`link set ${uplinkSide(k)} mtu ${mtu} addrgenmode none`);
  await ip(`address add 198.19.${k}.1/30 dev ${uplinkSide(k)}`);
  await ip(`link set ${uplinkSide(k)} up`);
  await ip(`link set uplink mtu ${mtu} up`, ns);
  await ip(`address add 198.19.${k}.2/30 dev uplink`, ns);
  await ip(`address add 198.18.${k}.1/32 dev lo`, ns);
  await ip(`address add 198.18.${k}.2/32 dev lo`, ns);
  if (hasIpv6) await buildCarrier6(k);
  // Addresses that no modem has at the moment lead nowhere, least of all to the real Internet.
  await ip(`route add unreachable 198.18.${k}.0/24`, ns);
  await ip(`route add default via 198.19.${k}.1 dev uplink`, ns);
  await nft(
    `table ip carrier {
       chain forward { type filter hook forward priority 0; oifname "uplink" tcp flags syn tcp option maxseg size set rt mtu; }
       chain post { type nat hook postrouting priority 100; oifname "uplink" ip saddr 198.18.${k}.0/24 snat to 198.19.${k}.2; }
     }`,
    ns,
  );
  await nft(
    `table ip ${tableName(k)} {
       chain post { type nat hook postrouting priority 100; ip saddr 198.19.${k}.2 oifname != "${uplinkSide(k)}" masquerade; }
     }`,
  );
}

/** Nothing of it leads to the real Internet; `uplink` has an address for those who want to see leaks arrive. */
async function buildCarrier6(k: number): Promise<void> {
  const ns = carrierNs(k);
  await routesIpv6(ns);
  for (const host of [1, 2]) await ip(`address add ${siteOf(k)}::${host}/128 dev lo nodad`, ns);
  await ip(`address add ${siteOf(k)}:ffff::2/64 dev uplink nodad`, ns);
  await ip(`-6 route add unreachable ${siteOf(k)}::/48`, ns);
}

/** The modem passes on what it gets, in both directions; there is no NAT. */
async function buildModem6(k: number, n: number): Promise<void> {
  const ns = modemNs(k, n);
  await routesIpv6(ns);
  await ip(`address add fe80::1/64 dev wan${n} nodad`, carrierNs(k));
  await ip('address add fe80::2/64 dev wan0 nodad', ns);
  await ip('-6 route add default via fe80::1 dev wan0', ns);
}

async function routesIpv6(ns: string): Promise<void> {
  await runTool('ip', [
    ...['netns', 'exec', ns, 'sh', '-c'],
    'cd /proc/sys/net/ipv6/conf && echo 1 > all/forwarding && echo 0 > all/disable_ipv6 && echo 0 > default/disable_ipv6',
  ]);
}

async function buildModem(k: number, spec: ModemSpec): Promise<void> {
  const n = spec.slot;
  const ns = modemNs(k, n);
  const lan = lanOf(k, spec);
  await newNamespace(ns);
  // Without ARP a packet is sent to the sender's own MAC: both ends have the same one, and take all.
  const stickMac = lan.kind === 'bare' ? HOST_MAC : STICK_MAC;
  await ip(
    `link add ${hostSide(k, n)} address ${HOST_MAC} type veth peer name lan0 address ${stickMac} netns ${ns}`,
  );
  // A plugged-in stick is there but not up: bringing it up is the agent's.
  await ip(`link set ${hostSide(k, n)} addrgenmode none`);
  if (lan.kind === 'bare') {
    await ip(`link set ${hostSide(k, n)} arp off`);
    await ip('link set lan0 arp off', ns);
  } else await ip(`address add ${lan.kind === 'router' ? lan.address : lan.gateway}/24 dev lan0`, ns);
  await ip('link set lan0 up', ns);
  if (lan.kind === 'bare') await ip(`route add 10.${k}.${innerOf(spec)}.0/24 dev lan0`, ns);
  await ip(`link add wan${n} type veth peer name wan0 netns ${ns}`, carrierNs(k));
  await ip(`address add 100.64.${n}.1/30 dev wan${n}`, carrierNs(k));
  await ip(`link set wan${n} up`, carrierNs(k));
  await ip(`address add 100.64.${n}.2/30 dev wan0`, ns);
  await ip('link set wan0 up', ns);
  await ip(`route add default via 100.64.${n}.1 dev wan0`, ns);
  if (hasIpv6 && (spec.ipType ?? 'ipv4') !== 'ipv4') await buildModem6(k, n);
}

/** Pulled out: the host's interface goes at once, and with the namespace the rest. */
async function removeModem(k: number, n: number): Promise<void> {
  await unlessGone(ip(`link del ${hostSide(k, n)}`));
  await unlessGone(ip(`link del wan${n}`, carrierNs(k)));
  await unlessGone(ip(`netns del ${modemNs(k, n)}`));
}

async function newNamespace(ns: string): Promise<void> {
  await ip(`netns add ${ns}`);
  await runTool('ip', [
    ...['netns', 'exec', ns, 'sh', '-c'],
    'echo 1 > /proc/sys/net/ipv4/ip_forward; [ ! -d /proc/sys/net/ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6',
  ]);
  await ip('link set lo up', ns);
}

/** Makes the stick's NAT and the carrier's routes say what the carrier says. */
function linkApplier({
  k,
  n,
  internet,
}: {
  k: number;
  n: number;
  internet: Internet;
}): (link: CarrierLink) => Promise<void> {
  let routed: string | null = null;
  let routed6: string | null = null;
  let turnedAway: string | null = null;
  return async ({ address, address6, carries, carries6, credit }) => {
    if (turnedAway !== null) internet.turnAway(turnedAway, false);
    turnedAway = credit ? null : address;
    if (turnedAway !== null) internet.turnAway(turnedAway, true);
    // No data connection: the stick says so. Connected but dead: silence.
    const verdict =
      address === null ? 'oifname "wan0" reject with icmp type net-unreachable;' : carries ? '' : 'drop;';
    const nat = address === null ? '' : `oifname "wan0" snat to ${address};`;
    await nft(
      `add table ip stick
       delete table ip stick
       table ip stick {
         chain forward { type filter hook forward priority 0; ${verdict} }
         chain post { type nat hook postrouting priority 100; ${nat} }
       }`,
      modemNs(k, n),
    );
    if (address6 !== null || routed6 !== null) {
      const verdict6 = address6 === null ? 'reject;' : carries && carries6 ? '' : 'drop;';
      await nft(
        `add table ip6 stick
         delete table ip6 stick
         table ip6 stick {
           chain forward { type filter hook forward priority 0; ${verdict6} }
         }`,
        modemNs(k, n),
      );
    }
    if (address !== routed) {
      if (routed !== null) await ip(`route del ${routed}/32`, carrierNs(k));
      routed = address;
      if (address !== null)
        await ip(`route replace ${address}/32 via 100.64.${n}.2 dev wan${n}`, carrierNs(k));
    }
    if (address6 === routed6) return;
    if (routed6 !== null) {
      await ip(`-6 route del ${prefixOf(routed6)}`, carrierNs(k));
      await ip(`-6 route del ${prefixOf(routed6)} dev lan0`, modemNs(k, n));
    }
    routed6 = address6;
    if (address6 === null) return;
    await ip(`-6 route add ${prefixOf(address6)} via fe80::2 dev wan${n}`, carrierNs(k));
    await ip(`-6 route add ${prefixOf(address6)} dev lan0`, modemNs(k, n));
  };
}

/** What the stick's LAN side has carried: its received bytes went up. */
async function carried(ns: string): Promise<{ up: number; down: number }> {
  const [link] = JSON.parse(await ip('-j -s link show dev lan0', ns)) as [
    { stats64: { rx: { bytes: number }; tx: { bytes: number } } },
  ];
  return { up: link.stats64.rx.bytes, down: link.stats64.tx.bytes };
}

/** MTU of the interface that leads to the real Internet; 1500 when there is none. */
async function defaultMtu(): Promise<number> {
  const routes = JSON.parse((await ip('-j -4 route show default')) || '[]') as { dev?: string }[];
  const dev = routes[0]?.dev;
  if (dev === undefined) return 1500;
  const links = JSON.parse(await ip(`-j link show dev ${dev}`)) as { mtu: number }[];
  return Math.min(1500, links[0]?.mtu ?? 1500);
}

/** Numbers of instances that left namespaces, interfaces or tables of our names behind, or are using them. */
export async function namedInstances(): Promise<Set<number>> {
  const found = new Set<number>();
  const note = (name: string, pattern: RegExp) => {
    const match = pattern.exec(name);
    if (match) found.add(Number(match[1]));
  };
  for (const line of (await ip('netns list')).split('\n'))
    note(line.split(' ')[0] ?? '', /^ml(\d+)-(net|m\d+)$/);
  for (const link of JSON.parse((await ip('-j link show')) || '[]') as { ifname?: string }[])
    note(link.ifname ?? '', /^ml(\d+)-(up|s\d+)$/);
  for (const line of (await runTool('nft', ['list', 'tables', 'ip'])).split('\n'))
    note(line.trim(), /^table ip mastline_v(\d+)$/);
  return found;
}

/** Removes whatever bears the names of instance K. Harmless when there is nothing. */
export async function removeNamespaces(k: number): Promise<void> {
  const mine = new RegExp(`^ml${k}-(net|up|m\\d+|s\\d+)$`);
  await nft(`add table ip ${tableName(k)}\ndelete table ip ${tableName(k)}`);
  for (const link of JSON.parse((await ip('-j link show')) || '[]') as { ifname?: string }[])
    if (mine.test(link.ifname ?? '')) await unlessGone(ip(`link del ${link.ifname}`));
  for (const line of (await ip('netns list')).split('\n')) {
    const name = line.split(' ')[0] ?? '';
    if (mine.test(name)) await unlessGone(ip(`netns del ${name}`));
  }
}

/** Deleting one end of a veth pair or its namespace may have taken the thing with it. */
async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    const said = error instanceof Error ? error.message : '';
    if (
      codeOf(error) !== 'simulator/tool-failed' ||
      !/Cannot find device|No such file|No such device/.test(said)
    )
      throw error;
  }
}
