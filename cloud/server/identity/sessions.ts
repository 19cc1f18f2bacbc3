/**
 * Cookie → viewer. The only file that uses Lucia, which is finished and not maintained: its part here is lifetimes and
 * cookies. The adapter keeps the SHA-256 of a session's id, so that reading the table does not log anybody in.
 */
import { createHash } from 'node:crypto';
import { type Adapter, type DatabaseSession, Lucia, TimeSpan } from 'lucia';
import type { Database } from '../db/database';
import {
  deleteSessions,
  insertSession,
  moveSessionExpiry,
  organizationsOf,
  type SessionRow,
  sessionById,
  sessionsOf,
  userById,
} from './store';
import type { Viewer } from './viewer';

const SESSION_DAYS = 14;
const COOKIE_NAME = 'mastline_session';

declare module 'lucia' {
  interface Register {
    Lucia: SessionLucia;
    DatabaseSessionAttributes: { activeOrganizationId: string | null };
    DatabaseUserAttributes: { name: string; email: string };
  }
}
type SessionLucia = Lucia<{ activeOrganizationId: string | null }, { name: string; email: string }>;

export interface ResolvedSession {
  viewer: Viewer;
  /** As stored (hashed). */
  sessionId: string;
  /** To be sent with the answer when the session's life was extended; null otherwise. */
  setCookie: string | null;
}

export interface Sessions {
  /** Null for a missing, unknown or expired session, and for a person without any organization. */
  resolve(cookieHeader: string | undefined): Promise<ResolvedSession | null>;
  /** Begins a session; returns the Set-Cookie value. */
  begin(userId: string): Promise<string>;
  /** Ends the session of that cookie, if any; returns the Set-Cookie value that clears it. */
  end(cookieHeader: string | undefined): Promise<string>;
  deleteExpired(): Promise<void>;
}

/** `secure` when people reach the portal by https. */
export function createSessions(db: Database, options: { secure: boolean }): Sessions {
  const lucia: SessionLucia = new Lucia(adapterOf(db), {
    sessionExpiresIn: new TimeSpan(SESSION_DAYS, 'd'),
    sessionCookie: { name: COOKIE_NAME, attributes: { secure: options.secure, sameSite: 'lax', path: '/' } },
    getSessionAttributes: ({ activeOrganizationId }) => ({ activeOrganizationId }),
    getUserAttributes: ({ name, email }) => ({ name, email }),
  });
  return {
    async resolve(cookieHeader) {
      const token = lucia.readSessionCookie(cookieHeader ?? '');
      if (token === null) return null;
      const { session, user } = await lucia.validateSession(token);
      if (session === null) return null;
      const organizations = await organizationsOf(db, user.id);
      const active = organizations.find(each => each.id === session.activeOrganizationId) ?? organizations[0];
      if (active === undefined) return null;
      return {
        viewer: { user: { id: user.id, name: user.name, email: user.email }, organizations, active },
        sessionId: stored(token),
        setCookie: session.fresh ? lucia.createSessionCookie(token).serialize() : null,
      };
    },
    async begin(userId) {
      const session = await lucia.createSession(userId, { activeOrganizationId: null });
      return lucia.createSessionCookie(session.id).serialize();
    },
    async end(cookieHeader) {
      const token = lucia.readSessionCookie(cookieHeader ?? '');
      if (token !== null) await lucia.invalidateSession(token);
      return lucia.createBlankSessionCookie().serialize();
    },
    deleteExpired: () => lucia.deleteExpiredSessions(),
  };
}

const stored = (token: string) => createHash('sha256').update(token).digest('hex');

function adapterOf(db: Database): Adapter {
  const given = (id: string, row: SessionRow): DatabaseSession => ({
    id,
    userId: row.userId,
    expiresAt: row.expiresAt,
    attributes: { activeOrganizationId: row.activeOrganizationId },
  });
  return {
    async getSessionAndUser(token) {
      const row = await sessionById(db, stored(token));
      if (row === null) return [null, null];
      const user = await userById(db, row.userId);
      if (user === null) return [null, null];
      return [given(token, row), { id: user.id, attributes: { name: user.name, email: user.email } }];
    },
    // Tokens cannot be had back from what is stored: the hash stands in for each.
    getUserSessions: async userId => (await sessionsOf(db, userId)).map(row => given(row.id, row)),
    setSession: session =>
      insertSession(db, {
        id: stored(session.id),
        userId: session.userId,
        expiresAt: session.expiresAt,
        activeOrganizationId: session.attributes.activeOrganizationId,
      }),
    updateSessionExpiration: (token, expiresAt) => moveSessionExpiry(db, stored(token), expiresAt),
    deleteSession: token => deleteSessions(db, { id: stored(token) }),
    deleteUserSessions: userId => deleteSessions(db, { userId }),
    deleteExpiredSessions: () => deleteSessions(db, { expiresAt: { lte: new Date() } }),
  };
}
