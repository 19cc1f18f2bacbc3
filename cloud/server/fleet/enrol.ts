/**
 * Spends a claim: one transaction makes the node, records the consent and marks the code used. The same code with the
 * same device key is answered again as the first time, since the first answer may have been lost on the way.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CONSENT_TEXT_VERSION, type EnrolRequest, REFUSAL } from '@mastline/shared/wire/enrolment';
import { recordAudit } from '../audit/record';
import type { Services } from '../rpc/context';
import { hashCode } from './claims';

const KEY_BYTES = 32;

/** The new node's id. Fails with REFUSAL codes, `enrol/consent-outdated` or `enrol/key-in-use`. */
export async function enrolNode(
  services: Pick<Services, 'db' | 'clock'>,
  request: EnrolRequest,
): Promise<{ nodeId: string; isNew: boolean }> {
  const publicKey = Buffer.from(request.publicKey, 'base64');
  if (publicKey.length !== KEY_BYTES)
    throw new CodedError('input/invalid', `publicKey has ${publicKey.length} bytes`, {
      userMessage: `publicKey: must be ${KEY_BYTES} bytes in base64`,
    });
  if (request.consent.textVersion !== CONSENT_TEXT_VERSION)
    throw new CodedError('enrol/consent-outdated', `consent to ${request.consent.textVersion}`, {
      userMessage: `The terms for hosts have changed. Update the agent, read the text of ${CONSENT_TEXT_VERSION} and enrol again.`,
    });
  const now = services.clock.now();
  const at = new Date(now);
  return services.db.prisma.$transaction(async tx => {
    const claim = await tx.claim.findUnique({ where: { codeHash: hashCode(request.claimCode) } });
    if (claim === null)
      throw new CodedError(REFUSAL.claimUnknown, 'claim code is not known', {
        userMessage:
          'This claim code is not known here. Check it for typing errors, or make a new one in the portal.',
      });
    const spent = await tx.claim.updateMany({
      where: { id: claim.id, usedAt: null, expiresAt: { gt: at } },
      data: { usedAt: at },
    });
    if (spent.count === 0) {
      // Read again: a twin request may have spent it since.
      const now = await tx.claim.findUniqueOrThrow({ where: { id: claim.id }, include: { node: true } });
      if (now.usedAt === null)
        throw new CodedError(REFUSAL.claimExpired, `claim ${claim.id} expired`, {
          userMessage: 'This claim code has expired. Make a new one in the portal.',
        });
      if (now.node !== null && publicKey.equals(now.node.publicKey))
        return { nodeId: now.node.id, isNew: false };
      throw new CodedError(REFUSAL.claimUsed, `claim ${claim.id} was used before`, {
        userMessage: 'This claim code has been used by another box. Make a new one in the portal.',
      });
    }
    if ((await tx.node.findUnique({ where: { publicKey }, select: { id: true } })) !== null)
      throw new CodedError('enrol/key-in-use', 'another node has this device key', {
        userMessage:
          'Another node already uses this device key. Remove the copied identity from this box and enrol again.',
      });
    const nodeId = uuidv7(now);
    await tx.node.create({
      data: {
        id: nodeId,
        organizationId: claim.organizationId,
        name: claim.nodeName,
        hostname: request.hostname,
        publicKey,
        agentVersion: request.agentVersion,
        enrolledAt: at,
        consentTextVersion: request.consent.textVersion,
        consentAcceptedBy: request.consent.acceptedBy,
        consentAt: at,
      },
    });
    await tx.claim.update({ where: { id: claim.id }, data: { nodeId } });
    await recordAudit(tx, {
      organizationId: claim.organizationId,
      at: now,
      actor: { kind: 'node', id: nodeId },
      action: 'node.enrol',
      subject: { kind: 'node', id: nodeId },
      details: {
        claimId: claim.id,
        hostname: request.hostname,
        consentTextVersion: request.consent.textVersion,
        consentAcceptedBy: request.consent.acceptedBy,
      },
    });
    return { nodeId, isNew: true };
  });
}
