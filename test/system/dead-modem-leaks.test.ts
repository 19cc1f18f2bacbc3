/**
 * A dead modem leaks through no other link: customers hammer a slot, and programs its address, while its modem dies in
 * every way that we know, on a box whose main link would take all of it to the same origin. tcpdump watches every
 * interface; not one packet of the slot may leave by another one than its own. Needs root, iproute2, nftables, tcpdump.
 */
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane, Egress } from '@mastline/agent/ports';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { pipelinedSocks5 } from '../agent/data-plane/clients';
import { type DatagramWay, socks5Way } from '../agent/data-plane/datagram-ways';
import { credential, endpoint } from '../agent/data-plane/rig';
import { ip, runTool, whyNoNamespaces } from '../simulators/run-tool';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { countedBy, packetsInWords, ruleOf } from '../support/kernel-looks';
import { type Capture, captureLeaving, indexOf, type LeavingPacket } from '../support/packet-capture';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('a dead modem leaks through no other link', { needs: ['tcpdump', 'curl'] });
const run = promisify(execFile);
const obstacle = await whyNoNamespaces();
/** Part of every name that is asked for, so that a question is known wherever it leaves. */
const LABEL = `leak-${process.pid}`;
/** Attempts of each kind at each death. */
const ROUNDS = 15;
const ATTEMPT_MS = 400;
/** `lo` is always the first. */
const LOOPBACK = 1;

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let plane: RotatingModemPlane;
let dataPlane: DataPlane;
let guard: LeakGuard;
let capture: Capture;
let proxyPort: number;
let datagrams: DatagramWay;
let names = 0;
/** Of the slot that dies, and of the other. */
let source: string;
let own: string;
let ownIndex: number;
let siblingIndex: number;
let attempts = 0;

const target = () => ({ host: net.ready.origin.address, port: net.ready.origin.port });
const nameServer = () => `198.18.${net.ready.instance}.2`;

/** What comes back on a connection within its time; empty when nothing does. */
function answerOf(socket: Socket, words: Buffer): Promise<string> {
  return new Promise(resolve => {
    let text = '';
    socket.setTimeout(ATTEMPT_MS, () => socket.destroy());
    socket.on('data', part => {
      text += part.toString('latin1');
      if (/\r\n\r\n.+/s.test(text)) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(text));
    socket.once('connect', () => socket.write(words));
  });
}

const question = () =>
  Buffer.from(`GET /ip?id=${LABEL} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`, 'latin1');

/** A customer's request through the proxy, by address or by a name that nobody has asked for yet. */
function customer(host: string): Promise<string> {
  const to = { host, port: target().port };
  const words = Buffer.concat([
    pipelinedSocks5(to, 1, { username: 'alice', secret: 'correct-horse' }),
    question(),
  ]);
  return answerOf(connect(proxyPort, '127.0.0.1'), words);
}

/** A program that binds the slot's address itself, whatever the agent thinks of the slot. */
const program = () => answerOf(connect({ ...target(), localAddress: source }), question());

/** The same by UDP; what cannot be sent is no leak. */
async function boundDatagram(): Promise<void> {
  const socket = createSocket('udp4');
  socket.on('error', () => undefined);
  try {
    socket.bind({ address: source, port: 0, exclusive: true });
    await once(socket, 'listening');
    await new Promise<void>(resolve => socket.send(LABEL, 4000, target().host, () => resolve()));
  } catch {
    // The address is gone: nothing was sent.
  } finally {
    await new Promise<void>(resolve => socket.close(() => resolve()));
  }
}

/** Customers and programs at once, `ROUNDS` times, with a flow that began before and goes on sending. */
async function hammer(open: Socket): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    attempts += 1;
    open.write(Buffer.alloc(1000, LABEL));
    datagrams.send({ host: nameServer(), port: 53 }, Buffer.from(LABEL));
    datagrams.send({ host: target().host, port: 4000 }, Buffer.from(LABEL));
    datagrams.send({ host: `u${names}.${LABEL}.test`, port: 4000 }, Buffer.from(LABEL));
    names += 1;
    await Promise.all([
      customer(target().host),
      customer(`t${names}.${LABEL}.test`),
      customer('origin.mastline.test'),
      program(),
      boundDatagram(),
    ]);
  }
}

/** An upload through the proxy that is under way. */
async function upload(): Promise<Socket> {
  const socket = connect(proxyPort, '127.0.0.1');
  socket.on('error', () => undefined);
  const words = Buffer.concat([
    pipelinedSocks5(target(), 1, { username: 'alice', secret: 'correct-horse' }),
    Buffer.from(`POST /sink?id=${LABEL} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n`, 'latin1'),
  ]);
  socket.write(words);
  await once(socket, 'data');
  return socket;
}

async function alive(): Promise<void> {
  await eventually(async () => /\r\n\r\n198\.18\./.test(await customer(target().host)));
  // An earlier flow may be stuck in the kernel; names and programs must serve, too.
  await eventually(async () => /\r\n\r\n198\.18\./.test(await program()));
}

/** Connections of the test itself, by which it knows that the capture sees the other links. */
const controls = new Set<number>();

/** A request of the test's own, from this address or from the machine's; gives what the origin saw. */
async function control(from: string | null): Promise<string> {
  const port = await freePort();
  controls.add(port);
  const words = ['-sS', '--noproxy', '*', '--local-port', String(port)];
  const source = from === null ? [] : ['--interface', from];
  return (await run('curl', [...words, ...source, `${net.ready.origin.url}/ip`])).stdout.trim();
}

/** Source port of TCP over IPv4 without options, as all of this test's is. */
const isControl = ({ bytes }: LeavingPacket) => bytes[9] === 6 && controls.has(bytes.readUInt16BE(20));

/** What left by a link that is not the slot's own, but for the test's own requests. */
const leaks = () => leaving().filter(one => !isControl(one));

/** What left by a link that is not the slot's own. */
const leaving = () =>
  capture.packets.filter(
    one =>
      one.interfaceIndex !== ownIndex &&
      one.interfaceIndex !== LOOPBACK &&
      (one.to.startsWith(`198.18.${net.ready.instance}.`) || one.bytes.includes(LABEL)),
  );

const guarded = () => countedBy(guard.table);

interface Death {
  how: string;
  die: () => Promise<unknown>;
  revive?: () => Promise<unknown>;
  /** The routing rules do not hold this: the guard's counter has to show that it did. */
  byGuard?: true;
}

const knob = (name: string, body: object) => net.knob(1, name, body);

const DEATHS: Death[] = [
  {
    how: 'connected by its own word, and silent',
    die: () => knob('data', { carries: false }),
    revive: () => knob('data', { carries: true }),
  },
  {
    how: 'no data connection',
    die: () => knob('connection', { up: false }),
    revive: () => knob('connection', { up: true }),
  },
  {
    how: 'its API is dead',
    die: () => knob('api', { mode: 'dead' }),
    revive: () => knob('api', { mode: 'up' }),
  },
  {
    how: 'its API hangs',
    die: () => knob('api', { mode: 'hang' }),
    revive: () => knob('api', { mode: 'up' }),
  },
  { how: 'its link is down', die: () => ip(`link set ${own} down`) },
  { how: 'its address is lost', die: () => ip(`address flush dev ${own}`) },
  {
    how: 'its routes are flushed by another program',
    die: async () => ip(`route flush table ${(await ruleOf(source)).table}`),
    byGuard: true,
  },
  {
    how: 'its rule is deleted by another program',
    die: async () => ip(`rule del priority ${(await ruleOf(source)).priority}`),
    byGuard: true,
  },
  {
    how: 'another program, like a VPN or NetworkManager, puts a rule of its own before all',
    die: () => ip(`rule add to 198.18.${net.ready.instance}.0/24 lookup main priority ${foreignPriority()}`),
    revive: () => ip(`rule del priority ${foreignPriority()}`),
    byGuard: true,
  },
  {
    how: 'a default route of another program appears beside its own',
    // In the slot's own table, with a better metric: nobody else's traffic is touched by it.
    die: async () => {
      const { table } = await ruleOf(source);
      await ip(
        `route add 198.18.${net.ready.instance}.0/24 via ${uplink()} dev ${uplinkName()} table ${table}`,
      );
    },
    revive: async () => {
      const { table } = await ruleOf(source);
      await ip(`route del 198.18.${net.ready.instance}.0/24 table ${table}`);
    },
    byGuard: true,
  },
];

const foreignPriority = () => 100 + net.ready.instance;
const uplink = () => `198.19.${net.ready.instance}.2`;
const uplinkName = () => `ml${net.ready.instance}-up`;

if (obstacle !== undefined) test.skip('dead modems', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('leaks');
    net = await startVirtualNetwork(join(dir.path, 'net'), 'namespaces');
    const k = net.ready.instance;
    // The machine's own link leads to the same Internet: a leak would arrive, and be answered.
    await ip(`route add 198.18.${k}.0/24 via ${uplink()} dev ${uplinkName()}`);
    guard = new LeakGuard({ clock: systemClock, log: quietLog });
    plane = createModemPlane({
      // The sibling says nothing by itself, so that everything from there would be a leak.
      slots: net.ready.slots.map(slot => (slot.slot === 2 ? { ...slot, echoUrls: [] } : slot)),
      echoUrls: net.ready.echoUrls,
      dataDir: join(dir.path, 'agent'),
      clock: systemClock,
      log: quietLog,
      guard,
    });
    await plane.start();
    const [one, two] = plane.slots();
    source = one?.sourceAddress ?? '';
    own = one?.interface ?? '';
    ownIndex = indexOf(own);
    siblingIndex = indexOf(two?.interface ?? '');
    proxyPort = await freePort();
    dataPlane = createDataPlane({ sink: { commit: async () => undefined }, log: quietLog });
    // Never told that the slot is dead: what it sends must be held by the kernel.
    const egress = plane.egresses().find(each => each.slot === 1) as Egress;
    assert.equal(egress.dnsServers, [nameServer()]);
    await dataPlane.apply({
      endpoints: [endpoint(proxyPort)],
      credentials: [credential()],
      egresses: [{ ...egress, ready: true }],
      allowTargets: [`198.18.${k}.0/24`],
    });
    datagrams = await socks5Way(proxyPort);
    capture = await captureLeaving(`net 198.18.${k}.0/24 or port 53`);
  });

  test('the capture sees what leaves by the other links, and the origin what a leak would bring', async () => {
    assert.match(await customer(target().host), /\r\n\r\n198\.18\./);
    await eventually(() => capture.packets.some(one => one.interfaceIndex === ownIndex));
    assert.equal(packetsInWords(leaks()), []);
    assert.is(await control(null), `198.19.${net.ready.instance}.1`);
    await eventually(() => leaving().some(one => one.interfaceIndex === indexOf(uplinkName())));
    await control(plane.slots()[1]?.sourceAddress ?? '');
    await eventually(() => leaving().some(one => one.interfaceIndex === siblingIndex));
    assert.equal(packetsInWords(leaks()), []);
  });

  for (const { how, die, revive, byGuard } of DEATHS)
    test(
      how,
      async () => {
        await alive();
        const before = await guarded();
        const open = await upload();
        try {
          await die();
          await hammer(open);
          assert.equal(packetsInWords(leaks()), []);
          if (byGuard) assert.ok((await guarded()) > before, 'the guard had something to hold');
        } finally {
          open.destroy();
          await revive?.();
        }
      },
      { deadlineMs: 120_000 },
    );

  test(
    'its interface is gone',
    async () => {
      await alive();
      const open = await upload();
      await ip(`link del ${own}`);
      await hammer(open);
      open.destroy();
      assert.equal(packetsInWords(leaks()), []);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'the origin saw the slot’s carrier only, and the capture lost nothing',
    async () => {
      assert.is(attempts, ROUNDS * (DEATHS.length + 1));
      // The last word of all: a packet of the sibling's, after which everything before it has been seen.
      const before = leaving().length;
      await control(plane.slots()[1]?.sourceAddress ?? '');
      await eventually(() => leaving().length > before);
      assert.equal(packetsInWords(leaks()), []);
      await capture.stop();
      const { connections } = await net.report(LABEL);
      assert.ok(connections.length > 0);
      for (const { remoteAddress } of connections)
        assert.match(remoteAddress, new RegExp(`^198\\.18\\.${net.ready.instance}\\.1\\d$`));
    },
    { deadlineMs: 60_000 },
  );

  test(
    'and nothing is left, of rules and of the guard',
    async () => {
      await datagrams.close();
      await dataPlane.close(0);
      await plane.close();
      assert.not((await ip('rule')).includes(` ${source} `));
      assert.not((await runTool('nft', ['list', 'tables'])).includes(guard.table));
      assert.is(await net.stop(), 0);
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

test.run();
