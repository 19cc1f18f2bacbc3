/**
 * What the portal gets of the server for one request, by Remix's load context. The portal's bundle imports this type
 * only: no server state is ever compiled into it.
 */
import type { LogInOutcome } from './identity/log-in';
import type { Viewer } from './identity/viewer';
import type { Caller } from './router';

export interface PortalContext {
  /** Calls procedures in process as this request's viewer; throws what a TRPCError says. */
  api: Caller;
  auth: {
    /** On success hand `setCookie` to the browser as a Set-Cookie header. */
    logIn(input: { email: string; password: string }): Promise<LogInOutcome>;
    logOut(): Promise<{ setCookie: string }>;
  };
  /** Null when nobody is logged in. */
  viewer: Viewer | null;
  /** Also in the answer's `x-request-id` and in every log line of the request. */
  requestId: string;
  /** The answer's Content-Security-Policy allows inline scripts with this nonce only. */
  cspNonce: string;
  /** Service that answers with the address it sees: what the portal's curl commands ask for. */
  echoUrl: string;
  /** Where people and programs reach this cloud, when it was told; else the request's own address is the best guess. */
  publicUrl: string | null;
  /** Writes an unexpected error into the server's log, with the request's id. */
  logError(error: unknown): void;
}
