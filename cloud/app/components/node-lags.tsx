/** Nodes, those first whose usage is longest on its way; found by name, a page at a time. */
import { Form, Link } from '@remix-run/react';
import type { NodeLagPage } from '../api-types';
import { type SystemQuestion, systemQuery } from '../system-question';
import { formatAgo, formatSpan } from '../time';
import { Empty } from './empty';
import { Moment } from './moment';
import { Pill } from './pills';

export function NodeLags(props: { lags: NodeLagPage; question: SystemQuestion; known: boolean }) {
  const { lags, question } = props;
  if (lags.nodes.length === 0 && question.search === '' && question.after === null && !props.known)
    return (
      <Empty icon="modem" title="No node is enrolled yet">
        <p>Nodes appear here once a host has enrolled one with a claim code.</p>
      </Empty>
    );
  return (
    <section className="card" aria-labelledby="lags-title">
      <header className="card-head table-head">
        <h2 id="lags-title">Nodes, worst first</h2>
        <Form method="get" action="/system" className="system-search" role="search" key={question.search}>
          <input
            className="input"
            type="search"
            name="q"
            defaultValue={question.search}
            maxLength={80}
            placeholder="Node, host or id"
            aria-label="Find nodes by name, host or id"
          />
          <button type="submit" className="button">
            Find
          </button>
        </Form>
      </header>
      {lags.nodes.length === 0 ? (
        <p className="muted system-none">
          {question.after !== null ? 'No more nodes. ' : `No node, host or id with “${question.search}”. `}
          <Link to="/system" preventScrollReset>
            Show all
          </Link>
        </p>
      ) : (
        <Rows lags={lags} />
      )}
      {(question.after !== null || lags.next !== null) && (
        <nav className="pager" aria-label="Pages of nodes">
          {question.after === null ? (
            <span className="button button-off">First</span>
          ) : (
            <Link
              className="button"
              to={`/system${systemQuery({ ...question, after: null })}`}
              preventScrollReset
            >
              First
            </Link>
          )}
          {lags.next === null ? (
            <span className="button button-off">Next</span>
          ) : (
            <Link
              className="button"
              to={`/system${systemQuery({ ...question, after: lags.next })}`}
              preventScrollReset
            >
              Next
            </Link>
          )}
        </nav>
      )}
    </section>
  );
}

function Rows({ lags }: { lags: NodeLagPage }) {
  return (
    <table className="table table-dense table-cards system-rows">
      <thead>
        <tr>
          <th scope="col">Node</th>
          <th scope="col">Host</th>
          <th scope="col">Link</th>
          <th scope="col">Lag</th>
          <th scope="col">Newest minute</th>
          <th scope="col" className="right" title="Today, UTC">
            Duplicates
          </th>
          <th scope="col" className="right" title="Today, UTC">
            Gaps
          </th>
          <th scope="col" className="right" title="Today, UTC">
            Refused
          </th>
        </tr>
      </thead>
      <tbody>
        {lags.nodes.map(node => (
          <tr key={node.nodeId}>
            <td>
              <Link className="quiet" to={`/nodes/${node.nodeId}`}>
                {node.name}
              </Link>
            </td>
            <td data-label="Host">{node.organization}</td>
            <td data-label="Link">
              {node.connected ? (
                <Pill tone="ok">Connected</Pill>
              ) : (
                <Pill tone="idle">
                  {node.lastSeenAt === null ? 'Never seen' : `Seen ${formatAgo(node.lastSeenAt, lags.at)}`}
                </Pill>
              )}
            </td>
            <td data-label="Lag">
              {node.behindSince === null ? (
                <span className="muted">None known</span>
              ) : (
                <span className="number" title="At least so many">
                  {formatSpan(lags.at - node.behindSince)} · {node.behind.toLocaleString('en')}{' '}
                  {node.behind === 1 ? 'record' : 'records'}
                </span>
              )}
            </td>
            <td data-label="Newest minute">
              {node.lastPeriodStart === null ? (
                <span className="muted">None</span>
              ) : (
                <Moment at={node.lastPeriodStart} />
              )}
            </td>
            <td data-label="Duplicates" data-none={none(node.duplicates)} className="right number">
              {node.duplicates.toLocaleString('en')}
            </td>
            <td data-label="Gaps" data-none={none(node.gaps)} className="right number">
              {node.gaps.toLocaleString('en')}
            </td>
            <td data-label="Refused" data-none={none(node.refused)} className="right number">
              {node.refused.toLocaleString('en')}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Marks a cell that says nothing of interest; undefined leaves the attribute out. */
const none = (count: number) => (count === 0 ? '' : undefined);
