/** Flows that are over, newest first; refusals that stand together are one line with a count. */
import type { ConnectionView } from '../api-types';
import { formatDuration, type LogView, logQuery, outcomeWord, targetText } from '../connections-view';
import { BytesCell } from './bytes-cell';
import { Moment } from './moment';
import { Pager } from './pager';
import { Pill } from './pills';
import { TableHead } from './table-head';

type Row = ConnectionView & { said: string };

export function ConnectionTable(props: { rows: readonly Row[]; view: LogView; next: string | null }) {
  const { rows, view, next } = props;
  return (
    <section className="card" aria-label="Connections">
      <table className="table table-dense table-cards connection-rows">
        <TableHead
          columns={['Ended', 'Target', 'Outcome', 'Credential', 'Modem', 'Down', 'Up', 'Took']}
          right={['Down', 'Up', 'Took']}
        />
        <tbody>
          {rows.map(row => (
            <ConnectionRow key={row.cursor} row={row} />
          ))}
        </tbody>
      </table>
      {(view.after !== undefined || next !== null) && (
        <Pager
          label="Pages of the table"
          back={{ to: view.after === undefined ? null : logQuery(view), word: 'Newest' }}
          on={{ to: next === null ? null : logQuery(view, { after: next }), word: 'Older' }}
        />
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
      <BytesCell label="Down" bytes={row.downBytes} />
      <BytesCell label="Up" bytes={row.upBytes} />
      <td data-label="Took" className="right number">
        {row.tookMs === 0 ? '–' : formatDuration(row.tookMs)}
      </td>
    </tr>
  );
}
