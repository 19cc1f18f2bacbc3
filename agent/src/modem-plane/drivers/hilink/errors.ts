/**
 * What the error numbers of a HiLink stick mean to us: number → DriverFault kind and words. Numbers outside the
 * table stay `failed` and keep their number, since third-party tables contradict each other about them.
 */
import type { DriverFault } from '../../driver';

interface Meaning {
  kind: DriverFault['kind'];
  text: string;
}

const row = (code: string, kind: DriverFault['kind'], text: string): [string, Meaning] => [
  code,
  { kind, text },
];

const MEANINGS = new Map<string, Meaning>([
  row('-1', 'busy', 'the system is not available yet'),
  row('100001', 'unsupported', 'unknown to this firmware'),
  row('100002', 'unsupported', 'not supported by this firmware'),
  row('100003', 'locked', 'no rights: it wants a log-in'),
  row('100004', 'busy', 'the system is busy'),
  row('100005', 'failed', 'the request has the wrong form or order'),
  row('100006', 'failed', 'a parameter is wrong'),
  row('100008', 'failed', 'it could not write'),
  row('100009', 'failed', 'not possible in its present state'),
  row('103002', 'failed', 'unknown SIM error'),
  row('103015', 'locked', 'the SIM is locked'),
  row('108001', 'locked', 'the user name is wrong'),
  row('108002', 'locked', 'the password is wrong'),
  row('108003', 'busy', 'somebody else is logged in'),
  row('108006', 'locked', 'the user name or the password is wrong'),
  row('108007', 'locked', 'too many wrong attempts to log in'),
  row('109012', 'failed', 'the default profile cannot be deleted'),
  row('111019', 'failed', 'the network gave no answer to the USSD code'),
  row('111020', 'failed', 'the USSD code timed out'),
  row('111022', 'unsupported', 'USSD is not supported'),
  row('112001', 'locked', 'the PIN is wrong'),
  row('112002', 'locked', 'the PUK is wrong, or is needed'),
  row('112003', 'locked', 'the PIN operation was refused'),
  row('112004', 'locked', 'the PIN operation was refused'),
  row('112005', 'locked', 'the PIN operation was refused'),
  row('112006', 'locked', 'the SIM is blocked'),
  row('113018', 'busy', 'the SMS system is busy, or its storage full'),
  row('113114', 'failed', 'there is no such message'),
  row('115002', 'locked', 'the password must be changed first'),
  row('120001', 'busy', 'a voice call is in progress'),
  row('125001', 'failed', 'the request token is wrong'),
  row('125002', 'failed', 'the session is not known'),
  row('125003', 'failed', 'the session token is wrong'),
]);

/** The session is lost, or another client took it. */
export const SESSION_LOST: ReadonlySet<string> = new Set(['125001', '125002', '125003']);
export const NEEDS_LOGIN = '100003';
export const NO_SUCH_ENDPOINT = '100002';
export const OPAQUE_LOGIN = '108006';
/** What may be different when asked once more. */
export const WORTH_ONE_MORE: ReadonlySet<string> = new Set(['100008', '100009']);

/** The fault for error `code` in answer to `path`. */
export function faultOf(code: string, path: string): DriverFault {
  const meaning = MEANINGS.get(code);
  // 112xxx outside PIN requests are seen for network modes that the hardware lacks.
  const kind = /^112\d{3}$/.test(code) && !path.startsWith('pin/') ? 'failed' : (meaning?.kind ?? 'failed');
  const text = kind === meaning?.kind ? meaning.text : 'no meaning known';
  return { kind, code, message: `${path}: the stick answered error ${code} (${text})` };
}

/** Every number that has a meaning here; for tests over the whole table. */
export function knownErrors(): { code: string; kind: DriverFault['kind'] }[] {
  return [...MEANINGS].map(([code, { kind }]) => ({ code, kind }));
}

export function failed(
  kind: DriverFault['kind'],
  code: string,
  message: string,
): { ok: false; fault: DriverFault } {
  return { ok: false, fault: { kind, code, message } };
}
