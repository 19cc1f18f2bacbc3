/**
 * Reply lines → values: identity, SIM, registration, carriers, USSD, temperature, counters (TS 27.007; Quectel EC2x AT
 * manual; Huawei stick dialect). Pure; null means "this makes no sense". Signal and cell are signal-replies.ts, data
 * connections are data-replies.ts, messages are sms-pdu.ts.
 */
import type { Registration, SimState } from '../../driver';
import { unpackUssd } from '../../sms/gsm7';
import { readUcs2Hex } from '../../sms/ucs2';
import { allFieldsNamed, fieldsNamed, hexOf, wholeOf, wholeWithin } from './fields';
import { splitLine } from './urcs';

/** The value of `867…` or of `+CGSN: "867…"`: what stands alone, or the first field of a named line. */
export function readValue(lines: readonly string[], form: RegExp): string | null {
  for (const line of lines) {
    const { name, rest } = splitLine(line);
    const value = /^[+^]/.test(name) ? rest.replaceAll('"', '').split(',')[0]?.trim() : line;
    if (value !== undefined && form.test(value)) return value;
  }
  return null;
}

export function readIccid(lines: readonly string[]): string | null {
  // 19 or 20 digits; an odd count is filled with F.
  return readValue(lines, /^\d{18,22}F?$/i)?.replace(/F$/i, '') ?? null;
}

/** `+CPIN: READY`. Tries left are not part of it. */
export function readCpin(lines: readonly string[]): SimState | null {
  const said = fieldsNamed(lines, '+CPIN')?.[0]?.toUpperCase();
  if (said === undefined || said === '') return null;
  if (said === 'READY') return { state: 'ready' };
  if (said === 'SIM PIN') return { state: 'pin-needed', triesLeft: null };
  if (said === 'SIM PUK') return { state: 'puk-needed', triesLeft: null };
  if (said === 'NOT INSERTED') return { state: 'absent' };
  if (said === 'NOT READY') return { state: 'failed', reason: 'the SIM is not ready' };
  return { state: 'failed', reason: `the SIM asks for ${said}` };
}

export interface Tries {
  pin: number | null;
  puk: number | null;
}

/** `+QPINC: "SC",3,10`. */
export function readQpinc(lines: readonly string[]): Tries | null {
  const fields = allFieldsNamed(lines, '+QPINC').find(one => one[0] === 'SC');
  return fields ? { pin: wholeWithin(fields[1], 0, 10), puk: wholeWithin(fields[2], 0, 10) } : null;
}

/**
 * `^CPIN: READY,,10,3,10,3`. Firmware differs in whether PIN or PUK tries stand first: a PIN never has more than
 * three, so above that the order is plain, and otherwise we do not know.
 */
export function readHuaweiCpin(lines: readonly string[]): Tries | null {
  const fields = fieldsNamed(lines, '^CPIN');
  if (!fields) return null;
  const a = wholeWithin(fields[2], 0, 10);
  const b = wholeWithin(fields[3], 0, 10);
  if (a === null || b === null || Math.max(a, b) <= 3) return { pin: null, puk: null };
  return { pin: Math.min(a, b), puk: Math.max(a, b) };
}

type Technology = NonNullable<Registration['technology']>;

/** AcT of COPS and of the registration lines; the last three are Quectel's. */
const TECHNOLOGIES: Record<number, Technology> = {
  0: '2g',
  1: '2g',
  3: '2g',
  2: '3g',
  4: '3g',
  5: '3g',
  6: '3g',
  7: '4g',
  8: '2g',
  9: '4g',
  10: '4g',
  11: '5g-sa',
  12: '5g-sa',
  13: '5g-nsa',
};

export function technologyOf(field: string | undefined): Technology | null {
  const act = wholeOf(field);
  return act === null ? null : (TECHNOLOGIES[act] ?? null);
}

export interface RegistrationLine {
  state: Registration['state'];
  technology: Technology | null;
  /** Decimal cell identity. */
  cellId: string | null;
}

/** Best first: one domain registered is registered. 4 is "out of coverage", during which the modem goes on looking. */
const STATES: Record<number, Registration['state']> = {
  0: 'not-searching',
  1: 'registered',
  2: 'searching',
  3: 'denied',
  4: 'unknown',
  5: 'roaming',
  6: 'registered',
  7: 'roaming',
  8: 'denied',
  9: 'registered',
  10: 'roaming',
};

/** Fields of a registration line from the state on: of a read without its first, of an unasked line all. */
export function registrationOf(fields: readonly string[]): RegistrationLine | null {
  const stat = wholeOf(fields[0]);
  const state = stat === null ? undefined : STATES[stat];
  if (state === undefined) return null;
  const cell = hexOf(fields[2]);
  return {
    state,
    technology: technologyOf(fields[3]),
    cellId: cell === null || cell === 0 ? null : String(cell),
  };
}

/** The answer to `AT+CREG?`, `AT+CGREG?`, `AT+CEREG?` or `AT+C5GREG?`. */
export function readRegistration(lines: readonly string[], name: string): RegistrationLine | null {
  const fields = fieldsNamed(lines, name);
  return fields ? registrationOf(fields.slice(1)) : null;
}

const BEST_FIRST: Registration['state'][] = [
  'registered',
  'roaming',
  'denied',
  'searching',
  'unknown',
  'not-searching',
];

/** One registration out of those of the domains: on LTE, CREG often says 0 while CEREG says 1. */
export function bestRegistration(lines: readonly RegistrationLine[]): RegistrationLine | null {
  return [...lines].sort((a, b) => BEST_FIRST.indexOf(a.state) - BEST_FIRST.indexOf(b.state))[0] ?? null;
}

export interface Operator {
  carrier: string | null;
  plmn: string | null;
  technology: Technology | null;
}

/** Lines of `AT+COPS?` in any of its formats, put together: `+COPS: 0,0,"Name",7`, `+COPS: 0,2,"26201",7`. */
export function readOperator(lines: readonly string[]): Operator | null {
  const all = allFieldsNamed(lines, '+COPS');
  if (all.length === 0) return null;
  const operator: Operator = { carrier: null, plmn: null, technology: null };
  for (const [, format, name, act] of all) {
    if (name === undefined || name === '') continue;
    if (format === '2' && /^\d{5,6}$/.test(name)) operator.plmn = name;
    else if (format !== '2') operator.carrier = textOfName(name);
    operator.technology = technologyOf(act) ?? operator.technology;
  }
  return operator;
}

/** With CSCS="UCS2" names come as hexadecimal UTF-16. */
function textOfName(name: string): string {
  return /^(00[0-9A-F]{2}){2,}$/i.test(name) ? (readUcs2Hex(name) ?? name) : name;
}

/** `+QNWINFO: "FDD LTE","26201","LTE BAND 3",1650`; a second line for the NR leg. Empty without service. */
export function readNetworkTechnologies(lines: readonly string[]): string[] | null {
  const all = allFieldsNamed(lines, '+QNWINFO');
  return all.length === 0
    ? null
    : all.flatMap(([access]) => (access && access !== 'No Service' ? [access] : []));
}

/** `^SYSINFOEX:2,3,0,1,,6,"LTE",101,"LTE"`: of Huawei sticks whose firmware has no CEREG. */
export function readSysInfo(lines: readonly string[]): RegistrationLine | null {
  const fields = fieldsNamed(lines, '^SYSINFOEX');
  const service = wholeOf(fields?.[0]);
  if (!fields || service === null) return null;
  const modes: Record<number, Technology> = { 1: '2g', 3: '3g', 4: '3g', 6: '4g' };
  const served = service === 2 || service === 3;
  const none = service === 4 ? 'unknown' : 'searching';
  return {
    state: served ? (fields[2] === '1' ? 'roaming' : 'registered') : none,
    technology: served ? (modes[wholeOf(fields[5]) ?? 0] ?? null) : null,
    cellId: null,
  };
}

export interface UssdAnswer {
  /** TS 27.007 7.15: 0 done, 1 wants an answer, 2 ended by the network, 3 other client, 4 not supported, 5 timeout. */
  status: number;
  text: string;
}

/** `+CUSD: 0,"…",15`, after the colon. Text is hexadecimal UTF-16 (DCS 72), else plain or, on Huawei, `packed` 7-bit. */
export function readUssd(rest: string, packed: boolean): UssdAnswer | null {
  // The text may hold quotes and commas of its own, so it is what lies between the first and the last quote.
  const match = /^\s*([0-5])\s*(?:,\s*"([\s\S]*)"\s*(?:,\s*(\d{1,3}))?)?\s*$/.exec(rest);
  if (!match) return null;
  const text = match[2] ?? '';
  const dcs = match[3] === undefined ? 15 : Number(match[3]);
  return { status: Number(match[1]), text: ussdText({ text, dcs, packed }) };
}

function ussdText({ text, dcs, packed }: { text: string; dcs: number; packed: boolean }): string {
  const hex = /^([0-9A-F]{2})+$/i.test(text);
  // TS 23.038 5: group 01xx with the alphabet 10.
  const ucs2 = (dcs & 0xcc) === 0x48;
  if (ucs2 && hex && text.length % 4 === 0) return readUcs2Hex(text) ?? text;
  return packed && hex ? unpackUssd(Buffer.from(text, 'hex')) : text;
}

/** `+QTEMP: 34,31,31` or lines of `+QTEMP:"sensor","41"`: the hottest that is plausible, in °C. */
export function readTemperature(lines: readonly string[]): number | null {
  const values = allFieldsNamed(lines, '+QTEMP')
    .flat()
    // 0, 255 and -273 stand for sensors that are not there.
    .map(field => wholeWithin(field, -40, 150))
    .filter(value => value !== null && value !== 0);
  return values.length === 0 ? null : Math.max(...(values as number[]));
}

/** `+QGDCNT: <sent>,<received>` in bytes; `+QGDNRCNT` alike. */
export function readByteCounter(
  lines: readonly string[],
  name: string,
): { txBytes: number; rxBytes: number } | null {
  const fields = fieldsNamed(lines, name);
  const txBytes = wholeWithin(fields?.[0], 0, Number.MAX_SAFE_INTEGER);
  const rxBytes = wholeWithin(fields?.[1], 0, Number.MAX_SAFE_INTEGER);
  return txBytes === null || rxBytes === null ? null : { txBytes, rxBytes };
}

/** `^DSFLOWQRY:<seconds>,<sent>,<received>,<total …>` in hexadecimal; of this connection. */
export function readHuaweiFlow(lines: readonly string[]): { txBytes: number; rxBytes: number } | null {
  const fields = fieldsNamed(lines, '^DSFLOWQRY');
  const txBytes = hexOf(fields?.[1]);
  const rxBytes = hexOf(fields?.[2]);
  return txBytes === null || rxBytes === null ? null : { txBytes, rxBytes };
}
