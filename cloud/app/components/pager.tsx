/** The foot of a list that comes a page at a time: links to its neighbours. */
import { Link } from '@remix-run/react';
import type { ReactNode } from 'react';

export interface PageTurn {
  /** Null when there is nowhere to go. */
  to: string | null;
  word: string;
}

export function Pager(props: { label: string; back: PageTurn; on: PageTurn; children?: ReactNode }) {
  return (
    <nav className="pager" aria-label={props.label}>
      <PageLink {...props.back} />
      {props.children}
      <PageLink {...props.on} />
    </nav>
  );
}

/** Kept in its place when there is nowhere to go, so that the other does not move under the pointer. */
function PageLink({ to, word }: PageTurn) {
  if (to === null) return <span className="button button-off">{word}</span>;
  return (
    <Link className="button" to={to} preventScrollReset>
      {word}
    </Link>
  );
}
