/** A PIN is tried once in its life: over lost answers, restarts, and SIMs that do not tell who they are. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModemDriver, Outcome, SimState } from '@mastline/agent/modem-plane/driver';
import { PINS_FILE, PinKeeper } from '@mastline/agent/modem-plane/pin-keeper';
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('PINs');
let dir: Awaited<ReturnType<typeof tempDir>>;
let tried: string[];
test.beforeEach(async () => {
  dir = await tempDir('pins');
  tried = [];
});
test.afterEach(() => dir.remove());

const keeper = () => new PinKeeper({ dataDir: dir.path, clock: fakeClock(), now: () => 1, log: quietLog });
const modem = (answer: Outcome<SimState>): Pick<ModemDriver, 'enterPin'> => ({
  enterPin: async pin => {
    tried.push(pin);
    return answer;
  },
});
const ready = modem({ ok: true, value: { state: 'ready' } });
const wrong = modem({ ok: true, value: { state: 'pin-needed', triesLeft: 2 } });
const lost = modem({ ok: false, fault: { kind: 'unreachable', code: 'x', message: 'no answer' } });
const sim = { slot: 1, iccid: '8949000000000000001', triesLeft: 3 };

test('a refused one is not tried again, by this keeper or a later one; another one is', async () => {
  const first = keeper();
  assert.is((await first.enter(wrong, '0000', sim)).kind, 'refused');
  assert.is((await first.enter(ready, '0000', sim)).kind, 'refused');
  await first.close();
  const second = keeper();
  assert.is((await second.enter(ready, '0000', sim)).kind, 'refused');
  assert.equal(tried, ['0000']);
  assert.is((await second.enter(ready, '1234', sim)).kind, 'accepted');
  assert.equal(tried, ['0000', '1234']);
});

test('one whose answer was lost counts as tried', async () => {
  const pins = keeper();
  assert.is((await pins.enter(lost, '1234', sim)).kind, 'refused');
  assert.is((await pins.enter(ready, '1234', sim)).kind, 'refused');
  assert.is(tried.length, 1);
});

test('is on disk before it is sent, and never in the clear', async () => {
  let seen = '';
  const spy: Pick<ModemDriver, 'enterPin'> = {
    enterPin: async () => {
      seen = readFileSync(join(dir.path, PINS_FILE), 'utf8');
      return { ok: true, value: { state: 'ready' } };
    },
  };
  await keeper().enter(spy, '4711', sim);
  assert.match(seen, /iccid:8949/);
  assert.not.match(seen, /4711/);
});

test('an accepted one may be entered again after the next restart of the modem', async () => {
  const pins = keeper();
  await pins.enter(ready, '1234', sim);
  assert.is((await pins.enter(ready, '1234', sim)).kind, 'accepted');
});

test('the last try is left to a person', async () => {
  assert.is((await keeper().enter(ready, '1234', { ...sim, triesLeft: 1 })).kind, 'spared');
  assert.equal(tried, []);
});

test('a SIM that does not tell its number is known by its slot, also once it tells', async () => {
  const pins = keeper();
  await pins.enter(wrong, '0000', { ...sim, iccid: null });
  assert.is((await pins.enter(ready, '0000', sim)).kind, 'refused');
  assert.is((await pins.enter(ready, '0000', { ...sim, slot: 2 })).kind, 'accepted');
});

test('a disk that takes nothing means that no PIN is sent', async () => {
  const pins = new PinKeeper({
    dataDir: join(dir.path, 'missing'),
    clock: fakeClock(),
    now: () => 1,
    log: quietLog,
  });
  let failed = false;
  await pins.enter(ready, '1234', sim).catch(() => {
    failed = true;
  });
  assert.ok(failed);
  assert.equal(tried, []);
});

test.run();
