/**
 * The portal's one door to the server. Everything comes out of Remix's load context, which the HTTP server fills for
 * each request: the in-process caller of the tRPC router, the session's log-in and log-out, the viewer. Only types
 * are imported from the server, so that the Vite bundle never holds a second copy of the server's state.
 */
import { type AppLoadContext, data, redirect } from '@remix-run/node';
import type { PortalApi, PortalContext, Viewer } from './api-types';
import { loginPath } from './login-redirect';

declare module '@remix-run/server-runtime' {
  interface AppLoadContext extends PortalContext {}
}

/** What an error page is told of a failed loader or action; nothing else of the error leaves the server. */
export interface Failure {
  code: string;
  message: string;
  requestId: string;
}

interface Arguments {
  request: Request;
  context: AppLoadContext;
}

/** Who is asking, or null; for pages that also serve people who are not logged in. */
export function viewerOf({ context }: Arguments): Viewer | null {
  return context.viewer;
}

/** The session's log-in and log-out. */
export function authOf({ context }: Arguments): PortalContext['auth'] {
  return context.auth;
}

/**
 * Runs `work` for a logged-in person. Without one it throws a redirect to the log-in page that leads back here;
 * a failure becomes a Response with a status, a sentence for people and the request id.
 */
export async function asMember<T>(
  args: Arguments,
  work: (api: PortalApi, viewer: Viewer) => Promise<T>,
): Promise<T> {
  const viewer = args.context.viewer;
  if (viewer === null) throw redirect(loginPath(args.request));
  try {
    return await work(args.context.api, viewer);
  } catch (error) {
    throw translate(error, args);
  }
}

/** Answers a failure as JSON instead of an error page; for the few addresses that scripts of the page call. */
export async function asMemberJson<T>(
  args: Arguments,
  work: (api: PortalApi, viewer: Viewer) => Promise<T>,
): Promise<Response> {
  const headers = { 'cache-control': 'no-store' };
  if (args.context.viewer === null) {
    const failure = failureOf('UNAUTHORIZED', args);
    return Response.json(failure.body, { status: failure.status, headers });
  }
  try {
    return Response.json(await work(args.context.api, args.context.viewer), { headers });
  } catch (error) {
    const code = trpcCode(error);
    if (code === undefined) args.context.logError(error);
    const failure = failureOf(code ?? 'INTERNAL_SERVER_ERROR', args);
    return Response.json(failure.body, { status: failure.status, headers });
  }
}

/** What is wrong with one field of what was to be saved. */
export interface FieldIssue {
  path: readonly PropertyKey[];
  message: string;
}

/** Saves for a logged-in person. Null when it was saved, else why not, by field; all else is as in `asMember`. */
export function refusedFields(
  args: Arguments,
  save: (api: PortalApi) => Promise<void>,
): Promise<readonly FieldIssue[] | null> {
  return asMember(args, async api => {
    try {
      await save(api);
      return null;
    } catch (error) {
      const issues = issuesOf(error);
      if (issues) return issues;
      throw error;
    }
  });
}

/** The issues of a refused input or setting, told by their shape like the code. */
function issuesOf(error: unknown): readonly FieldIssue[] | null {
  if (trpcCode(error) !== 'BAD_REQUEST' || !(error instanceof Error)) return null;
  const { cause } = error;
  if (!(cause instanceof Error) || !('issues' in cause) || !Array.isArray(cause.issues)) return null;
  return cause.issues;
}

/** For what an address names and nobody has. */
export function notFound(args: Arguments): Response {
  const { status, body } = failureOf('NOT_FOUND', args);
  return Response.json(body, { status });
}

const FAILURES: Record<string, { status: number; message: string }> = {
  UNAUTHORIZED: { status: 401, message: 'Your session has ended. Log in again to go on.' },
  FORBIDDEN: {
    status: 403,
    message: 'Your role in this organization does not allow this. Ask an owner or admin.',
  },
  NOT_FOUND: { status: 404, message: 'This does not exist, or belongs to another organization.' },
  BAD_REQUEST: {
    status: 400,
    message: 'The server could not make sense of this address. Start over from the menu.',
  },
  TOO_MANY_REQUESTS: { status: 429, message: 'That was too often. Wait a minute, then try again.' },
  TIMEOUT: { status: 504, message: 'The answer took too long. Try again, or ask for a shorter range.' },
  INTERNAL_SERVER_ERROR: {
    status: 500,
    message: 'Something failed on our side. Try again; if it stays, report the request id below.',
  },
};

function failureOf(code: string, args: Arguments): { status: number; body: Failure } {
  const known = FAILURES[code] ?? FAILURES.INTERNAL_SERVER_ERROR;
  return {
    status: known?.status ?? 500,
    body: {
      code: FAILURES[code] === undefined ? 'INTERNAL_SERVER_ERROR' : code,
      message: known?.message ?? '',
      requestId: args.context.requestId,
    },
  };
}

function translate(error: unknown, args: Arguments): unknown {
  if (error instanceof Response) return error;
  const code = trpcCode(error);
  if (code === 'UNAUTHORIZED') return redirect(loginPath(args.request));
  if (code === undefined || code === 'INTERNAL_SERVER_ERROR') args.context.logError(error);
  const failure = failureOf(code ?? 'INTERNAL_SERVER_ERROR', args);
  return data(failure.body, { status: failure.status });
}

/** The code of a tRPC error, told by its shape: the server's bundle may carry a class of its own. */
function trpcCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'TRPCError' || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
