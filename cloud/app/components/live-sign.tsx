/** Says whether the figures on the screen are of this second. */
import type { LiveStatus } from '../live-feed';
import { Pill } from './pills';

const WORDS = {
  connecting: { tone: 'idle', word: 'Connecting' },
  live: { tone: 'ok', word: 'Live' },
  reconnecting: { tone: 'warn', word: 'Reconnecting' },
} as const;

export function LiveSign({ status }: { status: LiveStatus }) {
  const { tone, word } = WORDS[status];
  return (
    <output className="live-sign" data-status={status}>
      <Pill tone={tone}>{word}</Pill>
    </output>
  );
}
