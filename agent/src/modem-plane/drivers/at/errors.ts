/**
 * What a modem's error means to us: +CME ERROR (TS 27.007 9.2), +CMS ERROR (TS 27.005 3.2.5), by number or by text,
 * and the vendors' own words → DriverFault. The numbers are kept in `code`, so that a person can look them up.
 */
import type { DriverFault } from '../../driver';

export type AtError =
  | { family: 'cme' | 'cms'; number: number }
  | { family: 'cme' | 'cms'; text: string }
  /** Bare `ERROR`: the command is not known, or not now; the modem does not say. */
  | { family: 'plain' };

type Kind = DriverFault['kind'];

interface Meaning {
  kind: Kind;
  text: string;
}

const row = (number: number, kind: Kind, text: string): [number, Meaning] => [number, { kind, text }];

/** Numbers with their standard English texts (the texts of CMEE=2). */
const CME = new Map<number, Meaning>([
  row(0, 'failed', 'phone failure'),
  row(1, 'failed', 'no connection to phone'),
  row(3, 'failed', 'operation not allowed'),
  row(4, 'unsupported', 'operation not supported'),
  row(5, 'locked', 'PH-SIM PIN required'),
  row(6, 'locked', 'PH-FSIM PIN required'),
  row(7, 'locked', 'PH-FSIM PUK required'),
  row(10, 'failed', 'SIM not inserted'),
  row(11, 'locked', 'SIM PIN required'),
  row(12, 'locked', 'SIM PUK required'),
  row(13, 'failed', 'SIM failure'),
  row(14, 'busy', 'SIM busy'),
  row(15, 'failed', 'SIM wrong'),
  row(16, 'locked', 'incorrect password'),
  row(17, 'locked', 'SIM PIN2 required'),
  row(18, 'locked', 'SIM PUK2 required'),
  row(20, 'failed', 'memory full'),
  row(21, 'failed', 'invalid index'),
  row(22, 'failed', 'not found'),
  row(23, 'failed', 'memory failure'),
  row(24, 'failed', 'text string too long'),
  row(25, 'failed', 'invalid characters in text string'),
  row(26, 'failed', 'dial string too long'),
  row(27, 'failed', 'invalid characters in dial string'),
  row(30, 'busy', 'no network service'),
  row(31, 'busy', 'network timeout'),
  row(32, 'failed', 'network not allowed - emergency calls only'),
  row(40, 'locked', 'network personalization PIN required'),
  row(41, 'locked', 'network personalization PUK required'),
  row(42, 'locked', 'network subset personalization PIN required'),
  row(43, 'locked', 'network subset personalization PUK required'),
  row(44, 'locked', 'service provider personalization PIN required'),
  row(45, 'locked', 'service provider personalization PUK required'),
  row(46, 'locked', 'corporate personalization PIN required'),
  row(47, 'locked', 'corporate personalization PUK required'),
  row(50, 'failed', 'incorrect parameters'),
  row(100, 'failed', 'unknown'),
  row(103, 'failed', 'illegal MS'),
  row(106, 'failed', 'illegal ME'),
  row(107, 'failed', 'GPRS services not allowed'),
  row(111, 'failed', 'PLMN not allowed'),
  row(112, 'failed', 'location area not allowed'),
  row(113, 'failed', 'roaming not allowed in this location area'),
  row(132, 'failed', 'service option not supported'),
  row(133, 'failed', 'requested service option not subscribed'),
  row(134, 'busy', 'service option temporarily out of order'),
  row(148, 'failed', 'unspecified GPRS error'),
  row(149, 'failed', 'PDP authentication failure'),
  row(150, 'failed', 'invalid mobile class'),
]);

const CMS = new Map<number, Meaning>([
  row(300, 'failed', 'ME failure'),
  row(301, 'failed', 'SMS service of ME reserved'),
  row(302, 'failed', 'operation not allowed'),
  row(303, 'unsupported', 'operation not supported'),
  row(304, 'failed', 'invalid PDU mode parameter'),
  row(305, 'failed', 'invalid text mode parameter'),
  row(310, 'failed', 'SIM not inserted'),
  row(311, 'locked', 'SIM PIN required'),
  row(312, 'locked', 'PH-SIM PIN required'),
  row(313, 'failed', 'SIM failure'),
  row(314, 'busy', 'SIM busy'),
  row(315, 'failed', 'SIM wrong'),
  row(316, 'locked', 'SIM PUK required'),
  row(317, 'locked', 'SIM PIN2 required'),
  row(318, 'locked', 'SIM PUK2 required'),
  row(320, 'failed', 'memory failure'),
  row(321, 'failed', 'invalid memory index'),
  row(322, 'failed', 'memory full'),
  row(330, 'failed', 'SMSC address unknown'),
  row(331, 'busy', 'no network service'),
  row(332, 'busy', 'network timeout'),
  row(340, 'failed', 'no +CNMA acknowledgement expected'),
  row(350, 'failed', 'unknown error'),
  row(500, 'failed', 'unknown error'),
  row(510, 'failed', 'message blocked'),
]);

/** Words beside the standard ones, as seen on Quectel and Huawei. */
const OTHER_TEXTS: Record<string, number> = {
  'unknown error': 100,
  'sim not present': 10,
  'no sim': 10,
  'sim pin': 11,
  'sim puk': 12,
  'invalid parameter': 50,
  'network not allowed, emergency calls only': 32,
};

/** The final line of a failed command; null when the line is not one. */
export function readFinalError(line: string): AtError | null {
  // Huawei sticks say it in words.
  if (line === 'COMMAND NOT SUPPORT') return { family: 'cme', number: 4 };
  if (line === 'ERROR') return { family: 'plain' };
  const match = /^\+(CME|CMS) ERROR:\s*(.*)$/.exec(line);
  if (!match) return null;
  const family = match[1] === 'CME' ? 'cme' : 'cms';
  const said = (match[2] ?? '').trim();
  if (/^\d{1,5}$/.test(said)) return { family, number: Number(said) };
  const number = numberOf(family, said);
  return number === null ? { family, text: said.slice(0, 120) } : { family, number };
}

/** What the error means when it came in answer to `command` (a name without parameters, fit for the log). */
export function faultOf(error: AtError, command: string): DriverFault {
  if (error.family === 'plain')
    return { kind: 'failed', code: 'error', message: `${command}: the modem answered ERROR` };
  const prefix = error.family === 'cme' ? '+CME ERROR' : '+CMS ERROR';
  if ('text' in error)
    return { kind: 'failed', code: `${error.family}-text`, message: `${command}: ${prefix}: ${error.text}` };
  const meaning = (error.family === 'cme' ? CME : CMS).get(error.number);
  const network = error.family === 'cms' && error.number < 128;
  const text = meaning?.text ?? (network ? 'refused by the network' : 'no meaning known');
  return {
    kind: meaning?.kind ?? 'failed',
    code: `${error.family}-${error.number}`,
    message: `${command}: ${prefix} ${error.number} (${text})`,
  };
}

function numberOf(family: 'cme' | 'cms', said: string): number | null {
  const text = said.toLowerCase();
  for (const [number, meaning] of family === 'cme' ? CME : CMS)
    if (meaning.text.toLowerCase() === text) return number;
  return family === 'cme' ? (OTHER_TEXTS[text] ?? null) : null;
}

/** All numbers that have a meaning here; for tests over the whole table. */
export function knownErrors(): { family: 'cme' | 'cms'; number: number; kind: Kind; text: string }[] {
  return [
    ...[...CME].map(([number, meaning]) => ({ family: 'cme' as const, number, ...meaning })),
    ...[...CMS].map(([number, meaning]) => ({ family: 'cms' as const, number, ...meaning })),
  ];
}
