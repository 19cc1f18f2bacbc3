/** The figures behind the chart: credential × modem × hour, newest first, a page at a time. */
import { formatBytes } from '@mastline/shared/base/bytes';
import { Link } from '@remix-run/react';
import type { UsageView as UsageAnswer } from '../api-types';
import { type UsageView, usageQuery } from '../usage-range';
import { Moment } from './moment';

export function UsageTable(props: {
  rows: UsageAnswer['rows'];
  rowCount: number;
  rowsCut: boolean;
  view: UsageView;
  pages: number;
}) {
  const { rows, rowCount, rowsCut, view, pages } = props;
  return (
    <section className="card" aria-labelledby="table-title">
      <header className="card-head table-head">
        <h2 id="table-title">Hour by hour</h2>
        <p className="muted small">
          <span className="number">{rowCount.toLocaleString('en')}</span>
          {rowCount === 1 ? ' row' : ' rows'}
          {rowsCut && ', the newest only: the CSV has all'}
        </p>
      </header>
      <table className="table table-dense table-cards usage-rows">
        <thead>
          <tr>
            <th scope="col">Hour</th>
            <th scope="col">Credential</th>
            <th scope="col">Modem</th>
            <th scope="col">Endpoint</th>
            <th scope="col" className="right">
              Down
            </th>
            <th scope="col" className="right">
              Up
            </th>
            <th scope="col" className="right">
              Flows
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <tr
              key={`${row.hour}/${row.credentialId ?? row.credentialName}/${row.slotId ?? `${row.nodeName}${row.slot}`}/${row.endpointName}`}
            >
              <td>
                <Moment at={row.hour} />
              </td>
              <td data-label="Credential">{row.credentialName}</td>
              <td data-label="Modem">
                {row.nodeName} · slot {row.slot}
              </td>
              <td data-label="Endpoint">{row.endpointName}</td>
              <td
                data-label="Down"
                className="right number"
                title={`${row.downBytes.toLocaleString('en')} bytes`}
              >
                {formatBytes(row.downBytes)}
              </td>
              <td
                data-label="Up"
                className="right number"
                title={`${row.upBytes.toLocaleString('en')} bytes`}
              >
                {formatBytes(row.upBytes)}
              </td>
              <td data-label="Flows" className="right number">
                {row.flows.toLocaleString('en')}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {pages > 1 && (
        <nav className="pager" aria-label="Pages of the table">
          <PageLink view={view} to={view.page - 1} pages={pages} word="Newer" />
          <span className="muted small number">
            Page {view.page} of {pages}
          </span>
          <PageLink view={view} to={view.page + 1} pages={pages} word="Older" />
        </nav>
      )}
    </section>
  );
}

function PageLink(props: { view: UsageView; to: number; pages: number; word: string }) {
  const { view, to, pages, word } = props;
  // Kept in its place when there is nowhere to go, so that the other does not move under the pointer.
  if (to < 1 || to > pages) return <span className="button button-off">{word}</span>;
  return (
    <Link className="button" to={usageQuery(view, { page: to })} preventScrollReset>
      {word}
    </Link>
  );
}
