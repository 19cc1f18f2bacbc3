/** Writes who did what, inside the caller's transaction: what is undone leaves no entry, what is done leaves one. */
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type { Prisma } from '../db/generated/client';

export interface AuditEvent {
  organizationId: string;
  /** UTC epoch milliseconds. */
  at: number;
  actor: { kind: 'user' | 'node'; id: string } | { kind: 'system' };
  /** Stable verb: `credential.reveal`, `node.enrol`. */
  action: string;
  subject: { kind: string; id: string };
  /** Never a secret. */
  details?: Prisma.InputJsonObject;
}

export async function recordAudit(
  store: Pick<Prisma.TransactionClient, 'auditEntry'>,
  event: AuditEvent,
): Promise<void> {
  await store.auditEntry.create({
    data: {
      id: uuidv7(event.at),
      organizationId: event.organizationId,
      at: new Date(event.at),
      actorKind: event.actor.kind,
      actorId: event.actor.kind === 'system' ? null : event.actor.id,
      action: event.action,
      subjectKind: event.subject.kind,
      subjectId: event.subject.id,
      details: event.details ?? {},
    },
  });
}
