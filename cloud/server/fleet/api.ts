/** Procedures about endpoints, credentials and nodes: parse, authorise, call one function. */
import { CredentialId } from '@mastline/shared/domain/ids';
import { z } from 'zod';
import { setCredentialQuota } from '../quota/quotas';
import { permitted, router } from '../rpc/procedures';
import { setCertificate } from './certificates';
import { listCredentials, revealCredential } from './credentials';
import { setChain, setOpenTo, setProtocols, shadowsocksAccess } from './endpoint-settings';
import { listEndpoints } from './endpoints';
import { setCredentialLimits, setSlotLimits } from './limits';
import { listNodes } from './nodes';
import {
  CertificateInput,
  ChainInput,
  CredentialLimitsInput,
  LinkInput,
  OpenToInput,
  ProtocolsInput,
  QuotaInput,
  SlotLimitsInput,
} from './settings-input';
import type { CredentialView, EndpointView, NodeView, RevealedCredential, ShadowsocksAccess } from './views';

export const endpointsRouter = router({
  list: permitted('endpoint:read').query(
    ({ ctx }): Promise<EndpointView[]> => listEndpoints(ctx.services, ctx.viewer.active.id),
  ),
  setProtocols: permitted('endpoint:write')
    .input(ProtocolsInput)
    .mutation(({ ctx, input }) => setProtocols(ctx.services, ctx.viewer, input)),
  setOpenTo: permitted('endpoint:write')
    .input(OpenToInput)
    .mutation(({ ctx, input }) => setOpenTo(ctx.services, ctx.viewer, input)),
  setChain: permitted('endpoint:write')
    .input(ChainInput)
    .mutation(({ ctx, input }) => setChain(ctx.services, ctx.viewer, input)),
  /** A mutation, since it is written into the audit log. */
  shadowsocksAccess: permitted('credential:reveal')
    .input(LinkInput)
    .mutation(
      ({ ctx, input }): Promise<ShadowsocksAccess> => shadowsocksAccess(ctx.services, ctx.viewer, input),
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
  setLimits: permitted('credential:write')
    .input(CredentialLimitsInput)
    .mutation(({ ctx, input }) => setCredentialLimits(ctx.services, ctx.viewer, input)),
  setQuota: permitted('credential:write')
    .input(QuotaInput)
    .mutation(({ ctx, input }) => setCredentialQuota(ctx.services, ctx.viewer, input)),
});

export const nodesRouter = router({
  list: permitted('node:read').query(
    ({ ctx }): Promise<NodeView[]> => listNodes(ctx.services, ctx.viewer.active),
  ),
  setSlotLimits: permitted('node:write')
    .input(SlotLimitsInput)
    .mutation(({ ctx, input }) => setSlotLimits(ctx.services, ctx.viewer, input)),
  setCertificate: permitted('node:write')
    .input(CertificateInput)
    .mutation(({ ctx, input }) => setCertificate(ctx.services, ctx.viewer, input)),
});
