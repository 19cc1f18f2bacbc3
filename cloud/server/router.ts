/** Joins every domain's api.ts; the only file that imports them. */
import { connectionsRouter, eventsRouter } from './connections/api';
import { credentialsRouter, endpointsRouter, nodesRouter } from './fleet/api';
import { profilesRouter } from './fleet/profile-api';
import { modemsRouter, rotationLinksRouter, rotationsRouter } from './fleet/rotation-api';
import { viewerRouter } from './identity/api';
import { overviewRouter, systemRouter } from './insight/api';
import { usageRouter } from './ledger/api';
import { reconciliationRouter } from './reconciliation/api';
import { createCallerFactory, router } from './rpc/procedures';

export const appRouter = router({
  viewer: viewerRouter,
  overview: overviewRouter,
  system: systemRouter,
  endpoints: endpointsRouter,
  credentials: credentialsRouter,
  usage: usageRouter,
  connections: connectionsRouter,
  events: eventsRouter,
  nodes: nodesRouter,
  modems: modemsRouter,
  reconciliation: reconciliationRouter,
  rotations: rotationsRouter,
  rotationLinks: rotationLinksRouter,
  profiles: profilesRouter,
});
export type AppRouter = typeof appRouter;

export const createCaller = createCallerFactory(appRouter);
/** Procedures as plain async functions, for one viewer. */
export type Caller = ReturnType<typeof createCaller>;
