/**
 * `GET /echo`: the address that a request came from, as text. Nodes ask it through their modems, as one of several
 * witnesses that an address has changed. A witness that cannot know says so: behind a proxy that this cloud was not
 * told of, everybody would have the proxy's address.
 */
import type { RequestHandler } from 'express';

const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'cf-connecting-ip', 'via'];

export function echoRoute(trustedProxies: number): RequestHandler {
  return (request, response) => {
    response.set('Cache-Control', 'no-store').type('text/plain');
    if (trustedProxies === 0 && FORWARDED.some(name => request.headers[name] !== undefined)) {
      response.status(421).send('A proxy stands in front, and MASTLINE_TRUSTED_PROXIES does not say so.\n');
      return;
    }
    response.send(`${(request.ip ?? '').replace(/^::ffff:/, '')}\n`);
  };
}
