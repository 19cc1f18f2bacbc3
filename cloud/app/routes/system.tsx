/** How the whole installation does, for whoever runs it: ingest, lag, back-pressure, processes, jobs, database. */
import { formatBytes } from '@mastline/shared/base/bytes';
import type { LoaderFunctionArgs } from '@remix-run/node';
import { useLoaderData } from '@remix-run/react';
import { asMember } from '../api.server';
import { ErrorView } from '../components/error-view';
import { LiveSign } from '../components/live-sign';
import { MinuteChart } from '../components/minute-chart';
import { NodeLags } from '../components/node-lags';
import { SystemCards } from '../components/system-cards';
import { Jobs, Processes, Refusals, UsageTables } from '../components/system-tables';
import { pageTitle } from '../page-title';
import { readSystemFigures } from '../system-figures.server';
import { systemQuery, systemQuestion } from '../system-question';
import { usePolled } from '../use-polled';

export const meta = pageTitle('System');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async api => {
    const question = systemQuestion(new URL(args.request.url).searchParams);
    return { question, figures: await readSystemFigures(api, question) };
  });

export default function System() {
  const { question, figures: loaded } = useLoaderData<typeof loader>();
  const { figures, status } = usePolled(loaded, `/system/figures${systemQuery(question)}`);
  const { system, lags } = figures;
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>System</h1>
          <p>
            Version {system.version} ·{' '}
            {system.database.kind === 'embedded' ? 'embedded database' : 'PostgreSQL'} of{' '}
            <span className="number">{formatBytes(system.database.bytes)}</span>
          </p>
        </div>
        <LiveSign status={status} />
      </header>
      <SystemCards system={system} />
      <section className="card card-pad stack" aria-labelledby="ingest-title">
        <h2 id="ingest-title">Records stored in the last hour</h2>
        <MinuteChart minutes={system.ingest.minutes} />
      </section>
      <Processes processes={system.processes} at={system.at} />
      <div className="system-pair">
        <Jobs jobs={system.jobs} at={system.at} />
        <div className="stack system-side">
          <Refusals refusals={system.ingest.refusals} />
          <UsageTables tables={system.database.tables} />
        </div>
      </div>
      <NodeLags lags={lags} question={question} known={system.nodes.expected > 0} />
    </div>
  );
}

export { ErrorView as ErrorBoundary };
