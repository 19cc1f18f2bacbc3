/**
 * Every command the driver knows, as rows: what is sent, how long it may take, which lines are its reply and how they
 * read. Deadlines are the makers' longest times and a tenth. A new command is a row; when it is sent is for the files
 * beside (radio.ts, data-call.ts, messages.ts, driver.ts). There is no row that changes an identity, and none that
 * sends a message.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Apn } from '../../driver';
import type { Command } from './channel';
import * as data from './data-replies';
import { fieldsNamed } from './fields';
import * as replies from './replies';

export interface Row<T> extends Command {
  read: (lines: string[]) => T | null;
  /** Asking twice changes nothing, so a lost or garbled answer is asked for again once. */
  repeatable: boolean;
  /** A bare ERROR means that this firmware does not know it (there is nothing else it could refuse). */
  optional: boolean;
}

/** Makers say 300 ms; a Pi under load and a busy firmware take longer. */
const QUICK_MS = 3000;
const SIM_MS = 5500;
const RADIO_MS = 16_500;
const ATTACH_MS = 154_000;
const CONTEXT_MS = 165_000;
const OPERATOR_MS = 198_000;
/** The answer of the network comes by itself, later. */
const USSD_SEND_MS = 10_000;
export const USSD_ANSWER_MS = 120_000;

type Reading<T> = Pick<Row<T>, 'read'> & Partial<Command & Pick<Row<T>, 'optional'>>;

/** A question: its reply lines begin with the name in the command unless told otherwise. */
function question<T>(text: string, rest: Reading<T>): Row<T> {
  const prefix = /^AT([+^$][A-Z0-9]+)/.exec(text)?.[1];
  return {
    text,
    name: text,
    deadlineMs: QUICK_MS,
    prefixes: prefix === undefined ? [] : [prefix],
    repeatable: true,
    optional: false,
    ...rest,
  };
}

/** An order: nothing but its final result counts. `name` leaves out what is nobody's business. */
function order(text: string, deadlineMs: number, name = text): Row<true> {
  return { text, name, deadlineMs, prefixes: [], repeatable: false, optional: false, read: () => true };
}

const DIGITS = /^\d{14,16}$/;
/** Models and revisions; noise rarely looks like one. */
const WORDS = /^[A-Za-z0-9][\w .:,()/-]{1,78}$/;

export const attention = { ...order('AT', QUICK_MS), numericFinal: true };
export const plainFraming = { ...order('ATE0V1', QUICK_MS), numericFinal: true, repeatable: true };

export const imei = question('AT+CGSN', { bare: DIGITS, read: lines => replies.readValue(lines, DIGITS) });
export const imsi = question('AT+CIMI', {
  deadlineMs: SIM_MS,
  bare: DIGITS,
  read: lines => replies.readValue(lines, DIGITS),
});
export const model = question('AT+CGMM', { bare: WORDS, read: lines => replies.readValue(lines, WORDS) });
export const firmware = question('AT+CGMR', { bare: WORDS, read: lines => replies.readValue(lines, WORDS) });
const ICCID = /^\d{18,22}F?$/i;
const iccidBy = (text: string, names: string[]) =>
  question(text, {
    deadlineMs: SIM_MS,
    prefixes: names,
    bare: ICCID,
    read: replies.readIccid,
    optional: true,
  });
export const iccid = {
  qccid: iccidBy('AT+QCCID', ['+QCCID']),
  iccid: iccidBy('AT+ICCID', ['+ICCID']),
  ccid: iccidBy('AT+CCID', ['+CCID', '+ICCID']),
  'huawei-iccid': iccidBy('AT^ICCID?', ['^ICCID']),
};

export const simState = question('AT+CPIN?', { deadlineMs: SIM_MS, read: replies.readCpin });
export const pinTries = {
  qpinc: question('AT+QPINC?', { deadlineMs: SIM_MS, read: replies.readQpinc, optional: true }),
  'huawei-cpin': question('AT^CPIN?', { deadlineMs: SIM_MS, read: replies.readHuaweiCpin, optional: true }),
};
/** Not repeatable, ever: a second try with a wrong PIN costs the SIM. */
export const enterPin = (pin: string) => order(`AT+CPIN="${pin}"`, SIM_MS, 'AT+CPIN=');

const registration = (text: string, name: string) =>
  question(text, { read: lines => replies.readRegistration(lines, name), optional: true });
export const registrations = {
  lte: registration('AT+CEREG?', '+CEREG'),
  packet: registration('AT+CGREG?', '+CGREG'),
  circuit: registration('AT+CREG?', '+CREG'),
  nr: registration('AT+C5GREG?', '+C5GREG'),
  huawei: question('AT^SYSINFOEX', { read: replies.readSysInfo, optional: true }),
};
/** Name and number of the carrier in one go: several commands after one AT (V.250 5.2.1). */
export const operator = question('AT+COPS=3,0;+COPS?;+COPS=3,2;+COPS?', { read: replies.readOperator });
export const operatorPlain = question('AT+COPS?', { read: replies.readOperator });
export const networkTechnologies = question('AT+QNWINFO', {
  read: replies.readNetworkTechnologies,
  optional: true,
});

export const contexts = question('AT+CGDCONT?', { read: data.readContexts });
export const contextActive = (context: number) =>
  question('AT+CGACT?', { read: lines => data.readActive(lines, context) ?? false });
export const contextAddress = (context: number) =>
  question(`AT+CGPADDR=${context}`, { read: lines => data.readContextAddress(lines, context) });
export const contextDetails = (context: number) =>
  question(`AT+CGCONTRDP=${context}`, {
    read: lines => data.readContextDetails(lines, context),
    optional: true,
  });
export const qmapWwan = question('AT+QMAP="WWAN"', { read: data.readQmapWwan });
export const netDevStatus = question('AT+QNETDEVSTATUS?', {
  read: lines => {
    const fields = fieldsNamed(lines, '+QNETDEVSTATUS');
    return fields ? data.readNetDevStatus(fields) : null;
  },
});
export const ndisState = question('AT^NDISSTATQRY?', { read: data.readNdisState });
export const huaweiDhcp = question('AT^DHCP?', { read: data.readHuaweiDhcp });

const PDP_TYPES = { ipv4: 'IP', ipv6: 'IPV6', ipv4v6: 'IPV4V6' } as const;
/** How a context's type is spelled in CGDCONT. */
export const pdpType = (apn: Apn) => PDP_TYPES[apn.ipType];
const AUTHENTICATION = { none: 0, pap: 1, chap: 2 } as const;
export const defineContext = (context: number, apn: Apn) =>
  order(`AT+CGDCONT=${context},"${pdpType(apn)}",${quoted('name', apn.name)}`, QUICK_MS);
export const authenticate = {
  quectel: (context: number, apn: Apn) => {
    const type = { ipv4: 1, ipv6: 2, ipv4v6: 3 }[apn.ipType];
    const who = `${quoted('username', apn.username)},${quoted('password', apn.password)}`;
    const text = `AT+QICSGP=${context},${type},${quoted('name', apn.name)},${who},${AUTHENTICATION[apn.authentication]}`;
    return order(text, QUICK_MS, 'AT+QICSGP=');
  },
  '3gpp': (context: number, apn: Apn) => {
    const who = `${quoted('username', apn.username)},${quoted('password', apn.password)}`;
    return order(`AT+CGAUTH=${context},${AUTHENTICATION[apn.authentication]},${who}`, QUICK_MS, 'AT+CGAUTH=');
  },
};

export const activate = (context: number, on: boolean) =>
  order(`AT+CGACT=${on ? 1 : 0},${context}`, CONTEXT_MS);
export const qcrmcall = (context: number, on: boolean) =>
  // Instance 1, IPv4 and IPv6, 3GPP, profile.
  order(on ? `AT$QCRMCALL=1,1,3,2,${context}` : 'AT$QCRMCALL=0,1', CONTEXT_MS);
export const qnetdevctlCidFirst = (context: number, on: boolean) =>
  order(`AT+QNETDEVCTL=${context},${on ? 1 : 2},1`, CONTEXT_MS);
export const qnetdevctlOperationFirst = (context: number, on: boolean) =>
  order(`AT+QNETDEVCTL=${on ? 1 : 0},${context},1`, CONTEXT_MS);
export const qmapwac = (on: boolean) => order(`AT+QMAPWAC=${on ? 1 : 0}`, QUICK_MS);
export const ndisUp = (context: number, apn: Apn | null) => {
  if (apn === null) return order(`AT^NDISDUP=${context},1`, CONTEXT_MS);
  const name = `AT^NDISDUP=${context},1,${quoted('name', apn.name)}`;
  if (apn.authentication === 'none') return order(name, CONTEXT_MS, 'AT^NDISDUP=');
  const who = `${quoted('username', apn.username)},${quoted('password', apn.password)}`;
  return order(`${name},${who},${AUTHENTICATION[apn.authentication]}`, CONTEXT_MS, 'AT^NDISDUP=');
};
export const ndisDown = (context: number) => order(`AT^NDISDUP=${context},0`, CONTEXT_MS);

export const functionality = question('AT+CFUN?', {
  read: lines => fieldsNamed(lines, '+CFUN')?.[0] ?? null,
});
export const setFunctionality = (value: 0 | 1 | 4) => ({
  ...order(`AT+CFUN=${value}`, RADIO_MS),
  repeatable: true,
});
export const forgetTemporaryIdentity = { ...order('AT+QNWCFG="clr_guti"', QUICK_MS), optional: true };
export const leaveNetwork = {
  cops: order('AT+COPS=2', OPERATOR_MS),
  cgatt: order('AT+CGATT=0', ATTACH_MS),
};
export const joinNetwork = {
  cops: { ...order('AT+COPS=0', OPERATOR_MS), repeatable: true },
  cgatt: { ...order('AT+CGATT=1', ATTACH_MS), repeatable: true },
};
export const restart = {
  'cfun-1-1': order('AT+CFUN=1,1', RADIO_MS),
  'huawei-reset': order('AT^RESET', RADIO_MS),
};

const quectelMode = (text: string, write: (mode: string) => string) => ({
  read: question(text, {
    // `+QCFG: "nwscanmode",0`
    read: lines => fieldsNamed(lines, /^AT(\+[A-Z]+)/.exec(text)?.[1] ?? '')?.[1] ?? null,
    optional: true,
  }),
  write: (mode: string) => ({ ...order(write(mode), QUICK_MS), repeatable: true }),
  /** The mode within what was read. */
  modeOf: (setting: string) => setting,
  /** The setting that visits `mode`. */
  visiting: (_setting: string, mode: string) => mode,
});
export const modes = {
  nwscanmode: quectelMode('AT+QCFG="nwscanmode"', mode => `AT+QCFG="nwscanmode",${mode},1`),
  'mode-pref': quectelMode('AT+QNWPREFCFG="mode_pref"', mode => `AT+QNWPREFCFG="mode_pref",${mode}`),
  syscfgex: {
    // Bands, roaming and domains are written back as they were read.
    read: question('AT^SYSCFGEX?', {
      read: lines =>
        /^\^SYSCFGEX:\s*("\d{2,8}",[0-9A-F]+,\d,\d,[0-9A-F]+)/i.exec(lines[0] ?? '')?.[1] ?? null,
      optional: true,
    }),
    write: (setting: string) => ({ ...order(`AT^SYSCFGEX=${setting},,`, RADIO_MS), repeatable: true }),
    modeOf: (setting: string) => /^"(\d+)"/.exec(setting)?.[1] ?? '',
    visiting: (setting: string, mode: string) => setting.replace(/^"\d+"/, `"${mode}"`),
  },
};

export const counters = {
  qgdcnt: question('AT+QGDCNT?', {
    read: lines => replies.readByteCounter(lines, '+QGDCNT'),
    optional: true,
  }),
  qgdnrcnt: question('AT+QGDNRCNT?', {
    read: lines => replies.readByteCounter(lines, '+QGDNRCNT'),
    optional: true,
  }),
  dsflowqry: question('AT^DSFLOWQRY', { read: replies.readHuaweiFlow, optional: true }),
};
export const temperature = question('AT+QTEMP', { read: replies.readTemperature, optional: true });

export const messageForm = (text: boolean) => order(`AT+CMGF=${text ? 1 : 0}`, QUICK_MS);
/** Letters are plain except within `allTextMessages`, so that USSD codes and carrier names read as they are. */
export const plainLetters = { ...order('AT+CSCS="GSM"', QUICK_MS), repeatable: true };
export const messageStore = (store: 'ME' | 'SM') => order(`AT+CPMS="${store}","${store}","${store}"`, SIM_MS);
/** Raw: header and body of each, for messages.ts. All messages of a full store take seconds. */
const allMessagesBy = (text: string) =>
  question(text, { deadlineMs: 30_000, prefixes: ['+CMGL'], withBody: true, read: lines => lines });
export const allMessages = allMessagesBy('AT+CMGL=4');
/** In UCS2, so that every letter survives, and back at once. */
export const allTextMessages = allMessagesBy('AT+CSCS="UCS2";+CMGL="ALL";+CSCS="GSM"');
export const deleteMessage = (index: number) => order(`AT+CMGD=${index}`, SIM_MS);

export const sendUssd = (code: string) => order(`AT+CUSD=1,"${code}",15`, USSD_SEND_MS, 'AT+CUSD=1');
export const endUssd = order('AT+CUSD=2', USSD_SEND_MS);

/** Set once after the modem has started; a firmware that does not know one works without it. */
export const settings = {
  all: [
    'AT&D0',
    'AT+CSCS="GSM"',
    'AT+CREG=2',
    'AT+CGREG=2',
    'AT+CEREG=2',
    'AT+CGPIAF=1,1,0,0',
    'AT+CNMI=2,1,0,0,0',
  ],
  nr: ['AT+C5GREG=2'],
  quectel: ['AT+QURCCFG="urcport","usbat"', 'AT+QNETDEVSTATUS=1'],
  // The stick's chatter comes several times a second.
  'huawei-stick': ['AT^CURC=0'],
  '3gpp': [],
} as const;
export const setting = (text: string) => order(text, QUICK_MS);

/** A text in quotes. A modem has no escape for a quote, so a text that holds one cannot be sent. */
function quoted(field: string, text: string): string {
  if (text.length <= 100 && /^[\x20\x21\x23-\x7e]*$/.test(text)) return `"${text}"`;
  throw new CodedError('at/bad-value', `APN ${field}: must be at most 100 ASCII characters without quotes`);
}
