/**
 * Two identical sticks, with one MAC and one 192.168.8.1, found on USB: they serve at once, are pulled out while
 * customers use them, and come back each in the other's port. A slot belongs to its port; what leaves through it leaves
 * by the stick that is there now, and while none is there, nothing leaves. Needs root, iproute2 and nftables.
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { Discovery } from '@mastline/agent/modem-plane/discovery/discovery';
import { SlotBook } from '@mastline/agent/modem-plane/discovery/slot-book';
import { discoveredSlots } from '@mastline/agent/modem-plane/discovery/slot-source';
import { LeakGuard } from '@mastline/agent/modem-plane/leak-guard';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { quietLog } from '@mastline/agent/observe/log';
import type { DataPlane } from '@mastline/agent/ports';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { pipelinedSocks5 } from '../agent/data-plane/clients';
import { credential, endpoint, SECRET } from '../agent/data-plane/rig';
import { type FakeUsb, fakeUsb } from '../agent/modem-plane/discovery/fake-usb';
import { hilinkStick } from '../agent/modem-plane/discovery/models';
import { identityOf } from '../simulators/hilink-replies';
import { ip, whyNoNamespaces } from '../simulators/run-tool';
import { Changes } from '../support/changes';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';

const test = suite('two identical sticks, swapped');
const obstacle = await whyNoNamespaces();
/** USB ports, of which the first has the lower slot number. */
const PORTS = ['1-1.1', '1-1.2'] as const;
const ATTEMPT_MS = 1000;

let dir: Awaited<ReturnType<typeof tempDir>>;
let net: RunningNetwork;
let usb: FakeUsb;
let plane: RotatingModemPlane;
let dataPlane: DataPlane;
let proxies: number[] = [];
const changes = new Changes();

const until = (holds: () => boolean) => changes.until(holds);

const slotAt = (port: string) => plane.slots().find(one => one.usbPath === port);
const hostSide = (stick: number) => `ml${net.ready.instance}-s${stick}`;
const imeiOf = (stick: number) => identityOf(net.ready.instance, stick).imei;

/** The slot at `port` serves by `stick`, as far as the agent knows. */
function servesBy(port: string, stick: number): boolean {
  const report = slotAt(port);
  const exit = new RegExp(`^198\\.18\\.${net.ready.instance}\\.${stick}\\d$`);
  return (
    report?.state === 'connected' && report.imei === imeiOf(stick) && exit.test(report.exitAddress ?? '')
  );
}

/** One request of a customer through the slot's endpoint; the address that the origin saw, or nothing. */
function request(proxyPort: number, id: string): Promise<string | null> {
  return new Promise(resolve => {
    const socket = connect(proxyPort, '127.0.0.1');
    let text = '';
    socket.setTimeout(ATTEMPT_MS, () => socket.destroy());
    socket
      .on('error', () => undefined)
      .on('data', part => {
        text += part.toString('latin1');
        if (/\r\n\r\n\S+/.test(text)) socket.destroy();
      });
    socket.once('close', () => resolve(/\r\n\r\n(198\.18\.\d+\.\d+)/.exec(text)?.[1] ?? null));
    const { address: host, port } = net.ready.origin;
    socket.write(
      Buffer.concat([
        pipelinedSocks5({ host, port }, 1, { username: 'alice', secret: SECRET }),
        Buffer.from(`GET /ip?id=${id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`),
      ]),
    );
  });
}

/** Requests through both slots at once, `times` each; the addresses seen, by slot. */
async function requests(tag: string, times: number): Promise<string[][]> {
  const seen: string[][] = [[], []];
  for (let i = 0; i < times; i += 1)
    await Promise.all(
      proxies.map(async (port, index) => {
        const address = await request(port, `${tag}-${index}`);
        if (address !== null) seen[index]?.push(address);
      }),
    );
  return seen;
}

/** Which stick an address belongs to. */
const stickOf = (address: string) => Math.floor(Number(address.split('.')[3]) / 10);

/** The origin's own book of all requests of that tag, by slot: through which sticks they came, in order. */
function bookOf(tag: string): Promise<number[][]> {
  return Promise.all(
    PORTS.map(async (_, index) => {
      const { connections } = await net.report(`${tag}-${index}`);
      return connections.map(one => stickOf(one.remoteAddress));
    }),
  );
}

const sticksSeen = async (tag: string) => (await bookOf(tag)).map(sticks => [...new Set(sticks)]);

async function apply(): Promise<void> {
  const slots = PORTS.map(port => slotAt(port)?.slot ?? 0);
  await dataPlane.apply({
    endpoints: proxies.map((port, index) =>
      endpoint(port, { id: `e${index}`, name: `e${index}`, slots: [slots[index] ?? 0] }),
    ),
    credentials: [credential()],
    egresses: plane.egresses(),
    allowTargets: [`${net.ready.origin.address}:${net.ready.origin.port}`],
  });
}

/** Both out, while they are in use: interfaces and networks go at once. */
async function pullOut(): Promise<void> {
  for (const port of PORTS) usb.unplug(port);
  await Promise.all([1, 2].map(stick => net.control('DELETE', `/modems/${stick}`)));
}

async function plugIn(): Promise<void> {
  for (const _ of PORTS) await net.control('POST', '/modems', { profile: 'huawei/e3372h-153' });
}

if (obstacle !== undefined) test.skip('swapped sticks', obstacle);
else {
  test.before(async () => {
    dir = await tempDir('swap');
    usb = await fakeUsb();
    net = await startVirtualNetwork(join(dir.path, 'net'), 'namespaces', ['--modems', '0']);
    await plugIn();
    for (const [index, port] of PORTS.entries()) usb.plug(port, hilinkStick(hostSide(index + 1)));
    const profiles = loadCatalogue();
    const discovery = new Discovery({
      profiles,
      book: new SlotBook({ dataDir: dir.path, reserved: new Set() }),
      clock: systemClock,
      log: quietLog,
      roots: usb.roots,
    });
    plane = createModemPlane({
      slots: [],
      sources: [discoveredSlots(discovery, { profiles, dev: usb.roots.dev })],
      echoUrls: net.ready.echoUrls,
      dataDir: join(dir.path, 'agent'),
      clock: systemClock,
      log: quietLog,
      guard: new LeakGuard({ clock: systemClock, log: quietLog }),
    });
    dataPlane = createDataPlane({ sink: { commit: async () => undefined }, log: quietLog });
    proxies = [await freePort(), await freePort()];
    plane.onChange(() => {
      void apply();
      changes.tell();
    });
    await plane.start();
    await until(() => servesBy(PORTS[0], 1) && servesBy(PORTS[1], 2));
    await apply();
  });

  test('serve at once, each by its own carrier, from one MAC and one gateway', async () => {
    const macs = await Promise.all(
      [1, 2].map(async stick => (await ip(`-br link show ${hostSide(stick)}`)).split(/\s+/)[2]),
    );
    assert.is(macs[0], macs[1]);
    for (const stick of [1, 2])
      assert.match(await ip('-4 rule'), new RegExp(`from ${slotAt(PORTS[stick - 1] ?? '')?.sourceAddress} `));
    const seen = await requests('first', 20);
    assert.equal(
      seen.map(one => one.length),
      [20, 20],
    );
    assert.equal(await sticksSeen('first'), [[1], [2]]);
  });

  test(
    'are pulled out while in use and come back each in the other’s port: the slots stay, the sticks change',
    async () => {
      const before = PORTS.map(port => slotAt(port)?.slot);
      await requests('between', 3);
      let going = true;
      const customers = (async () => {
        while (going) await requests('between', 1);
      })();
      await pullOut();
      await until(() => PORTS.every(port => slotAt(port)?.state === 'absent'));
      const nothing = await requests('without', 5);
      assert.equal(nothing, [[], []]);
      assert.equal(await sticksSeen('without'), [[], []]);
      await plugIn();
      usb.plug(PORTS[0], hilinkStick(hostSide(2)));
      usb.plug(PORTS[1], hilinkStick(hostSide(1)));
      await until(() => servesBy(PORTS[0], 2) && servesBy(PORTS[1], 1));
      going = false;
      await customers;
      await requests('between', 3);
      assert.equal(
        PORTS.map(port => slotAt(port)?.slot),
        before,
      );
      // Through each slot went what left by the stick that it had: first the one, then the other.
      const turns = (sticks: number[]) => sticks.filter((stick, i) => stick !== sticks[i - 1]);
      const between = await bookOf('between');
      assert.equal(turns(between[0] ?? []), [1, 2]);
      assert.equal(turns(between[1] ?? []), [2, 1]);
      await requests('second', 20);
      assert.equal(await sticksSeen('second'), [[2], [1]]);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'are swapped so fast that each port has an interface of the same name again: the other stick is noticed',
    async () => {
      await pullOut();
      await plugIn();
      // The kernel gives names by the order in which sticks come.
      await ip(`link set ${hostSide(1)} name ml${net.ready.instance}-x`);
      await ip(`link set ${hostSide(2)} name ${hostSide(1)}`);
      await ip(`link set ml${net.ready.instance}-x name ${hostSide(2)}`);
      usb.plug(PORTS[0], hilinkStick(hostSide(2)));
      usb.plug(PORTS[1], hilinkStick(hostSide(1)));
      await until(() => servesBy(PORTS[0], 1) && servesBy(PORTS[1], 2));
      await requests('third', 20);
      assert.equal(await sticksSeen('third'), [[1], [2]]);
    },
    { deadlineMs: 90_000 },
  );

  test(
    'and nothing is left of them',
    async () => {
      const sources = PORTS.map(port => slotAt(port)?.sourceAddress ?? '');
      assert.equal(await net.faults(), []);
      await dataPlane.close(0);
      await plane.close();
      const rules = await ip('rule');
      for (const source of sources) assert.not(rules.includes(` ${source} `));
      assert.is(await net.stop(), 0);
      await usb.remove();
      await dir.remove();
    },
    { deadlineMs: 60_000 },
  );
}

test.run();
