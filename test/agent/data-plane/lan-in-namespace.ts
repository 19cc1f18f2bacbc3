/**
 * A program for a network namespace of its own, where addresses that are public elsewhere can be a LAN: carries flows
 * to two of them, then becomes their neighbour, and tells as JSON what came of the flows. host-lan.test.ts runs it.
 */
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { pipelinedSocks5, socks5, tcp } from './clients';
import { readExactly, startRig } from './rig';
import { a, aaaa, startNames } from './scripted-name-server';

const NEIGHBOURS = ['193.99.144.80', '2a02:2e0:3fe:1001::80'];
const HOST = '127.0.0.1';

export interface LanStory {
  /** What the origins echoed before there was an interface in the LAN. */
  echoed: string[];
  /** That arrived, in all. */
  datagrams: string[];
  /** With the interface: flows that were cut, SOCKS5 replies to new ones by address and by name, and what was counted. */
  cut: number;
  replies: number[];
  refusals: Record<string, number>;
}

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
ip('link', 'set', 'lo', 'up');
// Reachable, while no interface has an address of them.
ip('route', 'add', 'local', '193.99.144.0/24', 'dev', 'lo');
ip('-6', 'route', 'add', 'local', '2a02:2e0:3fe:1001::/64', 'dev', 'lo');

const clients = new Set<Socket>();
const origin = createServer(socket => {
  clients.add(socket);
  socket.on('error', () => undefined).pipe(socket);
});
origin.listen(0, '::');
await once(origin, 'listening');
const { port } = origin.address() as AddressInfo;
const udp = dgram.createSocket('udp4');
const datagrams: string[] = [];
udp.on('message', bytes => datagrams.push(bytes.toString()));
udp.bind(port, NEIGHBOURS[0]);
await once(udp, 'listening');
const names = await startNames(({ name, type }) => ({
  answers: type === 'A' ? [a(name, NEIGHBOURS[0]!)] : [aaaa(name, NEIGHBOURS[1]!)],
}));

const clock = fakeClock();
const egress = {
  slot: 1,
  sourceAddress: null,
  dnsServers: [names.server],
  ready: true,
  imei: null,
  guarded: [],
};
const rig = await startRig({ clock, plan: { egresses: [egress], allowTargets: [] } });
const refusals = async () => (await rig.plane.metrics())[0]?.refusals ?? {};

const echoed: string[] = [];
const flows: Socket[] = [];
for (const host of NEIGHBOURS) {
  const { socket, reply } = await socks5(rig.port, { host, port });
  if (!socket) throw new Error(`${host}: SOCKS5 reply ${reply}`);
  socket.write('ping');
  echoed.push((await readExactly(socket, 4)).toString());
  flows.push(socket);
}
const control = await tcp(rig.port);
control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
const relay = (await readExactly(control, 14)).readUInt16BE(12);
const sender = dgram.createSocket('udp4');
const send = (host: string) => sender.send(socks5Datagram({ host, port }, Buffer.from('ping')), relay, HOST);
send(NEIGHBOURS[0]!);
await eventually(() => datagrams.length === 1);

let cut = 0;
for (const flow of flows) flow.resume().once('close', () => (cut += 1));
ip('address', 'add', '193.99.144.1/24', 'dev', 'lo');
ip('-6', 'address', 'add', '2a02:2e0:3fe:1001::1/64', 'dev', 'lo', 'nodad');
await clock.advance(10_000);
await eventually(() => cut === flows.length, 'both flows are cut');
const replies: number[] = [];
for (const host of [...NEIGHBOURS, 'lan.test']) replies.push((await socks5(rig.port, { host, port })).reply);
send(NEIGHBOURS[0]!);
send('lan.test');
// Two flows cut, three refused, two datagrams.
await eventually(async () => (await refusals())['private-target'] === 7);
const story: LanStory = {
  echoed,
  datagrams: [...datagrams],
  cut,
  replies,
  refusals: await refusals(),
};
console.log(JSON.stringify(story));

sender.close();
control.destroy();
await rig.close();
await names.close();
udp.close();
for (const socket of clients) socket.destroy();
origin.close();
