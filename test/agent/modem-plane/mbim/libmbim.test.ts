/** Messages, USSD, PIN, subscriptions: what mbimcli cannot do, judged by libmbim called from Python. */
import { join } from 'node:path';
import * as basic from '@mastline/agent/modem-plane/drivers/mbim/basic-connect';
import type { Command } from '@mastline/agent/modem-plane/drivers/mbim/command';
import { DEACTIVATE, setConnect } from '@mastline/agent/modem-plane/drivers/mbim/data-connection';
import { proxyConfiguration } from '@mastline/agent/modem-plane/drivers/mbim/extensions';
import { type MbimMessage, writeMessage } from '@mastline/agent/modem-plane/drivers/mbim/frame';
import { wantedIndications } from '@mastline/agent/modem-plane/drivers/mbim/indications';
import { SERVICES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import * as text from '@mastline/agent/modem-plane/drivers/mbim/text-services';
import { packUssd } from '@mastline/agent/modem-plane/sms/gsm7';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { MbimModem } from '../../../simulators/mbim/modem';
import { deliverPdu } from '../../../simulators/mbim/pdu-writer';
import { servePty } from '../../../simulators/mbim/ports';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { noLibmbim, PYTHON, runTool } from './tools';

const test = suite('MBIM by libmbim');

const script = (name: string) => join(import.meta.dirname, name);

function bytesOf<Q>(command: Command<Q, unknown>, input: Q): string {
  return hex({
    kind: 'command',
    transaction: 3,
    service: command.service,
    cid: command.cid,
    action: command.action,
    info: command.write(input),
  });
}

function hex(message: MbimMessage): string {
  return Buffer.concat(writeMessage(message)).toString('hex');
}

async function requestsAreAlike(): Promise<void> {
  const { code, text: printed } = await runTool(PYTHON, [script('libmbim-requests.py')]);
  assert.is(code, 0, printed);
  const theirs = JSON.parse(printed) as Record<string, string>;
  const code100 = packUssd('*100#') as Buffer;
  const all = [
    { service: SERVICES.basicConnect, cids: [1, 2, 3, 9, 10, 11, 12] },
    { service: SERVICES.sms, cids: [1, 2, 3, 4, 5] },
    { service: SERVICES.ussd, cids: [1] },
    { service: SERVICES.quectel, cids: [1] },
  ];
  const ours: Record<string, string> = {
    'read all': bytesOf(text.smsRead, { all: true }),
    'read 7': bytesOf(text.smsRead, { index: 7 }),
    'delete 7': bytesOf(text.smsDelete, { index: 7 }),
    configuration: bytesOf(text.smsConfiguration, undefined),
    ussd: bytesOf(text.ussd, { action: 'initiate', payload: code100 }),
    'ussd cancel': bytesOf(text.ussd, { action: 'cancel', payload: Buffer.alloc(0) }),
    pin: bytesOf(basic.enterPin, '1234'),
    connect: bytesOf(setConnect, {
      ...DEACTIVATE,
      activate: true,
      accessString: 'internet.тест',
      authentication: 'chap',
      ipType: 'ipv6',
    }),
    subscribe: bytesOf(basic.subscribeList, wantedIndications(all)),
    proxy: bytesOf(proxyConfiguration, { devicePath: '/dev/cdc-wdm0', timeoutSeconds: 30 }),
    open: hex({ kind: 'open', transaction: 3, maxControlTransfer: 4096 }),
    close: hex({ kind: 'close', transaction: 3 }),
  };
  assert.equal(Object.keys(ours).sort(), Object.keys(theirs).sort());
  for (const name of Object.keys(theirs)) assert.is(ours[name], theirs[name], name);
}

async function libmbimReadsTheSimulator(fragmentBytes: number | null): Promise<void> {
  const dir = await tempDir('mbim');
  const modem = new MbimModem({
    clock: systemClock,
    seed: 11,
    knobs: { fragmentBytes, writes: 'cut', ussdDelayMs: 50 },
  });
  const sentAt = Date.UTC(2026, 1, 2, 3, 4, 5);
  const pdus = ['hellohello', 'Баланс 12 ₽', '{€}'.repeat(20)].map(one =>
    deliverPdu({ sender: '+79001112233', text: one, sentAt }),
  );
  for (const pdu of pdus) modem.receive(pdu);
  const port = await servePty(modem, join(dir.path, 'cdc-wdm0'));
  try {
    const { code, text: printed } = await runTool(PYTHON, [script('libmbim-session.py'), port.path]);
    assert.is(code, 0, printed);
    const read = JSON.parse(printed);
    assert.equal(
      read.messages,
      pdus.map((pdu, index) => ({ index, status: 0, pdu: pdu.toString('hex') })),
    );
    assert.equal(read.left, [1, 2]);
    assert.equal(read.configuration, { format: 0, most: 40, centre: '+27381000015' });
    assert.is(read.ussd.coding, 15);
    assert.is(
      text.USSD_CODING_GSM7 === read.ussd.coding && read.ussd.payload,
      packUssd('Balance: 12.50 EUR. Tariff [M] until 30.11.')?.toString('hex'),
    );
    modem.assertNoFaults();
  } finally {
    await port.close();
    await dir.remove();
  }
}

if (noLibmbim === undefined) {
  test('our requests are libmbim’s, byte by byte', requestsAreAlike);
  test('libmbim reads messages and USSD of the simulator', () => libmbimReadsTheSimulator(null));
  test('and puts them together from fragments of 77 bytes', () => libmbimReadsTheSimulator(77));
} else test.skip('libmbim judges requests and simulator', noLibmbim);

test.run();
