/** What a person sees when a screen failed: what happened, what to do, and the id to report. */
import { isRouteErrorResponse, Link, useLocation, useRouteError, useRouteLoaderData } from '@remix-run/react';
import type { Failure } from '../api.server';
import type { loader as rootLoader } from '../root';
import { Icon } from './icons';

interface Shown {
  title: string;
  message: string;
  /** Whether the same address may work in a moment. */
  again: boolean;
  requestId: string | undefined;
}

const TITLES: Record<number, string> = {
  400: 'This address does not make sense',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Nothing to do here',
  429: 'Too often',
  504: 'This took too long',
};

export function ErrorView() {
  const error = useRouteError();
  const { pathname, search } = useLocation();
  const root = useRouteLoaderData<typeof rootLoader>('root');
  const shown = describe(error, root?.requestId);
  return (
    <div className="page">
      <section className="card trouble" role="alert">
        <Icon name="alert" size={28} />
        <div className="stack">
          <h1>{shown.title}</h1>
          <p>{shown.message}</p>
        </div>
        <div className="trouble-tools">
          {shown.again && (
            // A whole new request on purpose: what failed may be this page's own script.
            <a className="button button-main" href={`${pathname}${search}`}>
              Try again
            </a>
          )}
          <Link className={shown.again ? 'button' : 'button button-main'} to="/dashboard">
            To the dashboard
          </Link>
        </div>
        {shown.requestId !== undefined && (
          <p className="request-id">
            Request id <code>{shown.requestId}</code>
          </p>
        )}
      </section>
    </div>
  );
}

function describe(error: unknown, pageRequestId: string | undefined): Shown {
  if (isRouteErrorResponse(error)) {
    const failure = failureIn(error.data);
    return {
      title: TITLES[error.status] ?? 'This screen could not be shown',
      message: failure?.message ?? 'There is no page at this address. Choose one from the menu.',
      again: error.status >= 429,
      requestId: failure?.requestId ?? pageRequestId,
    };
  }
  if (error instanceof TypeError && /fetch|load failed/i.test(error.message))
    return {
      title: 'Mastline cannot be reached',
      message: 'The network or the server did not answer. Check the connection, then try again.',
      again: true,
      requestId: undefined,
    };
  return {
    title: 'This screen could not be shown',
    message: 'Something failed on our side. Try again; if it stays, report the request id below.',
    again: true,
    requestId: pageRequestId,
  };
}

function failureIn(data: unknown): Failure | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  if (!('message' in data) || !('requestId' in data) || !('code' in data)) return undefined;
  const { message, requestId, code } = data;
  return typeof message === 'string' && typeof requestId === 'string' && typeof code === 'string'
    ? { message, requestId, code }
    : undefined;
}
