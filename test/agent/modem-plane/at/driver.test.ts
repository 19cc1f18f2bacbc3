/** Every verb of the driver on every simulated model, with the values that the model's recorded replies mean. */
import assert from 'node:assert/strict';
import type { Apn, DriverEvent } from '@mastline/agent/modem-plane/driver';
import { delivered } from '../../../simulators/at/deliver-pdu';
import { MODELS } from '../../../simulators/at/models';
import { suite } from '../../../support/suite';
import { profileOf, type Rig, rig } from './rig';

const test = suite('AT driver');
const rigs: Rig[] = [];
const start: typeof rig = (...args) => {
  const made = rig(...args);
  rigs.push(made);
  return made;
};

test.afterEach(async () => {
  for (const made of rigs.splice(0)) {
    // A simulator that was asked something it does not know has not been a fair judge.
    assert.deepEqual(made.modem.faults(), []);
    assert.equal(made.modem.interruptions, 0, 'talked into a running command');
    await made.close();
  }
});

const APN: Apn = {
  name: 'web.test',
  username: 'eva',
  password: 'hunter2',
  authentication: 'chap',
  ipType: 'ipv4v6',
};

/** What the recorded replies of each family mean. */
const FAMILIES = {
  ec25: { signal: [-83, -108, -5, 9], cell: ['26883468', 366, 100, 'B1'], temperature: 34 },
  rm5xx: { signal: [-68, -100, -12, 2], cell: ['99740181', 12, 1650, 'B3'], temperature: 41 },
  huawei: { signal: [-68, -100, -9, 8], cell: ['99740181', null, null, null], temperature: null },
  '3gpp': { signal: [null, -95, -10, null], cell: ['99740181', null, null, null], temperature: null },
} as const;

for (const [id, model] of Object.entries(MODELS)) {
  const expected = FAMILIES[model.family];

  test(`${id}: says who it is and what it hears`, async () => {
    const { driver, good, clock } = start(id);
    const { imei, imsi, iccid, ...named } = await good(driver.identity());
    assert.deepEqual([imei, imsi, iccid], ['867962040012345', '001010123456789', '8900101234567890123']);
    assert.deepEqual(named, { model: model.name, firmware: model.firmware });
    assert.deepEqual(await good(driver.sim()), { state: 'ready' });
    await clock.advance(4000);
    assert.deepEqual(await good(driver.registration()), {
      state: 'registered',
      carrier: 'Mastline Test',
      plmn: '00101',
      technology: '4g',
    });
    const { rssiDbm, rsrpDbm, rsrqDb, sinrDb } = await good(driver.signal());
    assert.deepEqual([rssiDbm, rsrpDbm, rsrqDb, sinrDb], expected.signal);
    const { cellId, pci, channel, band } = await good(driver.cell());
    assert.deepEqual([cellId, pci, channel, band], expected.cell);
    assert.equal(await good(driver.temperature()), expected.temperature);
  });

  test(`${id}: connects with an APN and a password, counts, hangs up`, async () => {
    const { driver, good, clock, modem } = start(id);
    await clock.advance(4000);
    const bearer = await good(driver.connect(APN));
    assert.match(bearer.address ?? '', /^10\.76\.51\.18\d$/);
    assert.deepEqual(bearer.dnsServers, ['10.10.0.53', '10.10.1.53']);
    assert.equal(modem.state.contexts.get(1)?.apn, 'web.test');
    assert.equal(modem.state.authentication.get(1), 'eva:hunter2');
    assert.deepEqual(await good(driver.bearer()), bearer);
    modem.state.bytes = { sent: 3832, received: 2 ** 33 };
    if (profileOf(id).capabilities.counters) {
      const { txBytes, rxBytes } = await good(driver.counters());
      const nr = model.family === 'rm5xx' ? [1000, 2000] : [0, 0];
      assert.deepEqual([txBytes, rxBytes], [3832 + nr[0]!, 2 ** 33 + nr[1]!]);
    }
    await good(driver.disconnect());
    const after = await good(driver.bearer());
    assert.deepEqual([after.connected, after.address, after.dnsServers], [false, null, []]);
  });

  test(`${id}: every rotation method of its profile takes the registration away and brings another address`, async () => {
    for (const { method, dwellSeconds } of profileOf(id).rotation) {
      const { driver, good, run, clock, modem } = rig(id);
      await clock.advance(4000);
      const before = await good(driver.connect(null));
      const begun = clock.monotonicMs();
      if (method === 'radio') {
        await good(driver.radio(false));
        assert.equal(modem.state.registered, false);
        await clock.advance(dwellSeconds * 1000);
        await good(driver.radio(true));
      } else if (method === 'deregister' || method === 'mode-toggle') {
        await good(driver.reattach(method));
        const tookSeconds = (clock.monotonicMs() - begun) / 1000;
        assert.ok(tookSeconds >= dwellSeconds, `${method} dwelt ${tookSeconds} s only`);
      } else if (method === 'data-switch') {
        await good(driver.disconnect());
        assert.equal(modem.state.call, 'down');
      } else {
        await good(driver.reset());
        assert.equal((await run(driver.signal())).ok, false);
      }
      if (method !== 'reset') {
        await clock.advance(6000);
        const again = await good(driver.connect(null));
        // The default bearer keeps its address through a mere redial.
        assert.equal(again.address !== before.address, method !== 'data-switch', `${id} ${method}`);
      }
      assert.deepEqual(modem.faults(), []);
      await driver.close();
      modem.vanish();
    }
  });

  test(`${id}: reads messages, puts their parts together, deletes them`, async () => {
    const { driver, good, modem } = start(id);
    const at = { year: 24, month: 1, day: 31, hour: 10, minute: 20, second: 30, quarters: 12 };
    const balance = { sender: 'MegaFon', text: 'Баланс 12.50 😀', alphabet: 'ucs2', at } as const;
    const long = { sender: '+4915112345678', alphabet: 'gsm7', at: { ...at, minute: 21 } } as const;
    modem.state.receive(
      delivered({ ...long, text: 'and the end.', part: { reference: 9, total: 2, number: 2 } }),
    );
    modem.state.receive(delivered(balance));
    modem.state.receive(
      delivered({ ...long, text: 'a'.repeat(153), part: { reference: 9, total: 2, number: 1 } }),
    );
    modem.state.receive(delivered({ ...long, text: 'alone', part: { reference: 10, total: 3, number: 3 } }));
    const messages = await good(driver.messages());
    assert.deepEqual(
      messages.map(({ index, sender, text, unread }) => [index, sender, text, unread]),
      [
        ['2,0', '+4915112345678', `${'a'.repeat(153)}and the end.`, true],
        ['1', 'MegaFon', 'Баланс 12.50 😀', true],
        ['3', '+4915112345678', '[…]alone', true],
      ],
    );
    assert.equal(messages[1]?.receivedAt, Date.UTC(2024, 0, 31, 7, 20, 30));
    await good(driver.deleteMessage('2,0'));
    assert.deepEqual(
      (await good(driver.messages())).map(({ index, unread }) => [index, unread]),
      [
        ['1', false],
        ['3', false],
      ],
    );
  });

  test(`${id}: asks its carrier by USSD, in any alphabet, and does not stay in a menu`, async () => {
    const { driver, good, bad, clock, modem } = start(id, {
      network: {
        ussd: { '*100#': 'Balance 12.50', '*101#': 'Остаток 5 ₽', '*1#': '1 Balance 2 Help?', '*2#': '' },
      },
    });
    await clock.advance(4000);
    assert.equal(await good(driver.ussd('*100#')), 'Balance 12.50');
    assert.equal(await good(driver.ussd('*101#')), 'Остаток 5 ₽');
    assert.equal(await good(driver.ussd('*1#')), '1 Balance 2 Help?');
    assert.equal(modem.heard.at(-1), 'AT+CUSD=2');
    assert.equal(await bad(driver.ussd('*2#')), 'failed ussd-2');
    assert.equal(await bad(driver.ussd('*999#')), 'unsupported ussd-4');
    assert.equal(await bad(driver.ussd('+CFUN;"')), 'failed bad-code');
  });
}

test('5G shows as what it is: on an LTE anchor and standalone', async () => {
  const nsa = start('quectel/rm520n', { network: { nr: 'nsa' } });
  await nsa.clock.advance(4000);
  assert.equal((await nsa.good(nsa.driver.registration())).technology, '5g-nsa');
  assert.deepEqual(await nsa.good(nsa.driver.cell()), {
    cellId: String(0x328261f),
    pci: 920,
    channel: 648768,
    band: 'n78',
  });
  assert.deepEqual(await nsa.good(nsa.driver.signal()), {
    rssiDbm: null,
    rsrpDbm: -96,
    rsrqDb: -10,
    sinrDb: 18,
  });
  const sa = start('quectel/rm500q', { network: { nr: 'sa' } });
  await sa.clock.advance(4000);
  assert.equal((await sa.good(sa.driver.registration())).technology, '5g-sa');
  assert.deepEqual(await sa.good(sa.driver.signal()), {
    rssiDbm: null,
    rsrpDbm: -75,
    rsrqDb: -11,
    sinrDb: 5,
  });
});

test('an APN that is set already is left alone, another one is used by attaching anew', async () => {
  const { driver, good, clock, modem } = start('quectel/ec25');
  await clock.advance(4000);
  await good(driver.connect({ ...APN, name: 'internet', authentication: 'none' }));
  assert.ok(!modem.heard.includes('AT+CFUN=4'));
  await good(driver.disconnect());
  await good(driver.connect({ ...APN, name: 'other', authentication: 'none' }));
  const [off, define, on] = ['AT+CFUN=4', 'AT+CGDCONT=1,"IPV4V6","other"', 'AT+CFUN=1'].map(text =>
    modem.heard.indexOf(text),
  );
  assert.ok(off! > 0 && off! < define! && define! < on!, modem.heard.join());
});

test('a password is set although the APN is there already, and not set again for each connection', async () => {
  const { driver, good, clock, modem } = start('quectel/ec25');
  await clock.advance(4000);
  const apn = { ...APN, name: 'internet' };
  await good(driver.connect(apn));
  assert.equal(modem.state.authentication.get(1), 'eva:hunter2');
  await good(driver.disconnect());
  await good(driver.connect(apn));
  assert.equal(modem.heard.filter(line => line === 'AT+CFUN=4').length, 1);
  await good(driver.disconnect());
  await good(driver.connect({ ...apn, password: 'changed' }));
  assert.equal(modem.state.authentication.get(1), 'eva:changed');
});

test('QNETDEVCTL is spoken in the order that the profile names', async () => {
  for (const [method, down] of [
    ['qnetdevctl-cid-first', 'AT+QNETDEVCTL=1,2,1'],
    ['qnetdevctl-operation-first', 'AT+QNETDEVCTL=0,1,1'],
  ] as const) {
    const ec25 = profileOf('quectel/ec25');
    const profile = { ...ec25, connect: { ...ec25.connect, methods: [method] } };
    const { driver, good, clock, modem } = start('quectel/ec25', { profile });
    await clock.advance(4000);
    assert.equal((await good(driver.connect(null))).connected, true);
    await good(driver.disconnect());
    assert.equal(modem.state.call, 'down');
    assert.ok(modem.heard.includes('AT+QNETDEVCTL=1,1,1') && modem.heard.includes(down), modem.heard.join());
  }
});

test('an RM5xx asks for a fresh identity while its radio is off, so that even a sticky carrier gives another address', async () => {
  for (const [id, changes] of [
    ['quectel/rm520n', true],
    ['quectel/ec25', false],
  ] as const) {
    const { driver, good, clock } = start(id, { network: { stickiness: 1 } });
    await clock.advance(4000);
    const before = await good(driver.connect(null));
    await good(driver.radio(false));
    await clock.advance(4000);
    await good(driver.radio(true));
    await clock.advance(4000);
    const after = await good(driver.connect(null));
    assert.equal(after.address !== before.address, changes, id);
  }
});

test('tells what the modem says unasked', async () => {
  const { driver, good, run, clock, modem } = start('quectel/ec25');
  const events: DriverEvent[] = [];
  driver.onEvent(event => events.push(event));
  await run(driver.signal());
  await clock.advance(4000);
  await good(driver.registration());
  await good(driver.connect(null));
  modem.state.receive(
    delivered({
      sender: '1',
      text: 'x',
      alphabet: 'gsm7',
      at: { year: 24, month: 1, day: 1, hour: 0, minute: 0, second: 0, quarters: 0 },
    }),
  );
  modem.state.network = { ...modem.state.network, coverage: 'none' };
  modem.state.review();
  await clock.advance(100);
  const kinds = events.map(event =>
    event.kind === 'registration'
      ? `${event.kind} ${event.registration.state}`
      : event.kind === 'bearer'
        ? `${event.kind} ${event.connected}`
        : event.kind,
  );
  for (const wanted of [
    'registration registered',
    'bearer true',
    'message-received',
    'registration searching',
    'bearer false',
  ])
    assert.ok(kinds.includes(wanted), `${wanted} is not among ${kinds.join(', ')}`);
  // Losing the circuit domain says nothing of the data.
  const before = events.length;
  modem.state.say('+CREG: 0');
  await clock.advance(100);
  assert.equal(events.length, before);
  modem.vanish();
  await clock.advance(100);
  assert.equal(events.at(-1)?.kind, 'gone');
});

test('is silent after it was closed, which is not the modem being gone', async () => {
  const { driver, run } = start('quectel/ec25');
  const events: DriverEvent[] = [];
  driver.onEvent(event => events.push(event));
  await run(driver.signal());
  await run(driver.close());
  const signal = await run(driver.signal());
  assert.equal(signal.ok, false);
  assert.deepEqual(
    events.filter(event => event.kind === 'gone'),
    [],
  );
});

test('a USSD that waits for its network holds up neither a signal read nor a rotation', async () => {
  const { driver, good, clock, run } = start('quectel/ec25', { network: { ussdDelayMs: 60_000 } });
  await clock.advance(4000);
  const ussd = driver.ussd('*100#');
  const begun = clock.monotonicMs();
  await good(driver.signal());
  await good(driver.radio(false));
  assert.ok(clock.monotonicMs() - begun < 3000);
  await run(ussd);
});

test('no command that the driver can send changes an identity', async () => {
  for (const id of Object.keys(MODELS)) {
    const { driver, run, clock, modem } = start(id);
    await clock.advance(4000);
    await run(driver.identity());
    await run(driver.connect(APN));
    for (const method of ['deregister', 'mode-toggle'] as const) await run(driver.reattach(method));
    await run(driver.radio(false));
    await run(driver.radio(true));
    for (const heard of modem.heard) assert.doesNotMatch(heard, /EGMR|\+IMEI|SIMEI|PHYNUM|DATALOCK/i);
  }
});

test.run();
