/** The figures behind the chart: credential × modem × hour, newest first, a page at a time. */
import type { UsageView as UsageAnswer } from '../api-types';
import { type UsageView, usageQuery } from '../usage-range';
import { BytesCell } from './bytes-cell';
import { Moment } from './moment';
import { Pager } from './pager';
import { TableHead } from './table-head';

export function UsageTable(props: {
  rows: UsageAnswer['rows'];
  rowCount: number;
  rowsCut: boolean;
  view: UsageView;
  pages: number;
}) {
  const { rows, rowCount, rowsCut, view, pages } = props;
  const { page } = view;
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
        <TableHead
          columns={['Hour', 'Credential', 'Modem', 'Endpoint', 'Down', 'Up', 'Flows']}
          right={['Down', 'Up', 'Flows']}
        />
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
              <BytesCell label="Down" bytes={row.downBytes} />
              <BytesCell label="Up" bytes={row.upBytes} />
              <td data-label="Flows" className="right number">
                {row.flows.toLocaleString('en')}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {pages > 1 && (
        <Pager
          label="Pages of the table"
          back={{ to: page > 1 ? usageQuery(view, { page: page - 1 }) : null, word: 'Newer' }}
          on={{ to: page < pages ? usageQuery(view, { page: page + 1 }) : null, word: 'Older' }}
        >
          <span className="muted small number">
            Page {page} of {pages}
          </span>
        </Pager>
      )}
    </section>
  );
}
