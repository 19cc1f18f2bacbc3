/**
 * The portal's pages: assets, then Remix with the load context of this request. The bundle is Vite's work
 * (cloud/build); without it everything else still serves, and pages say what is missing.
 */
import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { createRequestHandler } from '@remix-run/express';
import type { AppLoadContext, ServerBuild } from '@remix-run/node';
import express, { type Router } from 'express';
import { logIn } from '../identity/log-in';
import type { LoginThrottle } from '../identity/login-throttle';
import type { Sessions } from '../identity/sessions';
import { cloudPath } from '../paths';
import type { PortalContext } from '../portal-context';
import { createCaller } from '../router';
import type { Services } from '../rpc/context';

const YEAR = '1y';

export async function portalRoutes(options: {
  services: Services;
  sessions: Sessions;
  throttle: LoginThrottle;
  echoUrl: string;
  publicUrl: string | null;
}): Promise<Router> {
  const router = express.Router();
  const serverBuild = cloudPath('build/server/index.js');
  const assets = cloudPath('build/client');
  if (!existsSync(serverBuild)) {
    options.services.log.warn({ expected: serverBuild }, 'the portal is not built; serving without pages');
    router.use((_request, response) => {
      response
        .status(503)
        .type('text/plain')
        .send('The portal is not built. Run "npx remix vite:build" in the folder cloud, then start again.\n');
    });
    return router;
  }
  const build = (await import(pathToFileURL(serverBuild).href)) as ServerBuild;
  // File names under assets/ carry a hash of their content.
  router.use(
    '/assets',
    express.static(`${assets}/assets`, { immutable: true, maxAge: YEAR, fallthrough: false }),
  );
  router.use(express.static(assets, { maxAge: '1h', index: false }));
  router.all(
    '*',
    createRequestHandler({
      build,
      mode: 'production',
      getLoadContext: async (request, response) => {
        const session = await options.sessions.resolve(request.headers.cookie);
        if (session?.setCookie) response.append('Set-Cookie', session.setCookie);
        const { services, sessions, throttle } = options;
        const requestId = String(response.locals.requestId);
        const context: PortalContext = {
          api: createCaller({
            services,
            viewer: session?.viewer ?? null,
            sessionId: session?.sessionId ?? null,
            requestId,
          }),
          auth: {
            logIn: input =>
              logIn({ ...services, sessions, throttle }, { ...input, address: request.ip ?? '', requestId }),
            logOut: async () => ({ setCookie: await sessions.end(request.headers.cookie) }),
          },
          viewer: session?.viewer ?? null,
          requestId,
          echoUrl: options.echoUrl,
          publicUrl: options.publicUrl,
          cspNonce: String(response.locals.cspNonce),
          logError: error => services.log.error({ err: error, requestId }, 'a page failed'),
        };
        return context as unknown as AppLoadContext;
      },
    }),
  );
  return router;
}
