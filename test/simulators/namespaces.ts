/**
 * Virtual modems as real networks. For instance K:
 *
 *     root namespace            mlK-mN (the stick)                     mlK-net (carrier, Internet)
 *     agent ── mlK-sN ═══ lan0 192.168.8.1 ─ NAT ─ wan0 ═══════ wanN ─┬─ origin 198.18.K.1:8080
 *                         web API on port 80                          ├─ name server 198.18.K.2
 *     eth0 ◀─ masquerade ─ mlK-up 198.19.K.1 ════════════════ uplink ─┘
 *
 * Sticks share address and MAC, as real ones do. The stick's NAT gives its traffic the carrier's current address, so
 * the origin sees that; the root namespace has no route to 198.18.K.0/24 but through a stick. Setting the host's side
 * of a slot up (address, table, rule) is the agent's work, not ours.
 */
import { withMachineLock } from '@mastline/agent/modem-plane/machine-lock';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import { type CarrierLink, VirtualCarrier } from './carrier';
import { startInternetIn } from './carrier-process';
import { startHilinkModem } from './hilink-modem';
import { identityOf } from './hilink-replies';
import type { Internet } from './internet';
import { acquireForwarding, releaseForwarding } from './ip-forward';
import { listenIn } from './netns-listen';
import { ip, nft, runTool } from './run-tool';
import { type NetworkOptions, POOL_SIZE, type VirtualNetwork, type VirtualSlot } from './virtual-slot';

const GATEWAY = '192.168.8.1';
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

/** Builds the network and starts everything on it. Removes what it made when a step fails. */
export async function startNamespaces(options: NetworkOptions): Promise<VirtualNetwork> {
  const k = options.instance;
  const slots: VirtualSlot[] = [];
  let internet: Internet | undefined;
  const close = async () => {
    for (const { modem, carrier } of slots) {
      await modem.close();
      await carrier.close();
    }
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
      },
    });
    for (let n = 1; n <= options.modems; n += 1) {
      await buildModem(k, n);
      slots.push(await startSlot(options, n));
    }
    return { slots, internet, echoUrls: [`${internet.origin.url}/ip`], close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startSlot(options: NetworkOptions, n: number): Promise<VirtualSlot> {
  const k = options.instance;
  const carrier = new VirtualCarrier({
    pool: poolOf(k, n),
    clock: systemClock,
    apply: linkApplier(k, n),
    onFailure: options.onFailure,
    registrationDelayMs: options.registrationDelayMs,
    connectDelayMs: options.connectDelayMs,
  });
  const modem = await startHilinkModem({
    identity: identityOf(k, n),
    carrier,
    wanAddress: session => `10.${k}.${n}.${1 + (session % 250)}`,
    dnsServers: [`198.18.${k}.2`],
    listen: () => listenIn(modemNs(k, n), GATEWAY, 80),
    bytes: () => carried(modemNs(k, n)),
  });
  await carrier.powerOn();
  return {
    slot: n,
    carrier,
    modem,
    config: {
      slot: n,
      usbPath: `virtual-${k}.${n}`,
      interface: hostSide(k, n),
      gateway: GATEWAY,
      api: { kind: 'hilink', url: `http://${GATEWAY}` },
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

async function buildModem(k: number, n: number): Promise<void> {
  const ns = modemNs(k, n);
  await newNamespace(ns);
  await ip(
    `link add ${hostSide(k, n)} address ${HOST_MAC} type veth peer name lan0 address ${STICK_MAC} netns ${ns}`,
  );
  // A plugged-in stick is there but not up: bringing it up is the agent's.
  await ip(`link set ${hostSide(k, n)} addrgenmode none`);
  await ip(`address add ${GATEWAY}/24 dev lan0`, ns);
  await ip('link set lan0 up', ns);
  await ip(`link add wan${n} type veth peer name wan0 netns ${ns}`, carrierNs(k));
  await ip(`address add 100.64.${n}.1/30 dev wan${n}`, carrierNs(k));
  await ip(`link set wan${n} up`, carrierNs(k));
  await ip(`address add 100.64.${n}.2/30 dev wan0`, ns);
  await ip('link set wan0 up', ns);
  await ip(`route add default via 100.64.${n}.1 dev wan0`, ns);
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
function linkApplier(k: number, n: number): (link: CarrierLink) => Promise<void> {
  let routed: string | null = null;
  return async ({ address, carries }) => {
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
    if (address === routed) return;
    if (routed !== null) await ip(`route del ${routed}/32`, carrierNs(k));
    routed = address;
    if (address !== null) await ip(`route replace ${address}/32 via 100.64.${n}.2 dev wan${n}`, carrierNs(k));
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
