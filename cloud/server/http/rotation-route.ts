/**
 * The secret links: `GET` or `POST /rotate/TOKEN` asks for another address and answers with what came of it, as JSON or,
 * for browsers, as text. What takes longer than `wait` seconds (25 at most and when left out) is answered 202 with an
 * address to ask again: `/rotate/TOKEN/ID`. No cookie, no log-in: the token is everything, so guesses are counted by
 * address, and nothing of a request is logged.
 *
 * Status: 200 rotated · 202 under way · 404 no such link · 409 collision · 429 too often or in its cool-down ·
 * 501 agent too old · 502 failed · 503 not now · 504 the node never answered.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import express, { type Request, type Response, type Router } from 'express';
import { noteLinkUse, openRotationLink } from '../fleet/rotation-links';
import type { RotationView } from '../fleet/rotation-views';
import { awaitRotation, startRotation } from '../fleet/rotations';
import type { Services } from '../rpc/context';
import { SlidingWindow } from './sliding-window';

const TOKEN = /^[\w-]{27}$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const MAX_WAIT_SECONDS = 25;
const MINUTE_MS = 60_000;
/** Of one token. */
const STARTS = { most: 12, windowMs: MINUTE_MS };
const LOOKS = { most: 120, windowMs: MINUTE_MS };
/** Of one address: 160 bits are not guessed, but nobody shall be kept busy by trying. */
const MISSES = { most: 30, windowMs: 15 * MINUTE_MS };
/** Answers under way at once, of all tokens. */
const MAX_WAITING = 2_000;

export function rotationRoute(services: Services): Router {
  const router = express.Router();
  const route = new RotationRoute(services, services.clock);
  router.use((_request, response, next) => {
    response.set({
      'Cache-Control': 'no-store',
      'Referrer-Policy': 'no-referrer',
      'X-Robots-Tag': 'noindex',
    });
    next();
  });
  router
    .route('/:token')
    .head((_request, response) => void response.status(405).set('Allow', 'GET, POST').end())
    .get((request, response, next) => void route.start(request, response).catch(next))
    .post((request, response, next) => void route.start(request, response).catch(next));
  router.get('/:token/:id', (request, response, next) => void route.look(request, response).catch(next));
  router.use((request, response) => say(request, response, { status: 404, ...NO_LINK }));
  return router;
}

interface Answer {
  status: number;
  code: string;
  message: string;
  retryAfterMs?: number | null;
  rotation?: RotationView;
  poll?: string;
}

const NO_LINK = { code: 'rotate/no-such-link', message: 'There is no such link. It may have been revoked.' };
const TOO_OFTEN = { status: 429, code: 'rotate/too-often', message: 'Too many calls. Wait, then try again.' };

class RotationRoute {
  readonly #services: Services;
  readonly #starts: SlidingWindow;
  readonly #looks: SlidingWindow;
  readonly #misses: SlidingWindow;
  #waiting = 0;

  constructor(services: Services, clock: Clock) {
    this.#services = services;
    this.#starts = new SlidingWindow(clock, STARTS);
    this.#looks = new SlidingWindow(clock, LOOKS);
    this.#misses = new SlidingWindow(clock, MISSES);
  }

  async start(request: Request, response: Response): Promise<void> {
    // A browser that loads ahead of its person asks for nothing.
    if (/prefetch|prerender/.test(`${request.get('sec-purpose') ?? ''} ${request.get('purpose') ?? ''}`))
      return say(request, response, { status: 503, code: 'rotate/prefetch', message: 'Not ahead of time.' });
    const link = await this.#open(request, response, this.#starts);
    if (link === null) return;
    const { linkId, slot } = link;
    await noteLinkUse(this.#services.db, linkId, this.#services.clock.now());
    const begun = await startRotation(this.#services, slot, { askedFor: 'link', id: linkId });
    const rotation = await this.#await(request, link, begun);
    say(request, response, { ...answerOf(rotation), poll: pollOf(request, rotation) });
  }

  async look(request: Request, response: Response): Promise<void> {
    const link = await this.#open(request, response, this.#looks);
    if (link === null) return;
    const id = request.params.id ?? '';
    if (!UUID.test(id)) return say(request, response, { status: 404, ...NO_ROTATION });
    try {
      const rotation = await this.#await(request, link, { id, outcome: null });
      say(request, response, { ...answerOf(rotation), poll: pollOf(request, rotation) });
    } catch (error) {
      if (!(error instanceof CodedError && error.code === 'fleet/no-such-rotation')) throw error;
      say(request, response, { status: 404, ...NO_ROTATION });
    }
  }

  /** What the token is good for; null when the answer has been given. */
  async #open(request: Request, response: Response, window: SlidingWindow) {
    const address = request.ip ?? '';
    const token = request.params.token ?? '';
    const waitMs = this.#misses.waitMs(address);
    if (waitMs > 0) {
      say(request, response, { ...TOO_OFTEN, retryAfterMs: waitMs });
      return null;
    }
    const link = TOKEN.test(token) ? await openRotationLink(this.#services.db, token) : null;
    if (link === null) {
      this.#misses.take(address);
      say(request, response, { status: 404, ...NO_LINK });
      return null;
    }
    const tooOften = window.take(link.linkId);
    if (tooOften !== null) {
      say(request, response, { ...TOO_OFTEN, retryAfterMs: tooOften });
      return null;
    }
    return link;
  }

  async #await(
    request: Request,
    { slot }: { slot: Parameters<typeof startRotation>[1] },
    of: Pick<RotationView, 'id' | 'outcome'>,
  ): Promise<RotationView> {
    const ms = this.#waiting >= MAX_WAITING || of.outcome !== null ? 0 : waitOf(request) * 1000;
    this.#waiting += 1;
    try {
      return await awaitRotation(this.#services, slot, { id: of.id, ms });
    } finally {
      this.#waiting -= 1;
    }
  }
}

const NO_ROTATION = { code: 'rotate/no-such-rotation', message: 'There is no such rotation of this link.' };

function waitOf(request: Request): number {
  const text = String(request.query.wait ?? '');
  return /^\d{1,4}$/.test(text) ? Math.min(Number(text), MAX_WAIT_SECONDS) : MAX_WAIT_SECONDS;
}

function pollOf(request: Request, rotation: RotationView): string {
  return `${request.baseUrl}/${request.params.token}/${rotation.id}`;
}

function answerOf(rotation: RotationView): Answer {
  const { outcome, reason, retryAfterMs, newAddress, oldAddress } = rotation;
  const of = (status: number, code: string, message: string): Answer => ({
    ...{ status, code, message, rotation },
    retryAfterMs: status === 202 ? 2_000 : retryAfterMs,
  });
  switch (outcome) {
    case null:
      return of(202, 'rotate/under-way', 'The rotation is under way.');
    case 'rotated':
      return of(200, 'rotate/rotated', `The address is ${newAddress} now; it was ${oldAddress}.`);
    case 'collision':
      return of(409, 'rotate/collision', `The address is the same: ${reason}.`);
    case 'failed':
      return of(502, 'rotate/failed', `The rotation failed: ${reason}.`);
    case 'unanswered':
      return of(504, 'rotate/unanswered', `What came of it is not known: ${reason}.`);
    case 'unavailable':
      if (retryAfterMs !== null) return of(429, 'rotate/not-yet', `Not rotated: ${reason}.`);
      return of(reason.includes('too old') ? 501 : 503, 'rotate/unavailable', `Not rotated: ${reason}.`);
  }
}

function say(request: Request, response: Response, answer: Answer): void {
  const { status, code, message, retryAfterMs, rotation, poll } = answer;
  response.status(status);
  if (retryAfterMs) response.set('Retry-After', String(Math.ceil(retryAfterMs / 1000)));
  if (poll !== undefined && status === 202) response.set('Location', poll);
  if (request.accepts(['json', 'text', 'html']) !== 'json') {
    response.type('text/plain').send(`${message}\n`);
    return;
  }
  const { id, outcome, askedAt, endedAt, method, oldAddress, newAddress, tookMs, attempts } = rotation ?? {};
  response.json({
    code,
    message,
    ...(rotation === undefined
      ? {}
      : { id, outcome, askedAt, endedAt, method, oldAddress, newAddress, tookMs, attempts }),
    ...(retryAfterMs ? { retryAfterSeconds: Math.ceil(retryAfterMs / 1000) } : {}),
    ...(poll === undefined ? {} : { poll }),
  });
}
