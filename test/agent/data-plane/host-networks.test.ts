/** The networks of the host are nobody's targets, whatever protocol and whatever spelling. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { judgeAddress } from '@mastline/agent/data-plane/gate';
import { HostNetworks, type Interfaces } from '@mastline/agent/data-plane/host-networks';
import { EMPTY_POLICY } from '@mastline/agent/data-plane/policy';
import type { ServicePlan } from '@mastline/agent/ports';
import { parseAddressRange } from '@mastline/shared/domain/ip-range';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import type { Target } from '@mastline/shared/protocols/target';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { pipelinedSocks5, socks5, tcp } from './clients';
import { type Rig, readExactly, startRig } from './rig';
import { keyFor, randomly, shadowsocksEndpoint } from './shadowsocks-client';

const test = suite("the host's own networks");
const HOST = '127.0.0.1';

const v4 = (address: string, prefix: number) => ({
  address,
  cidr: `${address}/${prefix}`,
  family: 'IPv4' as const,
});
const v6 = (address: string, prefix: number) => ({ ...v4(address, prefix), family: 'IPv6' as const });

/** A LAN with public addresses of both families. */
const LAN: Interfaces = { eth0: [v4('193.99.144.5', 24), v6('2a02:2e0:3fe:1001::5', 64)] };
const NEIGHBOURS = ['193.99.144.80', '2a02:2e0:3fe:1001:302::'];
const SPELLED = ['::ffff:193.99.144.80', '64:ff9b::c163:9050'];
const OUTSIDE = ['193.99.145.80', '2a02:2e0:3fe:1002::1'];
/** An address that no interface here has: dials fail at once, without a packet. */
const NOWHERE = {
  slot: 1,
  sourceAddress: '203.0.113.7',
  dnsServers: [],
  ready: true,
  imei: null,
  guarded: [],
};

const judged = (interfaces: Interfaces, address: string, allowTargets: string[] = []) => {
  const host = new HostNetworks(() => interfaces);
  host.refresh();
  const policy = {
    ...EMPTY_POLICY,
    hostRanges: host.ranges,
    allowTargets: allowTargets.flatMap(range => parseAddressRange(range) ?? []),
  };
  return judgeAddress(address, 443, { policy, egress: null });
};

test('a neighbour on the LAN is refused, in every spelling; the rest of the Internet is not', () => {
  for (const address of [...NEIGHBOURS, ...SPELLED]) {
    assert.is(judged(LAN, address), 'private-target', address);
    assert.is(judged({}, address), null, address);
  }
  for (const address of OUTSIDE) assert.is(judged(LAN, address), null, address);
});

test('allowTargets opens what it names of the LAN', () => {
  assert.is(judged(LAN, NEIGHBOURS[0]!, ['193.99.144.80:443']), null);
  assert.is(judged(LAN, NEIGHBOURS[0]!, ['193.99.144.80:80']), 'private-target');
  assert.is(judged(LAN, '193.99.144.81', ['193.99.144.80:443']), 'private-target');
});

test('a single IPv6 address of DHCPv6 stands for its LAN; a mask of nothing stands for its address only', () => {
  const dhcp = { eth0: [v6('2a02:2e0:3fe:1001::5', 128)] };
  assert.is(judged(dhcp, '2a02:2e0:3fe:1001::6'), 'private-target');
  assert.is(judged(dhcp, '2a02:2e0:3fe:1002::6'), null);
  const broken = {
    ppp0: [v4('193.99.144.5', 0), { address: '193.99.150.1', cidr: null, family: 'IPv4' as const }],
  };
  assert.is(judged(broken, '193.99.144.5'), 'private-target');
  assert.is(judged(broken, '193.99.150.1'), 'private-target');
  assert.is(judged(broken, '193.99.144.6'), null);
});

test('looking again tells whether something changed, and a failure changes nothing', () => {
  let list: () => Interfaces = () => LAN;
  const host = new HostNetworks(() => list());
  assert.is(host.refresh(), true);
  assert.is(host.refresh(), false);
  const known = host.ranges;
  list = () => {
    throw Object.assign(new Error('no descriptors'), { code: 'EMFILE' });
  };
  assert.throws(() => host.refresh(), /no descriptors/);
  assert.is(host.ranges, known);
  list = () => ({});
  assert.is(host.refresh(), true);
  assert.equal(host.ranges, []);
});

test("the machine's own interfaces are found", () => {
  const host = new HostNetworks();
  host.refresh();
  const policy = { ...EMPTY_POLICY, hostRanges: host.ranges };
  assert.ok(host.ranges.length > 0);
  assert.is(judgeAddress(HOST, 1, { policy, egress: null }), 'private-target');
});

const refusals = async (rig: Rig) => (await rig.plane.metrics())[0]?.refusals ?? {};

test('SOCKS5 and HTTP refuse the LAN, and that of an interface that came later', async () => {
  const clock = fakeClock();
  let interfaces: Interfaces = {};
  const rig = await startRig({ clock, interfaces: () => interfaces, plan: { egresses: [NOWHERE] } });
  const target = { host: NEIGHBOURS[0]!, port: 443 };
  // 1: the modem failed (nothing has its address here); 2: not allowed.
  assert.is((await socks5(rig.port, target)).reply, 1);
  interfaces = LAN;
  await clock.advance(10_000);
  for (const host of [...NEIGHBOURS, ...SPELLED])
    assert.is((await socks5(rig.port, { host, port: 443 })).reply, 2, host);
  assert.is((await refusals(rig))['private-target'], 4);
  interfaces = {};
  await clock.advance(10_000);
  assert.is((await socks5(rig.port, target)).reply, 1);
  await rig.close();
});

test('UDP ASSOCIATE drops datagrams for the LAN', async () => {
  const rig = await startRig({ interfaces: () => LAN });
  const control = await tcp(rig.port);
  control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
  const relay = (await readExactly(control, 14)).readUInt16BE(12);
  const client = dgram.createSocket('udp4');
  for (const host of [...NEIGHBOURS, ...SPELLED])
    client.send(socks5Datagram({ host, port: 53 }, Buffer.from('x')), relay, HOST);
  await eventually(async () => (await refusals(rig))['private-target'] === 4);
  client.close();
  control.destroy();
  await rig.close();
});

test('Shadowsocks drops datagrams for the LAN', async () => {
  const method = 'aes-256-gcm';
  const plan: Partial<ServicePlan> = { endpoints: [shadowsocksEndpoint(await freePort(), method)] };
  const rig = await startRig({ interfaces: () => LAN, plan });
  const codec = new AeadPacketClient(requireMethod(method), keyFor(method), randomly);
  const client = dgram.createSocket('udp4').bind(0, HOST);
  await once(client, 'listening');
  const send = (target: Target) => {
    const out = Buffer.alloc(1_000);
    client.send(out.subarray(0, codec.seal(target, Buffer.from('x'), out)), rig.port, HOST);
  };
  for (const host of [...NEIGHBOURS, ...SPELLED]) send({ host, port: 53 });
  await eventually(async () => (await refusals(rig))['private-target'] === 4);
  await new Promise<void>(resolve => client.close(() => resolve()));
  await rig.close();
});

test.run();
