/** The form of one simulated command: what it answers, and which fact says so. */
import type { ModemState } from './modem-state';

export type Final = 'OK' | 'ERROR' | { cme: number } | { cms: number } | { words: string };

export interface Reply {
  /** Without framing; a newline inside separates a header from its body. */
  lines?: string[];
  final?: Final;
  /** How long the modem works on it. */
  takesMs?: number;
  /** What happens once the final result has been sent. */
  afterwards?: () => void;
}

export interface SimulatedRow {
  /** Key into `sources` of the profiles with the place, or `assumed:` and why. */
  source: string;
  /** Null when the parameters make no sense: a fault of whoever sent them. */
  answer: (modem: ModemState, args: string) => Reply | null;
}

/** Keyed by the command as written up to its parameters: `+CSQ`, `+CPIN?`, `+COPS=?`, `+CFUN=`. */
export type RowTable = Record<string, SimulatedRow | undefined>;

export const done: Reply = { final: 'OK' };
export const says = (...lines: string[]): Reply => ({ lines, final: 'OK' });
export const failsCme = (cme: number): Reply => ({ final: { cme } });
export const failsCms = (cms: number): Reply => ({ final: { cms } });
export const error: Reply = { final: 'ERROR' };

/** Takes any parameters of the given form and does nothing with them. */
export function accepts(source: string, form: RegExp): SimulatedRow {
  return { source, answer: (_modem, args) => (form.test(args) ? done : null) };
}

/** Known not to be known by this model. */
export function refuses(source: string, reply: Reply = error): SimulatedRow {
  return { source, answer: () => reply };
}

/** The SIM's own refusal, or what `answer` says when it is ready. */
export function withSim(
  source: string,
  answer: (modem: ModemState, args: string) => Reply | null,
): SimulatedRow {
  return { source, answer: (modem, args) => simRefusal(modem) ?? answer(modem, args) };
}

/** +CME ERROR 10 no SIM, 11 PIN, 12 PUK, 13 failure, 14 busy (3gpp-27007 9.2). */
export function simRefusal(modem: ModemState): Reply | null {
  if (modem.cfun === 0) return failsCme(13);
  if (modem.simIsBusy) return failsCme(14);
  const codes = { ready: null, pin: 11, puk: 12, absent: 10, failed: 13 } as const;
  const code = codes[modem.sim.state];
  return code === null ? null : failsCme(code);
}
