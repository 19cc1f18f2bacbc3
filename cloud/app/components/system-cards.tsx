/** The four figures above everything else of the System page: ingest, nodes, lag, what waits. */
import { formatBytes } from '@mastline/shared/base/bytes';
import type { SystemView } from '../api-types';
import { formatSpan } from '../time';

export function SystemCards({ system }: { system: SystemView }) {
  const { nodes, ingest, processes } = system;
  const sum = (of: (each: SystemView['processes'][number]) => number) =>
    processes.reduce((total, each) => total + of(each), 0);
  const paused = sum(each => each.pausedSockets);
  const oldestMs = Math.max(0, ...processes.map(each => each.oldestWaitingMs));
  const duplicates = ingest.minutes.reduce((total, minute) => total + minute.duplicates, 0);
  const gaps = ingest.minutes.reduce((total, minute) => total + minute.gaps, 0);
  return (
    <section className="figures system-figures" aria-label="Now">
      <div className="card card-pad figure">
        <h2>Records a second</h2>
        <p className="figure-value number" data-figure="rate">
          {count(ingest.recordsPerSecond)}
        </p>
        <p className="figure-note" title="In the last hour">
          <span className="number" data-figure="duplicates">
            {count(duplicates)}
          </span>{' '}
          duplicates dropped ·{' '}
          <span className="number" data-figure="gaps">
            {count(gaps)}
          </span>{' '}
          gaps
        </p>
      </div>
      <div className="card card-pad figure">
        <h2>Nodes connected</h2>
        <p className="figure-value number" data-figure="connected">
          {count(nodes.connected)}
          <span className="figure-of"> of {count(Math.max(nodes.expected, nodes.connected))}</span>
        </p>
        <p className="figure-note">Seen within a week</p>
      </div>
      <div className="card card-pad figure">
        <h2>Nodes behind</h2>
        <p className="figure-value number" data-figure="lagging">
          {count(nodes.lagging)}
        </p>
        <p className="figure-note">
          {nodes.worstSince === null ? (
            'All that is known is in the ledger'
          ) : (
            <>
              <span className="number">{count(nodes.recordsBehind)}</span> records, since{' '}
              {formatSpan(system.at - nodes.worstSince)}
            </>
          )}
        </p>
      </div>
      <div className="card card-pad figure">
        <h2>Waiting for the ledger</h2>
        <p className="figure-value number" data-figure="waiting">
          {count(sum(each => each.waitingRecords))}
          <span className="figure-of"> records</span>
        </p>
        <p className="figure-note">
          {oldestMs < 1_000 && paused === 0 ? (
            <>
              No back-pressure · <span className="number">{formatBytes(sum(each => each.waitingBytes))}</span>
            </>
          ) : (
            <>
              Oldest {formatSpan(oldestMs)} · <span className="number">{count(paused)}</span> sockets held
              back
            </>
          )}
        </p>
      </div>
    </section>
  );
}

const count = (value: number) => Math.round(value).toLocaleString('en');
