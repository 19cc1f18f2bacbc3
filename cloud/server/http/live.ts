/** GET /api/live: the live feed as server-sent events (WHATWG HTML, section 9.2). Unnamed events of OverviewView. */
import type { Clock } from '@mastline/shared/base/clock';
import type { Request, Response } from 'express';
import type { Sessions } from '../identity/sessions';
import type { LiveFeed } from '../insight/live-feed';

/**
 * Events that keep proxies from closing a quiet stream, and let the page tell quiet from broken (a comment would be
 * hidden from it); each one also checks that the session still holds.
 */
const BEAT_MS = 15_000;
/** A browser that does not read is cut; it reconnects by itself. */
const MAX_UNSENT_BYTES = 256 * 1024;

export function liveRoute(options: { feed: LiveFeed; sessions: Sessions; clock: Clock }) {
  const { feed, sessions, clock } = options;
  return async (request: Request, response: Response): Promise<void> => {
    const session = await sessions.resolve(request.headers.cookie);
    if (session === null) {
      response.status(401).json({ code: 'identity/not-logged-in', message: 'Please log in.' });
      return;
    }
    const send = (text: string) => {
      if (response.writableLength > MAX_UNSENT_BYTES) response.destroy();
      else response.write(text);
    };
    let leave: (() => void) | undefined;
    const beat = clock.every(BEAT_MS, () => {
      send('event: ping\ndata: still here\n\n');
      void sessions.resolve(request.headers.cookie).then(
        now => {
          // Logged out, or looking at another organization: the browser asks anew and gets what is right.
          if (now?.viewer.active.id !== session.viewer.active.id) response.end();
        },
        () => response.destroy(),
      );
    });
    response.on('close', () => {
      beat.cancel();
      leave?.();
    });
    response.status(200).set({
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    });
    // The session was alive a moment ago, but the browser may be gone.
    if (response.destroyed) return beat.cancel();
    response.write('retry: 2000\n\n');
    leave = feed.subscribe(session.viewer.active, view => send(`data: ${JSON.stringify(view)}\n\n`));
    if (leave === undefined) response.end();
  };
}
