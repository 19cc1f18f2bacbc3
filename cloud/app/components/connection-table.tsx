/** Flows that are over, newest first; refusals that stand together are one line with a count. */
import { formatBytes } from '@mastline/shared/base/bytes';
import { Link } from '@remix-run/react';
import type { ConnectionView } from '../api-types';
import { formatDuration, type LogView, logQuery, outcomeWord, targetText } from '../connections-view';
import { Moment } from './moment';
import { Pill } from './pills';

type Row = ConnectionView & { said: string };

export function ConnectionTable(props: { rows: readonly Row[]; view: LogView; next: string | null }) {
  const { rows, view, next } = props;
  return (
    <section className="card" aria-label="Connections">
      <table className="table table-dense table-cards connection-rows">
        <thead>
          <tr>
            <th scope="col">Ended</th>
            <th scope="col">Target</th>
            <th scope="col">Outcome</th>
            <th scope="col">Credential</th>
            <th scope="col">Modem</th>
            <th scope="col" className="right">
              Down
            </th>
            <th scope="col" className="right">
              Up
            </th>
            <th scope="col" className="right">
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <ConnectionRow key={row.cursor} row={row} />
          ))}
        </tbody>
      </table>
      {(view.after !== undefined || next !== null) && (
        <nav className="pager" aria-label="Pages of the table">
          <PageLink to={view.after === undefined ? null : logQuery(view)} word="Newest" />
          <PageLink to={next === null ? null : logQuery(view, { after: next })} word="Older" />
        </nav>
      )}
    </section>
  );
}

function ConnectionRow({ row }: { row: Row }) {
  const target = targetText(row);
  return (
    <tr>
      <td>
        <Moment at={row.endedAt} />
      </td>
      <td data-label="Target" className="connection-target" title={row.address ?? undefined}>
        {target ?? <span className="muted">not recorded</span>}
      </td>
      <td data-label="Outcome" title={row.said === '' ? undefined : row.said}>
        <Pill tone={row.outcome === 'ok' ? 'ok' : row.outcome === 'cut' ? 'warn' : 'bad'}>
          {`${outcomeWord(row.outcome)}${row.times > 1 ? ` × ${row.times.toLocaleString('en')}` : ''}`}
        </Pill>
      </td>
      <td data-label="Credential">{row.credentialName}</td>
      <td data-label="Modem">{row.slot === null ? '–' : `${row.nodeName} · slot ${row.slot}`}</td>
      <Bytes label="Down" bytes={row.downBytes} />
      <Bytes label="Up" bytes={row.upBytes} />
      <td data-label="Took" className="right number">
        {row.tookMs === 0 ? '–' : formatDuration(row.tookMs)}
      </td>
    </tr>
  );
}

function Bytes({ label, bytes }: { label: string; bytes: number }) {
  return (
    <td data-label={label} className="right number" title={`${bytes.toLocaleString('en')} bytes`}>
      {formatBytes(bytes)}
    </td>
  );
}

/** Kept in its place when there is nowhere to go, so that the other does not move under the pointer. */
export function PageLink({ to, word }: { to: string | null; word: string }) {
  if (to === null) return <span className="button button-off">{word}</span>;
  return (
    <Link className="button" to={to} preventScrollReset>
      {word}
    </Link>
  );
}
