/** What was carried: per hour or day, by credential and modem, as a chart, a table and a download. */
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';
import type { LoaderFunctionArgs } from '@remix-run/node';
import { Link, useLoaderData } from '@remix-run/react';
import { asMember } from '../api.server';
import { Empty } from '../components/empty';
import { ErrorView } from '../components/error-view';
import { Choice, Filters } from '../components/filters';
import { Icon } from '../components/icons';
import { useZone } from '../components/moment';
import { UsageChart } from '../components/usage-chart';
import { UsageShares } from '../components/usage-shares';
import { UsageTable } from '../components/usage-table';
import { zoneOf } from '../look.server';
import { modemName } from '../modem-name';
import { pageTitle } from '../page-title';
import { questionOf } from '../usage-question';
import { bucketsOf, RANGE_LABELS, RANGES, usageQuery, usageView } from '../usage-range';

export const meta = pageTitle('Usage');

const ROWS_A_PAGE = 25;

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async api => {
    const zone = zoneOf(args.request);
    const view = usageView(new URL(args.request.url).searchParams, Date.now(), zone);
    const everything = { from: view.from, to: view.to, groupBy: 'hour' as const };
    const filtered = view.credentialId !== undefined || view.slotId !== undefined;
    // The filters offer what was used in the range, whatever is filtered now.
    const [answer, whole] = await Promise.all([
      api.usage.query(questionOf(view)),
      filtered ? api.usage.query(everything) : null,
    ]);
    const pages = Math.max(1, Math.ceil(answer.rows.length / ROWS_A_PAGE));
    const page = Math.min(view.page, pages);
    return {
      view: { ...view, page },
      pages,
      rowCount: answer.rows.length,
      rowsCut: answer.rowsCut,
      buckets: bucketsOf(answer.series, view, zone),
      rows: answer.rows.slice((page - 1) * ROWS_A_PAGE, page * ROWS_A_PAGE),
      total: answer.total,
      byCredential: answer.byCredential,
      byModem: answer.byModem,
      choices: {
        credentials: (whole ?? answer).byCredential.flatMap(({ credentialId, name }) =>
          credentialId === null ? [] : [{ id: credentialId, name }],
        ),
        modems: (whole ?? answer).byModem.flatMap(({ slotId, nodeName, slot, model }) =>
          slotId === null ? [] : [{ id: slotId, name: modemName({ nodeName, slot, model }) }],
        ),
      },
    };
  });

export default function Usage() {
  const { view, total, buckets, ...rest } = useLoaderData<typeof loader>();
  const zone = useZone();
  const used = total.upBytes > 0 || total.downBytes > 0 || total.flows > 0;
  const filtered = view.credentialId !== undefined || view.slotId !== undefined;
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>Usage</h1>
          <p>Billable bytes · times in {zone.replaceAll('_', ' ')}</p>
        </div>
        <div className="page-head-tools">
          <a className="button" href={`/usage.csv${usageQuery(view)}`} download>
            <Icon name="download" size={17} />
            CSV
          </a>
        </div>
      </header>
      <UsageFilters view={view} choices={rest.choices} />
      {used ? (
        <>
          <section className="card card-pad stack" aria-labelledby="chart-title">
            <div className="card-head">
              <h2 id="chart-title">
                <span className="number">{formatBytes(addBytes(total.upBytes, total.downBytes))}</span>{' '}
                <span className="muted chart-range">{RANGE_LABELS[view.range].toLowerCase()}</span>
              </h2>
              {view.range === '7d' && (
                <nav className="segments" aria-label="Bars">
                  {(['day', 'hour'] as const).map(step => (
                    <Link
                      key={step}
                      to={usageQuery(view, { step })}
                      aria-current={view.step === step}
                      preventScrollReset
                    >
                      By {step}
                    </Link>
                  ))}
                </nav>
              )}
            </div>
            <UsageChart
              key={usageQuery(view)}
              buckets={buckets}
              what={`Bytes by ${view.step}, ${RANGE_LABELS[view.range].toLowerCase()}`}
            />
          </section>
          <div className="shares">
            <UsageShares
              title="By credential"
              shares={rest.byCredential.map(one => ({
                id: one.credentialId ?? one.name,
                name: one.name,
                ...sums(one),
              }))}
            />
            <UsageShares
              title="By modem"
              shares={rest.byModem.map(one => ({
                id: one.slotId ?? `${one.nodeName}/${one.slot}`,
                name: `${one.nodeName} · slot ${one.slot}`,
                note: one.model ?? undefined,
                ...sums(one),
              }))}
            />
          </div>
          <UsageTable
            rows={rest.rows}
            rowCount={rest.rowCount}
            rowsCut={rest.rowsCut}
            view={view}
            pages={rest.pages}
          />
        </>
      ) : (
        <Empty
          icon="usage"
          title={`Nothing used ${view.range === 'today' ? 'today' : `in ${RANGE_LABELS[view.range]}`}`}
        >
          {filtered ? (
            <>
              <p>No traffic of this credential and modem in this range.</p>
              <Link className="button" to={`?range=${view.range}`}>
                Clear filters
              </Link>
            </>
          ) : (
            <>
              <p>Send a request through an endpoint: its bytes appear here within seconds of leaving.</p>
              <Link className="button" to="/endpoints">
                See endpoints
              </Link>
            </>
          )}
        </Empty>
      )}
    </div>
  );
}

export { ErrorView as ErrorBoundary };

type Loaded = Awaited<ReturnType<typeof loader>>;

function UsageFilters({ view, choices }: { view: Loaded['view']; choices: Loaded['choices'] }) {
  const gone = 'Chosen one (unused)';
  return (
    <Filters
      range={view.range}
      ranges={RANGES}
      labels={RANGE_LABELS}
      at={usageQuery(view)}
      query={range => usageQuery(view, { range })}
    >
      {view.range === '7d' && view.step === 'hour' && <input type="hidden" name="by" value="hour" />}
      <Choice
        name="credential"
        label="Credential"
        all="All credentials"
        value={view.credentialId}
        gone={gone}
      >
        {choices.credentials}
      </Choice>
      <Choice name="modem" label="Modem" all="All modems" value={view.slotId} gone={gone}>
        {choices.modems}
      </Choice>
    </Filters>
  );
}

function sums({ upBytes, downBytes }: { upBytes: number; downBytes: number }) {
  return { upBytes, downBytes };
}
