/** Rotations of a virtual stick before a carrier that gives other addresses, the same ones, or none. */
import { ROTATION_TIMES, type RotationParts, rotate } from '@mastline/agent/modem-plane/rotation';
import type { RotationStep } from '@mastline/agent/modem-plane/rotation-statistics';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { type Rig, rig } from '../hilink/rig';

const test = suite('rotation');

let now: Rig;
const phases: string[] = [];
test.afterEach(() => now?.close());

const DATA: RotationStep = { method: 'data-switch', dwellSeconds: 4, expectSeconds: 12 };
const MODE: RotationStep = { method: 'mode-toggle', dwellSeconds: 20, expectSeconds: 60 };
const RESET: RotationStep = { method: 'reset', dwellSeconds: 0, expectSeconds: 90 };
const RADIO: RotationStep = { method: 'radio', dwellSeconds: 4, expectSeconds: 12 };

async function turn(steps: RotationStep[], over: Partial<RotationParts> = {}) {
  phases.length = 0;
  return now.until(
    rotate({
      steps,
      driver: () => now.driver,
      hopeless: () => null,
      clock: now.time,
      askExit: async () => {
        const { address, carries } = now.carrier.status();
        if (address === null || !carries) throw new Error('nobody answers');
        return [address];
      },
      openFlows: async () => 0,
      onPhase: phase => void (phases.at(-1) === phase || phases.push(phase)),
      onStuck: () => void phases.push('stuck'),
      signal: new AbortController().signal,
      times: ROTATION_TIMES,
      ...over,
    }),
  );
}

test('gives another address, names both, and is quick about it', async () => {
  now = await rig();
  const end = await turn([DATA]);
  assert.is(end.kind, 'rotated', end.reason);
  assert.is(end.oldAddress, '198.18.9.10');
  assert.is(end.newAddress, '198.18.9.11');
  assert.is(end.method, 'data-switch');
  assert.is(end.connected, true);
  assert.equal(phases, ['drain', 'change', 'verify']);
  // Dwell 4 s and the carrier's 2 s; the rest is ours.
  assert.ok(end.tookMs >= 6000 && end.tookMs <= 7500, `${end.tookMs} ms`);
});

test('waits for running flows, but not longer than their grace', async () => {
  now = await rig();
  let flows = 3;
  const left: number[] = [];
  const ended = await turn([DATA], {
    openFlows: async () => flows--,
    onPhase: phase => void (phase === 'change' && left.push(flows)),
  });
  assert.is(ended.kind, 'rotated');
  assert.equal(left, [-1]);
  assert.is(ended.drain?.flowsLeft, 0);
  const stubborn = await turn([DATA], { openFlows: async () => 1 });
  assert.ok(stubborn.tookMs >= 16_000 && stubborn.tookMs <= 18_000, `${stubborn.tookMs} ms`);
  assert.equal(stubborn.drain, { waitedMs: 10_000, flowsLeft: 1, problem: '' });
});

test('flows that nobody can count have their whole grace, and the slot and the report say why', async () => {
  now = await rig();
  const said: string[] = [];
  const end = await turn([DATA], {
    openFlows: () => Promise.reject(new Error('a thread is gone')),
    onPhase: (phase, detail) => void (phase === 'drain' && said.push(detail)),
  });
  assert.is(end.kind, 'rotated');
  assert.ok(end.tookMs >= 16_000 && end.tookMs <= 18_000, `${end.tookMs} ms`);
  assert.equal(said, ['', 'running flows cannot be counted: a thread is gone']);
  assert.equal(end.drain, {
    waitedMs: 10_000,
    flowsLeft: null,
    problem: 'running flows cannot be counted: a thread is gone',
  });
});

test('one service that still sees an address of before makes it a collision, whatever others see', async () => {
  now = await rig();
  let asked = 0;
  const end = await turn([DATA], {
    askExit: async () => {
      asked += 1;
      return asked === 1 ? ['198.18.9.10', '198.18.9.77'] : [`198.18.9.2${asked}`, '198.18.9.77'];
    },
  });
  assert.is(end.kind, 'collision');
  assert.is(end.newAddress, '198.18.9.77');
});

test('a carrier that holds the address for a while collides first, and gives another after a longer dwell', async () => {
  now = await rig();
  now.carrier.set({ holdsAddressMs: 9000 });
  const end = await turn([DATA, RESET]);
  assert.is(end.kind, 'rotated');
  assert.equal(
    end.attempts.map(one => [one.method, one.dwellMs, one.outcome]),
    [
      ['data-switch', 4000, 'collision'],
      ['data-switch', 12_000, 'rotated'],
    ],
  );
});

test('a sticky carrier ends in a collision after every method, connected, never called rotated', async () => {
  now = await rig();
  now.carrier.set({ sticky: true });
  const end = await turn([DATA, MODE, RESET]);
  assert.is(end.kind, 'collision');
  assert.is(end.newAddress, end.oldAddress);
  assert.equal(
    end.attempts.map(one => one.method),
    ['data-switch', 'data-switch', 'mode-toggle', 'reset'],
  );
  assert.is(end.connected, true);
  assert.is(now.carrier.status().connection, 901);
});

test('a modem that only a person can connect is not waited for to the deadline, and the reason is told', async () => {
  now = await rig();
  let locked = false;
  const { driver } = now;
  const end = await turn([DATA, DATA], {
    driver: () =>
      Object.assign(Object.create(driver), {
        disconnect: async () => {
          locked = true;
          return driver.disconnect();
        },
        connect: async () => ({
          ok: false,
          fault: { kind: 'failed', code: 'test/not-registered', message: 'not registered' },
        }),
      }),
    hopeless: () => (locked ? 'PIN needed: the SIM asks for its PIN' : null),
  });
  assert.is(end.kind, 'failed');
  assert.is(end.connected, false);
  assert.match(end.reason, /the SIM asks for its PIN/);
  assert.ok(end.tookMs < 90_000, `${end.tookMs} ms`);
});

test('the modem saying "connected" is not enough: an address that nobody sees is a failure', async () => {
  now = await rig();
  let asked = 0;
  const end = await turn([DATA], {
    askExit: async () => {
      asked += 1;
      if (asked > 1) throw new Error('nobody answers');
      return ['198.18.9.10'];
    },
  });
  assert.is(end.kind, 'failed');
  assert.is(end.newAddress, null);
  assert.match(end.reason, /no address was seen/);
  assert.is(end.connected, true);
  assert.equal(phases.at(-1), 'roll-back');
});

test('does not begin when the present address is not known', async () => {
  now = await rig();
  await now.carrier.setCarries(false);
  const end = await turn([DATA]);
  assert.is(end.kind, 'failed');
  assert.equal(end.attempts, []);
  assert.is(now.carrier.status().sessions, 1);
});

test('a method that the modem cannot do is passed over', async () => {
  now = await rig({ lacks: ['net/reconnect'] });
  const deregister: RotationStep = { method: 'deregister', dwellSeconds: 4, expectSeconds: 9 };
  const end = await turn([RADIO, deregister, DATA]);
  assert.is(end.kind, 'rotated');
  assert.equal(
    end.attempts.map(one => one.outcome),
    ['failed', 'failed', 'rotated'],
  );
});

test('a reboot is waited for, and gives another address', async () => {
  now = await rig({ rebootMs: 30_000 });
  const end = await turn([RESET]);
  assert.is(end.kind, 'rotated', end.reason);
  assert.ok(end.tookMs >= 30_000 && end.tookMs < 60_000, `${end.tookMs} ms`);
});

test('ends at its deadline when the network does not come back, and says that it is not connected', async () => {
  now = await rig();
  now.carrier.set({ connectDelayMs: 3_600_000 });
  const end = await turn([DATA, RESET]);
  assert.is(end.kind, 'failed');
  assert.is(end.connected, false);
  const { deadlineMs, rollBackMs } = ROTATION_TIMES;
  assert.ok(end.tookMs <= deadlineMs + rollBackMs + 130_000, `${end.tookMs} ms`);
});

test('a network that comes back late is rolled back to connected', async () => {
  now = await rig();
  now.carrier.set({ connectDelayMs: 280_000 });
  const end = await turn([DATA]);
  assert.is(end.kind, 'failed');
  assert.is(end.connected, true);
  assert.is(now.carrier.status().connection, 901);
});

test('a stick that hangs in the middle fails the rotation, not the process', async () => {
  now = await rig();
  const end = await turn([DATA], {
    onPhase: phase => void (phase === 'change' && now.modem.setMode('hang')),
  });
  assert.is(end.kind, 'failed');
  assert.is(end.connected, false);
});

test('a driver that never answers does not hold the slot for ever', async () => {
  now = await rig();
  const stuck = { ...now.driver, disconnect: () => new Promise<never>(() => undefined) };
  const end = await turn([DATA, RESET], { driver: () => stuck });
  assert.is(end.kind, 'failed');
  assert.match(end.reason, /driver did not end within 480 s/);
  assert.is(end.connected, false);
  assert.is(end.tookMs, 480_000);
  assert.is(phases.at(-1), 'stuck');
});

test('whoever is to count running flows and never answers costs their grace, and is told of', async () => {
  now = await rig();
  const end = await turn([DATA], { openFlows: () => new Promise<never>(() => undefined) });
  assert.is(end.kind, 'rotated');
  assert.is(end.drain?.waitedMs, ROTATION_TIMES.graceMs);
  assert.is(end.drain?.flowsLeft, null);
  assert.match(end.drain?.problem ?? '', /cannot be counted: counting them took longer than 10000 ms/);
});

test('a verb that ends after all is followed by no other', async () => {
  now = await rig();
  const verbs: string[] = [];
  let letGo = () => {};
  const held = new Promise<void>(resolve => {
    letGo = resolve;
  });
  const slow = {
    ...now.driver,
    disconnect: async () => {
      await held;
      return { ok: true as const, value: undefined };
    },
    connect: (apn: null) => {
      verbs.push('connect');
      return now.driver.connect(apn);
    },
    radio: (on: boolean) => {
      verbs.push('radio');
      return now.driver.radio(on);
    },
  };
  await turn([DATA, DATA], { driver: () => slow });
  letGo();
  await now.advance(600_000);
  assert.equal(verbs, []);
});

test('nothing is taken down that there is no time to bring back', async () => {
  now = await rig();
  const end = await turn([DATA], {
    times: { ...ROTATION_TIMES, deadlineMs: 3000, graceMs: 5000 },
    openFlows: async () => 1,
  });
  assert.is(end.kind, 'failed');
  assert.match(end.reason, /took over 3 s/);
  assert.equal(end.attempts, []);
  assert.is(end.connected, true);
  assert.is(now.carrier.status().sessions, 1);
});

test('is given up when the plane closes', async () => {
  now = await rig();
  const closing = new AbortController();
  const end = await turn([DATA, MODE], {
    signal: closing.signal,
    onPhase: phase => void (phase === 'verify' && closing.abort(new Error('closing'))),
    askExit: async signal => {
      signal.throwIfAborted();
      return ['198.18.9.10'];
    },
  });
  assert.is(end.kind, 'failed');
  assert.is(end.attempts.length, 1);
});

test.run();
