/** Who connected where: the flows of the viewer's credentials, newest first, a page at a time. */

import { REFUSALS } from '@mastline/shared/protocols/refusal';
import type { LoaderFunctionArgs } from '@remix-run/node';
import { Link, useLoaderData } from '@remix-run/react';
import { asMember } from '../api.server';
import { ConnectionTable } from '../components/connection-table';
import { Empty } from '../components/empty';
import { ErrorView } from '../components/error-view';
import { Choice, Filters } from '../components/filters';
import { Icon } from '../components/icons';
import { useZone } from '../components/moment';
import {
  LOG_RANGE_LABELS,
  LOG_RANGES,
  logQuery,
  logQuestion,
  logView,
  OUTCOME_CHOICES,
  outcomeWord,
} from '../connections-view';
import { modemName } from '../modem-name';
import { pageTitle } from '../page-title';

export const meta = pageTitle('Connections');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const view = logView(new URL(args.request.url).searchParams);
    const [page, settings, credentials, overview] = await Promise.all([
      api.connections.list({
        ...logQuestion(view, Date.now()),
        ...(view.after === undefined ? {} : { after: view.after }),
      }),
      api.connections.settings(),
      api.credentials.list(),
      api.overview.get(),
    ]);
    return {
      view,
      next: page.next,
      rows: page.rows.map(row => ({ ...row, said: saidOf(row.outcome) })),
      keptDays: settings.connectionLogDays,
      isCustomer: viewer.active.kinds.includes('customer'),
      credentials: credentials.map(({ id, name }) => ({ id, name })),
      modems: overview.modems.map(({ slotId, nodeName, slot, model }) => ({
        id: slotId,
        name: modemName({ nodeName, slot, model }),
      })),
    };
  });

/** The sentence that the client was told; empty for what is none of ours. */
function saidOf(outcome: string): string {
  return Object.hasOwn(REFUSALS, outcome) ? REFUSALS[outcome as keyof typeof REFUSALS].page : '';
}

export default function Connections() {
  const { view, rows, next, keptDays, isCustomer, credentials, modems } = useLoaderData<typeof loader>();
  const zone = useZone();
  const filtered = view.credentialId !== undefined || view.slotId !== undefined || view.outcome !== undefined;
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>Connections</h1>
          <p>
            <Link to="/settings">
              Kept for {keptDays} {keptDays === 1 ? 'day' : 'days'}
            </Link>{' '}
            · never what was carried · times in {zone.replaceAll('_', ' ')}
          </p>
        </div>
        <div className="page-head-tools">
          <a className="button" href={`/connections.csv${logQuery(view)}`} download>
            <Icon name="download" size={17} />
            CSV
          </a>
        </div>
      </header>
      <LogFilters view={view} credentials={credentials} modems={modems} />
      {rows.length > 0 ? (
        <ConnectionTable rows={rows} view={view} next={next} />
      ) : (
        <Empty
          icon="connections"
          title={
            view.after === undefined
              ? `No connections${view.range === 'all' ? '' : ` in ${LOG_RANGE_LABELS[view.range]}`}`
              : 'Nothing older'
          }
        >
          {view.after !== undefined ? (
            <Link className="button" to={logQuery(view)}>
              Back to the newest
            </Link>
          ) : filtered ? (
            <>
              <p>None of this credential, modem and outcome in this range.</p>
              <Link className="button" to={`?range=${view.range}`}>
                Clear filters
              </Link>
            </>
          ) : isCustomer ? (
            <>
              <p>Send a request through an endpoint: it appears here some seconds after it has ended.</p>
              <Link className="button" to="/endpoints">
                See endpoints
              </Link>
            </>
          ) : (
            <p>Here customers see what their credentials did. What happened on a node stands on its page.</p>
          )}
        </Empty>
      )}
    </div>
  );
}

export { ErrorView as ErrorBoundary };

type Loaded = Awaited<ReturnType<typeof loader>>;

function LogFilters({ view, credentials, modems }: Pick<Loaded, 'view' | 'credentials' | 'modems'>) {
  const isOwnReason =
    view.outcome !== undefined && !OUTCOME_CHOICES.some(([outcome]) => outcome === view.outcome);
  const gone = 'Chosen one (gone)';
  return (
    <Filters
      range={view.range}
      ranges={LOG_RANGES}
      labels={LOG_RANGE_LABELS}
      at={logQuery(view)}
      query={range => logQuery(view, { range })}
    >
      <Choice
        name="credential"
        label="Credential"
        all="All credentials"
        value={view.credentialId}
        gone={gone}
      >
        {credentials}
      </Choice>
      <Choice name="modem" label="Modem" all="All modems" value={view.slotId} gone={gone}>
        {modems}
      </Choice>
      <select className="select" name="outcome" aria-label="Outcome" defaultValue={view.outcome ?? ''}>
        {OUTCOME_CHOICES.map(([outcome, word]) => (
          <option key={outcome} value={outcome}>
            {word}
          </option>
        ))}
        {isOwnReason && <option value={view.outcome}>{outcomeWord(view.outcome ?? '')}</option>}
      </select>
    </Filters>
  );
}
