/** Keeping a modem on a port connected: when it is dialled, when it is left alone, and how it comes back. */
import { DialledDriver, NO_BEARER } from '@mastline/agent/modem-plane/dialled-driver';
import type {
  Bearer,
  DriverEvent,
  ModemDriver,
  Outcome,
  Registration,
  SimState,
} from '@mastline/agent/modem-plane/driver';
import { quietLog } from '@mastline/agent/observe/log';
import { CodedError } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';

const test = suite('agent/modem-plane: modems that are dialled');

const up: Bearer = { ...NO_BEARER, connected: true, address: '10.0.0.2', dnsServers: ['10.0.0.1'] };
const home: Registration = { state: 'registered', carrier: 'Test', plmn: '00101', technology: '4g' };
const ok = <T>(value: T): Outcome<T> => ({ ok: true, value });
const refuse = (message: string): Outcome<never> => ({
  ok: false,
  fault: { kind: 'failed', code: 'test/refused', message },
});

/** Only the verbs that the test is about; any other is a mistake and throws. */
class Modem {
  calls: string[] = [];
  sim: SimState = { state: 'ready' };
  registered: Registration = home;
  bearer: Bearer = NO_BEARER;
  connecting: () => Promise<Outcome<Bearer>> = async () => {
    this.bearer = up;
    return ok(up);
  };
  listener: (event: DriverEvent) => void = () => undefined;

  driver(): ModemDriver {
    const { calls } = this;
    const verbs: Partial<ModemDriver> = {
      kind: 'at',
      sim: async () => ok(this.sim),
      registration: async () => ok(this.registered),
      bearer: async () => ok(this.bearer),
      connect: async apn => {
        calls.push(`connect ${apn?.name ?? '-'}`);
        return this.connecting();
      },
      disconnect: async () => {
        calls.push('disconnect');
        this.bearer = NO_BEARER;
        return ok(undefined);
      },
      radio: async on => {
        calls.push(`radio ${on}`);
        this.bearer = NO_BEARER;
        return ok(undefined);
      },
      onEvent: listener => {
        this.listener = listener;
      },
      close: async () => void calls.push('close'),
    };
    return verbs as ModemDriver;
  }
}

let clock: FakeClock;
let modem: Modem;
let opened: number;
let bearers: Bearer[];

test.beforeEach(() => {
  clock = fakeClock();
  modem = new Modem();
  opened = 0;
  bearers = [];
});

const keeper = (more: Partial<ConstructorParameters<typeof DialledDriver>[0]> = {}) =>
  new DialledDriver({
    kind: 'at',
    apn: { name: 'internet', username: '', password: '', authentication: 'none', ipType: 'ipv4' },
    dials: true,
    clock,
    log: quietLog,
    random: () => 1,
    onBearer: bearer => void bearers.push(bearer),
    open: async () => {
      opened += 1;
      return modem.driver();
    },
    ...more,
  });

async function dataOf(driver: DialledDriver): Promise<string> {
  const status = await driver.status();
  assert.ok(status.ok);
  return status.ok ? status.value.data.state : '';
}

test('is dialled once it is registered, with the APN, and tells of the address', async () => {
  const driver = keeper();
  modem.registered = { ...home, state: 'searching' };
  assert.is(await dataOf(driver), 'down');
  assert.equal(modem.calls, []);
  modem.registered = home;
  assert.is(await dataOf(driver), 'changing');
  await eventually(() => bearers.length === 1);
  assert.equal(modem.calls, ['connect internet']);
  assert.equal(bearers, [up]);
  assert.is(await dataOf(driver), 'up');
  assert.is(opened, 1);
  await driver.close();
});

test('a locked or missing SIM is not dialled', async () => {
  for (const state of ['absent', 'pin-needed'] as const) {
    modem.sim = state === 'absent' ? { state } : { state, triesLeft: 3 };
    const driver = keeper();
    const status = await driver.status();
    assert.is(status.ok && status.value.sim.state, state);
    await driver.close();
  }
  assert.equal(
    modem.calls.filter(call => call !== 'close'),
    [],
  );
});

test('after a refusal it waits longer each time, and says why', async () => {
  const driver = keeper();
  modem.connecting = async () => refuse('the network says no');
  await driver.status();
  await eventually(() => modem.calls.length === 1);
  await eventually(async () => (await dataOf(driver)) === 'refused');
  const status = await driver.status();
  assert.match(status.ok ? status.value.data.reason : '', /says no/);
  await clock.advance(4_999);
  await driver.status();
  assert.is(modem.calls.length, 1);
  await clock.advance(1);
  await driver.status();
  await eventually(() => modem.calls.length === 2);
  await eventually(async () => (await dataOf(driver)) === 'refused');
  await clock.advance(9_999);
  await driver.status();
  assert.is(modem.calls.length, 2, 'the second wait is no longer than the first');
  modem.connecting = async () => {
    modem.bearer = up;
    return ok(up);
  };
  await clock.advance(1);
  await driver.status();
  await eventually(() => bearers.length === 1);
  await driver.close();
});

test('who hung up or switched the radio off is not dialled behind his back', async () => {
  const driver = keeper();
  assert.ok((await driver.connect(null)).ok);
  assert.ok((await driver.disconnect()).ok);
  assert.is(await dataOf(driver), 'down');
  assert.ok((await driver.connect(null)).ok);
  assert.ok((await driver.radio(false)).ok);
  assert.is(await dataOf(driver), 'down');
  assert.equal(modem.calls, ['connect internet', 'disconnect', 'connect internet', 'radio false']);
  assert.ok((await driver.radio(true)).ok);
  assert.is(await dataOf(driver), 'changing');
  await eventually(() => modem.calls.at(-1) === 'connect internet');
  await eventually(() => bearers.length === 5);
  assert.equal(
    bearers.map(bearer => bearer.connected),
    [true, false, true, false, true],
  );
  await driver.close();
});

test('a modem that is only being identified is neither dialled nor believed to be connected', async () => {
  const driver = keeper({ dials: false });
  modem.bearer = up;
  const status = await driver.status();
  assert.match(status.ok ? status.value.data.reason : '', /being identified/);
  assert.equal(bearers, []);
  assert.equal(modem.calls, []);
  await driver.close();
});

test('after the modem was away the port is opened anew, and the events go on', async () => {
  const driver = keeper();
  const heard: string[] = [];
  driver.onEvent(event => void heard.push(event.kind));
  assert.ok((await driver.connect(null)).ok);
  const first = modem;
  first.listener({ kind: 'gone', reason: 'unplugged' });
  assert.equal(heard, ['gone']);
  assert.is(bearers.at(-1)?.connected, false);
  modem = new Modem();
  modem.calls = first.calls;
  assert.is(await dataOf(driver), 'changing');
  assert.is(opened, 2);
  await eventually(() => heard.includes('bearer'));
  modem.listener({ kind: 'message-received' });
  assert.is(heard.at(-1), 'message-received');
  await driver.close();
});

test('a port that cannot be opened is a fault with its remedy; what only a person can mend is locked', async () => {
  const missing = keeper({
    open: async () => {
      throw new CodedError('port/missing', '/dev/x: no such file', { userMessage: 'Is it plugged in?' });
    },
  });
  const away = await missing.status();
  assert.equal(!away.ok && away.fault, {
    kind: 'unreachable',
    code: 'port/missing',
    message: 'Is it plugged in?',
  });
  const held = keeper({
    open: async () => {
      throw new CodedError('port/in-use', 'busy', { userMessage: 'ModemManager holds it' });
    },
  });
  const busy = await held.status();
  assert.is(!busy.ok && busy.fault.kind, 'locked');
  await Promise.all([missing.close(), held.close()]);
});

test('closing while it is being opened frees what came of it', async () => {
  let finish: (driver: ModemDriver) => void = () => undefined;
  const driver = keeper({
    open: () =>
      new Promise(resolve => {
        finish = resolve;
      }),
  });
  const asked = driver.status();
  const closed = driver.close();
  finish(modem.driver());
  await closed;
  assert.not((await asked).ok);
  assert.equal(modem.calls, ['close']);
});

test.run();
