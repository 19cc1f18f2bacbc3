/**
 * The one HTTP server: headers, health, agents, tRPC, the live feed, pages; and the one upgrade router. Express 4, as
 * @remix-run/express asks for. What stands behind each route is next door; starting and stopping is main.ts.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { createExpressMiddleware } from '@trpc/server/adapters/express';
import compression from 'compression';
import express, { type ErrorRequestHandler } from 'express';
import { z } from 'zod';
import { migrationFiles } from '../db/migrate';
import type { Gateway } from '../gateway/gateway';
import type { FindNode } from '../gateway/node-finder';
import type { Nonces } from '../gateway/nonces';
import { logIn } from '../identity/log-in';
import type { LoginThrottle } from '../identity/login-throttle';
import type { Sessions } from '../identity/sessions';
import type { LiveFeed } from '../insight/live-feed';
import { beginSpan, endSpan, within } from '../observe/spans';
import { appRouter } from '../router';
import type { RpcContext, Services } from '../rpc/context';
import { agentRoutes } from './agent-routes';
import { challengeHandler } from './challenge';
import { echoRoute } from './echo';
import { liveRoute } from './live';
import { portalRoutes } from './portal';
import { healthz, readyz } from './readiness';
import { rotationRoute } from './rotation-route';
import { sameOriginOnly } from './same-origin';
import { securityHeaders } from './security-headers';

/** Whole request heads, bodies: slower clients are cut (slow-loris). */
const HEADERS_DEADLINE_MS = 10_000;
const REQUEST_DEADLINE_MS = 30_000;
/** Connections that wait to be accepted: ten thousand nodes come back within seconds (the kernel may cap it, somaxconn). */
const LISTEN_BACKLOG = 8_192;
const MAX_RPC_BODY = 256 * 1024;

export interface HttpOptions {
  services: Services;
  sessions: Sessions;
  throttle: LoginThrottle;
  nonces: Nonces;
  findNode: FindNode;
  gateway: Gateway;
  feed: LiveFeed;
  onEnrolled: (nodeId: string) => Promise<void>;
  publicUrl: string | null;
  echoUrl: string;
  trustedProxies: number;
}

export async function createHttpServer(options: HttpOptions): Promise<Server> {
  const { services, sessions, throttle, gateway, feed } = options;
  const { log, clock, db } = services;
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', options.trustedProxies);
  app.use((_request, response, next) => {
    response.locals.requestId = randomUUID();
    response.set('X-Request-Id', String(response.locals.requestId));
    next();
  });
  app.use((request, response, next) => {
    const begun = clock.monotonicMs();
    const route = routeClass(request.path);
    const span = beginSpan(`${request.method} ${route}`, {
      kind: 'in',
      attributes: { 'mastline.request': String(response.locals.requestId) },
    });
    response.once('close', () => {
      // Nobody waited for the answer: nginx's number for that.
      const status = response.writableFinished ? response.statusCode : 499;
      services.tallies.requests.add(`${route} ${status}`);
      span?.setAttribute('http.response.status_code', status);
      endSpan(span, status >= 500 ? 'fault' : undefined);
      // A live stream lasts as long as somebody looks.
      if (route !== 'live') services.tallies.requestSeconds.note(route, clock.monotonicMs() - begun);
    });
    within(span, next);
  });
  app.use(securityHeaders({ https: options.publicUrl?.startsWith('https:') === true }));

  app.get('/healthz', healthz);
  app.get(
    '/readyz',
    readyz({
      db,
      clock,
      log,
      migrations: migrationFiles().map(file => file.name),
      isStopping: () => gateway.stopping,
      note: () => otherProcesses(services),
    }),
  );
  app.get('/echo', echoRoute(options.trustedProxies));
  // Before the check of the origin: whoever has the token may call from anywhere.
  app.use('/rotate', rotationRoute(services));
  app.use(
    '/agent',
    agentRoutes({
      services,
      db,
      log,
      onEnrolled: options.onEnrolled,
    }),
  );

  app.use(sameOriginOnly(options.publicUrl));
  app.get('/api/live', (request, response, next) => {
    liveRoute({ feed, sessions, clock })(request, response).catch(next);
  });
  app.use(compression());
  app.use(
    '/api/trpc',
    createExpressMiddleware({
      router: appRouter,
      maxBodySize: MAX_RPC_BODY,
      createContext: async ({ req, res }): Promise<RpcContext> => {
        const session = await sessions.resolve(req.headers.cookie);
        if (session?.setCookie) res.append('Set-Cookie', session.setCookie);
        return {
          services,
          viewer: session?.viewer ?? null,
          sessionId: session?.sessionId ?? null,
          requestId: String(res.locals.requestId),
        };
      },
    }),
  );
  app.post('/api/session', express.json({ limit: '4kb' }), async (request, response, next) => {
    try {
      const input = parseOrExplain(LogIn, request.body, 'The log-in');
      const outcome = await logIn(
        { ...services, sessions, throttle },
        { ...input, address: request.ip ?? '', requestId: String(response.locals.requestId) },
      );
      if (outcome.ok) response.append('Set-Cookie', outcome.setCookie).status(204).end();
      else if (outcome.reason === 'throttled')
        response
          .status(429)
          .set('Retry-After', String(outcome.retryAfterSeconds))
          .json({ code: 'identity/throttled', message: 'Too many log-ins. Wait, then try again.' });
      else
        response.status(401).json({ code: 'identity/wrong-login', message: 'E-mail or password is wrong.' });
    } catch (error) {
      next(error);
    }
  });
  app.use(
    await portalRoutes({
      services,
      sessions,
      throttle,
      echoUrl: options.echoUrl,
      publicUrl: options.publicUrl,
    }),
  );
  app.use(lastResort(options));

  const challenge = challengeHandler({
    nonces: options.nonces,
    findNode: options.findNode,
    arrivals: gateway.arrivals,
    log,
    answered: status => services.tallies.requests.add(`agent ${status}`),
  });
  const server = createServer(
    { headersTimeout: HEADERS_DEADLINE_MS, requestTimeout: REQUEST_DEADLINE_MS },
    (request, response) => {
      if (!challenge(request, response)) app(request, response);
    },
  );
  server.on('upgrade', (request, socket, head) => {
    if (request.url?.split('?', 1)[0] === '/agent') void gateway.upgrade(request, socket, head);
    else {
      socket.on('error', () => socket.destroy());
      socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    }
  });
  return server;
}

/** Addresses as classes: never what is in them. */
const ROUTES: readonly [string, string][] = [
  ['/healthz', 'healthz'],
  ['/readyz', 'readyz'],
  ['/echo', 'echo'],
  ['/rotate', 'rotate'],
  ['/agent', 'agent'],
  ['/api/live', 'live'],
  ['/api/trpc', 'procedures'],
  ['/api/session', 'log-in'],
  ['/assets', 'assets'],
];

function routeClass(path: string): string {
  return ROUTES.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`))?.[1] ?? 'pages';
}

/** What a process that is one of many says of the others; it serves without them, too. */
function otherProcesses({ cluster }: Pick<Services, 'cluster'>): string {
  const { bus, awayMs, peers } = cluster.figures();
  if (bus === 'none') return '';
  if (bus === 'up') return `other processes: ${peers}\n`;
  return `NATS is away for ${Math.round(awayMs / 1000)} s: this process goes on by itself\n`;
}

/** For programs that log in without a page: the same throttle, the same cookie. */
const LogIn = z.object({ email: z.string().max(320), password: z.string().max(1000) });

function lastResort({ services }: HttpOptions): ErrorRequestHandler {
  return (error: unknown, _request, response, next) => {
    if (response.headersSent) return next(error);
    const requestId = String(response.locals.requestId);
    const status = (error as { status?: unknown }).status;
    if (error instanceof CodedError && error.code === 'input/invalid') {
      response.status(400).json({ code: error.code, message: error.userMessage });
      return;
    }
    if (typeof status === 'number' && status >= 400 && status < 500) {
      response.status(status).type('text/plain').send(`Request refused (${status}).\n`);
      return;
    }
    services.log.error({ err: error, requestId }, 'a request failed');
    response
      .status(500)
      .type('text/plain')
      .send(`Something went wrong on our side. Request ${requestId} is in the log.\n`);
  };
}

/** Listens; resolves with the address in use. A taken or forbidden port becomes a sentence. */
export function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', error => {
      const code = codeOf(error);
      const why =
        code === 'EADDRINUSE'
          ? `port ${port} of ${host} is taken by another program. Stop it, or choose another port with PORT`
          : code === 'EACCES'
            ? `this user may not listen on port ${port}. Choose one above 1023 with PORT`
            : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
              ? `${host} is not an address of this machine. Choose another with HOST`
              : error.message;
      reject(
        new CodedError('http/cannot-listen', `cannot listen on ${host}:${port}: ${code}`, {
          userMessage: `The cloud cannot start: ${why}.`,
          cause: error,
        }),
      );
    });
    server.listen({ host, port, backlog: LISTEN_BACKLOG }, () => resolve(server.address() as AddressInfo));
  });
}
