/** The foot of a settings form: the button, and whether the last save held. */
import { useNavigation } from '@remix-run/react';
import type { ReactNode } from 'react';
import { Icon } from './icons';

export function SaveBar(props: {
  label: string;
  saved: boolean;
  intent: string;
  /** What a save that held means. */
  held?: string;
  /** Other buttons of the form. */
  children?: ReactNode;
}) {
  const { label, saved, intent, held = 'Saved. Connected nodes get it at once.' } = props;
  const { formData } = useNavigation();
  const busy = formData?.get('intent') === intent;
  return (
    <div className="save-bar">
      <button type="submit" name="intent" value={intent} className="button button-main" aria-disabled={busy}>
        <span className="swap">
          <span data-on={!busy}>{label}</span>
          <span data-on={busy}>Saving…</span>
        </span>
      </button>
      {props.children}
      <span role="status" className="saved">
        {saved && !busy && (
          <>
            <Icon name="check" size={17} />
            {held}
          </>
        )}
      </span>
    </div>
  );
}
