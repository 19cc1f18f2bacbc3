/** Procedures about endpoints, credentials and nodes: parse, authorise, call one function. */
import { CredentialId } from '@mastline/shared/domain/ids';
import { z } from 'zod';
import { permitted, router } from '../rpc/procedures';
import { listCredentials, revealCredential } from './credentials';
import { listEndpoints } from './endpoints';
import { listNodes } from './nodes';
import type { CredentialView, EndpointView, NodeView, RevealedCredential } from './views';

export const endpointsRouter = router({
  list: permitted('endpoint:read').query(
    ({ ctx }): Promise<EndpointView[]> => listEndpoints(ctx.services, ctx.viewer.active.id),
  ),
});

export const credentialsRouter = router({
  list: permitted('credential:read').query(
    ({ ctx }): Promise<CredentialView[]> => listCredentials(ctx.services, ctx.viewer.active.id),
  ),
  /** A mutation, since it is written into the audit log. */
  reveal: permitted('credential:reveal')
    .input(z.object({ id: CredentialId }))
    .mutation(
      ({ ctx, input }): Promise<RevealedCredential> => revealCredential(ctx.services, ctx.viewer, input.id),
    ),
});

export const nodesRouter = router({
  list: permitted('node:read').query(
    ({ ctx }): Promise<NodeView[]> => listNodes(ctx.services, ctx.viewer.active),
  ),
});
