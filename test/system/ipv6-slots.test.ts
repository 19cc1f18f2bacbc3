/**
 * Slots with IPv6: virtual MBIM modems whose carrier gives both families, IPv6 alone, another prefix with each rotation,
 * or IPv6 that is dead while IPv4 lives; and sticks that advertise themselves as routers. tcpdump reads every packet on
 * every link: what has a slot's IPv6 address leaves by its interface or not at all, also when the address is one of the
 * past. Needs root, iproute2, nftables, tcpdump, socat, curl and python3.
 */
import { execFile } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane } from '@mastline/agent/ports';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { credential, endpoint } from '../agent/data-plane/rig';
import { ip, runTool, whyNoNamespaces } from '../simulators/run-tool';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { countedBy, packetsInWords, ruleOf } from '../support/kernel-looks';
import { type Capture, captureLeaving, indexOf, type LeavingPacket } from '../support/packet-capture';
import { advertise } from '../support/router-advertisement';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('slots with IPv6', { needs: ['tcpdump', 'curl', 'socat', 'python3'] });
const run = promisify(execFile);
const obstacle = await whyNoNamespaces();
const LABEL = `six-${process.pid}`;
const ROUNDS = 4;
const ATTEMPT_MS = 400;
const LOOPBACK = 1;
/** Of the HiLink stick that is plugged in from the beginning, and of the MBIM cards. */
const STICK = 1;
const CARD = 2;
const OTHER = 3;

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
let dataPlane: DataPlane;
let guard: LeakGuard;
let capture: Capture;
let proxyPort: number;

const k = () => net.ready.instance;
const site = () => `2001:db8:${k().toString(16)}`;
const origin6 = () => net.ready.origin6?.address ?? '';
const stickName = () => `ml${k()}-s${STICK}`;
const egressOf = (slot: number) => plane.egresses().find(one => one.slot === slot);
const sixOf = (slot: number) => egressOf(slot)?.sourceAddress6 ?? '';
const interfaceOf = (slot: number) => plane.slots().find(one => one.slot === slot)?.interface ?? '';
const isUp = (slot: number) => plane.slots().find(one => one.slot === slot)?.state === 'connected';
const setting = (name: string, what: string) =>
  readFileSync(`/proc/sys/net/ipv6/conf/${name}/${what}`, 'utf8').trim();
const addressesOn = async (name: string) => ip(`-6 address show dev ${name}`);

/** What the origin saw of a customer's request through the proxy; empty when nothing came. */
async function customer(host: string): Promise<string> {
  const proxy = `http://alice:correct-horse@127.0.0.1:${proxyPort}`;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${net.ready.origin.port}/ip?id=${LABEL}`;
  const words = ['-gsS', '--fail', '--max-time', '3', '--noproxy', '', '--proxy', proxy, url];
  try {
    return (await run('curl', words)).stdout.trim();
  } catch {
    return '';
  }
}

/** A program that binds a slot's address itself; empty when nothing came in time. */
function program(localAddress: string): Promise<string> {
  return new Promise(resolve => {
    const socket = connect({ host: origin6(), port: net.ready.origin.port, localAddress });
    let text = '';
    socket.setTimeout(ATTEMPT_MS, () => socket.destroy());
    socket.on('data', part => {
      text += part.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(/\r\n\r\n(\S+)/.exec(text)?.[1] ?? ''));
    socket.once('connect', () =>
      socket.write(`GET /ip?id=${LABEL} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`),
    );
  });
}

async function boundSocket(address: string): Promise<UdpSocket> {
  const socket = createSocket('udp6');
  socket.on('error', () => undefined);
  socket.bind({ address, port: 0, exclusive: true });
  await once(socket, 'listening');
  return socket;
}

const shout = (socket: UdpSocket) =>
  new Promise<void>(resolve => socket.send(LABEL, 4000, origin6(), () => resolve()));

/** A connection through the slot that goes on sending. */
async function upload(localAddress: string): Promise<Socket> {
  const socket = connect({ host: origin6(), port: net.ready.origin.port, localAddress });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(`POST /sink?id=${LABEL} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n`);
  return socket;
}

/** What left by a link that is not one of the cards', of the site of the virtual Internet. */
const leaks = (): LeavingPacket[] => {
  const own = [...indexes.values()];
  return capture.packets.filter(
    one =>
      !own.includes(one.interfaceIndex) &&
      one.interfaceIndex !== LOOPBACK &&
      one.to.startsWith('2001:db8:') &&
      !one.from.startsWith(`2001:db8:${k().toString(16)}:ffff:`),
  );
};
const indexes = new Map<number, number>();

const guarded = () => countedBy(guard.table);

async function serve(): Promise<void> {
  await dataPlane.apply({
    endpoints: [endpoint(proxyPort, { slots: [CARD] })],
    credentials: [credential()],
    egresses: plane.egresses().map(one => ({ ...one, ready: true })),
    allowTargets: [`${site()}::/48`, `198.18.${k()}.0/24`],
  });
}

const alive = () => eventually(async () => (await program(sixOf(CARD))) === sixOf(CARD));

interface Death {
  how: string;
  die: () => Promise<unknown>;
  revive?: () => Promise<unknown>;
  byGuard?: true;
}

const foreign = () => 100 + k();
const DEATHS: Death[] = [
  {
    how: 'IPv6 is dead while IPv4 lives',
    die: () => net.knob(CARD, 'data6', { carries: false }),
    revive: () => net.knob(CARD, 'data6', { carries: true }),
  },
  { how: 'its link is down', die: () => ip(`link set ${interfaceOf(CARD)} down`) },
  { how: 'its address is lost', die: () => ip(`-6 address flush dev ${interfaceOf(CARD)}`) },
  {
    how: 'its routes are flushed by another program',
    die: async () => ip(`-6 route flush table ${(await ruleOf(sixOf(CARD))).table}`),
    byGuard: true,
  },
  {
    how: 'its rule is deleted by another program',
    die: async () => ip(`-6 rule del priority ${(await ruleOf(sixOf(CARD))).priority}`),
    byGuard: true,
  },
  {
    how: 'another program, like a VPN, puts a rule of its own before all',
    die: () => ip(`-6 rule add to ${site()}::/48 lookup main priority ${foreign()}`),
    revive: () => ip(`-6 rule del priority ${foreign()}`),
    byGuard: true,
  },
];

if (obstacle !== undefined) test.skip('slots with IPv6', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('six');
    net = await startVirtualNetwork(join(dir.path, 'net'), 'namespaces', ['--modems', '1']);
    assert.ok(net.ready.origin6, 'this kernel has no IPv6');
    // The machine's own link leads to the same Internet: a leak would arrive.
    await ip(`address add ${site()}:ffff::1/64 dev ml${k()}-up nodad`);
    await ip(`-6 route add ${site()}::/48 via ${site()}:ffff::2 dev ml${k()}-up`);
    for (const slot of [CARD, OTHER]) {
      assert.ok(slot > STICK);
      await net.control('POST', '/modems', { profile: 'quectel/em12', driver: 'mbim', ipType: 'ipv4v6' });
    }
    // Somebody (NetworkManager, ifupdown) had the stick's link up before the agent came, and it has taken what the
    // stick advertises. No default router, for the sake of the machine that this runs on.
    await ip(`link set ${stickName()} addrgenmode eui64`);
    await ip(`link set ${stickName()} up`);
    await eventually(async () => {
      await advertiseFrom(STICK, 0);
      return (await addressesOn(stickName())).includes('2001:db8:bad:');
    });
    guard = new LeakGuard({ clock: systemClock, log: quietLog });
    plane = createModemPlane({
      slots: [],
      sources: [new VirtualSlots({ stateDir: join(dir.path, 'net'), clock: systemClock, log: quietLog })],
      echoUrls: net.ready.echoUrls,
      dataDir: join(dir.path, 'agent'),
      clock: systemClock,
      log: quietLog,
      guard,
      openFlows: async () => 0,
    });
    await plane.start();
    await eventually(() => [STICK, CARD, OTHER].every(isUp) && sixOf(CARD) !== '' && sixOf(OTHER) !== '');
    for (const slot of [CARD, OTHER]) indexes.set(slot, indexOf(interfaceOf(slot)));
    proxyPort = await freePort();
    dataPlane = createDataPlane({ sink: { commit: async () => undefined }, log: quietLog });
    await serve();
    capture = await captureLeaving(`net 2001:db8::/32`);
  });

  test('the stick has IPv4 alone: what it advertised before the agent came is gone', async () => {
    assert.is(sixOf(STICK), '');
    assert.is(await addressesOn(stickName()), '');
    assert.is(await ip(`-6 route show dev ${stickName()}`), '');
    assert.is(setting(stickName(), 'disable_ipv6'), '1');
  });

  test('two slots each leave by their own IPv6 address, and by their IPv4 address', async () => {
    assert.match(sixOf(CARD), new RegExp(`^${site()}:20[0-9]::2$`));
    assert.is.not(sixOf(CARD), sixOf(OTHER));
    for (const slot of [CARD, OTHER]) {
      assert.is(await program(sixOf(slot)), sixOf(slot));
      const report = plane.slots().find(one => one.slot === slot);
      assert.is(report?.exitAddress6, sixOf(slot), 'the cloud is told, for whoever asks who used it');
      assert.match(report?.exitAddress ?? '', /^198\.18\./);
      assert.match(egressOf(slot)?.sourceAddress ?? '', new RegExp(`^10\\.${k()}\\.${slot}\\.`));
    }
    assert.equal(packetsInWords(leaks()), []);
  });

  test('a customer reaches IPv6 targets by address and by name, and IPv4 targets, all through the modem', async () => {
    assert.is(await customer(origin6()), sixOf(CARD));
    // The name has both families: IPv6 is preferred (RFC 8305). The modem's name server was asked for it.
    assert.is(await customer('origin.mastline.test'), sixOf(CARD));
    assert.match(await customer(net.ready.origin.address), /^198\.18\./);
    assert.ok(egressOf(CARD)?.dnsServers.includes(`${site()}:0:0:0:0:2`));
  });

  for (const { how, die, revive, byGuard } of DEATHS)
    test(
      `no leak: ${how}`,
      async () => {
        await alive();
        await serve();
        const address = sixOf(CARD);
        const before = await guarded();
        const open = await upload(address);
        const datagrams = await boundSocket(address);
        try {
          await die();
          for (let round = 0; round < ROUNDS; round += 1) {
            open.write(Buffer.alloc(1000, LABEL));
            await Promise.all([
              shout(datagrams),
              program(address),
              customer(origin6()),
              customer(net.ready.origin.address),
            ]);
          }
          assert.equal(packetsInWords(leaks()), []);
          if (byGuard) assert.ok((await guarded()) > before, 'the guard had something to hold');
        } finally {
          open.destroy();
          datagrams.close();
          await revive?.();
        }
      },
      { deadlineMs: 120_000 },
    );

  test(
    'with IPv6 dead, names of both families go on by IPv4',
    async () => {
      await alive();
      await net.knob(CARD, 'data6', { carries: false });
      try {
        assert.match(await customer('origin.mastline.test'), /^198\.18\./);
        assert.ok(isUp(CARD));
      } finally {
        await net.knob(CARD, 'data6', { carries: true });
      }
    },
    { deadlineMs: 60_000 },
  );

  test(
    'a rotation brings another prefix; what still has the old one leaves nowhere',
    async () => {
      await alive();
      const old = sixOf(CARD);
      const open = await upload(old);
      const ended = new Promise<void>(resolve => open.once('close', () => resolve()));
      const datagrams = await boundSocket(old);
      const record = await plane.rotations.rotate(CARD, { askedFor: 'test' });
      assert.is(record.outcome, 'rotated', JSON.stringify(record));
      await eventually(() => isUp(CARD) && sixOf(CARD) !== '' && sixOf(CARD) !== old);
      assert.is.not(sixOf(CARD).split('::')[0], old.split('::')[0]);
      await alive();
      assert.is((await ruleOf(old)).table, '', 'its rule is gone');
      const before = await guarded();
      // The connection was ended with its address.
      await ended;
      // A datagram the kernel lets go on: it looks for a way for an address that this machine has no more.
      for (let round = 0; round < ROUNDS; round += 1) await shout(datagrams);
      assert.ok((await guarded()) > before, 'the guard had something to hold');
      assert.equal(packetsInWords(leaks()), []);
      datagrams.close();
    },
    { deadlineMs: 120_000 },
  );

  test(
    'strangers reach no service of this machine by a modem’s IPv6 address',
    async () => {
      await alive();
      const server = createServer(socket => socket.end('HTTP/1.0 200 OK\r\n\r\nopen'));
      server.listen(0, '::');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const url = `http://[${sixOf(CARD)}]:${port}/`;
      const words = ['-gsS', '--http0.9', '--noproxy', '*', '--max-time', '3', url];
      assert.is((await run('curl', words)).stdout, 'open', 'the machine itself reaches it');
      const before = await guarded();
      const outside = await run('ip', ['netns', 'exec', `ml${k()}-net`, 'curl', ...words]).then(
        ({ stdout }) => stdout,
        () => 'nothing',
      );
      assert.is(outside, 'nothing');
      assert.ok((await guarded()) > before, 'it was the guard');
      server.close();
    },
    { deadlineMs: 60_000 },
  );

  test(
    'a modem that advertises itself as a router is heard and not believed',
    async () => {
      await alive();
      const heard = () =>
        Number(
          /Icmp6InRouterAdvertisements\s+(\d+)/.exec(
            readFileSync(`/proc/net/dev_snmp6/${interfaceOf(CARD)}`, 'utf8'),
          )?.[1] ?? 0,
        );
      const before = heard();
      await eventually(async () => {
        await advertiseFrom(CARD, 1800);
        return heard() > before;
      });
      await advertiseFrom(STICK, 1800);
      assert.not((await ip('-6 route show table all')).includes('2001:db8:bad:'));
      assert.not((await ip('-6 route show')).includes(interfaceOf(CARD)));
      assert.not((await ip('-6 route show')).includes(stickName()));
      assert.not((await ip('-6 address show')).includes('2001:db8:bad:'));
      await alive();
      assert.equal(packetsInWords(leaks()), []);
    },
    { deadlineMs: 60_000 },
  );

  test(
    'settings that others change are put back',
    async () => {
      const name = interfaceOf(CARD);
      await runTool('sh', ['-c', `echo 2 > /proc/sys/net/ipv6/conf/${name}/accept_ra`]);
      await runTool('sh', ['-c', `echo 0 > /proc/sys/net/ipv6/conf/${stickName()}/disable_ipv6`]);
      await eventually(
        () => setting(name, 'accept_ra') === '0' && setting(stickName(), 'disable_ipv6') === '1',
      );
      await alive();
    },
    { deadlineMs: 60_000 },
  );

  test(
    'a carrier with IPv6 alone: the slot is up, proven and rotated by IPv6',
    async () => {
      const made = await net.control('POST', '/modems', {
        ...{ profile: 'quectel/em12', driver: 'mbim', ipType: 'ipv6' },
      });
      const slot = made.slot as number;
      await eventually(() => interfaceOf(slot) !== '');
      indexes.set(slot, indexOf(interfaceOf(slot)));
      await eventually(() => isUp(slot));
      const report = plane.slots().find(one => one.slot === slot);
      const address = report?.sourceAddress ?? '';
      assert.match(address, new RegExp(`^${site()}:`));
      await eventually(() => plane.slots().find(one => one.slot === slot)?.exitAddress === address);
      assert.is(await program(address), address);
      const record = await plane.rotations.rotate(slot, { askedFor: 'test' });
      assert.is(record.outcome, 'rotated', JSON.stringify(record));
      await net.control('DELETE', `/modems/${slot}`);
    },
    { deadlineMs: 120_000 },
  );

  test(
    'without nftables a slot has IPv4 alone, and says why',
    async () => {
      // Another plane on the same modems, as an agent with "firewall": false would be.
      await dataPlane.close(0);
      const open = await upload(sixOf(CARD));
      const ended = new Promise<void>(resolve => open.once('close', () => resolve()));
      await plane.close();
      await ended;
      plane = createModemPlane({
        slots: [],
        sources: [new VirtualSlots({ stateDir: join(dir.path, 'net'), clock: systemClock, log: quietLog })],
        echoUrls: net.ready.echoUrls,
        dataDir: join(dir.path, 'agent'),
        clock: systemClock,
        log: quietLog,
        openFlows: async () => 0,
      });
      await plane.start();
      await eventually(() => isUp(CARD));
      assert.is(sixOf(CARD), '');
      assert.match(plane.slots().find(one => one.slot === CARD)?.reason ?? '', /IPv6 .* nftables/);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'nothing is left, and the interfaces are as they were',
    async () => {
      await plane.close();
      assert.not((await ip('-6 rule')).includes(site()));
      assert.not((await runTool('nft', ['list', 'tables'])).includes(guard.table));
      for (const name of [stickName(), `ml${k()}-s${CARD}`]) {
        assert.is(setting(name, 'disable_ipv6'), '0');
        assert.is(setting(name, 'accept_ra'), setting('default', 'accept_ra'));
      }
      await capture.stop();
      assert.equal(packetsInWords(leaks()), []);
      assert.equal(await net.faults(), []);
      assert.is(await net.stop(), 0);
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

/** From the LAN side of a virtual modem. */
function advertiseFrom(slot: number, lifetimeSeconds: number): Promise<void> {
  const namespace = `ml${k()}-m${slot}`;
  return advertise({ namespace, dev: 'lan0', prefix: '2001:db8:bad::/64', lifetimeSeconds });
}

test.run();
