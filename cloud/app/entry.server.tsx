/**
 * Renders a page to a stream. Robots get it whole, people as it comes. Errors that no loader translated end up in
 * the server's log by way of the load context.
 */
import { PassThrough } from 'node:stream';
import {
  type ActionFunctionArgs,
  type AppLoadContext,
  createReadableStreamFromReadable,
  type EntryContext,
  type LoaderFunctionArgs,
} from '@remix-run/node';
import { RemixServer } from '@remix-run/react';
import { isbot } from 'isbot';
import { renderToPipeableStream } from 'react-dom/server';
import { NonceContext } from './nonce';

/** Deferred data that has not come by then is given up; the render itself a second later. */
export const streamTimeout = 5_000;

export default function handleRequest(
  ...[request, status, headers, remixContext, loadContext]: [
    Request,
    number,
    Headers,
    EntryContext,
    AppLoadContext,
  ]
): Promise<Response> {
  const nonce = loadContext.cspNonce;
  const whole = isbot(request.headers.get('user-agent') ?? '');
  return new Promise((resolve, reject) => {
    let answered = false;
    let failed = false;
    const { pipe, abort } = renderToPipeableStream(
      <NonceContext.Provider value={nonce}>
        <RemixServer context={remixContext} url={request.url} nonce={nonce} abortDelay={streamTimeout} />
      </NonceContext.Provider>,
      {
        nonce,
        onShellReady: () => {
          if (!whole) answer();
        },
        onAllReady: () => {
          if (whole) answer();
        },
        onShellError: error => {
          clearTimeout(timer);
          reject(error);
        },
        onError: error => {
          failed = true;
          // Before the shell is out, onShellError rejects and handleError below writes the line.
          if (answered) loadContext.logError(error);
        },
      },
    );
    const timer = setTimeout(abort, streamTimeout + 1_000);

    function answer() {
      answered = true;
      const body = new PassThrough();
      body.once('close', () => clearTimeout(timer));
      headers.set('content-type', 'text/html; charset=utf-8');
      // Pages show one person's data: no shared cache may keep them, and "back" after log-out must not show them.
      if (!headers.has('cache-control')) headers.set('cache-control', 'no-store');
      resolve(
        new Response(createReadableStreamFromReadable(body), { status: failed ? 500 : status, headers }),
      );
      pipe(body);
    }
  });
}

/** Data for the page's script is as personal as the page. */
export function handleDataRequest(response: Response): Response {
  if (!response.headers.has('cache-control')) response.headers.set('cache-control', 'no-store');
  return response;
}

export function handleError(error: unknown, { request, context }: LoaderFunctionArgs | ActionFunctionArgs) {
  if (!request.signal.aborted) context.logError(error);
}
