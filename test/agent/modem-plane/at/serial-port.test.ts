/** The driver on real ttys: ptys behind socat, opened through the serial port package as a modem's port is. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { DriverEvent } from '@mastline/agent/modem-plane/driver';
import { createAtDriver } from '@mastline/agent/modem-plane/drivers/at/driver';
import { probeAtPort } from '@mastline/agent/modem-plane/drivers/at/probe';
import { openSerialPort } from '@mastline/agent/modem-plane/transports/serial-port';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { type AtModemOnPty, startAtModemOnPty } from '../../../simulators/at/at-modem-on-pty';
import { openPty } from '../../../simulators/at/pty';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { missingTool } from '../../../support/tools';
import { profileOf } from './rig';

const test = suite('AT on a pty');
const cleanUps: (() => Promise<void>)[] = [];

test.afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function modemOnPty(
  model: string,
  options: Partial<Parameters<typeof startAtModemOnPty>[0]> = {},
): Promise<AtModemOnPty> {
  const folder = await tempDir('pty');
  cleanUps.push(folder.remove);
  const failures: string[] = [];
  const running = await startAtModemOnPty({
    model,
    path: join(folder.path, 'ttyAT'),
    network: { registrationDelayMs: 50, dialDelayMs: 50, ussdDelayMs: 50 },
    onFailure: reason => failures.push(reason),
    ...options,
  });
  cleanUps.push(async () => {
    await running.close();
    assert.deepEqual(failures, []);
    assert.deepEqual(running.modem.faults(), []);
  });
  return running;
}

async function driverOn(running: AtModemOnPty) {
  const port = await openSerialPort(running.path, systemClock);
  const driver = createAtDriver({
    port,
    profile: profileOf(running.modem.state.model.profile),
    clock: systemClock,
    log: quietLog,
  });
  const events: DriverEvent[] = [];
  const gone = new Promise<void>(resolve =>
    driver.onEvent(event => {
      events.push(event);
      if (event.kind === 'gone') resolve();
    }),
  );
  cleanUps.push(() => driver.close());
  return { driver, events, gone };
}

const missing = missingTool(['socat']);
const onPty: typeof test = missing
  ? Object.assign(
      (name: string) => test.skip(name, `"${missing}" is missing: apt-get install -y socat`),
      test,
    )
  : test;

onPty('drives each family through a real tty', async () => {
  for (const model of ['quectel/ec25', 'quectel/rm520n', 'huawei/e3372h-153']) {
    const running = await modemOnPty(model, { knobs: { splitBytes: 5, urcStorm: 0.3, seed: 7 } });
    const { driver } = await driverOn(running);
    const identity = await driver.identity();
    assert.equal(identity.ok && identity.value.imei, '867962040012345');
    const bearer = await driver.connect(null);
    assert.equal(bearer.ok && bearer.value.connected, true, JSON.stringify(bearer));
    const ussd = await driver.ussd('*100#');
    assert.equal(ussd.ok && ussd.value, 'Balance: 12.50 EUR, valid until 31.12.');
  }
});

onPty('an unplugged modem is gone at once, and its driver answers at once', async () => {
  const running = await modemOnPty('quectel/ec25');
  const { driver, gone } = await driverOn(running);
  assert.equal((await driver.signal()).ok, true);
  const reading = driver.ussd('*100#');
  await running.vanish();
  await gone;
  const outcome = await reading;
  assert.equal(!outcome.ok && outcome.fault.kind, 'unreachable');
  const after = await driver.signal();
  assert.equal(!after.ok && after.fault.code, 'port-gone');
});

onPty('a port that is hung up ends by itself, and nobody has to write to it to learn that', async () => {
  const running = await modemOnPty('quectel/ec25');
  const port = await openSerialPort(running.path, systemClock);
  const failed = once(port, 'close').then(
    () => null,
    error => error,
  );
  port.resume();
  await running.vanish();
  const error = await failed;
  assert.equal(error instanceof CodedError && error.code, 'port/gone');
});

onPty('a restart ends the port, and a new driver on the new port finds the modem again', async () => {
  const running = await modemOnPty('quectel/ec25', { awayMs: 200 });
  const { driver, gone } = await driverOn(running);
  assert.equal((await driver.signal()).ok, true);
  assert.equal((await driver.reset()).ok, true);
  await gone;
  await driver.close();
  // Until the old port has left, its name still leads to it: as the agent does, begin again until the modem answers.
  for (;;) {
    const port = await eventually(() => openSerialPort(running.path, systemClock));
    const again = createAtDriver({
      port,
      profile: profileOf('quectel/ec25'),
      clock: systemClock,
      log: quietLog,
    });
    const identity = await again.identity();
    await again.close();
    if (!identity.ok) continue;
    assert.equal(identity.value.model, 'EC25');
    break;
  }
});

onPty('several programs may use the port one after the other', async () => {
  const running = await modemOnPty('quectel/ec25');
  for (let i = 0; i < 3; i += 1) {
    const { driver } = await driverOn(running);
    assert.equal((await driver.identity()).ok, true);
    await driver.close();
  }
});

onPty('a port that nobody answers is told from a modem after three tries', async () => {
  const running = await modemOnPty('quectel/ec25');
  const modem = await openSerialPort(running.path, systemClock);
  assert.equal(await probeAtPort(modem, systemClock), true);
  await closed(modem);
  const folder = await tempDir('pty');
  cleanUps.push(folder.remove);
  // A diagnostics port: opens, takes everything, says nothing.
  const deaf = await openPty(join(folder.path, 'ttyDIAG'), systemClock);
  cleanUps.push(deaf.close);
  const port = await openSerialPort(deaf.path, systemClock);
  let asked = '';
  deaf.port.on('data', (chunk: Buffer) => {
    asked += chunk.toString('latin1');
  });
  assert.equal(await probeAtPort(port, systemClock), false);
  assert.equal(asked, 'AT\r'.repeat(3));
  await closed(port);
});

onPty('a port that another program holds is named as such', async () => {
  const running = await modemOnPty('quectel/ec25');
  const first = await openSerialPort(running.path, systemClock);
  await assert.rejects(openSerialPort(running.path, systemClock), coded('port/in-use', /ModemManager/));
  await closed(first);
  await closed(await openSerialPort(running.path, systemClock));
});

onPty('a probe of a port that goes away is a no', async () => {
  const folder = await tempDir('pty');
  cleanUps.push(folder.remove);
  const pty = await openPty(join(folder.path, 'ttyX'), systemClock);
  const port = await openSerialPort(pty.path, systemClock);
  port.on('error', () => undefined);
  const probing = probeAtPort(port, systemClock);
  await pty.close();
  assert.equal(await probing, false);
});

test('each reason why a port does not open has its remedy', async () => {
  const folder = await tempDir('pty');
  cleanUps.push(folder.remove);
  await assert.rejects(
    openSerialPort(join(folder.path, 'none'), systemClock),
    coded('port/missing', /by-path/),
  );
  const file = join(folder.path, 'file');
  writeFileSync(file, '');
  await assert.rejects(openSerialPort(file, systemClock), coded('port/failed', /file/));
});

/** A modem that restarts is away for a while: tries until it is there; the test's own deadline ends it. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof CodedError) || !/^port\/(missing|gone|failed)$/.test(error.code)) throw error;
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }
}

async function closed(port: Duplex): Promise<void> {
  const closing = once(port, 'close');
  port.destroy();
  await closing;
}

function coded(code: string, text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.userMessage, text);
    return true;
  };
}

test.run();
