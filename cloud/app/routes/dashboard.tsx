/** What is going on now: nodes, modems, throughput, bytes of today. Live by /api/live. */
import { addBytes, formatBitRate, formatBytes } from '@mastline/shared/base/bytes';
import type { LoaderFunctionArgs } from '@remix-run/node';
import { Link, useLoaderData } from '@remix-run/react';
import { asMember } from '../api.server';
import type { OverviewView, Viewer } from '../api-types';
import { Empty } from '../components/empty';
import { ErrorView } from '../components/error-view';
import { Icon } from '../components/icons';
import { LiveSign } from '../components/live-sign';
import { ModemCard } from '../components/modem-card';
import { Sparkline } from '../components/sparkline';
import { pageTitle } from '../page-title';
import { type Samples, useLive, useSamples } from '../use-live';

export const meta = pageTitle('Dashboard');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => ({
    overview: await api.overview.get(),
    organization: viewer.active,
  }));

export default function Dashboard() {
  const { overview: loaded, organization } = useLoaderData<typeof loader>();
  const { overview, status } = useLive(loaded, organization.id);
  const samplesOf = useSamples(overview, status === 'live');
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>Dashboard</h1>
          <p>{organization.name}</p>
        </div>
        <LiveSign status={status} />
      </header>
      <Figures overview={overview} samples={samplesOf('')} />
      <section className="stack" aria-labelledby="modems-title">
        <h2 id="modems-title">Modems</h2>
        {overview.modems.length === 0 ? (
          <NoModems organization={organization} />
        ) : (
          <div className="modems">
            {overview.modems.map(modem => (
              <ModemCard key={modem.slotId} modem={modem} samples={samplesOf(modem.slotId)} />
            ))}
          </div>
        )}
      </section>
    </div>
  );
}

export { ErrorView as ErrorBoundary };

function Figures({ overview, samples }: { overview: OverviewView; samples: Samples }) {
  const { nodes, modems, throughput, today } = overview;
  const connected = modems.filter(modem => modem.nodeOnline && modem.state === 'connected').length;
  return (
    <section className="figures" aria-label="Overview">
      <div className="card card-pad figure">
        <h2>Nodes online</h2>
        <p className="figure-value number" data-figure="nodes">
          {nodes.online}
          <span className="figure-of"> of {nodes.total}</span>
        </p>
        <p className="figure-note">
          {nodes.online === nodes.total ? 'All reachable' : `${nodes.total - nodes.online} not reachable`}
        </p>
      </div>
      <div className="card card-pad figure">
        <h2>Modems connected</h2>
        <p className="figure-value number" data-figure="modems">
          {connected}
          <span className="figure-of"> of {modems.length}</span>
        </p>
        <p className="figure-note">
          <span className="number">{modems.reduce((sum, modem) => sum + modem.openFlows, 0)}</span> open flows
        </p>
      </div>
      <div className="card card-pad figure">
        <h2>Today</h2>
        <p className="figure-value number" data-figure="today">
          {formatBytes(addBytes(today.upBytes, today.downBytes))}
        </p>
        <p className="figure-note" title="Since midnight UTC">
          <span className="number">{formatBytes(today.downBytes)}</span> down ·{' '}
          <span className="number">{formatBytes(today.upBytes)}</span> up
        </p>
      </div>
      <div className="card card-pad figure figure-wide">
        <div className="figure-rates">
          <h2>Throughput now</h2>
          <p className="figure-value number" data-figure="down">
            <Icon name="down" size={18} />
            <span className="hidden-visually">Down </span>
            {formatBitRate(throughput.downBytesPerSecond * 8)}
          </p>
          <p className="figure-note number" data-figure="up">
            <Icon name="up" size={14} />
            <span className="hidden-visually">Up </span>
            {formatBitRate(throughput.upBytesPerSecond * 8)}
          </p>
        </div>
        <Sparkline samples={samples} size="large" />
      </div>
    </section>
  );
}

function NoModems({ organization }: { organization: Viewer['active'] }) {
  if (organization.kinds.includes('host'))
    return (
      <Empty icon="modem" title="No modem has reported yet">
        <p>
          Install the agent on your box, enrol it with a claim code, and plug in a modem. It appears here by
          itself.
        </p>
      </Empty>
    );
  if (organization.kinds.includes('operator'))
    return (
      <Empty icon="modem" title="No modem in the fleet yet">
        <p>Modems appear here as soon as a host’s node is enrolled and reports them.</p>
      </Empty>
    );
  return (
    <Empty icon="modem" title="No modem serves you yet">
      <p>Modems appear here once an endpoint of yours leads to them. Your endpoints show what is missing.</p>
      <Link className="button" to="/endpoints">
        See endpoints
      </Link>
    </Empty>
  );
}
