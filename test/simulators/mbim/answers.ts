/**
 * What the simulated modem answers to each command: rows of service, command, query or set, the fact that the answer
 * rests on, and the answer. A command without a row is a fault of whoever asked (`connection.ts` records it).
 */
import { type InfoReader, InfoWriter } from '@mastline/agent/modem-plane/drivers/mbim/layout';
import { CIDS, SERVICES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import { unpackUssd } from '@mastline/agent/modem-plane/sms/gsm7';
import {
  attachInfo,
  baseStationsInfo,
  connectFailureInfo,
  connectInfo,
  deviceCapsInfo,
  deviceServicesInfo,
  EMPTY,
  ipConfigurationInfo,
  packetServiceInfo,
  pinInfo,
  providerInfo,
  provisionedContextsInfo,
  radioInfo,
  registerInfo,
  signalInfo,
  smsConfigurationInfo,
  smsListInfo,
  statisticsInfo,
  storeStatusInfo,
  subscriberInfo,
  ussdInfo,
} from './layouts';
import { ACTIVATION, type MbimModem, type StoredSms } from './modem';

export interface Answer {
  status: number;
  info: Buffer;
}

export interface AnswerRow {
  service: string;
  cid: number;
  action: 'query' | 'set';
  /** What the answer rests on: a recorded dialogue of mbimcli, or a part of the standard. */
  fact: string;
  answer: (modem: MbimModem, request: InfoReader) => Answer | Promise<Answer>;
}

const STATUS = { failure: 2, noSim: 3, pinRequired: 5, notActivated: 16, invalid: 21, badIndex: 30 };
const recorded = (action: string) => `mbimcli 1.28.2 accepts it after ${action}`;
const standard = (part: string) => `USB-IF MBIM 1.0, part ${part}`;

const ok = (info: Buffer = EMPTY): Answer => ({ status: 0, info });
const refuse = (status: number, info: Buffer = EMPTY): Answer => ({ status, info });

function row(
  place: readonly [service: string, cid: number, action: 'query' | 'set'],
  fact: string,
  answer: AnswerRow['answer'],
): AnswerRow {
  const [service, cid, action] = place;
  return { service, cid, action, fact, answer };
}

const { basicConnect, sms, ussd, msBasicConnectExtensions: ms, quectel } = SERVICES;

export const ANSWERS: readonly AnswerRow[] = [
  row([basicConnect, CIDS.deviceCaps, 'query'], recorded('--query-device-caps'), modem =>
    ok(deviceCapsInfo(modem)),
  ),
  row([basicConnect, CIDS.subscriberReady, 'query'], recorded('--query-subscriber-ready-status'), modem =>
    ok(subscriberInfo(modem)),
  ),
  row([basicConnect, CIDS.radioState, 'query'], recorded('--query-radio-state'), modem =>
    ok(radioInfo(modem)),
  ),
  row([basicConnect, CIDS.radioState, 'set'], recorded('--set-radio-state'), (modem, request) => {
    const wish = request.u32('radio');
    if (wish > 1) return refuse(STATUS.invalid);
    modem.setRadio(wish === 1);
    return ok(radioInfo(modem));
  }),
  row([basicConnect, CIDS.pin, 'query'], recorded('--query-pin-state'), modem =>
    modem.knobs.sim === 'absent' ? refuse(STATUS.noSim) : ok(pinInfo(modem)),
  ),
  row([basicConnect, CIDS.pin, 'set'], recorded('--enter-pin'), (modem, request) => {
    const type = request.u32('type');
    const operation = request.u32('operation');
    const pin = request.string('PIN');
    request.string('new PIN');
    if (modem.knobs.sim === 'absent') return refuse(STATUS.noSim);
    if (type !== 2 || operation !== 0 || modem.knobs.sim !== 'pin')
      return refuse(STATUS.failure, pinInfo(modem));
    // The reply's layout comes with the refusal too (part 10.5.4): it holds the tries that are left.
    return modem.enterPin(pin) ? ok(pinInfo(modem)) : refuse(STATUS.pinRequired, pinInfo(modem));
  }),
  row([basicConnect, CIDS.homeProvider, 'query'], recorded('--query-home-provider'), modem =>
    modem.simReady ? ok(providerInfo(modem)) : refuse(STATUS.noSim),
  ),
  row(
    [basicConnect, CIDS.visibleProviders, 'query'],
    recorded('--query-visible-providers'),
    (modem, request) => {
      request.u32('action');
      const provider = providerInfo(modem);
      return ok(structureList([provider, provider]));
    },
  ),
  row([basicConnect, CIDS.registerState, 'query'], recorded('--query-registration-state'), modem =>
    ok(registerInfo(modem)),
  ),
  row([basicConnect, CIDS.registerState, 'set'], recorded('--register-automatic'), (modem, request) => {
    const provider = request.string('provider id');
    const action = request.u32('action');
    const dataClass = request.u32('data class');
    if (action > 1 || (action === 1 && provider === '')) return refuse(STATUS.invalid);
    if (!modem.simReady) return refuse(STATUS.noSim);
    modem.allow(dataClass);
    return ok(registerInfo(modem));
  }),
  row([basicConnect, CIDS.packetService, 'query'], recorded('--query-packet-service-state'), modem =>
    ok(packetServiceInfo(modem)),
  ),
  row([basicConnect, CIDS.packetService, 'set'], recorded('--attach-packet-service'), (modem, request) => {
    const action = request.u32('action');
    if (action > 1) return refuse(STATUS.invalid);
    if (action === 1) modem.detach();
    const refused = action === 0 ? modem.attach() : undefined;
    return refused === undefined
      ? ok(packetServiceInfo(modem))
      : refuse(refused.refused, packetServiceInfo(modem));
  }),
  row([basicConnect, CIDS.signalState, 'query'], recorded('--query-signal-state'), modem =>
    ok(signalInfo(modem)),
  ),
  row([basicConnect, CIDS.connect, 'query'], recorded('--query-connection-state'), (modem, request) => {
    request.u32('session');
    return ok(connectInfo(modem));
  }),
  row([basicConnect, CIDS.connect, 'set'], recorded('--connect and --disconnect'), connect),
  row([basicConnect, CIDS.provisionedContexts, 'query'], recorded('--query-provisioned-contexts'), () =>
    ok(provisionedContextsInfo()),
  ),
  row(
    [basicConnect, CIDS.ipConfiguration, 'query'],
    recorded('--query-ip-configuration'),
    (modem, request) => {
      // Some firmware refuses a request that is shorter than the reply's fixed part.
      if (request.left !== 60) return refuse(STATUS.invalid);
      return modem.activation === ACTIVATION.activated
        ? ok(ipConfigurationInfo(modem))
        : refuse(STATUS.notActivated);
    },
  ),
  row([basicConnect, CIDS.deviceServices, 'query'], recorded('--query-device-services'), () =>
    ok(deviceServicesInfo(servicesOf(ANSWERS))),
  ),
  row([basicConnect, CIDS.subscribeList, 'set'], standard('10.5.19'), (_modem, request) => {
    // Kept by the connection: each host has subscriptions of its own.
    return ok(lone(request.structures('service', request.u32('count')).length));
  }),
  row([basicConnect, CIDS.packetStatistics, 'query'], recorded('--query-packet-statistics'), modem =>
    ok(statisticsInfo(modem)),
  ),
  row([sms, CIDS.smsConfiguration, 'query'], standard('10.6.1'), () => ok(smsConfigurationInfo())),
  row([sms, CIDS.smsRead, 'query'], standard('10.6.2'), (modem, request) => {
    if (request.u32('format') !== 0) return refuse(STATUS.invalid);
    const chosen = choose(modem, request.u32('flag'), request.u32('index'));
    if (chosen === null) return refuse(STATUS.badIndex);
    const info = smsListInfo(chosen);
    // Reading is what makes a new message old.
    for (const one of chosen) if (one.status === 0) one.status = 1;
    return ok(info);
  }),
  row([sms, CIDS.smsDelete, 'set'], standard('10.6.4'), (modem, request) => {
    const chosen = choose(modem, request.u32('flag'), request.u32('index'));
    if (chosen === null) return refuse(STATUS.badIndex);
    for (const one of chosen) modem.sms.splice(modem.sms.indexOf(one), 1);
    return ok();
  }),
  row([sms, CIDS.smsStoreStatus, 'query'], standard('10.6.5'), () => ok(storeStatusInfo(null, 0))),
  row([ussd, CIDS.ussd, 'set'], standard('10.7.1'), (modem, request) => {
    const action = request.u32('action');
    request.u32('coding');
    const payload = request.bytes('payload');
    const nothing = { text: '', coding: 0x0f, response: 0 } as const;
    if (action === 2) {
      modem.cancelUssd();
      return ok(ussdInfo({ ...nothing, response: 2 }, false));
    }
    if (action !== 0 || payload.length === 0) return refuse(STATUS.invalid);
    const refused = modem.startUssd(unpackUssd(payload));
    return refused === undefined ? ok(ussdInfo(nothing, true)) : refuse(refused.refused);
  }),
  row([ms, CIDS.lteAttachInfo, 'query'], recorded('--ms-query-lte-attach-info'), modem =>
    ok(attachInfo(modem)),
  ),
  row([ms, CIDS.deviceReset, 'set'], 'Microsoft basic connect extensions, device reset', modem => {
    modem.reset();
    return ok();
  }),
  row([ms, CIDS.baseStations, 'query'], recorded('--ms-query-base-stations-info'), (modem, request) => {
    for (let kind = 0; kind < 5; kind += 1) request.u32('most cells');
    return ok(baseStationsInfo(modem));
  }),
  row([quectel, CIDS.quectelRadioState, 'query'], recorded('--quectel-query-radio-state'), modem =>
    ok(lone(modem.radioOn ? 1 : 0)),
  ),
];

async function connect(modem: MbimModem, request: InfoReader): Promise<Answer> {
  const session = request.u32('session');
  const command = request.u32('command');
  const accessString = request.string('access string');
  const username = request.string('user name');
  request.string('password');
  request.u32('compression');
  const authentication = request.u32('authentication');
  const ipType = request.u32('IP type');
  request.uuid('context type');
  if (session !== 0 || command > 1) return refuse(STATUS.invalid);
  if (command === 0)
    return (await modem.deactivate())
      ? ok(connectInfo(modem))
      : refuse(STATUS.notActivated, connectInfo(modem));
  modem.connects.push({ accessString, username, authentication, ipType });
  const refused = await modem.activate();
  if (refused === undefined) return ok(connectInfo(modem));
  return refuse(refused.refused, refused.cause === undefined ? EMPTY : connectFailureInfo(refused.cause));
}

/** The stored messages that a flag and an index mean; null for an index where there is none. */
function choose(modem: MbimModem, flag: number, index: number): StoredSms[] | null {
  if (flag === 0) return [...modem.sms];
  if (flag === 1) {
    const one = modem.sms.find(stored => stored.index === index);
    return one === undefined ? null : [one];
  }
  const status = { 2: 0, 3: 1, 4: 3, 5: 2 }[flag];
  return status === undefined ? null : modem.sms.filter(one => one.status === status);
}

function servicesOf(rows: readonly AnswerRow[]): Map<string, number[]> {
  const services = new Map<string, number[]>();
  for (const { service, cid } of rows) {
    const cids = services.get(service) ?? [];
    if (!cids.includes(cid)) services.set(service, [...cids, cid]);
  }
  return services;
}

function structureList(list: readonly Buffer[]): Buffer {
  return new InfoWriter().structures(list).finish();
}

/** A lone number. */
function lone(count: number): Buffer {
  return new InfoWriter().u32(count).finish();
}
