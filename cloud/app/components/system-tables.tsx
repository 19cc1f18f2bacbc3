/** The System page's tables: processes, jobs, refused batches, tables of usage. */
import { formatBytes } from '@mastline/shared/base/bytes';
import type { SystemView } from '../api-types';
import { formatAgo, formatSpan } from '../time';
import { Moment } from './moment';
import { Pill } from './pills';
import { TableHead } from './table-head';

const count = (value: number) => Math.round(value).toLocaleString('en');

export function Processes({ processes, at }: { processes: SystemView['processes']; at: number }) {
  return (
    <section className="card" aria-labelledby="processes-title">
      <header className="card-head table-head">
        <h2 id="processes-title">Processes</h2>
      </header>
      {processes.length === 0 ? (
        <p className="muted system-none">No process has written its figures within 15 seconds.</p>
      ) : (
        <table className="table table-dense table-cards system-rows">
          <TableHead
            columns={[
              'Process',
              'Sessions',
              'Records/s',
              'Waiting',
              'Sockets held back',
              'Database',
              'Loop delay',
              'Memory',
            ]}
            right={['Sessions', 'Records/s', 'Loop delay', 'Memory']}
          />
          <tbody>
            {processes.map(each => (
              <tr key={each.id}>
                <td title={each.id}>
                  {each.version}
                  <span className="muted small"> · up {formatSpan(at - each.startedAt)}</span>
                </td>
                <td data-label="Sessions" className="right number">
                  {count(each.sessions)}
                </td>
                <td data-label="Records/s" className="right number">
                  {count(each.recordsPerSecond)}
                </td>
                <td data-label="Waiting" className="number">
                  {count(each.waitingRecords)} records, {formatBytes(each.waitingBytes)}
                </td>
                <td data-label="Sockets held back" className="number">
                  {count(each.pausedSockets)}
                  {each.timesHeld > 0 && <span className="muted"> · all held {count(each.timesHeld)}×</span>}
                </td>
                <td data-label="Database" className="number">
                  {each.databaseInUse} of {each.databaseMax}
                  {each.databaseWaiting > 0 && <> · {count(each.databaseWaiting)} wait</>}
                </td>
                <td data-label="Loop delay" className="right number" title="99 of 100 turns were no later">
                  {each.eventLoopP99Ms.toFixed(0)} ms
                </td>
                <td data-label="Memory" className="right number">
                  {formatBytes(each.rssBytes)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

export function Jobs({ jobs, at }: { jobs: SystemView['jobs']; at: number }) {
  return (
    <section className="card" aria-labelledby="jobs-title">
      <header className="card-head table-head">
        <h2 id="jobs-title">Jobs</h2>
      </header>
      <table className="table table-dense table-cards system-rows">
        <TableHead columns={['Job', 'Every', 'Last run', 'Succeeded']} />
        <tbody>
          {jobs.map(job => (
            <tr key={job.name}>
              <td>{job.name}</td>
              <td data-label="Every" className="number">
                {formatSpan(job.everyMs)}
              </td>
              <td data-label="Last run" title={job.detail ?? undefined}>
                <JobPill job={job} />
              </td>
              <td data-label="Succeeded">
                {job.succeededAt === null ? (
                  <span className="muted">Never</span>
                ) : (
                  <span title={job.detail ?? undefined}>
                    <Moment at={job.succeededAt} />{' '}
                    <span className="muted small">{formatAgo(job.succeededAt, at)}</span>
                  </span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function JobPill({ job }: { job: SystemView['jobs'][number] }) {
  if (job.startedAt === null) return <Pill tone="idle">Not yet</Pill>;
  if (job.outcome === 'failed') return <Pill tone="bad">{`Failed, try ${job.attempts}`}</Pill>;
  if (job.overdue) return <Pill tone="warn">Overdue</Pill>;
  if (job.outcome === null) return <Pill tone="busy">Running</Pill>;
  return <Pill tone="ok">Done</Pill>;
}

export function Refusals({ refusals }: { refusals: SystemView['ingest']['refusals'] }) {
  return (
    <section className="card" aria-labelledby="refusals-title">
      <header className="card-head table-head">
        <h2 id="refusals-title">Refused this week</h2>
      </header>
      {refusals.length === 0 ? (
        <p className="muted system-none">No batch was refused.</p>
      ) : (
        <table className="table table-dense">
          <TableHead columns={['Code', 'Batches']} right={['Batches']} />
          <tbody>
            {refusals.map(({ code, batches }) => (
              <tr key={code}>
                <td>
                  <code>{code}</code>
                </td>
                <td className="right number">{count(batches)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const TABLES: Record<string, string> = {
  usage_records: 'Records',
  usage_rollups: 'By hour',
  usage_rollups_daily: 'By day',
};

export function UsageTables({ tables }: { tables: SystemView['database']['tables'] }) {
  return (
    <section className="card" aria-labelledby="tables-title">
      <header className="card-head table-head">
        <h2 id="tables-title">Usage in the database</h2>
      </header>
      <table className="table table-dense table-cards system-rows">
        <thead>
          <tr>
            <th scope="col">Table</th>
            <th scope="col" className="right">
              Partitions
            </th>
            <th scope="col" className="right" title="The database’s own estimate">
              Rows
            </th>
            <th scope="col" className="right">
              Size
            </th>
          </tr>
        </thead>
        <tbody>
          {tables.map(table => (
            <tr key={table.name}>
              <td>{TABLES[table.name] ?? table.name}</td>
              <td data-label="Partitions" className="right number">
                {table.partitions}
              </td>
              <td data-label="Rows" className="right number">
                {table.rows === null ? '–' : count(table.rows)}
              </td>
              <td data-label="Size" className="right number">
                {formatBytes(table.bytes)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
