/**
 * The ways to a modem, with real descriptors, sockets and children: a pty as a character device, a Unix socket, the
 * proxy protocol over an abstract socket, and Debian's own mbim-proxy in between.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DriverEvent, ModemDriver } from '@mastline/agent/modem-plane/driver';
import { connectMbim, type MbimWay } from '@mastline/agent/modem-plane/drivers/mbim/connect';
import { maxControlTransferOf } from '@mastline/agent/modem-plane/drivers/mbim/control-size';
import { openDeviceFile } from '@mastline/agent/modem-plane/drivers/mbim/transports/device-file';
import {
  canNameAbstractSockets,
  connectProxy,
} from '@mastline/agent/modem-plane/drivers/mbim/transports/stream';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import type { MbimKnobs } from '../../../simulators/mbim/knobs';
import { MbimModem } from '../../../simulators/mbim/modem';
import { deliverPdu } from '../../../simulators/mbim/pdu-writer';
import { serveProxy, servePty, serveSocket } from '../../../simulators/mbim/ports';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { noMbimcli, noSocat, runTool, whyNot } from './tools';

const test = suite('MBIM transports');

function modemWith(knobs: Partial<MbimKnobs> = {}): MbimModem {
  return new MbimModem({ clock: systemClock, seed: 5, knobs });
}

function open(way: MbimWay): Promise<ModemDriver> {
  return connectMbim({ way, clock: systemClock, log: quietLog });
}

/** As if another program held the device: the kernel says EBUSY, which no pty can be made to say to root. */
function openBusy(way: MbimWay): Promise<ModemDriver> {
  const openDevice = (path: string) => {
    throw new CodedError('mbim/device-busy', `${path} is held by another program`);
  };
  return connectMbim({ way, clock: systemClock, log: quietLog, openDevice });
}

async function inDir(body: (path: string) => Promise<void>): Promise<void> {
  const dir = await tempDir('mbim');
  try {
    await body(dir.path);
  } finally {
    await dir.remove();
  }
}

async function code(work: Promise<unknown> | (() => unknown)): Promise<string | undefined> {
  try {
    await (typeof work === 'function' ? work() : work);
    return undefined;
  } catch (error) {
    return codeOf(error) ?? String(error);
  }
}

/** What every way must carry: small and large, both directions, something unasked. */
async function wholeSession(driver: ModemDriver, modem: MbimModem): Promise<void> {
  const identity = await driver.identity();
  assert.is(identity.ok && identity.value.imei, '867394040000123');
  const bearer = await driver.connect({
    // A request that is larger than a fragment of a small device.
    name: 'a'.repeat(100),
    username: 'u'.repeat(255),
    password: 'p'.repeat(255),
    authentication: 'chap',
    ipType: 'ipv4',
  });
  assert.is(bearer.ok && bearer.value.address, '10.64.1.2');
  assert.is(modem.connects[0]?.username.length, 255);
  for (let index = 0; index < 30; index += 1)
    modem.receive(deliverPdu({ sender: '+1', text: 'x'.repeat(160), sentAt: index }));
  const messages = await driver.messages();
  assert.is(messages.ok && messages.value.length, 30);
  const ussd = await driver.ussd('*100#');
  assert.match(ussd.ok ? ussd.value : ussd.fault.message, /^Balance/);
  modem.assertNoFaults();
}

/** Open descriptors of this process that lead to `path`. */
const descriptors = () => readdirSync('/proc/self/fd').length;

function nextEvent(driver: ModemDriver, kind: DriverEvent['kind']): Promise<DriverEvent> {
  return new Promise(resolve => {
    driver.onEvent(event => {
      if (event.kind === kind) resolve(event);
    });
  });
}

test('a Unix socket carries a session, whole and in fragments', () =>
  inDir(async dir => {
    for (const fragmentBytes of [null, 64, 99]) {
      const modem = modemWith({ fragmentBytes, writes: 'cut' });
      const port = await serveSocket(modem, join(dir, `${fragmentBytes}.sock`));
      const driver = await open({ kind: 'socket', path: port.path });
      await wholeSession(driver, modem);
      await driver.close();
      await port.close();
    }
  }));

test('a socket that nobody listens on, and one that breaks, are told', () =>
  inDir(async dir => {
    assert.is(await code(open({ kind: 'socket', path: join(dir, 'none') })), 'mbim/no-device');
    const modem = modemWith();
    const port = await serveSocket(modem, join(dir, 'x.sock'));
    const driver = await open({ kind: 'socket', path: port.path });
    const gone = nextEvent(driver, 'gone');
    modem.vanish();
    assert.is((await gone).kind, 'gone');
    const after = await driver.sim();
    assert.is(!after.ok && after.fault.code, 'mbim/gone');
    await driver.close();
    await port.close();
  }));

test('what is not there, not a device or not a special file is named', () =>
  inDir(async dir => {
    assert.is(await code(() => openDeviceFile(join(dir, 'none'), systemClock)), 'mbim/no-device');
    await writeFile(join(dir, 'file'), '');
    assert.is(await code(() => openDeviceFile(join(dir, 'file'), systemClock)), 'mbim/not-a-device');
    // Reads of it end at once, as those of an unplugged device do.
    assert.is(await code(open({ kind: 'device', path: '/dev/null' })), 'mbim/gone');
  }));

test('whether this libuv can name the proxy’s socket', () => {
  assert.is(canNameAbstractSockets('1.46.0'), false);
  assert.is(canNameAbstractSockets('1.48.0'), true);
  assert.is(canNameAbstractSockets('2.0.0'), true);
  assert.is(canNameAbstractSockets(undefined), false);
});

test('the control transfer of a modem is read from its descriptors', () => {
  const device = Buffer.from('12010002ef0201402c7c010818040102030109', 'hex').subarray(0, 18);
  const configuration = Buffer.from('09025f0002010 0a0fa'.replaceAll(' ', ''), 'hex');
  const networkInterface = Buffer.from('0904000001020e0000', 'hex');
  const header = Buffer.from('0524001001', 'hex');
  const mbim = Buffer.from('0c241b000100081080dc0520', 'hex');
  const all = Buffer.concat([device, configuration, networkInterface, header, mbim]);
  assert.is(maxControlTransferOf(all), 0x0800);
  for (let length = 0; length < all.length; length += 1)
    assert.is(maxControlTransferOf(all.subarray(0, length)), null);
  assert.is(maxControlTransferOf(Buffer.alloc(40)), null);
});

if (noSocat === undefined) {
  test('a pty carries a session as a character device would', () =>
    inDir(async dir => {
      for (const fragmentBytes of [null, 64]) {
        const modem = modemWith({ fragmentBytes, writes: 'cut' });
        const port = await servePty(modem, join(dir, 'wdm'));
        const before = descriptors();
        const driver = await open({ kind: 'device', path: port.path });
        await wholeSession(driver, modem);
        await driver.close();
        assert.is(descriptors(), before, 'the device stayed open');
        await port.close();
      }
    }));

  test('indications come through a device that nobody asks anything', () =>
    inDir(async dir => {
      const modem = modemWith();
      const port = await servePty(modem, join(dir, 'wdm'));
      const driver = await open({ kind: 'device', path: port.path });
      const told = nextEvent(driver, 'registration');
      modem.setRadio(false);
      const event = await told;
      assert.is(event.kind === 'registration' && event.registration.state, 'not-searching');
      await driver.close();
      await port.close();
    }));

  test('a device that is pulled is gone within a second, and is opened again when it is back', () =>
    inDir(async dir => {
      const modem = modemWith({ resetMs: 50 });
      const port = await servePty(modem, join(dir, 'wdm'));
      const driver = await open({ kind: 'device', path: port.path });
      const gone = nextEvent(driver, 'gone');
      const reset = await driver.reset();
      assert.ok(reset.ok, JSON.stringify(reset));
      assert.is((await gone).kind, 'gone');
      await driver.close();
      let again: ModemDriver | undefined;
      while (again === undefined)
        again = await open({ kind: 'device', path: port.path }).catch(() => undefined);
      const registration = await again.registration();
      assert.is(registration.ok && registration.value.state, 'registered');
      await again.close();
      await port.close();
    }));

  test('a frame larger than the line’s buffer is written in pieces, and a line that is never read is given up', () =>
    inDir(async dir => {
      // A pty holds a few thousand bytes; nobody reads the other end of this one.
      const path = join(dir, 'wdm');
      const socat = spawn('socat', ['-d', '-d', '-u', `PTY,rawer,link=${path}`, 'EXEC:"sleep 60"'], {
        stdio: ['ignore', 'ignore', 'pipe'],
        detached: true,
      });
      await new Promise<void>(resolve => {
        socat.stderr.on('data', chunk => {
          if (String(chunk).includes('starting data transfer')) resolve();
        });
      });
      let now = 0;
      const hurried = {
        ...systemClock,
        monotonicMs: () => {
          now += 1_000;
          return now;
        },
      };
      const transport = openDeviceFile(path, hurried);
      try {
        assert.is(await code(transport.send(Buffer.alloc(4_000_000))), 'mbim/write-stuck');
      } finally {
        await transport.close();
        process.kill(-(socat.pid as number), 'SIGKILL');
        await new Promise(resolve => socat.once('close', resolve));
      }
    }));

  test('the proxy protocol carries a session over an abstract socket', () =>
    inDir(async dir => {
      const name = `mastline-mbim-${process.pid}`;
      const modem = modemWith({ writes: 'cut' });
      const port = await serveProxy(modem, { name, socketPath: join(dir, 'proxy.sock') });
      const driver = await open({ kind: 'proxy', path: '/dev/cdc-wdm7', proxy: { socketName: name } });
      await wholeSession(driver, modem);
      assert.ok(modem.exercised.has('libmbim 1.28.2, proxy configuration'));
      await driver.close();
      const around = await openBusy({ kind: 'device', path: '/dev/cdc-wdm7', proxy: { socketName: name } });
      assert.ok((await around.sim()).ok);
      await around.close();
      await port.close();
    }));

  test('a proxy that is not there is told, with what socat said', async () => {
    const proxy = { socketName: `mastline-none-${process.pid}`, direct: false };
    assert.is(await code(open({ kind: 'proxy', path: '/dev/cdc-wdm0', proxy })), 'mbim/no-proxy');
    assert.is(await code(openBusy({ kind: 'device', path: '/dev/cdc-wdm0', proxy })), 'mbim/device-busy');
    const missing = connectProxy({ clock: systemClock, direct: false, socat: ['/nonexistent/socat'] });
    assert.is(await code(missing), 'mbim/no-proxy');
  });
} else test.skip('ptys and abstract sockets', noSocat);

const noNamespaces = whyNot('unshare', ['-n', 'true'], 'util-linux, and run as root');
const noProxy =
  noSocat ??
  noMbimcli ??
  noNamespaces ??
  whyNot('test', ['-x', '/usr/libexec/mbim-proxy'], 'libmbim-proxy') ??
  whyNot('ip', ['-V'], 'iproute2');

/** A network namespace, since the proxy's abstract name is one for the whole machine. */
async function inNamespace(body: (namespace: string, prefix: string[]) => Promise<void>): Promise<void> {
  const namespace = `mlmbim${process.pid}`;
  const made = await runTool('ip', ['netns', 'add', namespace]);
  assert.is(made.code, 0, made.text);
  try {
    await body(namespace, ['ip', 'netns', 'exec', namespace]);
  } finally {
    await runTool('ip', ['netns', 'del', namespace]);
  }
}

if (noProxy === undefined) {
  test('mbimcli -p takes the simulator for mbim-proxy', () =>
    inDir(dir =>
      inNamespace(async (namespace, [command = '', ...prefix]) => {
        const modem = modemWith({ fragmentBytes: 100 });
        const port = await serveProxy(modem, {
          name: 'mbim-proxy',
          socketPath: join(dir, 'proxy.sock'),
          namespace,
        });
        for (const [action, expected] of [
          ['--query-device-caps', /867394040000123/],
          ["--connect=access-string='internet'", /Successfully connected/],
          ['--query-ip-configuration', /10\.64\.1\.2/],
        ] as const) {
          const result = await runTool(command, [...prefix, 'mbimcli', '-p', '-d', '/dev/null', action]);
          assert.is(result.code, 0, result.text);
          assert.match(result.text, expected);
        }
        modem.assertNoFaults();
        await port.close();
      }),
    ));

  test('the genuine mbim-proxy stands between the driver and the modem, and shares it with mbimcli', () =>
    inDir(dir =>
      inNamespace(async (_namespace, [command = '', ...prefix]) => {
        const modem = modemWith();
        const port = await servePty(modem, join(dir, 'wdm'));
        const proxy = spawn(command, [...prefix, '/usr/libexec/mbim-proxy', '--no-exit', '--verbose'], {
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        const ended = new Promise(resolve => proxy.once('close', resolve));
        const way: MbimWay = {
          kind: 'proxy',
          path: port.path,
          proxy: { direct: false, socat: [command, ...prefix, 'socat'] },
        };
        try {
          let driver: ModemDriver | undefined;
          // Until the proxy listens; the test's deadline bounds it.
          while (driver === undefined && proxy.exitCode === null)
            driver = await open(way).catch(() => undefined);
          assert.ok(driver, `mbim-proxy ended with ${proxy.exitCode}`);
          await wholeSession(driver, modem);
          const told = nextEvent(driver, 'registration');
          const other = await runTool(command, [
            ...prefix,
            'mbimcli',
            '-p',
            '-d',
            port.path,
            '--set-radio-state=off',
          ]);
          assert.is(other.code, 0, other.text);
          const event = await told;
          assert.is(event.kind === 'registration' && event.registration.state, 'not-searching');
          await driver.close();
        } finally {
          proxy.kill('SIGKILL');
          await ended;
          await port.close();
        }
      }),
    ));
} else test.skip('mbim-proxy', noProxy);

test.run();
