/** What happened on a node, newest first. */
import { Link } from '@remix-run/react';
import type { EventView } from '../api-types';
import { formatDuration } from '../connections-view';
import { Moment } from './moment';
import { Pager } from './pager';
import { Pill } from './pills';

const TONES = { info: 'idle', warning: 'warn', alarm: 'bad' } as const;
const SEVERITIES = [
  ['', 'All'],
  ['warning', 'Warnings'],
  ['alarm', 'Alarms'],
] as const;

export interface EventListProps {
  /** `word` says its kind. */
  rows: readonly (EventView & { word: string })[];
  /** Place of the next older page, and whether this is the newest one. */
  next: string | null;
  isNewest: boolean;
  /** '' for all. */
  severity: string;
  dropped: { events: number; flows: number };
}

export function EventList({ rows, next, isNewest, severity, dropped }: EventListProps) {
  const at = (after: string | null) => {
    const query = new URLSearchParams();
    if (severity !== '') query.set('severity', severity);
    if (after !== null) query.set('after', after);
    return `?${query}#events`;
  };
  return (
    <section className="card" aria-labelledby="events-title" id="events">
      <header className="card-head table-head">
        <h2 id="events-title">What happened</h2>
        <nav className="segments" aria-label="Which events">
          {SEVERITIES.map(([value, word]) => (
            <Link
              key={value}
              to={value === '' ? '?#events' : `?severity=${value}#events`}
              aria-current={severity === value}
              preventScrollReset
            >
              {word}
            </Link>
          ))}
        </nav>
      </header>
      {rows.length === 0 && (
        <p className="muted event-none">
          {isNewest
            ? 'Nothing that is kept. Changes of modems, rotations and strangers at the door appear here.'
            : 'Nothing older.'}
        </p>
      )}
      <ol className="events">
        {rows.map(row => (
          <li key={row.cursor}>
            <div className="event-head">
              <Pill tone={TONES[row.severity]}>{row.word}</Pill>
              {row.slot !== null && <span className="muted small">slot {row.slot}</span>}
              {row.times > 1 && (
                <span className="muted small number">× {row.times.toLocaleString('en')}</span>
              )}
              <span className="event-time small">
                <Moment at={row.at} />
              </span>
            </div>
            <p className="event-detail">
              {row.detail}
              {row.source !== null && (
                <>
                  {' '}
                  from <span className="number">{row.source}</span>
                </>
              )}
              {row.tookMs !== null && <span className="muted"> · {formatDuration(row.tookMs)}</span>}
            </p>
          </li>
        ))}
      </ol>
      {(!isNewest || next !== null) && (
        <Pager
          label="Pages of events"
          back={{ to: isNewest ? null : at(null), word: 'Newest' }}
          on={{ to: next === null ? null : at(next), word: 'Older' }}
        />
      )}
      {dropped.events + dropped.flows > 0 && (
        <p className="muted small event-none">
          In the last 30 days this node had no room for{' '}
          <span className="number">{dropped.events.toLocaleString('en')}</span> events and{' '}
          <span className="number">{dropped.flows.toLocaleString('en')}</span> lines of the connection log.
        </p>
      )}
    </section>
  );
}
