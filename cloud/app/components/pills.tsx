/** States as words with a colour and a shape. */
import type { ModemView } from '../api-types';

type Tone = 'ok' | 'warn' | 'bad' | 'busy' | 'idle';

export function Pill({ tone, children }: { tone: Tone; children: string }) {
  return <span className={`pill pill-${tone}`}>{children}</span>;
}

const MODEM: Record<ModemView['state'], { tone: Tone; word: string }> = {
  absent: { tone: 'idle', word: 'No modem' },
  probing: { tone: 'busy', word: 'Identifying' },
  locked: { tone: 'bad', word: 'SIM locked' },
  registering: { tone: 'busy', word: 'Registering' },
  connected: { tone: 'ok', word: 'Connected' },
  rotating: { tone: 'busy', word: 'Changing address' },
  recovering: { tone: 'warn', word: 'Recovering' },
  failed: { tone: 'bad', word: 'Failed' },
};

/** A modem's state; what a node said before it went away is not shown as if it were true now. */
export function ModemPill({ state, nodeOnline }: { state: ModemView['state']; nodeOnline: boolean }) {
  if (!nodeOnline) return <Pill tone="idle">Node offline</Pill>;
  const { tone, word } = MODEM[state] ?? { tone: 'idle', word: state };
  return <Pill tone={tone}>{word}</Pill>;
}

export function VirtualTag() {
  return (
    <span className="tag" title="Simulated by Mastline: a network of its own, without a radio">
      VIRTUAL
    </span>
  );
}
