/**
 * CSRF: a request that changes something must come from our own pages. Browsers name the origin of every such request;
 * a program that sends none may go on, as long as it brings no cookie by which it could be somebody else's browser.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Whether a request may change things. Pure. `publicOrigin` is null when only the Host header tells our address. */
export function isSameOrigin(
  method: string,
  headers: IncomingHttpHeaders,
  publicOrigin: string | null,
): boolean {
  if (SAFE.has(method)) return true;
  const { origin, host, cookie } = headers;
  const site = headers['sec-fetch-site'];
  if (origin !== undefined) {
    if (publicOrigin !== null && origin === publicOrigin) return true;
    if (host === undefined || !URL.canParse(origin)) return false;
    return publicOrigin === null && new URL(origin).host === host;
  }
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  return cookie === undefined;
}

/** Answers 403 to the others. */
export function sameOriginOnly(publicUrl: string | null): RequestHandler {
  const publicOrigin = publicUrl === null ? null : new URL(publicUrl).origin;
  return (request, response, next) => {
    if (isSameOrigin(request.method, request.headers, publicOrigin)) return next();
    response.status(403).json({
      code: 'http/foreign-origin',
      message: 'This request did not come from the portal itself. Send an Origin header with its address.',
    });
  };
}
