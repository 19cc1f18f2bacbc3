/** Which organization a person looks at. */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { RpcContext, Services } from '../rpc/context';
import { activateOrganization } from './store';
import type { Viewer } from './viewer';

/** Switches the session to `organizationId`; `identity/not-a-member` when the viewer is not in it. */
export async function switchOrganization(
  services: Services,
  who: { viewer: Viewer; sessionId: RpcContext['sessionId'] },
  organizationId: string,
): Promise<Viewer> {
  const active = who.viewer.organizations.find(each => each.id === organizationId);
  if (active === undefined)
    throw new CodedError('identity/not-a-member', `user is not in organization ${organizationId}`, {
      userMessage: 'You are not a member of that organization.',
    });
  if (who.sessionId !== null) await activateOrganization(services.db, who.sessionId, active.id);
  return { ...who.viewer, active };
}
