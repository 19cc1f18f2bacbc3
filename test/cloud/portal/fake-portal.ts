/** The built portal on a server of its own, with the fake cloud behind: what browser tests open. */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AppLoadContext, ServerBuild } from '@remix-run/node';
import { buildPortal } from '../../../installer/local/build';
import { type FakeCloud, fakeCloud, portalContext, viewerOf } from './fake-api';

const BUILD = join(import.meta.dirname, '../../../cloud/build');

export interface FakePortal {
  url: string;
  cloud: FakeCloud;
  /** Cuts the live streams that are open, as a deploy does. */
  cutLive(): void;
  /** While true the live feed answers 503. */
  refuseLive: boolean;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1 until closed. */
export async function fakePortal(nowMs: number = Date.now()): Promise<FakePortal> {
  if (process.env.MASTLINE_BUILT !== '1') await buildPortal();
  // React chooses its production build when it is first loaded.
  process.env.NODE_ENV = 'production';
  const { default: express } = await import('express');
  const { createRequestHandler } = await import('@remix-run/express');
  const build: ServerBuild = await import(pathToFileURL(join(BUILD, 'server/index.js')).href);

  const cloud = fakeCloud(nowMs);
  const streams = new Set<() => void>();
  const app = express();
  app.disable('x-powered-by');
  app.use((request, response, next) => {
    const nonce = randomBytes(16).toString('base64');
    const requestId = `req-${randomBytes(4).toString('hex')}`;
    Object.assign(response.locals, {
      nonce,
      requestId,
      session: /(?:^|; )fake_session=([^;]+)/.exec(request.headers.cookie ?? '')?.[1],
    });
    // As strict as it can be: the portal must live without inline styles and foreign origins.
    response.setHeader(
      'content-security-policy',
      `default-src 'none'; script-src 'self' 'nonce-${nonce}'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    );
    next();
  });
  app.use(
    '/assets',
    express.static(join(BUILD, 'client/assets'), { immutable: true, maxAge: '1y', fallthrough: false }),
  );

  const portal: FakePortal = {
    url: '',
    cloud,
    refuseLive: false,
    cutLive: () => {
      for (const cut of [...streams]) cut();
    },
    close: () =>
      new Promise(resolve => {
        portal.cutLive();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  const contextOf = (response: { locals: Record<string, string> }) =>
    portalContext(cloud, {
      session: response.locals.session,
      requestId: response.locals.requestId ?? '',
      nonce: response.locals.nonce ?? '',
    });

  app.get('/api/live', (_request, response) => {
    if (viewerOf(cloud, response.locals.session) === null) return void response.status(401).end();
    if (portal.refuseLive) return void response.status(503).end();
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const { api } = contextOf(response);
    const send = async () => {
      // Somebody else's figures are none of this stream's business: asked for as this viewer.
      response.write(`event: overview\ndata: ${JSON.stringify(await api.overview.get())}\n\n`);
    };
    const end = () => {
      cloud.watchers.delete(send);
      streams.delete(end);
      response.end();
    };
    cloud.watchers.add(send);
    streams.add(end);
    response.on('close', end);
    void send();
  });

  app.all(
    '*',
    createRequestHandler({
      build,
      mode: 'production',
      getLoadContext: (_request, response): AppLoadContext => ({
        ...contextOf(response),
      }),
    }),
  );

  const server = await new Promise<Server>((resolve, reject) => {
    const listening = app.listen(0, '127.0.0.1', () => resolve(listening));
    listening.on('error', reject);
  });
  portal.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return portal;
}
