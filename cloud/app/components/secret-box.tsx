/** A secret behind a mask: shown for a minute on request, or copied without being shown. */
import { useEffect, useRef, useState } from 'react';
import { revealSecret, SHOWN_MS } from '../secrets';
import { CopyButton } from './copy-button';
import { Icon } from './icons';

/** As long as a real one, so that nothing moves when it is shown: 160 bits in base32 are 32 characters. */
const MASK = '•'.repeat(16);

export function SecretBox({ credentialId, name }: { credentialId: string; name: string }) {
  const [shown, setShown] = useState<string>();
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);

  const toggle = async () => {
    clearTimeout(timer.current);
    if (shown !== undefined) return setShown(undefined);
    if (busy) return;
    setBusy(true);
    setProblem('');
    try {
      const { secret } = await revealSecret(credentialId);
      setShown(secret);
      timer.current = setTimeout(() => setShown(undefined), SHOWN_MS);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : 'The secret could not be shown.');
    } finally {
      setBusy(false);
    }
  };

  return (
    <div className="secret">
      <span className="secret-line">
        <code className="secret-text" data-shown={shown !== undefined}>
          {shown ?? MASK}
        </code>
        <button
          type="button"
          className="icon-button"
          aria-label={`${shown === undefined ? 'Show' : 'Hide'} secret of ${name}`}
          title={shown === undefined ? 'Show for a minute' : 'Hide'}
          aria-busy={busy}
          onClick={() => void toggle()}
        >
          <Icon name={shown === undefined ? 'eye' : 'eye-off'} size={17} />
        </button>
        <CopyButton text={async () => (await revealSecret(credentialId)).secret} what={`secret of ${name}`} />
      </span>
      <span role="status" className={problem === '' ? 'hidden-visually' : 'field-error'}>
        {problem || (shown === undefined ? '' : 'Secret shown')}
      </span>
    </div>
  );
}
