/** Texts of CMEE=2 as the standard words them (3gpp-27007 9.2.1), written down here apart from the driver's own. */
const TEXTS: Record<number, string> = {
  3: 'operation not allowed',
  4: 'operation not supported',
  10: 'SIM not inserted',
  11: 'SIM PIN required',
  12: 'SIM PUK required',
  13: 'SIM failure',
  14: 'SIM busy',
  15: 'SIM wrong',
  16: 'incorrect password',
  30: 'no network service',
  50: 'Incorrect parameters',
  100: 'unknown',
  133: 'requested service option not subscribed',
};

export function cmeText(code: number): string {
  return TEXTS[code] ?? 'unknown';
}
