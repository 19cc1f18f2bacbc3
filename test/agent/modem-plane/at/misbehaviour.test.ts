/** Each nuisance of a modem, a SIM and a network, and how the driver takes it. */
import assert from 'node:assert/strict';
import type { DriverEvent } from '@mastline/agent/modem-plane/driver';
import { faultOf, knownErrors, readFinalError } from '@mastline/agent/modem-plane/drivers/at/errors';
import { delivered } from '../../../simulators/at/deliver-pdu';
import type { AtKnobs } from '../../../simulators/at/knobs';
import { suite } from '../../../support/suite';
import { profileOf, type Rig, rig } from './rig';

const test = suite('AT misbehaviour');
const rigs: Rig[] = [];
const start: typeof rig = (...args) => {
  const made = rig(...args);
  rigs.push(made);
  return made;
};

test.afterEach(async () => {
  for (const made of rigs.splice(0)) {
    assert.deepEqual(made.modem.faults(), []);
    await made.close();
  }
});

// ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────

const BEARABLE: [string, Partial<AtKnobs>][] = [
  ['no echo', { echo: false }],
  ['results as digits at power-on', { numericResults: true }],
  ['errors as text', { cmee: 2, errorsAsText: true }],
  ['replies after a second', { replyDelayMs: 1000 }],
  ['output in single bytes', { splitBytes: 1 }],
  ['output in odd pieces', { splitBytes: 7 }],
  ['noise before every reply', { noiseLines: 1 }],
  ['a storm of unasked lines', { urcStorm: 0.7 }],
  ['lines of 20,000 bytes', { longLineBytes: 20_000 }],
  ['ten seconds of silence while booting', { bootSilenceMs: 10_000 }],
  ['waiting for the text of a message', { atPrompt: true }],
  [
    'all of it at once',
    {
      noiseLines: 0.5,
      urcStorm: 0.5,
      splitBytes: 3,
      replyDelayMs: 200,
      longLineBytes: 9000,
      bootSilenceMs: 3000,
      atPrompt: true,
    },
  ],
];
for (const [what, knobs] of BEARABLE)
  for (const model of ['quectel/ec25', 'quectel/rm520n', 'huawei/e3372h-153'])
    test(`${model} with ${what} is read as without`, async () => {
      for (const seed of [1, 2, 3]) {
        const { driver, good, clock, modem } = start(model, { knobs: { ...knobs, seed } });
        const at = { year: 24, month: 1, day: 31, hour: 10, minute: 20, second: 30, quarters: 12 };
        modem.state.receive(delivered({ sender: 'MegaFon', text: 'hello', alphabet: 'gsm7', at }));
        const identity = await good(driver.identity());
        assert.equal(identity.imei, '867962040012345');
        assert.equal(identity.model, modem.state.model.name);
        assert.equal(identity.iccid, '8900101234567890123');
        await clock.advance(15_000);
        assert.equal((await good(driver.registration())).carrier, 'Mastline Test');
        assert.equal(
          (await good(driver.signal())).rsrpDbm,
          { ec25: -108, rm5xx: -100, huawei: -100, '3gpp': -95 }[modem.state.model.family],
        );
        assert.equal((await good(driver.messages()))[0]?.text, 'hello');
        assert.match((await good(driver.connect(null))).address ?? '', /^10\.76\.51\./);
      }
    });

test('damaged lines give a wrong value never, a fault or the value always', async () => {
  let faults = 0;
  for (let seed = 1; seed <= 20; seed += 1) {
    const { driver, run, clock } = start('quectel/ec25', { knobs: { damagedLines: 0.3, seed } });
    await clock.advance(4000);
    const [sim, identity] = [await run(driver.sim()), await run(driver.identity())];
    if (sim.ok) assert.equal(sim.value.state === 'ready' || sim.value.state === 'failed', true);
    else faults += 1;
    if (identity.ok) assert.equal(identity.value.imei, '867962040012345');
    else assert.equal(identity.fault.code, 'unreadable');
    if (!identity.ok) faults += 1;
  }
  assert.ok(faults > 0, 'nothing was damaged');
});

test('a modem that hangs is unreachable within seconds, each time, and answers again when it lives', async () => {
  const { driver, good, bad, clock, modem } = start('quectel/ec25');
  await good(driver.identity());
  modem.knobs.hang = true;
  for (let i = 0; i < 3; i += 1) {
    const begun = clock.monotonicMs();
    assert.equal(await bad(driver.signal()), 'unreachable no-answer');
    assert.ok(clock.monotonicMs() - begun < 13_000, `${clock.monotonicMs() - begun} ms`);
  }
  modem.knobs.hang = false;
  assert.ok(await good(driver.signal()));
});

test('a result that never comes costs its command only', async () => {
  const { driver, good, bad } = start('quectel/ec25', { knobs: { forgetsResultOf: ['+QTEMP'] } });
  assert.equal(await bad(driver.temperature()), 'unreachable no-answer');
  assert.equal((await good(driver.identity())).imei, '867962040012345');
});

test('a port that vanishes in the middle of a command answers all that wait, and is told once', async () => {
  const { driver, run, clock, modem } = start('quectel/ec25', { knobs: { replyDelayMs: 500 } });
  const events: DriverEvent[] = [];
  driver.onEvent(event => events.push(event));
  const reads = [driver.identity(), driver.signal(), driver.connect(null), driver.ussd('*100#')];
  await clock.advance(100);
  modem.vanish();
  for (const outcome of await run(Promise.all(reads), 1000))
    assert.equal(!outcome.ok && `${outcome.fault.kind} ${outcome.fault.code}`, 'unreachable port-gone');
  assert.deepEqual(
    events.map(event => event.kind),
    ['gone'],
  );
});

test('a modem that restarts behind its port is set up again', async () => {
  const { driver, good, clock, modem } = start('quectel/ec25');
  await good(driver.identity());
  // As after a crash of its firmware: settings gone, port kept.
  modem.state.say('RDY');
  modem.state.cmee = 0;
  modem.state.registrationReports['+CEREG'] = 0;
  await clock.advance(100);
  await good(driver.signal());
  assert.equal(modem.state.cmee, 1);
  assert.equal(modem.state.registrationReports['+CEREG'], 2);
});

test('a modem without PDU form is read in text form, in every alphabet, and its letters are put back', async () => {
  const { driver, good, modem } = start('quectel/ec25', { knobs: { noPduForm: true } });
  const at = { year: 24, month: 1, day: 31, hour: 10, minute: 20, second: 30, quarters: 12 };
  modem.state.receive(delivered({ sender: 'MegaFon', text: 'Баланс 12.50', alphabet: 'ucs2', at }));
  const [message] = await good(driver.messages());
  assert.deepEqual(message, {
    index: '0',
    sender: 'MegaFon',
    text: 'Баланс 12.50',
    receivedAt: Date.UTC(2024, 0, 31, 7, 20, 30),
    unread: true,
  });
  assert.equal(modem.state.letters, 'GSM');
});

// ── the SIM ──────────────────────────────────────────────────────────────────────────────────────────────────────

for (const model of ['quectel/ec25', 'huawei/e3372h-153', 'generic/at'])
  test(`${model}: each state of a SIM is told as what it is`, async () => {
    const tries = model === 'generic/at' ? null : 2;
    for (const [sim, expected] of [
      [{ state: 'absent' }, { state: 'absent' }],
      [
        { state: 'pin', pinTries: 2 },
        { state: 'pin-needed', triesLeft: tries },
      ],
      [{ state: 'puk' }, { state: 'puk-needed', triesLeft: tries === null ? null : 10 }],
    ] as const) {
      const { driver, good } = start(model, { sim });
      assert.deepEqual(await good(driver.sim()), expected);
      // A modem is known by its own number also without a SIM.
      assert.deepEqual((await good(driver.identity())).imsi, null);
    }
    const { driver, good } = start(model, { sim: { state: 'failed' } });
    assert.equal((await good(driver.sim())).state, 'failed');
    const busy = start(model, { sim: { busyMs: 60_000 } });
    assert.equal(await busy.bad(busy.driver.sim()), 'busy cme-14');
  });

test('a wrong PIN is tried once and never again, however often it is asked for', async () => {
  const { driver, bad, good, modem } = start('quectel/ec25', { sim: { state: 'pin', pin: '4711' } });
  assert.equal(await bad(driver.enterPin('1111')), 'locked cme-16');
  for (let i = 0; i < 5; i += 1)
    assert.equal(await bad(driver.enterPin('1111')), 'locked pin-refused-before');
  assert.equal(modem.state.sim.pinTries, 2);
  assert.equal(modem.heard.filter(line => line.startsWith('AT+CPIN=')).length, 1);
  assert.deepEqual(await good(driver.enterPin('4711')), { state: 'ready' });
});

test('a PIN whose answer is lost counts as tried', async () => {
  const { driver, bad, modem } = start('quectel/ec25', {
    sim: { state: 'pin', pin: '4711' },
    knobs: { forgetsResultOf: ['+CPIN='] },
  });
  assert.equal(await bad(driver.enterPin('1111')), 'unreachable no-answer');
  assert.equal(await bad(driver.enterPin('1111')), 'locked pin-refused-before');
  assert.equal(modem.state.sim.pinTries, 2);
});

test('a SIM that asks for no PIN gets none, and nonsense is no PIN', async () => {
  const { driver, bad, good, modem } = start('quectel/ec25');
  assert.deepEqual(await good(driver.enterPin('1234')), { state: 'ready' });
  const puk = start('quectel/ec25', { sim: { state: 'puk' } });
  assert.equal((await puk.good(puk.driver.enterPin('1234'))).state, 'puk-needed');
  assert.equal(await bad(driver.enterPin('12"4')), 'failed bad-pin');
  for (const one of [modem, puk.modem]) assert.ok(!one.heard.some(line => line.startsWith('AT+CPIN=')));
});

test('faults never repeat a PIN or a password', async () => {
  const { driver, run, clock, modem } = start('quectel/ec25', { sim: { state: 'pin', pin: '4711' } });
  const pin = await run(driver.enterPin('9182'));
  assert.ok(!pin.ok && !pin.fault.message.includes('9182'), JSON.stringify(pin));
  modem.state.sim.state = 'ready';
  modem.state.review();
  await clock.advance(4000);
  modem.knobs.forgetsResultOf = ['+QICSGP='];
  const apn = {
    name: 'a.b',
    username: 'u',
    password: 'hunter2',
    authentication: 'pap',
    ipType: 'ipv4',
  } as const;
  const connect = await run(driver.connect(apn));
  assert.ok(!connect.ok && !connect.fault.message.includes('hunter2'), JSON.stringify(connect));
});

// ── the network ──────────────────────────────────────────────────────────────────────────────────────────────────

test('no coverage and a refused SIM are told apart', async () => {
  const none = start('quectel/ec25', { network: { coverage: 'none' } });
  assert.equal((await none.good(none.driver.registration())).state, 'searching');
  const denied = start('quectel/ec25', { network: { coverage: 'denied' } });
  await denied.clock.advance(4000);
  // LTE is refused whatever CREG says of it.
  denied.modem.state.mode = '0';
  assert.equal((await denied.good(denied.driver.registration())).state, 'denied');
  const roaming = start('huawei/e3372h-153', { network: { roaming: true } });
  await roaming.clock.advance(4000);
  assert.equal((await roaming.good(roaming.driver.registration())).state, 'roaming');
});

for (const model of ['quectel/ec25', 'huawei/e3372h-153', 'generic/at'])
  test(`${model}: dialling before registration is "busy", out of credit is "failed"`, async () => {
    const early = start(model, { network: { registrationDelayMs: 600_000 } });
    assert.equal(await early.bad(early.driver.connect(null)), 'busy not-registered');
    const empty = start(model, { network: { credit: 'refused' } });
    await empty.clock.advance(4000);
    assert.equal(await empty.bad(empty.driver.connect(null)), 'failed cme-133');
  });

test('a connection that never gets an address fails within its deadline', async () => {
  const { driver, bad, clock } = start('quectel/rm520n', { network: { dialDelayMs: 500_000 } });
  await clock.advance(2000);
  assert.equal(await bad(driver.connect(null)), 'failed no-address');
});

test('a slow network answers late, and nothing else waits for it', async () => {
  const { driver, bad, good, clock, modem } = start('quectel/ec25', { network: { ussdDelayMs: 130_000 } });
  await clock.advance(4000);
  const begun = clock.monotonicMs();
  assert.equal(await bad(driver.ussd('*100#')), 'failed ussd-timeout');
  assert.ok(clock.monotonicMs() - begun < 122_000);
  assert.equal(modem.heard.at(-1), 'AT+CUSD=2');
  assert.ok(await good(driver.signal()));
});

test('a mode toggle puts the mode back although the modem refuses for a while', async () => {
  const { driver, bad, good, clock, modem } = start('quectel/ec25');
  await clock.advance(4000);
  await good(driver.signal());
  const toggling = driver.reattach('mode-toggle');
  await clock.advance(5000);
  assert.equal(modem.state.mode, '2');
  // Deaf for the first attempt to set it back.
  modem.knobs.hang = true;
  await clock.advance(20_000);
  modem.knobs.hang = false;
  await good(toggling);
  assert.equal(modem.state.mode, '0');
  modem.state.mode = '2';
  assert.equal(await bad(driver.reattach('mode-toggle')), 'failed mode-fixed');
});

test('a mode toggle where there is no 3G puts the mode back, too', async () => {
  const { driver, good, clock, modem } = start('quectel/ec25', { network: { has3g: false } });
  await clock.advance(4000);
  await good(driver.signal());
  await good(driver.reattach('mode-toggle'));
  assert.equal(modem.state.mode, '0');
  await clock.advance(10_000);
  assert.equal((await good(driver.registration())).state, 'registered');
});

test('the address is one of those that the carrier has', async () => {
  const addresses = ['100.127.4.7'];
  const { driver, good, clock } = start('quectel/ec25', { network: { addresses } });
  await clock.advance(4000);
  assert.equal((await good(driver.connect(null))).address, '100.127.4.7');
});

test('a modem that cannot be put back into its mode says exactly that', async () => {
  const { driver, bad, clock, modem } = start('quectel/rm520n');
  await clock.advance(4000);
  const toggling = driver.reattach('mode-toggle');
  await clock.advance(6000);
  modem.knobs.hang = true;
  assert.equal(await bad(toggling), 'unreachable mode-not-restored');
});

test('a hang-up that the module undoes is not called done', async () => {
  const { driver, bad, good, clock, modem } = start('quectel/rm520n');
  await clock.advance(4000);
  await good(driver.connect(null));
  // Firmware that redials by itself.
  const { state } = modem;
  state.hangUp = () => undefined;
  assert.equal(await bad(driver.disconnect()), 'failed still-connected');
});

test('an APN that no modem could take is refused by its field', async () => {
  const { driver, run, clock, modem } = start('quectel/ec25');
  await clock.advance(4000);
  for (const [field, value] of [
    ['name', 'a"b'],
    ['username', 'a\r\nAT+CFUN=0'],
    ['password', 'ключ'],
  ] as const) {
    const apn = {
      name: 'a',
      username: 'u',
      password: 'p',
      authentication: 'chap',
      ipType: 'ipv4',
      [field]: value,
    } as const;
    const outcome = await run(driver.connect(apn));
    assert.equal(!outcome.ok && outcome.fault.code, 'bad-apn');
    assert.match(!outcome.ok ? outcome.fault.message : '', new RegExp(`APN ${field}:`));
  }
  assert.ok(!modem.heard.some(line => line.includes('CGDCONT=')));
});

test('what a model does not have is "unsupported", without asking', async () => {
  const { driver, bad } = start('generic/at');
  assert.equal(await bad(driver.counters()), 'unsupported no-counters');
  assert.equal(await bad(driver.reattach('mode-toggle')), 'unsupported no-modes');
  const profile = { ...profileOf('quectel/ec25') };
  const silent = start('quectel/ec25', { profile: { ...profile, at: { ...profile.at!, ussd: 'none' } } });
  assert.equal(await silent.bad(silent.driver.ussd('*100#')), 'unsupported no-ussd');
});

test('a firmware that lacks a command is "unsupported", not broken', async () => {
  // An RM5xx profile on a modem that has none of its commands.
  const { driver, bad, modem } = rig('generic/at', { profile: profileOf('quectel/rm520n') });
  assert.equal(await bad(driver.counters()), 'unsupported error');
  assert.equal(await bad(driver.temperature()), 'unsupported error');
  assert.ok(modem.faults().length > 0, 'the simulator noticed nothing');
  await driver.close();
  modem.vanish();
});

// ── the error map ────────────────────────────────────────────────────────────────────────────────────────────────

test('every number and every text of an error means one thing', () => {
  const errors = knownErrors();
  assert.ok(errors.length > 60);
  for (const { family, number, kind, text } of errors) {
    const prefix = family === 'cme' ? '+CME ERROR' : '+CMS ERROR';
    const byNumber = readFinalError(`${prefix}: ${number}`);
    assert.ok(byNumber);
    const meant = faultOf(byNumber, 'AT+X');
    assert.deepEqual([meant.kind, meant.code], [kind, `${family}-${number}`]);
    assert.match(meant.message, new RegExp(`AT\\+X: \\${prefix} ${number} \\(`));
    const byText = readFinalError(`${prefix}: ${text.toUpperCase()}`);
    assert.ok(byText && faultOf(byText, 'AT+X').kind === kind, text);
  }
});

test('errors nobody has listed are failures with their number or their words', () => {
  const meaning = (line: string) => {
    const error = readFinalError(line);
    assert.ok(error, line);
    const { kind, code, message } = faultOf(error, 'AT+X');
    return [kind, code, message];
  };
  assert.deepEqual(meaning('+CME ERROR: 772'), [
    'failed',
    'cme-772',
    'AT+X: +CME ERROR 772 (no meaning known)',
  ]);
  assert.deepEqual(meaning('+CMS ERROR: 28'), [
    'failed',
    'cms-28',
    'AT+X: +CMS ERROR 28 (refused by the network)',
  ]);
  assert.deepEqual(meaning('+CME ERROR: invalid nr pci'), [
    'failed',
    'cme-text',
    'AT+X: +CME ERROR: invalid nr pci',
  ]);
  assert.deepEqual(meaning('COMMAND NOT SUPPORT').slice(0, 2), ['unsupported', 'cme-4']);
  assert.deepEqual(meaning('ERROR').slice(0, 2), ['failed', 'error']);
  for (const line of ['OK', '+CME: 1', 'ERRORS', '+CMTI: "ME",1'])
    assert.equal(readFinalError(line), null, line);
});

test.run();
