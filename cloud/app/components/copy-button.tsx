/** Copies a text, says whether it worked, and takes no more room when it says so. */
import { useEffect, useRef, useState } from 'react';
import { copyText } from '../clipboard';
import { Icon } from './icons';

const SHOWN_MS = 2_000;

type Outcome = 'idle' | 'done' | 'failed';

export function useCopy(text: string | (() => Promise<string>)) {
  const [outcome, setOutcome] = useState<Outcome>('idle');
  const [problem, setProblem] = useState('');
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);

  const copy = async () => {
    let next: Outcome = 'done';
    try {
      await copyText(text);
    } catch (error) {
      next = 'failed';
      setProblem(error instanceof Error ? error.message : 'The browser refused to copy.');
    }
    setOutcome(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setOutcome('idle'), next === 'done' ? SHOWN_MS : SHOWN_MS * 3);
  };
  return { outcome, problem, copy };
}

/** A square button beside what it copies. `what` completes "Copy …". */
export function CopyButton({ text, what }: { text: string | (() => Promise<string>); what: string }) {
  const { outcome, problem, copy } = useCopy(text);
  return (
    <>
      <button
        type="button"
        className="icon-button"
        aria-label={`Copy ${what}`}
        title={outcome === 'failed' ? problem : `Copy ${what}`}
        data-done={outcome === 'idle' ? undefined : outcome === 'done'}
        onClick={() => void copy()}
      >
        <Icon name={outcome === 'done' ? 'check' : outcome === 'failed' ? 'cross' : 'copy'} size={17} />
      </button>
      <Said outcome={outcome} problem={problem} />
    </>
  );
}

/** A button with words; its width is that of the longest. */
export function CopyWordButton(props: {
  text: string | (() => Promise<string>);
  what: string;
  label: string;
}) {
  const { outcome, problem, copy } = useCopy(props.text);
  return (
    <>
      <button
        type="button"
        className="button"
        aria-label={`${props.label}: ${props.what}`}
        title={outcome === 'failed' ? problem : undefined}
        onClick={() => void copy()}
      >
        <Icon name={outcome === 'done' ? 'check' : outcome === 'failed' ? 'cross' : 'copy'} size={17} />
        <span className="swap">
          <span data-on={outcome === 'idle'}>{props.label}</span>
          <span data-on={outcome === 'done'}>Copied</span>
          <span data-on={outcome === 'failed'}>Failed</span>
        </span>
      </button>
      <Said outcome={outcome} problem={problem} />
    </>
  );
}

function Said({ outcome, problem }: { outcome: Outcome; problem: string }) {
  return (
    <span role="status" className="hidden-visually">
      {outcome === 'done' ? 'Copied' : outcome === 'failed' ? `Not copied. ${problem}` : ''}
    </span>
  );
}
