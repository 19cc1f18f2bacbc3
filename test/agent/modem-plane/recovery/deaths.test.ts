/** Sticks that die in each of the ways that they have, and what the agent does about it; minutes of virtual time. */
import type { PowerOutcome } from '@mastline/agent/modem-plane/discovery/usb-power';
import type { SlotTraffic } from '@mastline/agent/ports';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { Rig } from './rig';

const test = suite('modems that die');
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

let rig: Rig;
test.afterEach(async () => {
  await rig.close();
});

const isWell = (slot = 1) => {
  const { state, cause, exitAddress } = rig.report(slot);
  return state === 'connected' && cause === null && exitAddress !== null;
};
const isCured = (slot = 1) => rig.stick(slot).death === null && isWell(slot);
const rungs = (slot = 1) => rig.report(slot).recovery?.rungs.map(one => [one.rung, one.outcome]);
const has = (cause: string, slot = 1) => rig.report(slot).cause === cause;
const posts = (path: string) =>
  rig
    .stick()
    .modem.requests()
    .filter(one => one === `POST ${path}`).length;

test('dead data is mended by connecting anew; meanwhile no flow may leave, and the climb is told', async () => {
  rig = await Rig.start();
  assert.ok(isWell());
  await rig.kill(rig.stick(), 'data', 'reconnect');
  await rig.until(() => rig.report().state === 'recovering', 'recovering');
  assert.match(rig.report().reason, /^Connected, but carries nothing: connects it anew/);
  assert.is(rig.plane.egresses()[0]?.ready, false);
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [['reconnect', 'mended']]);
  const told = rig.report().recovery;
  assert.is(told?.outcome, 'mended');
  assert.is(told?.cause, 'data-dead');
  assert.match(told?.rungs[0]?.evidence ?? '', /connected anew/);
});

test('a stick that only a restart helps is restarted after connecting anew did not help', async () => {
  rig = await Rig.start();
  await rig.kill(rig.stick(), 'data', 'reset');
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [
    ['reconnect', 'not-mended'],
    ['reset', 'mended'],
  ]);
});

test('a hang that only the power of the port clears: each rung is climbed, once, in order, but for leaving USB, which the restart has done', async () => {
  rig = await Rig.start();
  await rig.kill(rig.stick(), 'data', 'power');
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [
    ['reconnect', 'not-mended'],
    ['reset', 'not-mended'],
    ['port-power', 'mended'],
  ]);
  assert.equal(rig.stick().cycles, ['power']);
});

test('a dead API over a living connection: flows are spared, then it is taken off USB and back', async () => {
  let flows = 3;
  rig = await Rig.start({ plane: { openFlows: async () => flows } });
  await rig.kill(rig.stick(), 'api', 'rebind');
  await rig.until(() => has('api-dead'), 'known');
  assert.is(rig.report().state, 'connected');
  assert.match(rig.report().reason, /carries, but/);
  assert.is(rig.plane.egresses()[0]?.ready, true);
  await rig.pass(2 * MINUTE_MS);
  assert.equal(rig.stick().cycles, []);
  flows = 0;
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [['usb-rebind', 'mended']]);
});

test('a stick that hangs whole is not asked to restart itself', async () => {
  rig = await Rig.start();
  await rig.kill(rig.stick(), 'hung', 'rebind');
  await rig.until(() => has('stick-hung'), 'known');
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [['usb-rebind', 'mended']]);
  assert.is(posts('device/control'), 0);
});

test('a stick that is gone from USB is brought back by the power of its port', async () => {
  rig = await Rig.start();
  await rig.kill(rig.stick(), 'usb', 'power');
  await rig.until(() => has('usb-gone'), 'known');
  assert.is(rig.report().state, 'absent');
  await rig.until(isCured, 'well again');
  assert.equal(rungs(), [['port-power', 'mended']]);
});

test('what was unplugged is given up after three attempts, and taken up when it is plugged in', async () => {
  rig = await Rig.start();
  await rig.kill(rig.stick(), 'usb', 'nothing');
  await rig.pass(3 * HOUR_MS);
  assert.is(rig.stick().cycles.length, 3);
  assert.match(rig.report().reason, /nothing is plugged in.*plug it in/);
  await rig.heal(rig.stick());
  rig.stick().carrier.register();
  await rig.until(isCured, 'well again');
});

test('everything on a hub gone at once is named so', async () => {
  rig = await Rig.start({ sticks: 3 });
  for (const stick of rig.sticks) await rig.kill(stick, 'usb', 'power');
  await rig.until(() => [1, 2, 3].every(slot => has('hub-power', slot)), 'named');
  await rig.until(() => [1, 2, 3].every(isCured), 'well again');
});

test('a SIM out of credit is named by the page that answers in the place of others, and nothing is climbed', async () => {
  rig = await Rig.start();
  const { stick } = { stick: rig.stick() };
  stick.page = {
    status: 302,
    headers: { location: 'http://portal.carrier.test/topup?msisdn=4915112345' },
    body: '',
  };
  await rig.until(() => has('sim-out-of-credit'), 'named');
  await rig.pass(HOUR_MS);
  const { state, reason, recovery } = rig.report();
  assert.is(state, 'failed');
  assert.match(reason, /^SIM out of credit: .*portal\.carrier\.test\/topup; top up the SIM$/);
  assert.not.match(reason, /4915112345/);
  assert.is(recovery, null);
  assert.is(rig.plane.egresses()[0]?.ready, false);
  stick.page = null;
  await rig.until(isWell, 'topped up', 3 * MINUTE_MS);
});

test('a wrong PIN is tried once in a life, by no later run either; the right one opens the SIM', async () => {
  const dir = await tempDir('pin');
  const knobs = { sim: 'pin', pin: '1234' } as const;
  rig = await Rig.start({ knobs, dataDir: dir.path, plane: { sims: [{ slot: 1, pin: '0000' }] } });
  await rig.until(() => has('pin-refused'), 'refused');
  await rig.pass(HOUR_MS);
  assert.is(posts('pin/operate'), 1);
  assert.match(rig.report().reason, /^PIN refused: .*set the right PIN/);
  assert.is(rig.report().recovery, null);
  await rig.close(true);
  rig = await Rig.start({ knobs, dataDir: dir.path, plane: { sims: [{ slot: 1, pin: '0000' }] } });
  await rig.until(() => has('pin-refused'), 'remembered');
  await rig.pass(HOUR_MS);
  assert.is(posts('pin/operate'), 0);
  await rig.close(true);
  rig = await Rig.start({ knobs, dataDir: dir.path, plane: { sims: [{ slot: 1, pin: '1234' }] } });
  await rig.until(isWell, 'opened');
  assert.is(posts('pin/operate'), 1);
  await rig.close(true);
  await dir.remove();
  rig = await Rig.start();
});

test('without a PIN the SIM waits for a person, and without a SIM the modem is left alone', async () => {
  rig = await Rig.start({ knobs: { sim: 'pin' } });
  await rig.until(() => has('pin-needed'), 'named');
  rig.stick().modem.knobs.sim = 'absent';
  await rig.until(() => has('no-sim'), 'named');
  await rig.pass(HOUR_MS);
  assert.is(rig.report().recovery, null);
  assert.match(rig.report().reason, /^No SIM: /);
  assert.equal(rig.stick().cycles, []);
});

test('a network that is lost for a minute is waited for; one that stays away is climbed for', async () => {
  rig = await Rig.start();
  const { carrier } = rig.stick();
  carrier.set({ registrationDelayMs: MINUTE_MS });
  await carrier.hangUp();
  carrier.register();
  await rig.until(() => has('no-registration'), 'known');
  await rig.until(isWell, 'by itself');
  assert.is(rig.report().recovery, null);
  carrier.set({ registrationDelayMs: 10 * HOUR_MS });
  await carrier.hangUp();
  carrier.register();
  await rig.until(() => rig.report().recovery !== null, 'climbed');
  assert.equal(
    rungs()?.map(([rung]) => rung),
    ['reset', 'port-power'],
  );
});

test('when no modem of the node carries, nobody is restarted for it', async () => {
  rig = await Rig.start({ sticks: 3 });
  for (const stick of rig.sticks) await rig.kill(stick, 'data', 'nothing');
  await rig.until(() => [1, 2, 3].every(slot => rig.report(slot).recovery != null), 'climbed');
  await rig.pass(HOUR_MS);
  const harsh = rig.sticks.flatMap(one => one.cycles);
  assert.equal(harsh, []);
  for (const stick of rig.sticks) await rig.heal(stick);
  await rig.until(() => [1, 2, 3].every(isCured), 'well again');
});

test(
  'one of twenty hangs: the others are asked as before and serve on',
  async () => {
    rig = await Rig.start({ sticks: 20 });
    const asked = () => rig.sticks.map(one => one.modem.requests().length);
    const others = Array.from({ length: 19 }, (_, i) => i + 2);
    const fell = new Set<number>();
    rig.plane.onChange(() => {
      for (const one of rig.plane.egresses()) if (!one.ready) fell.add(one.slot);
    });
    const before = asked();
    await rig.kill(rig.stick(), 'hung', 'nothing');
    await rig.until(() => has('stick-hung'), 'known');
    await rig.pass(2 * MINUTE_MS);
    assert.equal([...fell], [1]);
    for (const slot of others) {
      const during = (asked()[slot - 1] ?? 0) - (before[slot - 1] ?? 0);
      // Every five seconds, for more than two minutes.
      assert.ok(during >= 24, `slot ${slot} was asked ${during} times`);
      assert.ok(isWell(slot));
    }
  },
  { deadlineMs: 60_000 },
);

test('who holds the modem is named, and the modem is not blamed', async () => {
  const holder = {
    kind: 'port-in-use',
    usbPath: '1-1.1',
    message: 'minicom (process 77) holds ttyUSB2 of the modem on USB 1-1.1',
    remedy: 'End that program (kill 77) or keep it off ttyUSB2.',
  } as const;
  rig = await Rig.start({ conflicts: async () => [holder] });
  await rig.kill(rig.stick(), 'hung', 'rebind');
  await rig.until(() => /minicom \(process 77\)/.test(rig.report().reason), 'named');
  await rig.pass(10 * MINUTE_MS);
  assert.equal(rig.stick().cycles, []);
});

test('a hub that would cut others is asked only as the operator chose, and its refusal is told', async () => {
  const asked: boolean[] = [];
  const refused: PowerOutcome = {
    kind: 'refused',
    reason: 'this hub cannot',
    remedy: 'Put it on a powered hub.',
  };
  for (const cutNeighbours of [false, true]) {
    rig = await Rig.start({
      plane: {
        recovery: {
          cutNeighbours,
          cycleUsb: async (_, request) => {
            if (request.way === 'power') asked.push(request.cutNeighbours);
            return refused;
          },
        },
      },
    });
    await rig.kill(rig.stick(), 'hung', 'power');
    await rig.until(() => rig.report().recovery !== null, 'climbed');
    assert.equal(rungs(), [
      ['usb-rebind', 'impossible'],
      ['port-power', 'impossible'],
    ]);
    assert.match(
      rig.report().recovery?.rungs[1]?.evidence ?? '',
      /this hub cannot\. Put it on a powered hub/,
    );
    if (!cutNeighbours) await rig.close();
  }
  assert.equal(asked, [false, true]);
});

test('the box is restarted only where the operator chose so, after everything else, once a day', async () => {
  let reboots = 0;
  rig = await Rig.start({
    plane: {
      recovery: {
        rebootHost: async () => {
          reboots += 1;
        },
      },
    },
  });
  await rig.kill(rig.stick(), 'hung', 'nothing');
  await rig.until(() => rig.report().recovery !== null, 'first climb');
  assert.is(reboots, 0);
  await rig.pass(12 * HOUR_MS);
  assert.is(reboots, 1);
});

test('experience is kept over a restart: a rung that never helps is passed over', async () => {
  const dir = await tempDir('learn');
  rig = await Rig.start({ dataDir: dir.path });
  for (let i = 0; i < 5; i += 1) {
    await rig.kill(rig.stick(), 'data', 'reset');
    await rig.until(() => isCured(), `well again, ${i}`);
    // A modem that has been well for long begins anew.
    await rig.pass(11 * MINUTE_MS);
  }
  const figures = rig.plane.health().rungs;
  const of = (rung: string) => figures.find(one => one.rung === rung && one.cause === 'data-dead');
  assert.is(of('reconnect')?.tries, 5);
  assert.is(of('reconnect')?.successRate, 0);
  assert.is(of('reset')?.successRate, 1);
  assert.ok((of('reset')?.p50Ms ?? 0) > 8000);
  await rig.close(true);
  rig = await Rig.start({ dataDir: dir.path });
  // In one climb of five it is tried all the same, however far apart they are.
  for (let i = 0; i < 5; i += 1) {
    await rig.kill(rig.stick(), 'data', 'reset');
    await rig.until(() => isCured(), `well again, ${i}`);
    assert.equal(
      rungs()?.map(([rung]) => rung),
      i < 4 ? ['reset'] : ['reconnect', 'reset'],
      `climb ${i}`,
    );
    await rig.pass(11 * MINUTE_MS);
  }
  await rig.close(true);
  await dir.remove();
  rig = await Rig.start();
});

test("a SIM at its cap takes no flow until its period ends, by the cloud's clock", async () => {
  let moved = 0;
  const traffic = async (): Promise<SlotTraffic[]> => [
    { slot: 1, openFlows: 0, upBytes: 0, downBytes: moved },
  ];
  let now = Date.UTC(2026, 1, 27, 22);
  const begun = { virtual: 0 };
  rig = await Rig.start({
    plane: {
      traffic,
      now: () => now + (rig?.now() ?? 0) - begun.virtual,
      sims: [{ slot: 1, dataCap: { megabytes: 10, billingDay: 28 } }],
    },
  });
  begun.virtual = rig.now();
  now = Date.UTC(2026, 1, 27, 22);
  await rig.pass(2 * MINUTE_MS);
  moved = 9_000_000;
  await rig.pass(2 * MINUTE_MS);
  assert.ok(isWell());
  moved = 10_000_001;
  await rig.until(() => has('data-cap'), 'capped');
  const { state, reason } = rig.report();
  assert.is(state, 'locked');
  assert.match(reason, /^Data cap reached: 10 MB are used up, until 2026-02-28/);
  assert.is(rig.plane.egresses()[0]?.ready, false);
  const { probes } = rig;
  await rig.pass(HOUR_MS);
  assert.is(rig.probes, probes, 'a SIM without data is not probed');
  await rig.pass(HOUR_MS);
  await rig.until(isWell, 'a new period', 10 * MINUTE_MS);
});

test.run();
