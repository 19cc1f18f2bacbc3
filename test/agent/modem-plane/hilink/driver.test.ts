/** The HiLink driver before a virtual stick: sessions, tokens, log-in, every verb, every number, every misbehaviour. */
import { knownErrors } from '@mastline/agent/modem-plane/drivers/hilink/errors';
import { tokensIn } from '@mastline/agent/modem-plane/drivers/hilink/session';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { type Rig, rig } from './rig';

const test = suite('HiLink driver');

let now: Rig;
const begin = async (...how: Parameters<typeof rig>) => {
  now = await rig(...how);
  return now;
};
const login = { username: 'admin', password: 'p&ss<w"ord\'' };
test.afterEach(() => now?.close());
const posts = () => now.modem.requests().filter(line => line.startsWith('POST'));

test('tells who it is, its SIM, network, signal, cell, address and bytes', async () => {
  const { driver, well } = await begin();
  assert.match((await well(driver.identity())).imei ?? '', /^\d{15}$/);
  assert.equal(await well(driver.sim()), { state: 'ready' });
  assert.equal(await well(driver.registration()), {
    state: 'registered',
    carrier: 'Mastline Virtual',
    plmn: '99970',
    technology: '4g',
  });
  assert.equal(await well(driver.signal()), { rssiDbm: -67, rsrpDbm: -95, rsrqDb: -9, sinrDb: 12 });
  assert.equal(await well(driver.cell()), { cellId: '1234567', pci: 12, channel: 1850, band: 'B3' });
  assert.is((await well(driver.bearer())).address, '10.9.1.1');
  assert.equal(await well(driver.counters()), { rxBytes: 22, txBytes: 11 });
  assert.is((await now.fault(driver.temperature())).kind, 'unsupported');
  assert.is((await now.fault(driver.radio(false))).kind, 'unsupported');
  assert.equal(now.modem.faults(), []);
});

test('reads levels with comparisons, without units, and those that are not there', async () => {
  const { driver, well } = await begin({ signal: { rssi: '>=-51dBm', rsrp: '<-120', rsrq: '', sinr: 'dB' } });
  assert.equal(await well(driver.signal()), { rssiDbm: -51, rsrpDbm: -120, rsrqDb: null, sinrDb: null });
});

for (const session of ['session-token', 'token', 'none'] as const)
  for (const tokenInReply of [true, false])
    test(`connects and disconnects, session kind ${session}, ${tokenInReply ? 'with' : 'without'} tokens in replies`, async () => {
      const { driver, well, carrier } = await begin({ session, tokenInReply, sessionPrefix: tokenInReply });
      await well(driver.disconnect());
      assert.is(carrier.status().connection, 902);
      assert.is(carrier.status().dataSwitch, false);
      const bearer = await well(driver.connect(null));
      assert.is(bearer.connected, true);
      assert.is(bearer.address, '10.9.1.2');
      assert.equal(now.modem.faults(), []);
    });

test('falls back to dial where there is no data switch, and never asks for it again', async () => {
  const { driver, well, modem } = await begin({ lacks: ['dialup/mobile-dataswitch'] });
  await well(driver.disconnect());
  await well(driver.connect(null));
  const asked = (path: string) => modem.requests().filter(line => line === `POST ${path}`).length;
  assert.is(asked('dialup/mobile-dataswitch'), 1);
  assert.is(asked('dialup/dial'), 2);
});

test('a stick in manual mode is told to dial', async () => {
  const { driver, well, carrier } = await begin();
  await carrier.hangUp();
  await well(driver.connect(null));
  assert.ok(carrier.status().connection === 901);
});

test('a connection that does not come is given up with its reason', async () => {
  const { driver, fault, carrier, modem } = await begin();
  await carrier.switchData(false);
  modem.knobs.status = { ConnectionStatus: '905' };
  const refused = await fault(driver.connect(null));
  assert.is(refused.kind, 'failed');
  assert.match(refused.message, /refused service/);
  modem.knobs.status = { ConnectionStatus: '900' };
  assert.is((await fault(driver.connect(null))).kind, 'busy');
  modem.knobs.status = { ConnectionStatus: '901' };
  assert.is((await fault(driver.disconnect())).code, 'hilink/still-connected');
});

test('sets an APN once, and not when it is set', async () => {
  const { driver, well, modem } = await begin();
  const apn = {
    name: 'corp&net',
    username: 'u',
    password: 'secret',
    authentication: 'chap',
    ipType: 'ipv4v6',
  } as const;
  await well(driver.connect(apn));
  assert.is(modem.memory.profile.ApnName, 'corp&net');
  assert.is(modem.memory.profile.Password, 'secret');
  assert.is(modem.memory.profile.AuthMode, '2');
  await well(driver.connect(apn));
  assert.is(posts().filter(line => line.endsWith('dialup/profiles')).length, 1);
});

test('a session that another client took is begun anew, once', async () => {
  const { driver, well, modem } = await begin();
  await well(driver.status());
  modem.knobs.stolenAfter = 1;
  await well(driver.status());
  modem.knobs.stolenAfter = 1;
  await well(driver.disconnect());
  for (const code of [125_001, 125_002, 125_003]) {
    modem.knobs.fail = { path: 'monitoring/status', code, times: 1 };
    await well(driver.status());
    modem.knobs.fail = { path: 'monitoring/status', code, times: 99 };
    const lost = await now.fault(driver.status());
    assert.is(lost.code, String(code));
    assert.is(modem.knobs.fail.times, 97);
    modem.knobs.fail = null;
  }
});

for (const tokensAfterLogin of [2, 30])
  for (const passwordType of ['0', '4'] as const)
    test(`logs in the classic way, type ${passwordType}, with ${tokensAfterLogin} tokens`, async () => {
      const { driver, well, modem } = await begin(
        { password: login.password, passwordType, tokensAfterLogin },
        { login },
      );
      await well(driver.status());
      assert.is(posts().length, 0);
      await well(driver.signal());
      for (let i = 0; i < 4; i += 1) await well(driver.messages());
      assert.is(posts().filter(line => line.endsWith('user/login')).length, 1);
      assert.is(modem.wrongLogins(), 0);
      // The list was used as a list: no new session between.
      if (tokensAfterLogin === 30)
        assert.is(modem.requests().filter(line => line.includes('SesTokInfo')).length, 1);
    });

for (const admitsScram of [true, false])
  test(`logs in by SCRAM when the stick ${admitsScram ? 'says so' : 'only refuses the classic way'}`, async () => {
    const { driver, well, modem } = await begin(
      { password: login.password, login: 'scram', admitsScram },
      { login },
    );
    await well(driver.signal());
    assert.is(modem.wrongLogins(), 0);
    assert.is(posts().filter(line => line.endsWith('user/login')).length, admitsScram ? 0 : 1);
  });

test('a wrong password is tried once and never again', async () => {
  for (const kind of ['classic', 'scram'] as const) {
    const { driver, fault, modem } = await begin(
      { password: 'right', login: kind, lacks: [] },
      { login: { username: 'admin', password: 'wrong' } },
    );
    for (let i = 0; i < 5; i += 1) assert.is((await fault(driver.signal())).kind, 'locked');
    assert.is(modem.wrongLogins(), 1);
    await now.advance(3_600_000);
    assert.is((await fault(driver.counters())).kind, 'locked');
    assert.is(modem.wrongLogins(), 1);
    if (kind === 'classic') await now.close();
  }
});

test('without a password the remedy is named; identity is then what strangers are told', async () => {
  const { driver, fault, well } = await begin({ password: 'x' });
  const shut = await fault(driver.signal());
  assert.is(shut.kind, 'locked');
  assert.match(shut.message, /api\.password/);
  const identity = await well(driver.identity());
  assert.is(identity.imei, null);
  assert.is(identity.model, 'E3372');
});

test('keeps the wait that a lock-out imposes', async () => {
  const { driver, fault, well, modem } = await begin({ password: login.password }, { login });
  modem.knobs.fail = { path: 'user/login', code: 108_007, times: 1 };
  assert.is((await fault(driver.signal())).code, '108007');
  const logins = () => posts().filter(line => line.endsWith('user/login')).length;
  assert.is((await fault(driver.signal())).code, '108007');
  assert.is(logins(), 1);
  await now.advance(61_000);
  await well(driver.signal());
  assert.is(logins(), 2);
});

test('a network that takes its time is searched for meanwhile, and found', async () => {
  const { driver, well, carrier } = await begin();
  carrier.set({ registrationDelayMs: 40_000 });
  await carrier.hangUp();
  carrier.register();
  assert.is((await well(driver.registration())).state, 'searching');
  await now.advance(45_000);
  assert.is((await well(driver.registration())).state, 'registered');
});

test('a carrier that throttles who comes back too often is waited for, and the connection comes', async () => {
  const { driver, well, carrier, clock } = await begin();
  carrier.set({ throttle: { times: 2, withinMs: 600_000, penaltyMs: 15_000 } });
  const tookMs = async () => {
    await well(driver.disconnect());
    const before = clock.monotonicMs();
    assert.ok((await well(driver.connect(null))).connected);
    return clock.monotonicMs() - before;
  };
  assert.ok((await tookMs()) < 15_000);
  await tookMs();
  assert.ok((await tookMs()) >= 15_000);
});

for (const lockoutMinutes of [1, 5])
  test(`a lock-out of ${lockoutMinutes} minutes by wrong passwords of others is waited for`, async () => {
    const { fault, well } = await begin({ password: 'right', lockoutMinutes });
    await now.advance(1000);
    // Strangers, each with a wrong one, until the stick has had enough.
    for (let stranger = 0; stranger < 5; stranger += 1)
      await fault(now.another({ login: { username: 'admin', password: `wrong ${stranger}` } }).signal());
    const owner = now.another({ login: { username: 'admin', password: 'right' } });
    const first = await fault(owner.signal());
    assert.is(first.kind, 'locked');
    assert.match(first.message, new RegExp(`${lockoutMinutes} minute`));
    const before = posts().length;
    await now.advance(lockoutMinutes * 60_000 - 5000);
    await fault(owner.signal());
    assert.is(posts().length, before, 'it is left alone');
    await now.advance(6000);
    await well(owner.signal());
  });

test('the last try of a PIN is told as such', async () => {
  const { driver, well } = await begin({ sim: 'pin', pinTries: 1 });
  assert.equal(await well(driver.sim()), { state: 'pin-needed', triesLeft: 1 });
});

test('the address inside the carrier’s network is read from the status where only that tells it', async () => {
  const { driver, well } = await begin({ wanInStatus: true });
  assert.is((await well(driver.bearer())).address, '10.9.1.1');
});

for (const rebootMs of [500, 45_000])
  test(`a stick that takes ${rebootMs} ms to restart is unreachable meanwhile and there afterwards`, async () => {
    const { driver, well, fault } = await begin({ rebootMs });
    await well(driver.reset());
    assert.is((await fault(driver.signal())).kind, 'unreachable');
    await now.advance(rebootMs + 6000);
    await well(driver.signal());
  });

test('somebody else who is logged in is waited for', async () => {
  const { driver, fault, well, modem } = await begin({ password: login.password }, { login });
  modem.knobs.fail = { path: 'user/login', code: 108_003, times: 1 };
  assert.is((await fault(driver.signal())).kind, 'busy');
  await now.advance(31_000);
  await well(driver.signal());
});

test('every known number gives its kind, keeps its number, and is repeated only where that makes sense', async () => {
  const { driver, fault, modem } = await begin({ password: login.password }, { login });
  for (const { code, kind } of knownErrors()) {
    if (kind === 'unsupported') continue;
    const fresh = now.another({ login });
    await now.well(fresh.status());
    modem.knobs.fail = { path: 'sms/delete-sms', code: Number(code), times: 99 };
    const said = await fault(fresh.deleteMessage('1'));
    const tries = 99 - modem.knobs.fail.times;
    assert.is(said.code, code);
    assert.is(said.kind, code.startsWith('112') ? 'failed' : kind, code);
    const again = { '-1': 4, '100003': 2, '100004': 4, '100008': 2, '100009': 2 }[code];
    assert.is(tries, again ?? (code.startsWith('125') ? 2 : 1), code);
  }
  for (const code of [100_001, 100_002]) {
    const fresh = now.another();
    modem.knobs.fail = { path: 'sms/delete-sms', code, times: 99 };
    assert.is((await fault(fresh.deleteMessage('1'))).kind, 'unsupported');
    assert.is((await fault(fresh.deleteMessage('1'))).kind, 'unsupported');
    assert.is(modem.knobs.fail.times, 98);
  }
  modem.knobs.fail = { path: 'monitoring/status', code: 999_999, times: 1 };
  const opaque = await fault(driver.status());
  assert.is(opaque.kind, 'failed');
  assert.is(opaque.code, '999999');
});

test('a PIN is tried once; another one may be tried', async () => {
  const { driver, well, fault, modem } = await begin({ sim: 'pin', pin: '1234' });
  assert.equal(await well(driver.sim()), { state: 'pin-needed', triesLeft: 3 });
  assert.equal(await well(driver.enterPin('9999')), { state: 'pin-needed', triesLeft: 2 });
  assert.is((await fault(driver.enterPin('9999'))).code, 'hilink/pin-refused');
  assert.is((await fault(driver.enterPin('12'))).code, 'hilink/pin-format');
  assert.equal(await well(driver.enterPin('1234')), { state: 'ready' });
  assert.equal(modem.memory.pinsTried, ['9999', '1234']);
});

test('a PIN whose answer was lost counts as tried', async () => {
  const { driver, fault, modem } = await begin({ sim: 'pin' });
  await now.well(driver.sim());
  modem.knobs.fail = { path: 'pin/operate', code: 100_006, times: 1 };
  await fault(driver.enterPin('1234'));
  assert.is((await fault(driver.enterPin('1234'))).code, 'hilink/pin-refused');
});

for (const [sim, state] of [
  ['absent', 'absent'],
  ['puk', 'puk-needed'],
] as const)
  test(`knows a SIM that is ${sim}`, async () => {
    const { driver, well } = await begin({ sim });
    assert.is((await well(driver.sim())).state, state);
  });

test('toggles the network mode and sets it back, bands and all', async () => {
  const { driver, well, modem } = await begin({}, { modeDwellMs: 5000 });
  await well(driver.reattach('mode-toggle'));
  assert.equal(modem.memory.modesVisited, ['02', '00']);
  assert.is(modem.memory.lteBand, '7FFFFFFFFFFFFFFF');
  await well(driver.connect(null));
});

test('a mode that could not be visited is set back all the same, and the band error is no lock', async () => {
  const { driver, fault, modem } = await begin();
  await now.well(driver.status());
  // The mode is read as ever; the first change of it is refused.
  modem.knobs.fail = { path: 'net/net-mode', method: 'POST', code: 112_003, times: 1 };
  const toggled = driver.reattach('mode-toggle');
  assert.is((await fault(toggled)).kind, 'failed');
  assert.is(posts().filter(line => line.endsWith('net/net-mode')).length, 2);
  assert.is(modem.memory.netMode, '00');
});

test('reattaches where the firmware can, and says so where it cannot', async () => {
  const { driver, fault, well, modem } = await begin();
  assert.is((await fault(driver.reattach('deregister'))).kind, 'unsupported');
  modem.knobs.lacks = [];
  await well(now.another().reattach('deregister'));
});

for (const losesRebootAnswer of [false, true])
  test(`reboots, ${losesRebootAnswer ? 'also when the stick dies before it answers' : 'and is there again'}`, async () => {
    const { driver, well, fault, modem } = await begin({ losesRebootAnswer });
    await well(driver.status());
    await well(driver.reset());
    while (modem.mode() === 'up') await new Promise(resolve => setTimeout(resolve, 1));
    assert.is((await fault(driver.status())).kind, 'unreachable');
    await now.advance(2000);
    while (modem.mode() !== 'up') await new Promise(resolve => setTimeout(resolve, 1));
    await well(driver.connect(null));
  });

test('reads messages with emoji from CESU-8, over pages, and deletes one', async () => {
  const messages = Array.from({ length: 41 }, (_, i) => ({
    index: String(40_000 + i),
    phone: '+4912345',
    content: i === 0 ? 'Guthaben: 5 € 😀 <&>' : `no. ${i}`,
    date: '2026-01-01 12:00:00',
    unread: i < 2,
  }));
  for (const cesu8 of [true, false]) {
    const { driver, well, fault } = await begin({ messages: [...messages], cesu8 });
    const all = await well(driver.messages());
    assert.is(all.length, 41);
    assert.equal(all[0], {
      index: '40000',
      sender: '+4912345',
      receivedAt: null,
      text: 'Guthaben: 5 € 😀 <&>',
      unread: true,
    });
    await well(driver.deleteMessage('40000'));
    assert.is((await well(driver.messages())).length, 40);
    assert.is((await fault(driver.deleteMessage('40000'))).code, '113114');
    assert.is((await fault(driver.deleteMessage('1</Index>'))).code, 'hilink/sms-index');
    if (cesu8) await now.close();
  }
});

test('no messages and one message are lists, too', async () => {
  const one = { index: '1', phone: '1', content: '', date: '', unread: false };
  const { driver, well, modem } = await begin();
  assert.equal(await well(driver.messages()), []);
  modem.knobs.messages = [one];
  assert.is((await well(driver.messages())).length, 1);
});

test('asks the carrier by USSD, ends the dialogue, and says what went wrong', async () => {
  const { driver, well, fault, modem } = await begin({
    ussd: { '*100#': 'Guthaben 3,20 €', '*101#': 111_020 },
  });
  assert.is(await well(driver.ussd('*100#')), 'Guthaben 3,20 €');
  assert.is(modem.memory.ussdCode, null);
  assert.is((await fault(driver.ussd('*101#'))).code, '111020');
  assert.is((await fault(driver.ussd('*102#'))).code, '111019');
  assert.is((await fault(driver.ussd('AT+X'))).code, 'hilink/ussd-code');
  modem.knobs.ussdWaits = 10_000;
  assert.is((await fault(driver.ussd('*100#'))).code, 'hilink/ussd-timeout');
  modem.knobs.ussdEnabled = false;
  assert.is((await fault(driver.ussd('*100#'))).kind, 'unsupported');
});

test('moves the LAN, and is found at its new address', async () => {
  const { driver, well, fault, modem } = await begin();
  for (const subnet of [0, 1, 88, 100, 253, -1, 1.5, 300])
    assert.is((await fault(driver.moveLan(subnet))).code, 'hilink/lan-subnet');
  await well(driver.moveLan(42));
  while (!modem.requests().includes('POST dhcp/settings') || modem.mode() !== 'up')
    await new Promise(resolve => setTimeout(resolve, 1));
  assert.is(modem.memory.lan, '192.168.42.1');
  await well(now.another().status());
  await now.until(
    (async () => {
      while ((await driver.status()).ok) await new Promise(resolve => setTimeout(resolve, 1));
    })(),
  );
});

test('a stick that hangs costs a deadline, not for ever; a dead one nothing', async () => {
  const { driver, fault, well, modem } = await begin();
  await modem.setMode('hang');
  const before = now.clock.monotonicMs();
  assert.is((await fault(driver.status())).code, 'request/timeout');
  assert.ok(now.clock.monotonicMs() - before <= 9000);
  assert.is((await fault(driver.reset())).kind, 'unreachable');
  await modem.setMode('dead');
  assert.is((await fault(driver.status())).kind, 'unreachable');
  await modem.setMode('up');
  await well(driver.status());
});

test('has a bound on what waits, and close gives up what is under way', async () => {
  const { driver, until, modem } = await begin();
  await modem.setMode('hang');
  const all = Promise.all(Array.from({ length: 20 }, () => driver.status()));
  await driver.close();
  const outcomes = await until(all);
  const codes = outcomes.map(one => (one.ok ? 'ok' : one.fault.code));
  assert.is(codes.filter(code => code === 'hilink/queue-full').length, 4);
  assert.is(codes.filter(code => code === 'request/aborted').length, 16);
});

test('tells what is new between two looks', async () => {
  const { driver, well, carrier, modem } = await begin();
  const events: string[] = [];
  driver.onEvent(event => events.push(event.kind));
  await well(driver.status());
  await carrier.hangUp();
  await well(driver.status());
  modem.knobs.sim = 'absent';
  await well(driver.status());
  assert.equal(events, ['bearer', 'sim']);
});

test('takes tokens out of every kind of header', () => {
  assert.equal(tokensIn({}), []);
  assert.equal(tokensIn({ __requestverificationtoken: 'a#b#c#' }), ['a', 'b', 'c']);
  assert.equal(tokensIn({ __requestverificationtokenone: 'a', __requestverificationtokentwo: 'b' }), [
    'a',
    'b',
  ]);
});

test.run();
