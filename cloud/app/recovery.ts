/** What a box does to bring a modem back, in words. The names come from agents, later ones included. */
import { MODEM_CAUSES } from '@mastline/shared/domain/modem';

const RUNGS: Record<string, string> = {
  reconnect: 'Connected anew',
  radio: 'Radio off and on',
  reset: 'Restarted',
  'usb-rebind': 'Off USB and back',
  'port-power': 'Power of its port cut',
  'host-reboot': 'Box restarted',
};

type Tone = 'ok' | 'warn' | 'bad' | 'idle';
const OUTCOMES: Record<string, { tone: Tone; word: string }> = {
  mended: { tone: 'ok', word: 'Brought back' },
  'not-mended': { tone: 'bad', word: 'Not brought back' },
  'given-up': { tone: 'warn', word: 'Given up' },
};
const RUNG_OUTCOMES: Record<string, string> = {
  mended: 'helped',
  'not-mended': 'did not help',
  impossible: 'cannot be done here',
  'given-up': 'given up',
};

export function causeInWords(cause: string): string {
  return (MODEM_CAUSES as Record<string, string>)[cause] ?? cause;
}

export function rungInWords(rung: string): string {
  return RUNGS[rung] ?? rung;
}

export function recoveryInWords(outcome: string): { tone: Tone; word: string } {
  return OUTCOMES[outcome] ?? { tone: 'idle', word: outcome };
}

export function rungOutcomeInWords(outcome: string): string {
  return RUNG_OUTCOMES[outcome] ?? outcome;
}
