/** Identity's rows: users, memberships, sessions. The only Prisma in this folder. */
import type { Database } from '../db/database';
import type { OrganizationKind, OrganizationView, Role } from './viewer';

export async function userByEmail(
  db: Database,
  email: string,
): Promise<{ id: string; passwordHash: string } | null> {
  return db.prisma.user.findUnique({ where: { email }, select: { id: true, passwordHash: true } });
}

export async function userById(
  db: Database,
  id: string,
): Promise<{ id: string; name: string; email: string } | null> {
  return db.prisma.user.findUnique({ where: { id }, select: { id: true, name: true, email: true } });
}

/** Organizations of a person, by name. */
export async function organizationsOf(db: Database, userId: string): Promise<OrganizationView[]> {
  const memberships = await db.prisma.membership.findMany({
    where: { userId },
    include: { organization: true },
    orderBy: { organization: { name: 'asc' } },
  });
  return memberships.map(({ role, organization }) => ({
    id: organization.id,
    name: organization.name,
    kinds: organization.kinds as OrganizationKind[],
    role: role as Role,
  }));
}

export interface SessionRow {
  id: string;
  userId: string;
  activeOrganizationId: string | null;
  expiresAt: Date;
}

export async function sessionById(db: Database, id: string): Promise<SessionRow | null> {
  return db.prisma.session.findUnique({ where: { id } });
}

export async function sessionsOf(db: Database, userId: string): Promise<SessionRow[]> {
  return db.prisma.session.findMany({ where: { userId } });
}

export async function insertSession(db: Database, row: SessionRow): Promise<void> {
  await db.prisma.session.create({ data: row });
}

export async function moveSessionExpiry(db: Database, id: string, expiresAt: Date): Promise<void> {
  await db.prisma.session.updateMany({ where: { id }, data: { expiresAt } });
}

export async function activateOrganization(
  db: Database,
  sessionId: string,
  organizationId: string,
): Promise<void> {
  await db.prisma.session.updateMany({
    where: { id: sessionId },
    data: { activeOrganizationId: organizationId },
  });
}

export async function deleteSessions(
  db: Database,
  which: { id: string } | { userId: string } | { expiresAt: { lte: Date } },
): Promise<void> {
  await db.prisma.session.deleteMany({ where: which });
}
