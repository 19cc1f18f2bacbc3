/** The driver's verbs against a simulated modem in every state of SIM, radio and carrier. Its time is ours. */
import type { Apn, DriverEvent, Outcome } from '@mastline/agent/modem-plane/driver';
import { readFragment, readFrame, readPayload } from '@mastline/agent/modem-plane/drivers/mbim/frame';
import { CIDS, SERVICES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import {
  knownCauses,
  knownProtocolErrors,
  knownStatuses,
} from '@mastline/agent/modem-plane/drivers/mbim/status';
import * as assert from 'uvu/assert';
import type { MbimKnobs } from '../../../simulators/mbim/knobs';
import { deliverPdu } from '../../../simulators/mbim/pdu-writer';
import { suite } from '../../../support/suite';
import { type Bench, bench, driverOn, passing } from './in-memory';

const test = suite('MBIM driver');

const APN: Apn = {
  name: 'internet',
  username: 'u',
  password: 'p',
  authentication: 'pap',
  ipType: 'ipv4v6',
};

async function made(
  knobs: Partial<MbimKnobs> = {},
  options: Omit<Parameters<typeof bench>[0] & object, 'knobs'> = {},
) {
  const on = bench({ ...options, knobs });
  const driver = await driverOn(on, { reattachDwellMs: 4_000 });
  const events: DriverEvent[] = [];
  driver.onEvent(event => events.push(event));
  return { ...on, driver, events, in: <T>(work: Promise<T>) => passing(on.clock, work) };
}

function value<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(`${outcome.fault.code}: ${outcome.fault.message}`);
  return outcome.value;
}

function fault(outcome: Outcome<unknown>): string {
  return outcome.ok
    ? `no fault: ${JSON.stringify(outcome.value)}`
    : `${outcome.fault.kind} ${outcome.fault.code}`;
}

/** Command number of a frame of the basic connect service that was not cut. */
function commandOf(frame: Buffer): number | undefined {
  const fragment = readFragment(readFrame(frame));
  if (fragment === undefined) return undefined;
  const message = readPayload(fragment.kind, fragment.transaction, fragment.payload);
  return message.kind === 'command' && message.service === SERVICES.basicConnect ? message.cid : undefined;
}

async function ends(on: Bench & { driver: { close(): Promise<void> } }) {
  await passing(on.clock, on.driver.close());
  on.modem.close();
  assert.is(on.clock.pending(), 0, 'a timer is left');
  on.modem.assertNoFaults();
}

test('says who it is', async () => {
  const on = await made();
  assert.equal(value(await on.in(on.driver.identity())), {
    imei: '867394040000123',
    model: 'RM520N-GL',
    firmware: 'RM520NGLAAR03A03M4G',
    imsi: '250010123456789',
    iccid: '8970101234567890123',
  });
  await ends(on);
});

test('gives the modem’s identity without a SIM too', async () => {
  const on = await made({ sim: 'absent' });
  const identity = value(await on.in(on.driver.identity()));
  assert.equal([identity.imei, identity.imsi, identity.iccid], ['867394040000123', null, null]);
  await ends(on);
});

for (const [sim, expected] of [
  ['ready', { state: 'ready' }],
  ['absent', { state: 'absent' }],
  ['pin', { state: 'pin-needed', triesLeft: 3 }],
  ['puk', { state: 'puk-needed', triesLeft: 10 }],
  ['bad', { state: 'failed', reason: 'the modem cannot read the SIM' }],
  ['not-activated', { state: 'failed', reason: 'the SIM is not activated with its carrier' }],
] as const)
  test(`a SIM that is ${sim}`, async () => {
    const on = await made({ sim });
    assert.equal(value(await on.in(on.driver.sim())), expected);
    await ends(on);
  });

test('a SIM that is still read is busy, not failed', async () => {
  const on = await made({ sim: 'starting' });
  assert.is(fault(await on.in(on.driver.sim())), 'busy mbim/sim-starting');
  await ends(on);
});

test('the right PIN unlocks, once', async () => {
  const on = await made({ sim: 'pin' });
  assert.equal(value(await on.in(on.driver.enterPin('1234'))), { state: 'ready' });
  assert.is(value(await on.in(on.driver.registration())).state, 'registered');
  assert.equal(value(await on.in(on.driver.enterPin('1234'))), { state: 'ready' });
  assert.is(on.modem.pinsTried, 1);
  await ends(on);
});

test('a refused PIN is never sent again, another one is', async () => {
  const on = await made({ sim: 'pin' });
  assert.equal(value(await on.in(on.driver.enterPin('9999'))), { state: 'pin-needed', triesLeft: 2 });
  for (let again = 0; again < 5; again += 1)
    assert.is(fault(await on.in(on.driver.enterPin('9999'))), 'locked mbim/pin-refused');
  assert.is(on.modem.pinsTried, 1);
  assert.equal(value(await on.in(on.driver.enterPin('8888'))), { state: 'pin-needed', triesLeft: 1 });
  assert.is(on.modem.pinsTried, 2);
  await ends(on);
});

test('a PIN whose answer was lost is not sent a second time', async () => {
  const on = await made({ sim: 'pin', lostSets: [CIDS.pin] });
  assert.is(fault(await on.in(on.driver.enterPin('9999'))), 'unreachable mbim/timeout');
  assert.is(fault(await on.in(on.driver.enterPin('9999'))), 'locked mbim/pin-refused');
  assert.is(on.modem.pinsTried, 1);
  on.modem.knobs.lostSets = [];
  assert.equal(value(await on.in(on.driver.enterPin('1234'))), { state: 'ready' });
  await ends(on);
});

test('what is no PIN is not sent', async () => {
  const on = await made({ sim: 'pin' });
  for (const pin of ['', '123', '123456789', '12a4', '１２３４'])
    assert.is(fault(await on.in(on.driver.enterPin(pin))), 'locked mbim/pin-format');
  assert.is(on.modem.pinsTried, 0);
  await ends(on);
});

test('the next SIM may have the PIN that the last one refused', async () => {
  const on = await made({ sim: 'pin', pin: '1111' });
  await on.in(on.driver.enterPin('1234'));
  on.modem.changeSim('absent');
  on.modem.knobs.pin = '1234';
  on.modem.changeSim('pin');
  assert.equal(value(await on.in(on.driver.enterPin('1234'))), { state: 'ready' });
  await ends(on);
});

for (const [knobs, state, technology] of [
  [{}, 'registered', '4g'],
  [{ registration: 'roaming' }, 'roaming', '4g'],
  [{ availableDataClasses: 0x04 }, 'registered', '3g'],
  [{ availableDataClasses: 0x03 }, 'registered', '2g'],
  [{ availableDataClasses: 0x60 }, 'registered', '5g-nsa'],
  [{ availableDataClasses: 0xa0 }, 'registered', '5g-sa'],
  [{ registration: 'denied' }, 'denied', null],
  [{ registration: 'never' }, 'searching', null],
  [{ sim: 'absent' }, 'not-searching', null],
] as const)
  test(`registration with ${JSON.stringify(knobs)} is ${state}`, async () => {
    const on = await made(knobs);
    const registration = value(await on.in(on.driver.registration()));
    assert.is(registration.state, state);
    assert.is(registration.technology, technology);
    assert.is(registration.plmn, technology === null ? null : '25001');
    assert.is(registration.carrier, technology === null ? null : 'MTS RUS');
    await ends(on);
  });

test('signal and cell in their units, and nulls without a network', async () => {
  const on = await made();
  const signal = value(await on.in(on.driver.signal()));
  assert.ok(signal.rssiDbm !== null && signal.rssiDbm >= -77 && signal.rssiDbm <= -65);
  assert.equal([signal.rsrpDbm, signal.rsrqDb, signal.sinrDb], [-95, -11, null]);
  assert.equal(value(await on.in(on.driver.cell())), { cellId: '74565', pci: 77, channel: 1650, band: null });
  await on.in(on.driver.radio(false));
  assert.equal(value(await on.in(on.driver.signal())), {
    rssiDbm: null,
    rsrpDbm: null,
    rsrqDb: null,
    sinrDb: null,
  });
  assert.equal(value(await on.in(on.driver.cell())), { cellId: null, pci: null, channel: null, band: null });
  await ends(on);
});

test('connects, reads the bearer and its counters, disconnects', async () => {
  const on = await made();
  assert.is(value(await on.in(on.driver.bearer())).connected, false);
  const bearer = value(await on.in(on.driver.connect(APN)));
  assert.equal(bearer, {
    connected: true,
    address: '10.64.1.2',
    address6: null,
    prefixLength: 30,
    gateway: '10.64.1.1',
    dnsServers: ['8.8.8.8', '1.1.1.1'],
    mtu: 1500,
  });
  assert.equal(on.modem.connects, [
    { accessString: 'internet', username: 'u', authentication: 1, ipType: 3 },
  ]);
  on.modem.carry({ rx: 5_000_000_000, tx: 1234 });
  assert.equal(value(await on.in(on.driver.counters())), { rxBytes: 5_000_000_000, txBytes: 1234 });
  assert.equal(value(await on.in(on.driver.bearer())), bearer);
  value(await on.in(on.driver.disconnect()));
  assert.is(value(await on.in(on.driver.bearer())).connected, false);
  // A second time is no error.
  value(await on.in(on.driver.disconnect()));
  await ends(on);
});

test('without an APN the carrier’s own is asked for', async () => {
  const on = await made();
  value(await on.in(on.driver.connect(null)));
  assert.equal(on.modem.connects, [{ accessString: '', username: '', authentication: 0, ipType: 0 }]);
  await ends(on);
});

test('the same APN again keeps the connection, another one makes a new one', async () => {
  const on = await made();
  const first = value(await on.in(on.driver.connect(APN)));
  assert.equal(value(await on.in(on.driver.connect({ ...APN }))), first);
  assert.is(on.modem.connects.length, 1);
  const second = value(await on.in(on.driver.connect({ ...APN, name: 'other' })));
  assert.is(second.address, '10.64.1.6');
  await ends(on);
});

test('IPv6 beside IPv4, with name servers of both', async () => {
  const on = await made({}, { carrier: { address6: '2a02:0:0:0:0:0:0:5' } });
  const bearer = value(await on.in(on.driver.connect(APN)));
  assert.is(bearer.address, '10.64.1.2');
  assert.is(bearer.address6, '2a02:0:0:0:0:0:0:5');
  assert.equal(bearer.dnsServers, ['8.8.8.8', '1.1.1.1', '2001:4860:4860:0:0:0:0:8888']);
  await ends(on);
});

test('a carrier with one family gives that, and nobody gets a family that he did not ask for', async () => {
  const carrier = { address6: '2a02:0:0:0:0:0:0:5' };
  for (const [knobs, ipType, address, address6] of [
    [{ ipType: 'ipv6' }, 'ipv4v6', null, carrier.address6],
    [{ ipType: 'ipv4' }, 'ipv4v6', '10.64.1.2', null],
    [{}, 'ipv4', '10.64.1.2', null],
    [{}, 'ipv6', null, carrier.address6],
  ] as const) {
    const on = await made(knobs, { carrier });
    const bearer = value(await on.in(on.driver.connect({ ...APN, ipType })));
    assert.equal([bearer.address, bearer.address6], [address, address6], JSON.stringify([knobs, ipType]));
    assert.is(bearer.mtu, 1500);
    await ends(on);
  }
});

test('waits for a modem that is still activating', async () => {
  const on = await made({ connectStyle: 'activating', connectDelayMs: 7_000 });
  const began = on.clock.monotonicMs();
  assert.is(value(await on.in(on.driver.connect(APN))).address, '10.64.1.2');
  assert.ok(on.clock.monotonicMs() - began >= 7_000);
  await ends(on);
});

for (const style of ['at-once', 'activating'] as const)
  for (const [cause, expected] of [
    [33, 'locked mbim/cause-33'],
    [27, 'failed mbim/cause-27'],
    [26, 'busy mbim/cause-26'],
    [111, 'failed mbim/cause-111'],
  ] as const)
    test(`a connection refused ${style} with 3GPP cause ${cause} says so`, async () => {
      const on = await made({ connectCause: cause, connectStyle: style });
      assert.is(fault(await on.in(on.driver.connect(APN))), expected);
      assert.is(value(await on.in(on.driver.bearer())).connected, false);
      await ends(on);
    });

test('an activation that never ends has a deadline', async () => {
  const on = await made({ connectStyle: 'activating', connectDelayMs: 500_000 });
  const began = on.clock.monotonicMs();
  assert.is(fault(await on.in(on.driver.connect(APN))), 'unreachable mbim/timeout');
  assert.ok(on.clock.monotonicMs() - began < 61_000);
  await ends(on);
});

test('connecting without a registration says why', async () => {
  const on = await made({ registration: 'never' });
  assert.is(fault(await on.in(on.driver.connect(APN))), 'failed mbim/status-7');
  await ends(on);
});

test('attaches before it connects', async () => {
  const on = await made();
  on.modem.detach();
  assert.is(value(await on.in(on.driver.connect(APN))).connected, true);
  await ends(on);
});

test('radio off drops everything, radio on brings the registration back', async () => {
  const on = await made();
  value(await on.in(on.driver.connect(APN)));
  value(await on.in(on.driver.radio(false)));
  assert.is(value(await on.in(on.driver.registration())).state, 'not-searching');
  assert.is(value(await on.in(on.driver.bearer())).connected, false);
  value(await on.in(on.driver.radio(true)));
  assert.is(value(await on.in(on.driver.registration())).state, 'registered');
  assert.is(value(await on.in(on.driver.connect(APN))).address, '10.64.1.6');
  await ends(on);
});

test('a radio that is off by its hardware switch is for a person', async () => {
  const on = await made({ hardwareRadioOff: true });
  assert.is(fault(await on.in(on.driver.radio(true))), 'locked mbim/hardware-switch');
  await ends(on);
});

test('a sticky carrier gives the same address again, and the driver says so', async () => {
  const on = await made({ sticky: true });
  const first = value(await on.in(on.driver.connect(APN)));
  value(await on.in(on.driver.disconnect()));
  assert.is(value(await on.in(on.driver.connect(APN))).address, first.address);
  await ends(on);
});

for (const method of ['deregister', 'mode-toggle'] as const)
  test(`re-attach by ${method} leaves the network for the dwell and comes back`, async () => {
    const on = await made();
    value(await on.in(on.driver.connect(APN)));
    const began = on.clock.monotonicMs();
    value(await on.in(on.driver.reattach(method)));
    assert.ok(on.clock.monotonicMs() - began >= 4_000);
    const registration = value(await on.in(on.driver.registration()));
    assert.equal([registration.state, registration.technology], ['registered', '4g']);
    assert.is(value(await on.in(on.driver.bearer())).connected, false);
    assert.is(value(await on.in(on.driver.connect(APN))).address, '10.64.1.6');
    await ends(on);
  });

test('mode-toggle where there is no 3G still comes back to 4G', async () => {
  const on = await made({ availableDataClasses: 0x20 });
  value(await on.in(on.driver.reattach('mode-toggle')));
  assert.is(value(await on.in(on.driver.registration())).technology, '4g');
  await ends(on);
});

test('closing in the middle of a re-attach ends it and leaves no timer', async () => {
  const on = await made();
  const going = on.driver.reattach('deregister');
  await on.clock.advance(1_000);
  await passing(on.clock, on.driver.close());
  assert.is(fault(await going), 'unreachable mbim/closed');
  assert.is(on.clock.pending(), 0);
});

test('reset succeeds, and the modem is gone', async () => {
  const on = await made();
  value(await on.in(on.driver.reset()));
  await on.clock.advance(1_000);
  assert.equal(on.events.at(-1), { kind: 'gone', reason: 'left the bus' });
  assert.is(fault(await on.in(on.driver.sim())), 'unreachable mbim/gone');
  await passing(on.clock, on.driver.close());
});

test('a modem that was gone before anybody listened is told to the one who comes', async () => {
  const on = bench();
  const driver = await driverOn(on);
  on.modem.vanish();
  const events: DriverEvent[] = [];
  driver.onEvent(event => events.push(event));
  await on.clock.advance(0);
  assert.equal(events, [{ kind: 'gone', reason: 'left the bus' }]);
  await driver.close();
});

const SENT_AT = Date.UTC(2026, 10, 13, 12, 34, 56);

test('lists messages of every alphabet, joined, and deletes them with all their parts', async () => {
  const on = await made({ fragmentBytes: 64, writes: 'cut' });
  const part = (number: number, text: string) =>
    on.modem.receive(
      deliverPdu({
        sender: '+79001112233',
        text,
        sentAt: SENT_AT,
        part: { reference: 5, total: 2, number },
      }),
    );
  part(2, ' and the end {€}');
  on.modem.receive(deliverPdu({ sender: '900', text: 'Баланс 12,50 ₽', sentAt: SENT_AT }));
  part(1, 'The beginning');
  on.modem.sms.push({ index: 7, status: 3, pdu: Buffer.from('00', 'hex') });
  on.modem.sms.push({ index: 8, status: 1, pdu: Buffer.from('0004', 'hex') });
  const list = value(await on.in(on.driver.messages()));
  assert.equal(list.slice(0, 2), [
    {
      index: '2,0',
      sender: '+79001112233',
      receivedAt: SENT_AT,
      text: 'The beginning and the end {€}',
      unread: true,
    },
    { index: '1', sender: '900', receivedAt: SENT_AT, text: 'Баланс 12,50 ₽', unread: true },
  ]);
  assert.is(list.length, 3);
  assert.match(list[2]?.text ?? '', /^\[unreadable: stored message/);
  assert.ok(value(await on.in(on.driver.messages())).every(one => !one.unread));
  value(await on.in(on.driver.deleteMessage('2,0')));
  assert.equal(
    on.modem.sms.map(one => one.index),
    [1, 7, 8],
  );
  assert.is(fault(await on.in(on.driver.deleteMessage('0'))), 'failed mbim/status-30');
  assert.is(fault(await on.in(on.driver.deleteMessage('1; 7'))), 'failed mbim/message-index');
  await ends(on);
});

test('a full store of messages comes through fragments', async () => {
  const on = await made({ fragmentBytes: 100 });
  for (let index = 0; index < 45; index += 1)
    on.modem.receive(deliverPdu({ sender: '+1', text: 'x'.repeat(160), sentAt: SENT_AT + index }));
  assert.is(value(await on.in(on.driver.messages())).length, 40);
  await ends(on);
});

const USSD = {
  '*100#': { text: 'Balance: 12.50 EUR [M]', coding: 0x0f, response: 0 },
  '*101#': { text: 'Баланс 12,50 ₽', coding: 0x48, response: 0 },
  '*102#': { text: '1 Balance\n2 Tariff', coding: 0x0f, response: 1 },
  '*103#': { text: '', coding: 0x0f, response: 2 },
  '*104#': { text: '', coding: 0x0f, response: 5 },
  '*105#': { text: 'Bye', coding: 0x0f, response: 2 },
} as const;

test('USSD in both alphabets, after the network’s time', async () => {
  const on = await made({ ussdDelayMs: 20_000 }, { ussd: USSD });
  assert.is(value(await on.in(on.driver.ussd('*100#'))), 'Balance: 12.50 EUR [M]');
  assert.is(value(await on.in(on.driver.ussd('*101#'))), 'Баланс 12,50 ₽');
  assert.is(value(await on.in(on.driver.ussd('*105#'))), 'Bye');
  await ends(on);
});

test('a menu gives its text and is cancelled, so that the next code goes through', async () => {
  const on = await made({}, { ussd: USSD });
  assert.is(value(await on.in(on.driver.ussd('*102#'))), '1 Balance\n2 Tariff');
  assert.is(on.modem.ussdOpen, false);
  assert.is(value(await on.in(on.driver.ussd('*100#'))), 'Balance: 12.50 EUR [M]');
  await ends(on);
});

test('USSD that is refused, unknown or never answered says which', async () => {
  const on = await made({}, { ussd: USSD });
  assert.is(fault(await on.in(on.driver.ussd('*103#'))), 'failed mbim/ussd-refused');
  assert.is(fault(await on.in(on.driver.ussd('*104#'))), 'failed mbim/ussd-refused');
  assert.is(fault(await on.in(on.driver.ussd('*999#'))), 'unsupported mbim/ussd-unsupported');
  assert.is(fault(await on.in(on.driver.ussd(''))), 'failed mbim/ussd-code');
  assert.is(fault(await on.in(on.driver.ussd('баланс'))), 'failed mbim/ussd-code');
  on.modem.knobs.ussdDelayMs = 1_000_000;
  const began = on.clock.monotonicMs();
  assert.is(fault(await on.in(on.driver.ussd('*100#'))), 'unreachable mbim/timeout');
  assert.ok(on.clock.monotonicMs() - began <= 121_000);
  await ends(on);
});

test('what MBIM has not is unsupported, for good', async () => {
  const on = await made();
  assert.is(fault(await on.in(on.driver.temperature())), 'unsupported mbim/unsupported');
  await ends(on);
});

test('events tell changes once: registration, bearer, SIM, message', async () => {
  const on = await made();
  value(await on.in(on.driver.connect(APN)));
  on.events.length = 0;
  on.modem.setRadio(false);
  on.modem.receive(deliverPdu({ sender: '+1', text: 'x', sentAt: SENT_AT }));
  on.modem.changeSim('pin');
  await on.clock.advance(1_000);
  assert.equal(
    on.events.map(event => [
      event.kind,
      event.kind === 'registration'
        ? event.registration.state
        : event.kind === 'sim'
          ? event.sim.state
          : null,
    ]),
    [
      ['registration', 'not-searching'],
      ['bearer', null],
      ['message-received', null],
      ['sim', 'pin-needed'],
    ],
  );
  await ends(on);
});

test('a connection lost twice is told twice', async () => {
  const on = await made();
  for (let round = 0; round < 2; round += 1) {
    value(await on.in(on.driver.connect(APN)));
    on.modem.setRadio(false);
    on.modem.setRadio(true);
    await on.clock.advance(100);
  }
  assert.is(on.events.filter(event => event.kind === 'bearer' && !event.connected).length, 2);
  await ends(on);
});

test('a storm of equal indications is one event', async () => {
  const on = await made({ stormIndications: 3_000 });
  value(await on.in(on.driver.signal()));
  assert.ok(on.events.filter(event => event.kind === 'registration').length <= 1);
  await ends(on);
});

for (const [status, expected] of [
  [1, 'busy mbim/status-1'],
  [2, 'failed mbim/status-2'],
  [5, 'locked mbim/status-5'],
  [9, 'unsupported mbim/status-9'],
  [14, 'busy mbim/status-14'],
  [777, 'failed mbim/status-777'],
] as const)
  test(`status ${status} is ${expected}`, async () => {
    const on = await made();
    on.modem.knobs.nextStatus = status;
    assert.is(fault(await on.in(on.driver.counters())), expected);
    await ends(on);
  });

test('every known status gives its kind and keeps its number, and the modem is asked on', async () => {
  const statuses = knownStatuses();
  assert.ok(statuses.length > 35);
  const on = await made();
  for (const { number, kind } of statuses) {
    on.modem.knobs.nextStatus = number;
    assert.is(fault(await on.in(on.driver.counters())), `${kind} mbim/status-${number}`);
    value(await on.in(on.driver.counters()));
  }
  await ends(on);
});

test('every known cause of a refused connection gives its kind and keeps its number', async () => {
  const causes = knownCauses();
  assert.ok(causes.length > 20);
  for (const { number, kind } of causes) {
    const on = await made({ connectCause: number });
    assert.is(fault(await on.in(on.driver.connect(APN))), `${kind} mbim/cause-${number}`);
    await ends(on);
  }
});

test('every protocol error fails its command by name; only a lost session is opened again', async () => {
  for (const number of knownProtocolErrors()) {
    const on = await made();
    on.modem.knobs.nextFunctionError = number;
    const outcome = await on.in(on.driver.counters());
    // 5, the session is not open: it is opened anew, and the command is asked again.
    if (number === 5) value(outcome);
    else assert.match(fault(outcome), /^(failed|busy|unreachable) mbim\//);
    value(await on.in(on.driver.counters()));
    await ends(on);
  }
});

test('a network that takes its time is searched for meanwhile, and found', async () => {
  const on = await made({ registrationDelayMs: 20_000 });
  assert.is(value(await on.in(on.driver.registration())).state, 'searching');
  await on.clock.advance(21_000);
  assert.is(value(await on.in(on.driver.registration())).state, 'registered');
  await ends(on);
});

for (const denialCause of [2, 7, 11, 15])
  test(`a network that denies with cause ${denialCause} is a denial, and no data connection is had from it`, async () => {
    const on = await made({ registration: 'denied', denialCause });
    assert.is(value(await on.in(on.driver.registration())).state, 'denied');
    assert.not(value(await on.in(on.driver.bearer())).connected);
    await ends(on);
  });

test('the last try of a PIN is told as such, and a wrong one locks the SIM', async () => {
  const on = await made({ sim: 'pin', pinTriesLeft: 1 });
  assert.equal(value(await on.in(on.driver.sim())), { state: 'pin-needed', triesLeft: 1 });
  assert.is(value(await on.in(on.driver.enterPin('9999'))).state, 'puk-needed');
  await ends(on);
});

test('a modem that was busy when it was opened is asked later what it can do', async () => {
  const on = await made({ busyTimes: 2 });
  assert.is(fault(await on.in(on.driver.messages())), 'busy mbim/status-1');
  assert.equal(value(await on.in(on.driver.messages())), []);
  // And its events are subscribed to then.
  on.modem.receive(deliverPdu({ sender: '+1', text: 'x', sentAt: SENT_AT }));
  await on.clock.advance(0);
  assert.equal(on.events, [{ kind: 'message-received' }]);
  await ends(on);
});

test('a modem that lost its session is subscribed to again', async () => {
  const on = await made();
  const subscriptions = () =>
    on.transport.sent.filter(frame => commandOf(frame) === CIDS.subscribeList).length;
  assert.is(subscriptions(), 1);
  on.modem.knobs.nextFunctionError = 5;
  value(await on.in(on.driver.counters()));
  await on.clock.advance(100);
  assert.is(subscriptions(), 2);
  on.modem.receive(deliverPdu({ sender: '+1', text: 'x', sentAt: SENT_AT }));
  await on.clock.advance(0);
  assert.equal(on.events, [{ kind: 'message-received' }]);
  await ends(on);
});

test('no PIN, APN secret or subscriber stands in the log', async () => {
  const on = await made({ sim: 'pin', fragmentBytes: 64, noiseBytes: 3 });
  await on.in(on.driver.enterPin('9999'));
  await on.in(on.driver.enterPin('1234'));
  await on.in(on.driver.connect({ ...APN, username: 'ursula', password: 'geheim' }));
  await on.in(on.driver.identity());
  const text = on.logged.join('\n');
  assert.ok(on.logged.length > 0);
  for (const secret of ['9999', '1234', 'geheim', 'ursula', '250010123456789'])
    assert.not.match(text, new RegExp(secret));
  await ends(on);
});

test.run();
