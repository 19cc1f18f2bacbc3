/**
 * Which lines a modem says unasked (unsolicited result codes), and how to tell them from replies of the same name.
 * Pure. A line that is neither is a stray; what an unasked line means to us is events.ts.
 */

/** Always unasked, or harmless when taken as such while nothing of that name is being read. */
const NAMES: readonly string[] = [
  'RDY',
  'POWERED DOWN',
  'NORMAL POWER DOWN',
  'RING',
  'NO CARRIER',
  'BUSY',
  'NO ANSWER',
  'NO DIALTONE',
  '+CRING',
  '+CLIP',
  '+CFUN',
  '+CPIN',
  '+QUSIM',
  '+QIND',
  '+QSIMSTAT',
  '+QNETDEVSTATUS',
  '+QNETRC',
  '+QSTK',
  '+CREG',
  '+CGREG',
  '+CEREG',
  '+C5GREG',
  '+CMTI',
  '+CMT',
  '+CDS',
  '+CDSI',
  '+CBM',
  '+CUSD',
  '+CTZV',
  '+CTZE',
  '+CTZDST',
  '+CGEV',
  '+CSSI',
  '+CSSU',
  '^RSSI',
  '^HCSQ',
  '^MODE',
  '^SRVST',
  '^SIMST',
  '^NWTIME',
  '^NDISSTAT',
  '^DSFLOWRPT',
  '^STIN',
  '^EONS',
  '^XLEMA',
  '^BOOT',
  '^SMMEMFULL',
  '^LTERSRP',
  '^ANLEVEL',
  '^CSNR',
  '^CERSSI',
  '^RFSWITCH',
  '^POSITION',
];
const KNOWN = new Set(NAMES);
/** These bring their message on a line of its own. */
const WITH_BODY = new Set(['+CMT', '+CDS', '+CBM']);
/** What a registration read answers: `<n>,<stat>`; unasked it is `<stat>` alone or `<stat>,"<area>",…`. */
const REGISTRATION = /^\+C(G|E|5G)?REG$/;
const READ_REGISTRATION = /^\d\s*,\s*\d{1,2}\s*(,|$)/;

export interface Urc {
  name: string;
  /** Text after the colon. */
  rest: string;
  /** A second line follows. */
  hasBody: boolean;
}

/** The name before the colon, and what follows: `+CSQ: 22,99` → `+CSQ`, `22,99`. */
export function splitLine(line: string): { name: string; rest: string } {
  const match = /^([+^$*%#]?[A-Z0-9_ ]+?)\s*:\s*(.*)$/i.exec(line);
  return match
    ? { name: (match[1] ?? '').toUpperCase(), rest: match[2] ?? '' }
    : { name: line.toUpperCase(), rest: '' };
}

export function readUrc(line: string): Urc | null {
  const { name, rest } = splitLine(line);
  return KNOWN.has(name) ? { name, rest, hasBody: WITH_BODY.has(name) } : null;
}

/** Whether `line` answers a command whose replies begin with `prefixes`. */
export function isReply(line: string, prefixes: readonly string[]): boolean {
  const { name, rest } = splitLine(line);
  if (!prefixes.includes(name)) return false;
  return !REGISTRATION.test(name) || READ_REGISTRATION.test(rest);
}
